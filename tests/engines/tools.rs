//! Programs that `scripts/setup` has put beside the build, or that are installed.

use crate::engine::package;
use std::path::PathBuf;

/// Where a program is: in `target/tools`, or in `PATH`.
pub fn tool(name: &str) -> Option<PathBuf> {
    let ours = package().join("target/tools").join(name);
    if ours.is_file() {
        return Some(ours);
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// The line that says that a program is not there.
pub fn missing(name: &str) -> String {
    format!("{name} is absent; scripts/setup all gets it")
}
