//! Programs that run beside PID 1: `status`, `restart`, `stop`, `health`, `check`. Their names
//! are reserved as the first word of the command line.

/// The words that are verbs when they come first, without `--` before them.
pub const NAMES: [&str; 5] = ["status", "restart", "stop", "health", "check"];

/// What to say while a verb does not exist.
pub fn refusal(verb: &str) -> String {
    format!(
        "{verb}: this verb is not in this version; to run a command of that name write clawinit -- {verb}"
    )
}
