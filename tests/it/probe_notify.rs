//! `says`: a child that speaks sd_notify(3) by a plain socket, as a program without the library
//! does.

use crate::sys;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::{Child, Command};
use std::time::Duration;

const SIGN_OF_LIFE: Duration = Duration::from_millis(10);

/// The role `says STEP…`, in order: `say:TEXT` sends a datagram (`|` for a line end), `wait:N` waits
/// for signal N, `nap:MS`, `exit:CODE`, `print:TEXT` writes a line, `alive:N` sends WATCHDOG=1
/// until signal N, `stay` never comes to the next; `serve` answers whoever connects to descriptor
/// 3 with the generation's number, `close` closes that descriptor, `helper:TEXT` has a process of
/// its own send the datagram, `orphan:TEXT` one that was left to clawinit; `http:PORT` answers
/// every request there. A signal that no step waits for is kept for one that does.
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
            "serve" => {
                std::thread::spawn(serve);
            }
            "close" => sys::close(3),
            "helper" => assert!(another(value).wait().expect("a helper").success()),
            "orphan" => {
                // Its parent, a process in between, ends at once.
                let mut between = Command::new("/proc/self/exe");
                between.args(["probe", "says", &format!("left:{value}")]);
                assert!(between.status().expect("a process in between").success());
            }
            "left" => drop(another(value)),
            "http" => {
                let port: u16 = value.parse().expect("a port");
                std::thread::spawn(move || http(port));
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

fn another(text: &str) -> Child {
    let mut another = Command::new("/proc/self/exe");
    // Not before who is to be its parent has it.
    another.args(["probe", "says", "nap:50", &format!("say:{text}"), "nap:300"]);
    another.spawn().expect("another process")
}

/// One line for each connection, from the socket that was handed in.
fn serve() {
    let generation = std::env::var("CLAWINIT_GENERATION").expect("CLAWINIT_GENERATION");
    // Of whatever family it is, which std's listeners are particular about.
    let listener = sys::own(3);
    loop {
        let client = nix::sys::socket::accept(&listener).expect("a client");
        let _ = writeln!(std::fs::File::from(client), "{generation}");
    }
}

/// A page for every request.
fn http(port: u16) {
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port");
    for client in listener.incoming() {
        let mut client = client.expect("a client");
        let _ = client.read(&mut [0; 1024]);
        let _ = client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    }
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
