//! What clawinit costs beside other inits, side by side in one run.
//!
//! - `size CLAWINIT`: size, memory, start; exit code 1 when a budget of size or memory is broken;
//! - `all CLAWINIT FOLDER`: every row of `docs/benchmarks`, as a table on standard output and as
//!   JSON and SVG in FOLDER; `quick` in front of it takes a tenth of the samples;
//! - `rows ROW,ROW… CLAWINIT PROGRAM…`: some rows (start, exit, forward, reap, stop, early, storm) of
//!   clawinit, the other inits and further programs, such as another build: for whoever changes one;
//! - anything else is a role: this program is also what runs under each init (`roles.rs`).
//!
//! Each init runs as PID 1 of a fresh PID namespace, with the environment of a container. They
//! take turns, so that what the machine does besides hits all alike. Times depend on the machine:
//! they are shown beside their target and never judged by an exit code.
#![no_main]

mod figures;
mod inits;
mod machine;
mod plot;
mod print;
mod roles;
mod rows;
mod space;
#[allow(dead_code, reason = "the tests' kernel layer, of which this needs a part")]
#[path = "../../tests/it/sys.rs"]
mod sys;

use inits::Init;
use rows::Effort;
use std::path::Path;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

sys::c_main!(start);

/// What the C library calls. Without Rust's own `main`, whose runtime makes a dozen system calls
/// first, a child can say when it started and not when its runtime had.
fn start(began: u64, words: &[&str]) -> i32 {
    // `cargo bench` adds a word of its own.
    let words: Vec<&str> =
        words.iter().copied().skip(1).filter(|word| *word != "--bench").collect();
    let done = match words[..] {
        ["size", clawinit] => size(Path::new(clawinit)),
        ["all", clawinit, folder] => all(Effort::Full, Path::new(clawinit), Path::new(folder)),
        ["quick", "all", clawinit, folder] => {
            all(Effort::Quick, Path::new(clawinit), Path::new(folder))
        }
        ["rows", rows, clawinit, ref others @ ..] => some(rows, Path::new(clawinit), others),
        _ => roles::play(began, &words),
    };
    match done {
        Ok(true) => 0,
        Ok(false) => 1,
        Err(error) => {
            eprintln!("bench: {error}");
            1
        }
    }
}

/// The rows whose figures noise hardly moves, and the start.
fn size(clawinit: &Path) -> Result<bool> {
    let mut inits = Init::find(clawinit)?;
    inits.push(Init::with_sockets(clawinit)?);
    let rows = rows::small(&inits)?;
    print!("{}", print::table(&inits, &rows));
    let broken: Vec<String> =
        rows.iter().filter(|row| row.is_budget).filter_map(|row| row.missed(&inits)).collect();
    for line in &broken {
        eprintln!("size: clawinit breaks its budget: {line}");
    }
    Ok(broken.is_empty())
}

/// Some rows, of further programs too.
fn some(wanted: &str, clawinit: &Path, others: &[&str]) -> Result<bool> {
    let mut inits = Init::find(clawinit)?;
    inits.extend(others.iter().map(|path| Init::another(path)));
    let rows = rows::some(&inits, wanted)?;
    print!("{}", print::table(&inits, &rows));
    Ok(true)
}

/// Every row, and what `docs/benchmarks` shows of them.
fn all(effort: Effort, clawinit: &Path, folder: &Path) -> Result<bool> {
    let inits = Init::find(clawinit)?;
    let machine = machine::describe();
    println!("{}", machine.lines());
    let found = rows::all(&inits, effort)?;
    let table = print::table(&inits, &found.rows);
    print!("\n{table}{}", found.notes.iter().map(|note| format!("{note}\n")).collect::<String>());
    std::fs::create_dir_all(folder)?;
    let write = |name: &str, text: String| std::fs::write(folder.join(name), text);
    write("README.md", print::page(&machine, &inits, &found))?;
    write("inits.json", print::json(&machine, &inits, &found))?;
    write("ratios.svg", plot::ratios(&machine, &inits, &found.rows))?;
    write("early.svg", plot::early(&machine, &inits, &found.losses))?;
    write("scale.svg", plot::scale(&machine, &inits, &found.rows))?;
    println!(
        "\nwritten to {}: README.md inits.json ratios.svg early.svg scale.svg",
        folder.display()
    );
    Ok(true)
}
