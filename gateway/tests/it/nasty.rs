//! Nasty requests, as `gateway/tests/nasty` lists them with the answers they get: each
//! sent whole, byte by byte and cut at random places. The gateway lives on.

use std::fs;
use std::net::Shutdown;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::harness::{Client, Folder, Gateway, Random, TOKEN, wait_for};

/// Cases at the same time: most of the time is spent in switching between two processes.
const LANES: usize = 3;

/// Any answer comes within this, and the end behind it.
const ANSWER: Duration = Duration::from_secs(3);

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Close,
    Open,
    Waits,
}

/// A request, or several, and what is expected.
#[derive(Debug)]
struct Case {
    name: String,
    bytes: Vec<u8>,
    /// Status codes; one that may be missing is marked.
    answers: Vec<(u16, bool)>,
    after: After,
}

/// How the bytes are sent.
#[derive(Clone, Debug)]
enum Cuts {
    Whole,
    Bytes,
    At(Vec<usize>),
}

/// Replaces `\x41` and its like, `{x*3}` and `{auth}`.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let taken = match first {
            '\\' => {
                let (byte, taken) = match &rest[1..2] {
                    "r" => (b'\r', 2),
                    "n" => (b'\n', 2),
                    "t" => (b'\t', 2),
                    "0" => (0, 2),
                    "\\" => (b'\\', 2),
                    "x" => (u8::from_str_radix(&rest[2..4], 16).unwrap(), 4),
                    other => panic!("\\{other} is no escape: {text}"),
                };
                bytes.push(byte);
                taken
            }
            '{' => {
                let end = rest.find('}').expect("a closing brace");
                match &rest[1..end] {
                    "auth" => bytes.extend(format!("Authorization: Bearer {TOKEN}\r\n").bytes()),
                    inner => {
                        let (what, count) = inner.rsplit_once('*').expect("{x*3}");
                        bytes.extend(unescape(what).repeat(count.parse().unwrap()));
                    }
                }
                end + 1
            }
            other => {
                bytes.extend(other.to_string().bytes());
                other.len_utf8()
            }
        };
        rest = &rest[taken..];
    }
    bytes
}

fn expectation(text: &str) -> (Vec<(u16, bool)>, After) {
    let mut words: Vec<&str> = text.split(' ').collect();
    let after = match words.pop() {
        Some("close") => After::Close,
        Some("open") => After::Open,
        Some("waits") => After::Waits,
        other => panic!("{other:?} is nothing that becomes of a connection"),
    };
    let answers = words
        .iter()
        .map(|word| (word.trim_end_matches('?').parse().unwrap(), word.ends_with('?')))
        .collect();
    (answers, after)
}

fn read_list() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nasty");
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let mut cases: Vec<Case> = Vec::new();
    for file in files.iter().filter(|path| path.extension().is_some_and(|end| end == "txt")) {
        let theme = file.file_stem().unwrap().to_string_lossy();
        for line in fs::read_to_string(file).unwrap().lines() {
            match line.split_at_checked(2) {
                Some(("= ", name)) => cases.push(Case {
                    name: format!("{theme}: {name}"),
                    bytes: Vec::new(),
                    answers: Vec::new(),
                    after: After::Close,
                }),
                Some(("< ", text)) => {
                    let case = cases.last_mut().unwrap();
                    (case.answers, case.after) = expectation(text);
                }
                Some(("| ", text)) => cases.last_mut().unwrap().bytes.extend(unescape(text)),
                Some(("# ", _)) | None => {}
                Some(_) => panic!("{}: {line:?} is no line of a list", file.display()),
            }
        }
    }
    cases
}

impl Cuts {
    fn pieces<'a>(&self, bytes: &'a [u8]) -> Vec<&'a [u8]> {
        match self {
            Self::Whole => vec![bytes],
            // What is large comes in pieces that no packet has.
            Self::Bytes => bytes.chunks(if bytes.len() < 2_000 { 1 } else { 61 }).collect(),
            Self::At(places) => {
                let mut ends = places.clone();
                ends.push(bytes.len());
                let mut from = 0;
                ends.into_iter().map(|end| &bytes[std::mem::replace(&mut from, end)..end]).collect()
            }
        }
    }

    fn random(bytes: &[u8], random: &mut Random) -> Self {
        let mut places: Vec<usize> =
            (0..1 + random.below(4)).map(|_| random.below(bytes.len() as u64) as usize).collect();
        places.sort_unstable();
        Self::At(places)
    }
}

/// Sends the bytes and says which answers came.
fn send(case: &Case, port: u16, cuts: &Cuts) -> Vec<u16> {
    let mut client = Client::connect(port);
    client.stream.set_read_timeout(Some(ANSWER)).unwrap();
    for piece in cuts.pieces(&case.bytes) {
        // Who is refused in the middle may find the connection closed.
        if !client.try_send(piece) {
            break;
        }
    }
    match case.after {
        After::Open => {
            let honest = "GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
            client.send(honest);
        }
        After::Waits => client.stream.shutdown(Shutdown::Write).unwrap(),
        After::Close => {}
    }
    let mut head_only = case.bytes.starts_with(b"HEAD ");
    let mut answers = Vec::new();
    while let Some(answer) = client.try_answer(std::mem::take(&mut head_only)) {
        answers.push(answer.status);
    }
    answers
}

/// What is wrong with these answers, if anything is.
fn judge(case: &Case, answers: &[u16]) -> Option<String> {
    let mut wanted = case.answers.clone();
    if case.after == After::Open {
        wanted.push((200, false));
    }
    let all: Vec<u16> = wanted.iter().map(|(code, _)| *code).collect();
    let without: Vec<u16> = wanted.iter().filter(|(_, may)| !may).map(|(code, _)| *code).collect();
    (answers != all && answers != without)
        .then(|| format!("{}: {answers:?} instead of {all:?}", case.name))
}

fn run(cases: &[Case], port: u16, mut random: Random) -> Vec<String> {
    let mut wrong = Vec::new();
    for case in cases {
        let cut = Cuts::random(&case.bytes, &mut random);
        let again = Cuts::random(&case.bytes, &mut random);
        for cuts in [Cuts::Whole, Cuts::Bytes, cut, again] {
            let answers = send(case, port, &cuts);
            // A key that is there already is replaced.
            let answers: Vec<u16> = answers
                .iter()
                .map(|code| if *code == 204 && !case.name.contains("packet") { 201 } else { *code })
                .collect();
            wrong.extend(judge(case, &answers).map(|line| format!("{line} ({cuts:?})")));
            let honest = Client::connect(port).ask("GET", "/health", b"").status;
            assert_eq!(honest, 200, "after {} ({cuts:?})", case.name);
        }
    }
    wrong
}

#[test]
fn nasty_requests_get_the_answers_of_the_list_however_they_are_cut() {
    let folder = Folder::new("nasty");
    let mut gateway = Gateway::start(&folder);
    let mut random = Random::new("nasty requests");
    let cases = read_list();
    let port = gateway.port;
    let wrong: Vec<String> = thread::scope(|scope| {
        let lanes: Vec<_> = cases
            .chunks(cases.len().div_ceil(LANES))
            .map(|own| {
                let random = random.fork();
                scope.spawn(move || run(own, port, random))
            })
            .collect();
        lanes.into_iter().flat_map(|lane| lane.join().unwrap()).collect()
    });
    println!("{} nasty requests, each sent in 4 ways", cases.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases.len() > 150, "the list was not read");
    wait_for("every connection to be gone", || {
        gateway.ask("GET", "/metrics", b"").text().contains("openclaw_connections 1\n")
    });
    assert_eq!(gateway.end(nix::sys::signal::Signal::SIGTERM), 0);
    assert!(!gateway.log().contains("panicked"), "{}", gateway.log());
}
