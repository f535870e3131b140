//! The bearer token: read once, never shown, compared in constant time.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::fcntl::OFlag;
use nix::unistd::geteuid;
use subtle::{Choice, ConstantTimeEq};

use crate::failure::Failure;

/// The longest token that is taken, in bytes.
const LONGEST: usize = 256;

/// The token, padded to one length so that a comparison takes the same time whatever
/// was offered.
#[derive(Clone)]
pub struct Token {
    padded: [u8; LONGEST],
    length: usize,
}

impl Token {
    /// Takes `text`, which came from `source` (named in errors; the text never is).
    pub fn new(text: &str, source: &str) -> Result<Self, Failure> {
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            return Err(Failure::usage(format!(
                "{source}: the token is empty; set one, or unset it"
            )));
        }
        // RFC 6750 section 2.1: what a Bearer header can carry.
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Failure::usage(format!(
                "{source}: the token holds a blank or a character that is not ASCII; \
                 make one with: openssl rand -hex 32"
            )));
        }
        Self::pad(text.as_bytes()).ok_or_else(|| {
            Failure::usage(format!("{source}: the token is longer than {LONGEST} bytes"))
        })
    }

    /// Reads the token from a file, as Kubernetes and Compose mount secrets.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let source = format!("GATEWAY_TOKEN_FILE: {}", path.display());
        let wrong = |error: io::Error| {
            Failure::usage(format!(
                "{source}: {error}; name a file that uid {} can read, or set GATEWAY_TOKEN",
                geteuid()
            ))
        };
        // A FIFO that nobody writes to would keep a blocking open for ever, with every
        // signal held back. Links are followed: Kubernetes mounts secrets as such.
        let file = File::options()
            .read(true)
            .custom_flags(OFlag::O_NONBLOCK.bits())
            .open(path)
            .map_err(wrong)?;
        if !file.metadata().map_err(wrong)?.is_file() {
            return Err(Failure::usage(format!(
                "{source}: not a regular file; name one that holds the token, or set GATEWAY_TOKEN"
            )));
        }
        let mut bytes = Vec::new();
        // Enough to see that it is too long.
        file.take(2 * LONGEST as u64).read_to_end(&mut bytes).map_err(wrong)?;
        let text = String::from_utf8(bytes).map_err(|_| {
            Failure::usage(format!("{source}: not UTF-8; make one with: openssl rand -hex 32"))
        })?;
        Self::new(&text, &source)
    }

    /// Whether a client offered this very token.
    pub fn matches(&self, offered: &[u8]) -> bool {
        // An offer that is too long is compared as well, as an empty one.
        let other = Self::pad(offered).unwrap_or(Self { padded: [0; LONGEST], length: 0 });
        let same: Choice =
            self.padded.ct_eq(&other.padded) & (self.length as u64).ct_eq(&(other.length as u64));
        same.into()
    }

    /// The token as a client sends it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.padded[..self.length]
    }

    fn pad(bytes: &[u8]) -> Option<Self> {
        let mut padded = [0; LONGEST];
        padded.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(Self { padded, length: bytes.len() })
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Token(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_bytes_match() {
        let token = Token::new("secret\n", "test").unwrap();
        assert!(token.matches(b"secret"));
        for offered in [&b""[..], b"secre", b"secret\0", b"Secret", b"secrets", &[b'x'; 4096]] {
            assert!(!token.matches(offered), "{offered:?} was taken");
        }
    }

    #[test]
    fn debug_output_hides_the_token() {
        let token = Token::new("secret", "test").unwrap();
        assert!(!format!("{token:?}").contains("secret"));
    }

    #[test]
    fn errors_never_repeat_the_token() {
        for text in ["", "hush hush", "hüsh", &"hush".repeat(100)] {
            let line = Token::new(text, "GATEWAY_TOKEN").unwrap_err().line;
            assert!(line.starts_with("GATEWAY_TOKEN: "), "{line}");
            assert!(!line.contains("hush") && !line.contains("hüsh"), "{line}");
        }
    }
}
