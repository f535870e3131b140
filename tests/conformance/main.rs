//! What users rely on in a container's init, as one table, run with clawinit and side by side with
//! Debian's tini, dumb-init and catatonit.
//!
//! `make conformance` prints the table and writes it to docs/conformance.md and README.md;
//! `cargo test --test conformance` fails where clawinit fails a row, where a peer passes what
//! clawinit called by that peer's name does not, and where the two pages say something else than
//! the run. A word behind `--` picks rows.

// The harness and the roles serve tests/it, too, which uses all of them.
#[allow(dead_code)]
#[path = "../it/assault.rs"]
mod assault;
#[allow(dead_code)]
#[path = "../it/attack.rs"]
mod attack;
#[allow(dead_code)]
#[path = "../it/harness.rs"]
mod harness;
#[allow(dead_code)]
#[path = "../it/launch.rs"]
mod launch;
#[allow(dead_code)]
#[path = "../it/page.rs"]
mod page;
#[allow(dead_code)]
#[path = "../it/probe.rs"]
mod probe;
#[allow(dead_code)]
#[path = "../it/probe_notify.rs"]
mod probe_notify;
#[allow(dead_code)]
#[path = "../it/sys.rs"]
mod sys;

mod inits;
mod list_a;
mod list_b;
mod list_c;
mod pages;
mod rows;

use inits::{Dialect, How, Not, Seen};
use libtest_mimic::{Arguments, Failed, Trial};
use rows::{ROWS, Row};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, OnceLock};
use std::time::Duration;

/// Waits of clawinit, on a busy machine too; and of an init that may well hang.
const OUR_BOUND: Duration = Duration::from_secs(30);
const PEER_BOUND: Duration = Duration::from_secs(4);

/// Rows at a time: most of them wait, for processes or for a peer that hangs.
const AT_A_TIME: usize = 8;

/// What a row gave.
pub struct Outcome {
    /// By its own name.
    pub clawinit: Seen,
    /// Each peer that is installed, and clawinit called by its name.
    pub peers: Vec<(Dialect, Option<Seen>, Seen)>,
}

static OUTCOMES: LazyLock<Vec<OnceLock<Outcome>>> =
    LazyLock::new(|| ROWS.iter().map(|_| OnceLock::new()).collect());

/// Runs a row, once, with all of them at the same time.
pub fn outcome(index: usize) -> &'static Outcome {
    OUTCOMES[index].get_or_init(|| {
        let row = &ROWS[index];
        std::thread::scope(|scope| {
            let start = |how: How| {
                let case = std::thread::Builder::new().name(inits::CASE.to_string());
                case.spawn_scoped(scope, move || run(row, &how)).expect("a thread")
            };
            let clawinit = start(How::ours(Dialect::Clawinit));
            let peers: Vec<_> = Dialect::PEERS
                .iter()
                .map(|&dialect| (dialect, How::peer(dialect).map(start), start(How::ours(dialect))))
                .collect();
            Outcome {
                clawinit: clawinit.join().expect("a case"),
                peers: peers
                    .into_iter()
                    .map(|(dialect, peer, ours)| {
                        let peer = peer.map(|peer| peer.join().expect("a case"));
                        (dialect, peer, ours.join().expect("a case"))
                    })
                    .collect(),
            }
        })
    })
}

fn run(row: &Row, how: &How) -> Seen {
    if how.ours {
        return inits::run_case(row.case, how, OUR_BOUND);
    }
    let mut seen = inits::run_case(row.case, how, PEER_BOUND);
    // A race that a peer loses now and then, or a bound that a busy machine broke, says something
    // else than the page; it is not new before it has done so three times.
    for _ in 0..2 {
        if pages::recorded(row, how.dialect).is_none_or(|cell| cell == pages::cell(&seen)) {
            break;
        }
        seen = inits::run_case(row.case, how, PEER_BOUND * 2);
    }
    seen
}

/// Whether clawinit does in this row what it is to do.
fn judge(row: &Row, outcome: &Outcome) -> Result<(), String> {
    let mut wrong = Vec::new();
    let mut hold = |what: String, seen: &Seen| match seen {
        Ok(()) | Err(Not::Cannot(_) | Not::Same) => {}
        Err(Not::Failed(fact, detail)) => wrong.push(format!("{what}: {fact}\n{detail}")),
        Err(Not::Absent(why)) => wrong.push(format!("{what}: {why}")),
    };
    hold("clawinit".to_string(), &outcome.clawinit);
    for (dialect, peer, ours) in &outcome.peers {
        let except = row.except.is_some_and(|(of, _)| of == *dialect);
        if matches!(peer, Some(Ok(()))) && !except {
            hold(format!("clawinit as {}, which passes", dialect.name()), ours);
        }
        if except && ours.is_ok() {
            let excused = Err(inits::failed("is excused, and passes"));
            hold(format!("clawinit as {}", dialect.name()), &excused);
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(format!("{}: {}", row.says, wrong.join("\n"))) }
}

/// All rows, several at a time.
fn run_all() {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    // The long ones are in list B; they begin first.
                    let Some(index) = (ROWS.len() - 1).checked_sub(index) else { break };
                    outcome(index);
                }
            });
        }
    });
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "probe") {
        probe::run(&words[1..]);
    }
    harness::take_interrupts();
    inits::keep_panics();
    let peers = Dialect::PEERS.iter().filter(|dialect| How::peer(**dialect).is_none());
    for absent in peers {
        println!("{} is not installed: its column is empty", absent.name());
    }
    let able = harness::namespaces_work();
    if let Err(why) = &able {
        println!("PID namespaces cannot be made here ({why}): no row runs");
    }
    if std::env::var_os("CONFORMANCE").is_some_and(|word| word == "write") {
        assert!(able.is_ok(), "nothing to write");
        run_all();
        println!("{}", pages::table());
        pages::write();
        let wrong: Vec<String> = (0..ROWS.len())
            .filter_map(|index| {
                let said = judge(&ROWS[index], outcome(index)).err()?;
                Some(format!("{}: {said}", ROWS[index].id))
            })
            .collect();
        println!("{}\n{} rows are not as they should be", wrong.join("\n"), wrong.len());
        std::process::exit(i32::from(!wrong.is_empty()));
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_A_TIME);
    let must = std::env::var_os("CLAWINIT_REQUIRE_ENGINES").is_some();
    let mut all: Vec<Trial> = (0..ROWS.len())
        .rev()
        .map(|index| {
            let row = &ROWS[index];
            let name = format!("{} {}", row.id, row.says);
            Trial::test(name, move || Ok(judge(row, outcome(index))?))
                .with_ignored_flag(able.is_err() && !must)
        })
        .collect();
    let tools = ["/usr/bin/strace", "/usr/bin/valgrind"];
    let missing = Dialect::PEERS.iter().any(|dialect| How::peer(*dialect).is_none())
        || tools.iter().any(|tool| !std::path::Path::new(tool).exists());
    all.push(
        Trial::test("the pages say what the run gives", || pages::hold().map_err(Failed::from))
            .with_ignored_flag((missing || able.is_err()) && !must),
    );
    all.push(Trial::test("no line of the lists is left out", || {
        let lines = (1..=50).map(|n| format!("A{n}")).chain((1..=40).map(|n| format!("B{n}")));
        let rows = ROWS.iter().map(|row| row.id).filter(|id| !id.starts_with('C'));
        if lines.eq(rows) { Ok(()) } else { Err("rows are missing or out of order".into()) }
    }));
    libtest_mimic::run(&arguments, all).exit();
}
