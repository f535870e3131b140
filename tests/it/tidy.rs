//! House rules that a machine can hold us to (`docs/design.md`).

use crate::harness::{clawinit, package, plain};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Files that git knows, or would with the next `git add`.
fn files() -> Vec<PathBuf> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(package())
        .output()
        .expect("run git");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).expect("names in UTF-8");
    names
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(PathBuf::from)
        .filter(|name| package().join(name).is_file())
        .collect()
}

fn read(file: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(package().join(file)).expect("read a file")).into_owned()
}

/// A line of Rust without its comment and without what stands in quotes.
fn code_of(line: &str) -> String {
    let mut code = String::new();
    let mut quoted = false;
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' if quoted => {
                letters.next();
            }
            '"' => quoted = !quoted,
            '/' if !quoted && letters.peek() == Some(&'/') => break,
            _ if quoted => {}
            _ => code.push(letter),
        }
    }
    code
}

/// STYLE: `unsafe` only in the kernel layers, the program's and these tests'. The gateway's tests
/// are not the program either.
pub fn only_the_kernel_layers_say_unsafe() {
    let word = concat!("un", "safe");
    let mut found = Vec::new();
    for file in files() {
        let name = file.display().to_string();
        if !name.ends_with(".rs") || name.starts_with("src/kernel/") {
            continue;
        }
        // The fuzz targets lend words that the program has for ever.
        let of_tests = ["tests/it/sys.rs", "fuzz/src/lend.rs"].contains(&name.as_str());
        if of_tests || name.starts_with("gateway/tests/") {
            continue;
        }
        for (number, line) in read(&file).lines().enumerate() {
            let code = code_of(line);
            let mut words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
            if words.any(|found| found == word) {
                found.push(format!("{name}:{}: {line}", number + 1));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// What is written here must hold on every machine.
pub fn no_file_names_a_folder_of_this_machine() {
    let mut folders = vec![package().display().to_string()];
    folders.extend(std::env::var("CARGO_HOME").ok());
    folders.extend(std::env::var("CARGO_TARGET_DIR").ok());
    // What lies beside the checkout is of this machine too, unless everybody has such a folder.
    let above = package().parent().map(|parent| format!("{}/", parent.display()));
    let common =
        ["//", "/root/", "/home/", "/tmp/", "/opt/", "/src/", "/srv/", "/var/", "/usr/", "/app/"];
    folders.extend(above.filter(|above| !common.contains(&above.as_str())));
    folders.retain(|folder| folder.len() > 1 && !common.contains(&format!("{folder}/").as_str()));
    let mut found = Vec::new();
    for file in files() {
        for (number, line) in read(&file).lines().enumerate() {
            if folders.iter().any(|folder| line.contains(folder)) {
                found.push(format!("{}:{}: {line}", file.display(), number + 1));
            }
        }
    }
    assert!(found.is_empty(), "{folders:?}:\n{}", found.join("\n"));
}

/// Where packages come from is the builder's own setting; only the lock file names the registry.
pub fn no_file_names_a_registry_mirror() {
    let mut known: BTreeSet<String> = BTreeSet::new();
    for variable in
        ["CARGO_REGISTRIES_CRATES_IO_INDEX", "CARGO_SOURCE_CRATES_IO_REGISTRY", "PIP_INDEX_URL"]
    {
        let host = std::env::var(variable).ok().and_then(|url| {
            let rest = url.split_once("://")?.1;
            Some(rest.split(['/', ':']).next()?.to_string())
        });
        known.extend(host.filter(|host| !host.ends_with("crates.io") && host != "pypi.org"));
    }
    // Cargo keeps one folder for each registry that it has used, named for the host.
    let home = std::env::var_os("CARGO_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cargo"),
        PathBuf::from,
    );
    for entry in std::fs::read_dir(home.join("registry/index")).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let host = name.rsplit_once('-').map_or(name.as_str(), |(host, _)| host);
        if !["index.crates.io", "github.com", "localhost", "127.0.0.1"].contains(&host) {
            known.insert(host.to_string());
        }
    }
    let mut found = Vec::new();
    for file in files() {
        let text = read(&file);
        for host in known.iter().filter(|host| host.len() > 3) {
            if text.contains(host.as_str()) {
                found.push(format!("{} names {host}", file.display()));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// The `--option` words of a line.
fn long_options(line: &str) -> Vec<String> {
    line.split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
        .filter(|word| {
            word.strip_prefix("--")
                .is_some_and(|name| name.starts_with(|c: char| c.is_ascii_lowercase()))
        })
        .map(str::to_string)
        .collect()
}

/// STYLE, from sudo-rs: the help, the manual and the README list the same options.
pub fn the_help_the_manual_and_the_readme_list_the_same_options() {
    let read = |file: &str| {
        std::fs::read_to_string(package().join(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
    };
    let (readme, manual) = (read("README.md"), read("docs/clawinit.1"));
    let help = plain(None, &["--help"], &[]);
    assert_eq!(help.code, Some(0), "{}", help.err);
    // Descriptions may name other options; the option itself stands first in its line.
    let first_of = |line: &str| long_options(line).into_iter().next();
    let from_help: BTreeSet<String> = help
        .out
        .lines()
        .filter(|l| l.trim_start().starts_with("--"))
        .filter_map(first_of)
        .collect();
    assert!(from_help.len() > 20, "options in the help: {from_help:?}");
    // Rows of the option table begin with the option in code quotes.
    let from_readme: BTreeSet<String> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| `--"))
        .filter_map(|row| first_of(&format!("--{row}")))
        .collect();
    // man(7): the line behind .TP is the option, its hyphens escaped.
    let manual: Vec<String> = manual.lines().map(|line| line.replace("\\-", "-")).collect();
    let from_manual: BTreeSet<String> = manual
        .windows(2)
        .filter(|pair| pair[0] == ".TP")
        .filter_map(|pair| first_of(&pair[1]))
        .collect();
    // These say something and leave; a table of settings need not have them.
    let printing = ["--help", "--version", "--license"];
    let settings = |all: &BTreeSet<String>| -> BTreeSet<String> {
        all.iter().filter(|o| !printing.contains(&o.as_str())).cloned().collect()
    };
    let help = settings(&from_help);
    assert_eq!(help, settings(&from_readme), "left: the help; right: the table of README.md");
    assert_eq!(help, settings(&from_manual), "left: the help; right: docs/clawinit.1");
}

/// Every comment that stands in for work is one that somebody has to find again.
pub fn no_unfinished_work_is_left_in_the_code() {
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
    ];
    let mut found = Vec::new();
    for file in files() {
        let name = file.display().to_string();
        if !name.ends_with(".rs") {
            continue;
        }
        for (number, line) in read(&file).lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                found.push(format!("{name}:{}: {line}", number + 1));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// The page that shows log, status and report side by side is what this program says.
pub fn the_trace_page_is_what_the_program_says() {
    let output = Command::new(package().join("scripts/trace"))
        .arg("--check")
        .env("CLAWINIT_BIN", clawinit())
        .output()
        .expect("run scripts/trace");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}
