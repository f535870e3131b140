//! The body of a request: by length, or in chunks (RFC 9112 sections 6 and 7).

use super::Refusal;
use super::head::Framing;

/// The most bytes that a body may have; more is a 413.
pub const MAX_BYTES: usize = 1024 * 1024;
/// The most bytes that chunk extensions and trailer fields may have together.
const MAX_EXTRA: usize = 16 * 1024;
/// Sixteen hexadecimal digits hold every u64.
const MAX_DIGITS: u8 = 16;

const TOO_LARGE: Refusal = Refusal::new(413, "the body is larger than 1 MiB");
const BAD_CHUNK: Refusal = Refusal::new(400, "the chunked body is not well formed");

/// A body while it arrives.
#[derive(Debug)]
pub struct Body {
    bytes: Vec<u8>,
    place: Place,
    /// Bytes of extensions and trailers so far.
    extra: usize,
}

/// Where in the body the next byte belongs.
#[derive(Debug)]
enum Place {
    /// In a body of known length, with so much missing.
    Fixed(usize),
    /// In a chunk's size, before its `;` or CR.
    Size { size: u64, digits: u8 },
    /// In a chunk extension, which means nothing to us.
    Extension { size: u64 },
    /// Behind the CR of a size line.
    SizeLf { size: u64 },
    /// In a chunk's data.
    Data(usize),
    /// Behind the data.
    DataCr,
    /// Behind the CR behind the data.
    DataLf,
    /// At the start of a line behind the last chunk.
    TrailerStart,
    /// In a trailer field, which means nothing to us.
    Trailer,
    /// Behind the CR of a trailer field.
    TrailerLf,
    /// Behind the CR of the empty line that ends it all.
    EndLf,
    /// All there.
    Done,
}

impl Body {
    /// A body that is about to arrive; refused at once when its length is known and
    /// too large.
    pub fn new(framing: Framing) -> Result<Self, Refusal> {
        let place = match framing {
            Framing::None => Place::Done,
            Framing::Length(length) => match usize::try_from(length) {
                Ok(0) => Place::Done,
                Ok(length) if length <= MAX_BYTES => Place::Fixed(length),
                Ok(_) | Err(_) => return Err(TOO_LARGE),
            },
            Framing::Chunked => Place::Size { size: 0, digits: 0 },
        };
        Ok(Self { bytes: Vec::new(), place, extra: 0 })
    }

    /// Whether all of it is there.
    pub fn is_done(&self) -> bool {
        matches!(self.place, Place::Done)
    }

    /// The bytes of a body that is done.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Takes bytes from the connection and says how many were this body's.
    pub fn take(&mut self, input: &[u8]) -> Result<usize, Refusal> {
        let mut taken = 0;
        while taken < input.len() && !self.is_done() {
            let rest = &input[taken..];
            match self.place {
                Place::Fixed(missing) => {
                    let count = missing.min(rest.len());
                    self.bytes.extend_from_slice(&rest[..count]);
                    taken += count;
                    self.place =
                        if count == missing { Place::Done } else { Place::Fixed(missing - count) };
                }
                Place::Data(missing) => {
                    let count = missing.min(rest.len());
                    self.bytes.extend_from_slice(&rest[..count]);
                    taken += count;
                    self.place =
                        if count == missing { Place::DataCr } else { Place::Data(missing - count) };
                }
                _ => {
                    self.place = self.step(rest[0])?;
                    taken += 1;
                }
            }
        }
        Ok(taken)
    }

    /// One byte of what stands around the data.
    fn step(&mut self, byte: u8) -> Result<Place, Refusal> {
        match (&self.place, byte) {
            (Place::Size { size, digits }, _)
                if byte.is_ascii_hexdigit() && *digits < MAX_DIGITS =>
            {
                let digit = (byte as char).to_digit(16).unwrap_or_default();
                Ok(Place::Size { size: size << 4 | u64::from(digit), digits: digits + 1 })
            }
            (Place::Size { size, digits: 1.. }, b'\r') => Ok(Place::SizeLf { size: *size }),
            // Blanks before the extension: RFC 9112 section 7.1.1, BWS.
            (Place::Size { size, digits: 1.. }, b';' | b' ' | b'\t') => {
                Ok(Place::Extension { size: *size })
            }
            (Place::Size { .. }, _) => Err(BAD_CHUNK),
            (Place::Extension { size }, b'\r') => Ok(Place::SizeLf { size: *size }),
            // A bare LF is where two readers of one message part ways.
            (Place::Extension { .. }, b'\n') => Err(BAD_CHUNK),
            (Place::Extension { size }, _) => {
                let size = *size;
                self.count_extra()?;
                Ok(Place::Extension { size })
            }
            (Place::SizeLf { size: 0 }, b'\n') => Ok(Place::TrailerStart),
            (Place::SizeLf { size }, b'\n') => match usize::try_from(*size) {
                Ok(size) if size <= MAX_BYTES - self.bytes.len() => Ok(Place::Data(size)),
                Ok(_) | Err(_) => Err(TOO_LARGE),
            },
            (Place::DataCr, b'\r') => Ok(Place::DataLf),
            (Place::DataLf, b'\n') => Ok(Place::Size { size: 0, digits: 0 }),
            (Place::TrailerStart, b'\r') => Ok(Place::EndLf),
            (Place::TrailerStart | Place::Trailer, b'\n') => Err(BAD_CHUNK),
            (Place::Trailer, b'\r') => Ok(Place::TrailerLf),
            (Place::TrailerStart | Place::Trailer, _) => {
                self.count_extra()?;
                Ok(Place::Trailer)
            }
            (Place::TrailerLf, b'\n') => Ok(Place::TrailerStart),
            (Place::EndLf, b'\n') => Ok(Place::Done),
            (
                Place::SizeLf { .. }
                | Place::DataCr
                | Place::DataLf
                | Place::TrailerLf
                | Place::EndLf,
                _,
            ) => Err(BAD_CHUNK),
            (Place::Fixed(_) | Place::Data(_) | Place::Done, _) => {
                unreachable!("taken in whole slices, or not at all")
            }
        }
    }

    fn count_extra(&mut self) -> Result<(), Refusal> {
        self.extra += 1;
        if self.extra > MAX_EXTRA {
            return Err(Refusal::new(431, "chunk extensions and trailers are longer than 16 KiB"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `input` in pieces of `piece` bytes: what came out, and what was left over.
    fn read(
        framing: Framing,
        input: &[u8],
        piece: usize,
    ) -> Result<Option<(Vec<u8>, usize)>, Refusal> {
        let mut body = Body::new(framing)?;
        let mut taken = 0;
        for chunk in input.chunks(piece) {
            let count = body.take(chunk)?;
            taken += count;
            if count < chunk.len() {
                break;
            }
        }
        Ok(body.is_done().then(|| (body.into_bytes(), input.len() - taken)))
    }

    fn chunked(input: &[u8]) -> Result<Option<(Vec<u8>, usize)>, Refusal> {
        let whole = read(Framing::Chunked, input, input.len().max(1));
        for piece in [1, 2, 3, 7] {
            assert_eq!(read(Framing::Chunked, input, piece), whole, "in pieces of {piece}");
        }
        whole
    }

    #[test]
    fn fixed_length_ends_where_it_says() {
        assert_eq!(read(Framing::Length(3), b"abcdef", 6), Ok(Some((b"abc".to_vec(), 3))));
        assert_eq!(read(Framing::Length(3), b"ab", 1), Ok(None));
        assert_eq!(read(Framing::None, b"abc", 3), Ok(Some((Vec::new(), 3))));
    }

    #[test]
    fn chunks_extensions_and_trailers_are_read_and_the_rest_is_left() {
        let input = b"3\r\nabc\r\n0A;name=\"v\"\r\n0123456789\r\n1 \t;x\r\nz\r\n0\r\nX: y\r\nZ: w\r\n\r\nGET";
        assert_eq!(chunked(input), Ok(Some((b"abc0123456789z".to_vec(), 3))));
    }

    #[test]
    fn every_cut_of_a_chunked_body_asks_for_more() {
        let input = b"3;x=y\r\nabc\r\n0\r\nX: y\r\n\r\n";
        for end in 0..input.len() {
            assert_eq!(chunked(&input[..end]), Ok(None), "cut at {end}");
        }
    }

    #[test]
    fn malformed_chunks_are_refused() {
        for input in [
            &b"\r\n"[..],
            b";x\r\n",
            b"g\r\n",
            b"-1\r\n",
            b"+1\r\n",
            b"0x1\r\n",
            b" 1\r\n",
            b"1\nab",
            b"1\r\nabc",
            b"1\r\na\n",
            b"1\r\n\r\n\r\n\r\n",
            b"1;a\nb",
            b"1\rX",
            b"0\r\n\n",
            b"0\r\nX: y\n",
            b"0\r\n\rX",
            b"00000000000000001\r\n",
        ] {
            assert_eq!(chunked(input), Err(BAD_CHUNK), "{:?}", String::from_utf8_lossy(input));
        }
    }

    #[test]
    fn too_much_is_413_however_it_is_announced() {
        assert_eq!(read(Framing::Length(MAX_BYTES as u64 + 1), b"", 1), Err(TOO_LARGE));
        assert_eq!(read(Framing::Length(u64::MAX), b"", 1), Err(TOO_LARGE));
        assert_eq!(chunked(b"100001\r\n"), Err(TOO_LARGE));
        assert_eq!(chunked(b"ffffffffffffffff\r\n"), Err(TOO_LARGE));
        let mut body = Body::new(Framing::Chunked).unwrap();
        let mut input = b"100000\r\n".to_vec();
        input.extend(vec![b'x'; MAX_BYTES]);
        input.extend(b"\r\n1\r\n");
        assert_eq!(body.take(&input), Err(TOO_LARGE));
    }

    #[test]
    fn endless_extensions_and_trailers_are_431() {
        let mut input = b"1;".to_vec();
        input.extend(vec![b'x'; MAX_EXTRA + 1]);
        assert_eq!(read(Framing::Chunked, &input, 4096).unwrap_err().status, 431);
        let mut input = b"0\r\n".to_vec();
        input.extend(b"X: yyyyyyyy\r\n".repeat(MAX_EXTRA / 8));
        assert_eq!(read(Framing::Chunked, &input, 4096).unwrap_err().status, 431);
    }
}
