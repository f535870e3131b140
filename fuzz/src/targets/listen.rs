//! The value of `--listen` and of `--listen-env`.

use super::cli::is_a_line;
use clawinit::sockets::{self, LONGEST_PATH, NO_NAME, Place};

/// Reads the bytes as both.
pub fn listen(data: &[u8]) {
    let Ok(list) = std::str::from_utf8(data) else { return };
    let mut count = 0;
    for item in sockets::wanted(list) {
        count += 1;
        match item {
            Ok(wanted) => {
                let place = match wanted.place {
                    Place::Tcp(address) => {
                        assert_ne!(address.port(), 0);
                        address.to_string()
                    }
                    Place::Unix(path) => {
                        assert!(path.starts_with('/') && path.len() <= LONGEST_PATH, "{path:?}");
                        format!("unix:{path}")
                    }
                };
                assert!(!wanted.name.is_empty() && wanted.name.len() <= 255);
                // LISTEN_FDNAMES has colons between its names.
                assert!(!wanted.name.contains(|c: char| c == ':' || !c.is_ascii_graphic()));
                // Written again it is the same.
                let again = format!("{place}={}", wanted.name);
                let again: Vec<_> = sockets::wanted(&again).collect();
                let [Ok(again)] = &again[..] else { panic!("{again:?}") };
                assert_eq!((again.place, again.name), (wanted.place, wanted.name));
                if !wanted.written.contains('=') {
                    assert!(list.contains(wanted.written), "{wanted:?} of {NO_NAME}");
                }
            }
            Err(wrong) => is_a_line(&wrong),
        }
    }
    assert_eq!(count, list.split(',').count());
    match sockets::check_variables(list) {
        Ok(()) => assert!(!list.contains(['=', '-', ' ', '\0']), "{list:?}"),
        Err(wrong) => is_a_line(&wrong),
    }
}
