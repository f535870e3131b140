//! The launcher of `tests/it/launch.rs`, which is this binary, too.

/// Runs the role that `args` name; never comes back.
pub fn run(args: &[String]) -> ! {
    let rest = &args[1..];
    match args[0].as_str() {
        "launch" => crate::launch::run(rest),
        "enter" => crate::launch::enter(rest),
        "can-launch" => crate::launch::can(),
        // The rest is a program and its words.
        "verb" => {
            use std::os::unix::process::CommandExt;
            let failed = std::process::Command::new(&rest[0]).args(&rest[1..]).exec();
            panic!("{}: {failed}", rest[0])
        }
        other => panic!("probe: unknown role {other}"),
    }
}
