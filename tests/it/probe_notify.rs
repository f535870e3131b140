//! `says`: a child that speaks sd_notify(3) by a plain socket, as a program without the library
//! does.

use crate::sys;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

const SIGN_OF_LIFE: Duration = Duration::from_millis(10);

/// The role `says STEP…`, in order: `say:TEXT` sends a datagram (`|` for a line end), `wait:N` waits
/// for signal N, `nap:MS`, `exit:CODE`, `print:TEXT` writes a line, `alive:N` sends WATCHDOG=1
/// until signal N, `stay` never comes to the next. A signal that no step waits for is kept for one that
/// does.
pub fn run(steps: &[String]) -> ! {
    sys::block_exactly(u64::MAX);
    let voice = Voice::new();
    for step in steps {
        let (what, value) = step.split_once(':').unwrap_or((step, ""));
        let number = || value.parse::<u64>().expect("a number");
        match what {
            "say" => voice.say(value),
            "wait" => {
                let signal = sys::bit(number() as i32);
                sys::wait_signal(signal, None);
            }
            "nap" => std::thread::sleep(Duration::from_millis(number())),
            "alive" => {
                let signal = sys::bit(number() as i32);
                while sys::wait_signal(signal, Some(SIGN_OF_LIFE)).is_none() {
                    voice.say("WATCHDOG=1");
                }
            }
            "print" => println!("{value}"),
            "exit" => std::process::exit(number() as i32),
            "stay" => loop {
                nix::unistd::pause();
            },
            _ => panic!("unknown step {step}"),
        }
    }
    std::process::exit(0)
}

struct Voice(Option<(UnixDatagram, SocketAddr)>);

impl Voice {
    fn new() -> Voice {
        let Ok(address) = std::env::var("NOTIFY_SOCKET") else { return Voice(None) };
        let name = address.strip_prefix('@').expect("an abstract address");
        let address = SocketAddr::from_abstract_name(name).expect("an address");
        Voice(Some((UnixDatagram::unbound().expect("a socket"), address)))
    }

    fn say(&self, text: &str) {
        if let Some((socket, address)) = &self.0 {
            let text = text.replace('|', "\n");
            socket.send_to_addr(text.as_bytes(), address).expect("to be heard");
        }
    }
}
