//! The body of a request: by length, or in chunks (RFC 9112 sections 6 and 7).

use std::cell::Cell;
use std::rc::Rc;

use super::Refusal;
use super::head::Framing;

/// The most bytes that a body may have; more is a 413.
pub const MAX_BYTES: usize = 1024 * 1024;
/// The most bytes of bodies that are held at one time, of all connections together;
/// more is a 503.
pub const MAX_HELD: usize = 64 * 1024 * 1024;
/// The most bytes that chunk extensions and trailer fields may have together.
const MAX_EXTRA: usize = 16 * 1024;
/// Sixteen hexadecimal digits hold every u64.
const MAX_DIGITS: u8 = 16;

const TOO_LARGE: Refusal = Refusal::new(413, "the body is larger than 1 MiB");
const NO_ROOM: Refusal = Refusal::new(503, "too many bodies are under way");
const BAD_CHUNK: Refusal = Refusal::new(400, "the chunked body is not well formed");

/// What the bodies of all connections may hold, and do.
#[derive(Clone, Debug, Default)]
pub struct Room(Rc<Cell<usize>>);

impl Room {
    /// Room for nothing yet.
    pub fn hold(&self) -> Hold {
        Hold { room: self.clone(), bytes: 0 }
    }
}

/// A part of the room, given back when this is dropped.
#[derive(Debug)]
pub struct Hold {
    room: Room,
    bytes: usize,
}

impl Hold {
    fn grow(&mut self, more: usize) -> Result<(), Refusal> {
        let held = self.room.0.get() + more;
        if held > MAX_HELD {
            return Err(NO_ROOM);
        }
        self.room.0.set(held);
        self.bytes += more;
        Ok(())
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.room.0.set(self.room.0.get() - self.bytes);
    }
}

/// A body while it arrives.
#[derive(Debug)]
pub struct Body {
    /// What has come, where it is wanted; elsewhere it is only counted.
    bytes: Vec<u8>,
    hold: Option<Hold>,
    /// How long it is, as far as it has said so.
    length: usize,
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
    /// too large. Its bytes are kept where there is a `hold` for them.
    pub fn new(framing: Framing, hold: Option<Hold>) -> Result<Self, Refusal> {
        let mut body = Self { bytes: Vec::new(), hold, length: 0, place: Place::Done, extra: 0 };
        match framing {
            Framing::None | Framing::Length(0) => {}
            Framing::Length(length) => body.place = Place::Fixed(body.announce(length)?),
            Framing::Chunked => body.place = Place::Size { size: 0, digits: 0 },
        }
        Ok(body)
    }

    /// So many more bytes will come.
    fn announce(&mut self, more: u64) -> Result<usize, Refusal> {
        let more = usize::try_from(more)
            .ok()
            .filter(|more| *more <= MAX_BYTES - self.length)
            .ok_or(TOO_LARGE)?;
        if let Some(hold) = &mut self.hold {
            hold.grow(more)?;
        }
        self.length += more;
        Ok(more)
    }

    /// Whether all of it is there.
    pub fn is_done(&self) -> bool {
        matches!(self.place, Place::Done)
    }

    /// The bytes of a body that is done, and the room that they hold.
    pub fn into_parts(self) -> (Vec<u8>, Option<Hold>) {
        (self.bytes, self.hold)
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.hold.is_some() {
            self.bytes.extend_from_slice(bytes);
        }
    }

    /// Takes bytes from the connection and says how many were this body's.
    pub fn take(&mut self, input: &[u8]) -> Result<usize, Refusal> {
        let mut taken = 0;
        while taken < input.len() && !self.is_done() {
            let rest = &input[taken..];
            match self.place {
                Place::Fixed(missing) => {
                    let count = missing.min(rest.len());
                    self.keep(&rest[..count]);
                    taken += count;
                    self.place =
                        if count == missing { Place::Done } else { Place::Fixed(missing - count) };
                }
                Place::Data(missing) => {
                    let count = missing.min(rest.len());
                    self.keep(&rest[..count]);
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
            (Place::SizeLf { size }, b'\n') => {
                let size = *size;
                Ok(Place::Data(self.announce(size)?))
            }
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
        let mut body = Body::new(framing, Some(Room::default().hold()))?;
        let mut taken = 0;
        for chunk in input.chunks(piece) {
            let count = body.take(chunk)?;
            taken += count;
            if count < chunk.len() {
                break;
            }
        }
        Ok(body.is_done().then(|| (body.into_parts().0, input.len() - taken)))
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
        let mut body = Body::new(Framing::Chunked, None).unwrap();
        let mut input = b"100000\r\n".to_vec();
        input.extend(vec![b'x'; MAX_BYTES]);
        input.extend(b"\r\n1\r\n");
        assert_eq!(body.take(&input), Err(TOO_LARGE));
    }

    #[test]
    fn bodies_hold_room_from_the_announcement_to_their_end() {
        let room = Room::default();
        let largest = Framing::Length(MAX_BYTES as u64);
        let mut bodies: Vec<Body> = (0..MAX_HELD / MAX_BYTES)
            .map(|_| Body::new(largest, Some(room.hold())).unwrap())
            .collect();
        assert_eq!(Body::new(Framing::Length(1), Some(room.hold())).unwrap_err(), NO_ROOM);
        let mut chunked = Body::new(Framing::Chunked, Some(room.hold())).unwrap();
        assert_eq!(chunked.take(b"1\r\n"), Err(NO_ROOM));
        assert!(Body::new(largest, None).is_ok(), "what is not kept needs no room");
        let (bytes, hold) = bodies.pop().unwrap().into_parts();
        drop(bytes);
        assert_eq!(Body::new(Framing::Length(1), Some(room.hold())).unwrap_err(), NO_ROOM);
        drop(hold);
        assert!(Body::new(largest, Some(room.hold())).is_ok());
    }

    #[test]
    fn bytes_that_nobody_wants_are_counted_and_not_kept() {
        let mut body = Body::new(Framing::Chunked, None).unwrap();
        body.take(b"3\r\nabc\r\n0\r\n\r\n").unwrap();
        assert!(body.is_done());
        assert_eq!(body.into_parts().0, b"");
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
