//! As much of JSON (RFC 8259) as it takes to find one value in a text and to compare it. A
//! library for all of it is thirty kilobytes of a binary that has seven hundred.

/// How deep lists and objects may lie in each other: a body of nothing but brackets must not use
/// up the stack.
const MAX_DEPTH: usize = 100;

/// A value, with the text that it was read from.
pub struct Json<'a> {
    pub text: &'a str,
    kind: Kind<'a>,
}

enum Kind<'a> {
    /// `null`, `true`, `false`: the text says it all.
    Word,
    Number,
    Text(String),
    List(Vec<Json<'a>>),
    /// In their order; of two with one name the last one counts.
    Object(Vec<(String, Json<'a>)>),
}

impl<'a> Json<'a> {
    /// Reads a text that is one value. Errors: where it stops to be JSON.
    pub fn read(text: &'a [u8]) -> Result<Json<'a>, String> {
        let whole = std::str::from_utf8(text)
            .map_err(|error| format!("no UTF-8 from byte {} on", error.valid_up_to() + 1))?;
        let mut reader = Reader { whole, at: 0 };
        let value = reader.value(0);
        reader.blanks();
        match value {
            Some(value) if reader.at == whole.len() => Ok(value),
            _ => Err(format!("no JSON from byte {} on", reader.at + 1)),
        }
    }

    /// What is at a path: names and places in lists with dots between them, or a JSON Pointer
    /// (RFC 6901), which begins with a slash and takes every name.
    pub fn find(&self, path: &str) -> Option<&Json<'a>> {
        match path.strip_prefix('/') {
            None => path.split('.').try_fold(self, |json, name| json.member(name)),
            Some(pointer) => pointer
                .split('/')
                .map(|name| name.replace("~1", "/").replace("~0", "~"))
                .try_fold(self, |json, name| json.member(&name)),
        }
    }

    fn member(&self, wanted: &str) -> Option<&Json<'a>> {
        match &self.kind {
            Kind::Object(members) => {
                members.iter().rev().find(|(name, _)| name == wanted).map(|(_, value)| value)
            }
            Kind::List(items) if wanted.bytes().all(|b| b.is_ascii_digit()) => {
                items.get(wanted.parse::<usize>().ok()?)
            }
            Kind::List(_) | Kind::Word | Kind::Number | Kind::Text(_) => None,
        }
    }

    /// Whether this is `wanted`: a string is its own text; everything else, and a string in
    /// quotes, is compared as JSON.
    pub fn is(&self, wanted: &str) -> bool {
        matches!(&self.kind, Kind::Text(text) if text == wanted)
            || Json::read(wanted.as_bytes()).is_ok_and(|wanted| self.equals(&wanted))
    }

    fn equals(&self, other: &Json) -> bool {
        match (&self.kind, &other.kind) {
            (Kind::Word, Kind::Word) => self.text == other.text,
            (Kind::Number, Kind::Number) => decimal(self.text) == decimal(other.text),
            (Kind::Text(a), Kind::Text(b)) => a == b,
            (Kind::List(a), Kind::List(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.equals(b))
            }
            (Kind::Object(a), Kind::Object(b)) => {
                let in_other = |(name, value): &(String, Json)| {
                    other.member(name).is_some_and(|found| found.equals(value))
                };
                a.len() == b.len() && a.iter().all(in_other)
            }
            _ => false,
        }
    }
}

/// A number as its sign, its digits without zeros around them, and how many zeros follow them
/// (fewer than none: behind the point). So 1 is 1.0 and 10e-1, and no digit is rounded away.
fn decimal(number: &str) -> (bool, String, i64) {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    // Of an exponent that is too large for this nobody has a use.
    let exponent = exponent.parse::<i32>().map_or(i64::MAX / 2, i64::from);
    let fraction = mantissa.split_once('.').map_or("", |(_, fraction)| fraction);
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let kept = digits.trim_end_matches('0');
    let zeros = digits.len() as i64 - kept.len() as i64 - fraction.len() as i64;
    let kept = kept.trim_start_matches('0');
    match kept {
        "" => (false, String::new(), 0),
        _ => (mantissa.starts_with('-'), kept.to_owned(), exponent + zeros),
    }
}

struct Reader<'a> {
    whole: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.whole.as_bytes().get(self.at).copied()
    }

    fn eat(&mut self, text: &str) -> Option<()> {
        self.whole[self.at..].starts_with(text).then(|| self.at += text.len())
    }

    /// `None`: what is at `at` is no JSON.
    fn value(&mut self, depth: usize) -> Option<Json<'a>> {
        self.blanks();
        let start = self.at;
        let kind = match self.peek()? {
            b'n' => self.eat("null").map(|()| Kind::Word),
            b't' => self.eat("true").map(|()| Kind::Word),
            b'f' => self.eat("false").map(|()| Kind::Word),
            b'"' => self.string().map(Kind::Text),
            b'[' if depth < MAX_DEPTH => {
                let mut items = Vec::new();
                self.members(b']', |reader| {
                    items.push(reader.value(depth + 1)?);
                    Some(())
                })?;
                Some(Kind::List(items))
            }
            b'{' if depth < MAX_DEPTH => {
                let mut members = Vec::new();
                self.members(b'}', |reader| {
                    let name = reader.string()?;
                    reader.blanks();
                    reader.eat(":")?;
                    members.push((name, reader.value(depth + 1)?));
                    Some(())
                })?;
                Some(Kind::Object(members))
            }
            _ => self.number().map(|()| Kind::Number),
        }?;
        Some(Json { text: &self.whole[start..self.at], kind })
    }

    /// From the opening bracket to the closing one, with commas between what `each` reads.
    fn members(&mut self, end: u8, mut each: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.at += 1;
        self.blanks();
        if self.peek()? == end {
            self.at += 1;
            return Some(());
        }
        loop {
            self.blanks();
            each(self)?;
            self.blanks();
            match self.peek()? {
                b',' => self.at += 1,
                byte if byte == end => {
                    self.at += 1;
                    return Some(());
                }
                _ => return None,
            }
        }
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    fn number(&mut self) -> Option<()> {
        let _ = self.eat("-");
        if self.eat("0").is_none() {
            self.digits()?;
        }
        if self.eat(".").is_some() {
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(())
    }

    fn string(&mut self) -> Option<String> {
        self.eat("\"")?;
        let mut text = String::new();
        loop {
            let letter = self.whole[self.at..].chars().next()?;
            match letter {
                '\0'..' ' => return None,
                '"' => {
                    self.at += 1;
                    return Some(text);
                }
                '\\' => {
                    self.at += 1;
                    text.push(self.escape()?);
                }
                _ => {
                    self.at += letter.len_utf8();
                    text.push(letter);
                }
            }
        }
    }

    fn escape(&mut self) -> Option<char> {
        let letter = match self.peek()? {
            letter @ (b'"' | b'\\' | b'/') => letter,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                self.at += 1;
                let first = self.unit()?;
                // The first half of a pair: the second one follows.
                if (0xD800..0xDC00).contains(&first) {
                    self.eat("\\u")?;
                    let second = self.unit()?;
                    let low = second.checked_sub(0xDC00).filter(|low| *low < 0x400)?;
                    return char::from_u32(0x10000 + ((first - 0xD800) << 10) + low);
                }
                return char::from_u32(first);
            }
            _ => return None,
        };
        self.at += 1;
        Some(letter.into())
    }

    /// Four hexadecimal digits.
    fn unit(&mut self) -> Option<u32> {
        let digits = self.whole.get(self.at..self.at + 4)?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        self.at += 4;
        u32::from_str_radix(digits, 16).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_and_compared() {
        let text = r#"{"status":"ok","n":3,"f":1.0,"t":true,"z":null,"big":9007199254740993,
            "checks":{"db":{"ok":true}},"items":[{"name":"a"},{"name":"b.c"}],"e":-1.20e2,
            "a.b":{"c/d~":"x"},"list":[1,2],"number":"3","empty":"","twice":1,"twice":2,
            "uni":"\u00e9\ud83d\ude00\n"}"#;
        let json = Json::read(text.as_bytes()).unwrap();
        for (path, value) in [
            ("status", "ok"),
            ("status", "\"ok\""),
            ("n", "3"),
            ("n", "3.0"),
            ("n", "30e-1"),
            ("f", "1"),
            ("e", "-120"),
            ("t", "true"),
            ("z", "null"),
            ("big", "9007199254740993"),
            ("checks.db.ok", "true"),
            ("items.1.name", "b.c"),
            ("/a.b/c~1d~0", "x"),
            ("/items/0/name", "a"),
            ("list", "[1, 2]"),
            ("checks", "{\"db\": {\"ok\":true} }"),
            ("number", "3"),
            ("empty", ""),
            ("twice", "2"),
            ("uni", "é😀\n"),
        ] {
            assert!(json.find(path).is_some_and(|found| found.is(value)), "{path}={value}");
        }
        for (path, value) in [
            ("status", "OK"),
            ("status", ""),
            ("n", "4"),
            ("n", "-3"),
            ("n", "\"3\""),
            ("t", "True"),
            ("z", ""),
            ("big", "9007199254740992"),
            ("list", "[2,1]"),
            ("checks", "{}"),
        ] {
            assert!(json.find(path).is_some_and(|found| !found.is(value)), "{path}={value}");
        }
        for path in ["nothing", "status.x", "items.2", "items.-1", "items.x", "n.0", "/items/9"] {
            assert!(json.find(path).is_none(), "{path}");
        }
        assert_eq!(json.find("checks.db").unwrap().text, "{\"ok\":true}");
    }

    #[test]
    fn depth_is_bounded() {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let nested = |n: usize| format!("{}1{}", open.repeat(n), close.repeat(n));
            assert!(Json::read(nested(MAX_DEPTH).as_bytes()).is_ok());
            assert!(Json::read(nested(MAX_DEPTH + 1).as_bytes()).is_err());
            assert!(Json::read(open.repeat(1 << 20).as_bytes()).is_err());
        }
    }

    /// serde_json is the judge: of texts that were broken at random too.
    #[test]
    fn what_is_json_is_what_a_library_takes() {
        let seeds = [
            r#"{"a":[1,-2.5e+3,0,"x\u00e9\n\ud83d\ude00"],"b":{"c":null,"d":true,"e":false},"f":[]}"#,
            " [ 1 , 0.5 , { } , \"\\\\\\\"\\/\" ] ",
            "\"\"",
            "-0",
            "1e5",
        ];
        let alphabet: Vec<char> = "{}[]:,\"\\u0dDe+-.1 \ntruefalsn\u{1}é/".chars().collect();
        let mut state = 88_172_645_463_325_252u64;
        let mut random = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as usize % below
        };
        let (mut taken, mut refused) = (0, 0);
        for round in 0..60_000 {
            let mut text: Vec<char> = seeds[round % seeds.len()].chars().collect();
            for _ in 0..random(4) {
                let at = random(text.len().max(1)).min(text.len());
                match random(3) {
                    0 if at < text.len() => drop(text.remove(at)),
                    1 if at < text.len() => text[at] = alphabet[random(alphabet.len())],
                    _ => text.insert(at, alphabet[random(alphabet.len())]),
                }
            }
            let text: String = text.into_iter().collect();
            let judge = serde_json::from_str::<serde_json::Value>(&text);
            let own = Json::read(text.as_bytes());
            // What is too large for a floating-point number is no concern of ours.
            let out_of_range = judge.as_ref().is_err_and(|e| e.to_string().contains("range"));
            assert!(own.is_ok() == judge.is_ok() || out_of_range, "{text:?}: {judge:?}");
            match judge {
                Ok(judge) => {
                    taken += 1;
                    assert!(own.is_ok_and(|own| own.is(&judge.to_string())), "{text:?}");
                }
                Err(_) => refused += 1,
            }
        }
        assert!(taken > 5_000 && refused > 5_000, "{taken} and {refused}");
    }
}
