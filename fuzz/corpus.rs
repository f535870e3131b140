//! `scripts/fuzz` and the committed corpora.
//!   corpus unpack TARGET FOLDER   each input as a file, as libFuzzer has them
//!   corpus pack TARGET FOLDER     and back, 64 KiB at most

use clawinit_fuzz::corpus;
use std::path::Path;
use std::process::ExitCode;

/// As much of a corpus as is committed.
const MOST: usize = 64 * 1024;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["unpack", target, to] => unpack(target, Path::new(to)),
        ["pack", target, from] => pack(target, Path::new(from)),
        _ => {
            eprintln!("corpus: write unpack TARGET FOLDER, or pack TARGET FOLDER");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("corpus: {error}");
            ExitCode::FAILURE
        }
    }
}

fn unpack(target: &str, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    let file = corpus::folder().join(target);
    if !file.exists() {
        return Ok(()); // a target that has none yet
    }
    for (number, input) in corpus::read(&file)?.iter().enumerate() {
        std::fs::write(to.join(format!("committed-{number:04}")), input)?;
    }
    Ok(())
}

fn pack(target: &str, from: &Path) -> std::io::Result<()> {
    let mut inputs = Vec::new();
    for entry in std::fs::read_dir(from)? {
        inputs.push(std::fs::read(entry?.path())?);
    }
    let found = inputs.len();
    std::fs::create_dir_all(corpus::folder())?;
    let count = corpus::write(&corpus::folder().join(target), inputs, MOST)?;
    println!("{target}: {count} of {found} inputs kept");
    Ok(())
}
