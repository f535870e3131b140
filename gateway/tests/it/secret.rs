//! The token: compared in constant time, and shown to nobody.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::harness::{Client, Folder, Gateway, TOKEN, program, start, verb};

/// What compares, and what calls it once for each request.
const COMPARES: &str = "openclaw::token::Token::matches*";
const CALLS_IT: &str = "openclaw::server::routes::find*";

/// Whether instructions can be counted; says so where not.
fn can_count(test: &str) -> bool {
    let can = Command::new("valgrind").arg("--version").output().is_ok();
    if !can {
        println!("skipped: {test}: valgrind is missing");
    }
    can
}

/// Instructions of the comparison for each of `offers`, by a gateway with this `token`;
/// none where the program has no names in it to find the comparison by.
fn instructions(token: &str, offers: &[String]) -> Option<Vec<u64>> {
    let folder = Folder::new("instructions");
    let inner = start(&folder);
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--collect-atstart=no"]);
    command.arg(format!("--toggle-collect={COMPARES}"));
    command.arg(format!("--dump-after={CALLS_IT}"));
    command.arg(format!("--callgrind-out-file={}", folder.path().join("count").display()));
    command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("GATEWAY_TOKEN", token);
    command.arg(inner.get_program()).args(inner.get_args());
    let mut gateway = Gateway::run(command, &folder);
    let mut client = gateway.connect();
    for offer in offers {
        client.send(format!(
            "GET /memory/a HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {offer}\r\n\r\n"
        ));
        let wanted = if offer == token { 404 } else { 401 };
        assert_eq!(client.answer().status, wanted, "{offer}");
    }
    gateway.end(Signal::SIGTERM);
    let counts = counted(folder.path());
    assert!(counts.is_empty() || counts.len() == offers.len(), "{counts:?}");
    (!counts.is_empty()).then_some(counts)
}

/// The sums in callgrind's files, one for each request, in their order.
fn counted(folder: &Path) -> Vec<u64> {
    let mut files: BTreeMap<u32, u64> = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        let Some(number) = name.strip_prefix("count.").and_then(|number| number.parse().ok())
        else {
            continue;
        };
        let text = fs::read_to_string(entry.path()).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("totals: ")).unwrap();
        files.insert(number, line.trim().parse().unwrap());
    }
    files.into_values().collect()
}

#[test]
fn comparing_a_token_takes_as_many_instructions_wherever_it_is_wrong_and_whatever_is_right() {
    let test = "comparing_a_token_takes_as_many_instructions";
    if !can_count(test) {
        return;
    }
    // Right, wrong at each place, and wrong everywhere; then of other lengths.
    let mut offers = vec![TOKEN.to_owned(), "x".repeat(TOKEN.len())];
    for place in 0..TOKEN.len() {
        let mut offer = TOKEN.to_owned();
        offer.replace_range(place..=place, "X");
        offers.push(offer);
    }
    let same = offers.len();
    offers.extend([1, 10, 100, 256].map(|length| "x".repeat(length)));
    let Some(counts) = instructions(TOKEN, &offers) else {
        println!("skipped: {test}: {} has no symbols", program().display());
        return;
    };
    println!(
        "{} instructions for the right token; {:?} for {} of its length that are wrong at one \
         place or at all; {:?} for offers of 1, 10, 100 and 256 bytes",
        counts[0],
        counts[1..same].iter().collect::<std::collections::BTreeSet<_>>(),
        same - 1,
        &counts[same..]
    );
    assert!(counts[0] > 100, "nothing was counted");
    assert!(counts[..same].iter().all(|count| *count == counts[0]), "{counts:?}");
    // The control: what the client knows anyway, the length of its offer, is seen.
    assert!(counts[same..].iter().any(|count| *count != counts[0]), "{counts:?}");
    // Nor does it tell how long the right one is.
    for token in ["k".to_owned(), "k".repeat(200)] {
        let others = instructions(&token, &offers).unwrap();
        assert_eq!(others, counts, "with a token of {} bytes", token.len());
    }
}

#[test]
fn tokens_right_or_wrong_are_in_no_log_answer_file_or_command_line() {
    let folder = Folder::new("shown");
    let path = folder.path().join("token");
    fs::write(&path, TOKEN).unwrap();
    let mut command = start(&folder);
    command.env_remove("GATEWAY_TOKEN").env("GATEWAY_TOKEN_FILE", &path);
    command.args(["--log-level", "debug", "--agent", "false"]);
    let mut gateway = Gateway::run(command, &folder);
    let wrong = TOKEN.replace("nobody", "somebody");
    let mut said = Vec::new();
    for token in [TOKEN, &wrong] {
        let bearer = format!("Authorization: Bearer {token}\r\n");
        for text in [
            format!("GET /memory HTTP/1.1\r\nHost: a\r\n{bearer}\r\n"),
            format!("GET /status HTTP/1.1\r\nHost: a\r\n{bearer}\r\n"),
            format!("GET /nowhere HTTP/1.1\r\nHost: a\r\n{bearer}\r\n"),
            format!("GET /metrics HTTP/1.1\r\nHost: a\r\n{bearer}\r\n"),
            format!("GET /status?token={token} HTTP/1.1\r\nHost: a\r\n\r\n"),
            format!("PUT /memory/a HTTP/1.1\r\nHost: a\r\n{bearer}\r\n"),
            format!("PUT /memory/a HTTP/1.1\r\nHost: a\r\n{bearer}Content-Length: x\r\n\r\n"),
            format!("PUT /memory/a HTTP/1.1\r\nHost: a\r\n{bearer}Content-Length: 9999999\r\n\r\n"),
            format!("PUT /memory/a HTTP/1.1\r\nHost: a\r\n{bearer}Expect: x\r\n\r\n"),
            format!("GET /memory/a HTTP/1.1\r\nHost: a\r\n{bearer}{bearer}\r\n"),
            format!("GET /memory/a HTTP/1.1\r\nHost: a\r\n{bearer}\0\r\n"),
            format!("GET /memory/a HTTP/3.0\r\nHost: a\r\n{bearer}\r\n"),
            format!("BREW /memory/a HTTP/1.1\r\nHost: a\r\n{bearer}\r\n"),
            format!(
                "GET /memory/a HTTP/1.1\r\nHost: a\r\n{bearer}X: {}\r\n\r\n",
                "x".repeat(20_000)
            ),
            format!("TRACE /memory/a HTTP/1.1\r\nHost: a\r\n{bearer}\r\n"),
        ] {
            let mut client = gateway.connect();
            client.try_send(text);
            let answer = client.answer();
            said.push(format!("{:?} {}", answer.fields, answer.text()));
        }
    }
    for (name, arguments) in [("status", &["--json"][..]), ("stop", &["--timeout", "x"])] {
        let mut command = verb(&folder, name);
        let output = command.args(arguments).output().unwrap();
        said.push(format!("{output:?}"));
    }
    for file in ["cmdline", "status", "comm", "stat", "environ"] {
        let bytes = fs::read(format!("/proc/{}/{file}", gateway.pid())).unwrap();
        said.push(String::from_utf8_lossy(&bytes).into_owned());
    }
    assert_eq!(gateway.end(Signal::SIGUSR1), 75);
    said.push(gateway.log());
    for name in folder.named("") {
        let bytes = fs::read(folder.state().join(name)).unwrap();
        said.push(String::from_utf8_lossy(&bytes).into_owned());
    }
    assert!(gateway.log().contains("/memory/a: 411"), "debug lines: {}", gateway.log());
    for text in said {
        assert!(!text.contains(TOKEN) && !text.contains(&wrong), "{text}");
    }
    let refused = Client::try_connect(gateway.port).is_err();
    assert!(refused, "it has ended");
}
