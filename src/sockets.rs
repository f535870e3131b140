//! `--listen`: which sockets clawinit makes, and keeps from one generation to the next.

use std::ffi::CStr;
use std::net::SocketAddr;

/// One socket to listen on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wanted<'a> {
    /// As it was written, for messages.
    pub written: &'a str,
    /// Where.
    pub place: Place<'a>,
    /// Its name in LISTEN_FDNAMES; "unknown" where it has none (sd_listen_fds_with_names(3)).
    pub name: &'a str,
}

/// Where a socket listens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place<'a> {
    /// A TCP port of an address. `[::]` takes IPv4 as well.
    Tcp(SocketAddr),
    /// A path.
    Unix(&'a str),
}

/// The name of a socket that was given none.
pub const NO_NAME: &str = "unknown";

/// The longest path: `sun_path` of unix(7) without the zero byte at its end.
pub const LONGEST_PATH: usize = 107;

/// The longest name, as sd_listen_fds_with_names(3) has it.
const LONGEST_NAME: usize = 255;

/// Reads the list, item by item, in the order of the descriptors. Errors: what is wrong with an
/// item, and what to write.
pub fn wanted(list: &str) -> impl Iterator<Item = Result<Wanted<'_>, String>> {
    list.split(',').map(item)
}

/// The same of a list that was read before, without those that make no sense.
pub fn known(list: Option<&'static CStr>) -> impl Iterator<Item = Wanted<'static>> {
    let list = list.and_then(|list| list.to_str().ok());
    list.into_iter().flat_map(wanted).filter_map(Result::ok)
}

fn item(item: &str) -> Result<Wanted<'_>, String> {
    let (written, name) = match item.rsplit_once('=') {
        // A path may have an equals sign in it; a name has no slash.
        Some((written, name)) if !name.contains('/') => (written, name),
        _ => (item, NO_NAME),
    };
    let plain = |b: u8| b.is_ascii_graphic() && b != b':';
    if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(plain) {
        return Err(format!(
            "\"{name}\" is no name for a socket; write letters and digits, up to {LONGEST_NAME}, like 0.0.0.0:8080=http"
        ));
    }
    let place = match written.strip_prefix("unix:") {
        Some(path) if path.starts_with('/') && path.len() <= LONGEST_PATH => Place::Unix(path),
        Some(path) if path.starts_with('/') => {
            return Err(format!(
                "\"{path}\" is too long for a socket's path; write at most {LONGEST_PATH} bytes"
            ));
        }
        Some(path) => {
            return Err(format!(
                "\"{path}\" is no absolute path; write one that begins with /, like unix:/run/app.sock"
            ));
        }
        None => match written.parse::<SocketAddr>() {
            Ok(address) if address.port() != 0 => Place::Tcp(address),
            Ok(_) => {
                return Err(format!(
                    "\"{written}\": port 0 is another one each time; write a number from 1 to 65535"
                ));
            }
            Err(_) => return Err(no_address(written)),
        },
    };
    Ok(Wanted { written, place, name })
}

fn no_address(written: &str) -> String {
    let port = written.rsplit(':').next().filter(|port| port.parse::<u16>().is_ok());
    let port = port.unwrap_or("8080");
    format!(
        "\"{written}\" is no address with a port; write 0.0.0.0:{port}, [::]:{port} or unix:/run/app.sock"
    )
}

/// Checks the variables of `--listen-env`: one for each socket, in their order. Errors: what is
/// wrong, and what to write.
pub fn check_variables(list: &str) -> Result<(), String> {
    for (place, name) in list.split(',').enumerate() {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let first = name.bytes().next();
        if first.is_none_or(|b| b.is_ascii_digit()) || !name.bytes().all(plain) {
            return Err(format!(
                "\"{name}\" is no name of a variable; write capital letters, digits and _, like HTTP_FD"
            ));
        }
        if list.split(',').take(place).any(|before| before == name) {
            return Err(format!("\"{name}\" is there twice; write a variable for each socket"));
        }
        if name.starts_with("LISTEN_") || name.starts_with("WATCHDOG_") || name == "NOTIFY_SOCKET" {
            return Err(format!("{name} has a meaning of its own; write another, like HTTP_FD"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Result<Wanted<'_>, String> {
        let mut all = wanted(text);
        let first = all.next().unwrap();
        assert!(all.next().is_none(), "{text}");
        first
    }

    #[test]
    fn addresses_paths_and_names_are_read() {
        let tcp = |text: &str| Place::Tcp(text.parse().unwrap());
        for (text, place, name) in [
            ("0.0.0.0:8080", tcp("0.0.0.0:8080"), NO_NAME),
            ("127.0.0.1:1=http", tcp("127.0.0.1:1"), "http"),
            ("[::]:65535=web-1", tcp("[::]:65535"), "web-1"),
            ("unix:/run/a.sock", Place::Unix("/run/a.sock"), NO_NAME),
            ("unix:/run/a=b/c", Place::Unix("/run/a=b/c"), NO_NAME),
            ("unix:/run/a=b", Place::Unix("/run/a"), "b"),
        ] {
            let read = one(text).unwrap();
            assert_eq!((read.place, read.name), (place, name), "{text}");
        }
    }

    #[test]
    fn a_list_keeps_its_order() {
        let names: Vec<_> =
            wanted("[::]:80=a,unix:/x=b,1.2.3.4:5=c").map(|w| w.unwrap().name).collect();
        assert_eq!(names, ["a", "b", "c"]);
    }

    #[test]
    fn what_is_wrong_is_told_with_what_to_write() {
        for (text, told) in [
            ("8080", "write 0.0.0.0:8080"),
            (":8080", "write 0.0.0.0:8080"),
            ("localhost:80", "write 0.0.0.0:80"),
            ("", "no address with a port"),
            ("0.0.0.0:0", "port 0"),
            ("0.0.0.0:65536", "no address with a port"),
            ("unix:run/a", "no absolute path"),
            ("unix:", "no absolute path"),
            ("0.0.0.0:80=", "no name"),
            ("0.0.0.0:80=a b", "no name"),
            ("0.0.0.0:80=a:b", "no name"),
        ] {
            let wrong = one(text).unwrap_err();
            assert!(wrong.contains(told), "{text}: {wrong}");
        }
        let long = format!("unix:/{}", "x".repeat(LONGEST_PATH));
        assert!(one(&long).unwrap_err().contains("too long"));
    }

    #[test]
    fn a_variable_has_a_name_that_a_shell_can_read() {
        for right in ["FD", "HTTP_FD,ADMIN_FD", "_x9"] {
            assert_eq!(check_variables(right), Ok(()), "{right}");
        }
        for wrong in ["", "A,", "9A", "A-B", "A=B", "Ä", "A,B,A", "LISTEN_FDS", "NOTIFY_SOCKET"] {
            assert!(check_variables(wrong).is_err(), "{wrong}");
        }
    }
}
