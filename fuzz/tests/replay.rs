//! Every input of the committed corpora, through its target: what fuzzing has found once stays
//! found, on the stable compiler too.

use clawinit_fuzz::{TARGETS, Target, corpus};

fn replay(name: &str) {
    let (_, target): Target =
        TARGETS.into_iter().find(|(own, _)| *own == name).expect("a target of this name");
    let inputs = corpus::read(&corpus::folder().join(name)).expect("a corpus");
    assert!(!inputs.is_empty(), "{name}: no input");
    for (number, input) in inputs.iter().enumerate() {
        let caught = std::panic::catch_unwind(|| target(input));
        assert!(
            caught.is_ok(),
            "{name}: input {number} of its corpus: {:?}",
            input.escape_ascii().to_string()
        );
    }
    target(&[]);
    println!("{name}: {} inputs", inputs.len());
}

macro_rules! replays {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                replay(stringify!($name));
            }
        )*

        #[test]
        fn every_target_is_replayed() {
            assert_eq!([$(stringify!($name)),*].to_vec(), TARGETS.map(|(name, _)| name).to_vec());
        }
    };
}

replays! {
    cli,
    core_step,
    exporter_request,
    gateway_cli,
    gateway_http,
    gateway_state,
    health_response,
    listen,
    notify,
    proc,
    status_page,
}
