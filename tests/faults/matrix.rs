//! Every system call of PID 1 × every error of its man page × the first, the second, one more at
//! random, and each time, in every scene that makes the call.

use crate::harness::End;
use crate::scenes::{Played, SCENES, Scene, play};
use crate::table::{ROWS, Row, Then};
use crate::traced::name_of;
use libtest_mimic::Trial;
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// How many calls more than without a fault are no busy loop: a second try, a fallback that reads
/// files, lines that tell of it.
const MORE_CALLS: usize = 1_500;

/// What the scenes are without a fault.
static CLEAN: [OnceLock<Played>; SCENES.len()] = [const { OnceLock::new() }; SCENES.len()];

fn clean(index: usize) -> &'static Played {
    CLEAN[index].get_or_init(|| play(&SCENES[index], &[]))
}

fn counts(calls: &[String]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for name in calls.iter().filter_map(|line| name_of(line)) {
        *counts.entry(name).or_default() += 1;
    }
    counts
}

/// Numbers from a seed (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((word ^ word >> 31) % limit as u64) as usize
    }
}

/// One run with a fault.
#[derive(Clone)]
pub struct Fault {
    call: &'static str,
    errno: &'static str,
    when: String,
}

impl Fault {
    fn tamper(&self) -> Vec<String> {
        let Fault { call, errno, when } = self;
        vec!["-e".into(), format!("inject={call}:error={errno}:when={when}")]
    }
}

fn judge(
    scene: &Scene,
    row: &Row,
    fault: &Fault,
    clean: &Played,
    played: &Played,
) -> Result<(), String> {
    let injected: Vec<&String> =
        played.calls.iter().filter(|line| line.contains("(INJECTED)")).collect();
    let hit = injected.first().map_or("", |line| line.as_str());
    let each = if fault.when == "1+" { "each" } else { "" };
    let hit = format!("{}: {hit} {each}", scene.name);
    let rule = row.then.iter().find(|(text, _)| text.split('&').all(|part| hit.contains(part)));
    let then =
        if injected.is_empty() { Then::Same } else { rule.map_or(Then::Same, |(_, then)| *then) };
    let said = |text: &str| played.err.iter().any(|line| line.contains(text));
    let mut wrong = Vec::new();
    let own = End::Code(scene.code);
    let fits = match then {
        Then::Same => played.end == own,
        Then::Told(text) => played.end == own && said(text),
        Then::Leaves(codes, text) => {
            codes.iter().any(|code| played.end == End::Code(*code)) && said(text)
        }
        Then::Either(codes, text) => {
            played.end == own
                || codes.iter().any(|code| played.end == End::Code(*code)) && said(text)
        }
        Then::Dies(signal) => played.end == End::Signal(signal),
    };
    if !fits {
        wrong.push(format!("ended with {:?}, not as in {then:?}", played.end));
    }
    let killed = said("the time is up") || played.end == End::Code(137);
    if killed && played.took_ms < scene.grace_ms as f64 {
        wrong.push(format!("SIGKILL {} ms after the request", played.took_ms));
    }
    if played.calls.len() > clean.calls.len() + MORE_CALLS {
        wrong.push(format!(
            "{} calls, {} without the fault",
            played.calls.len(),
            clean.calls.len()
        ));
    }
    wrong.extend(played.missed.iter().map(|what| format!("waited in vain for {what}")));
    if wrong.is_empty() {
        return Ok(());
    }
    let mut calls = played.calls.clone();
    if calls.len() > 300 {
        calls.drain(100..calls.len() - 100);
    }
    Err(format!(
        "{} at {}: {}: {}\n  {hit}\n--- output\n{}\n--- log\n{}\n--- calls\n{}",
        scene.name,
        fault.when,
        fault.errno,
        wrong.join("; "),
        played.out.join("\n"),
        played.err.join("\n"),
        calls.join("\n"),
    ))
}

/// A PID 1 that is traced outlives even the SIGSEGV of a C library that gives up: the kernel would
/// not have an init ended by its debugger.
fn is_sure_to_end(row: &Row, scene: &Scene) -> bool {
    row.call != "arch_prctl" || scene.flags.contains(&"under")
}

/// Where a call gets its error: the first, the second, another one, each.
fn places(row: &Row, scene: &Scene, count: usize, random: &mut Random) -> Vec<String> {
    let mut places = vec!["1".to_string()];
    // By another init's name there is no deadline: where no signal ever arrives it waits for the
    // engine's SIGKILL, as that init does.
    let without_end = row.call == "kill" && scene.called != "clawinit";
    if count > 1 {
        places.push("2".to_string());
    }
    if count > 1 && !without_end {
        places.push("1+".to_string());
    }
    if count > 2 {
        places.push((3 + random.below(count - 2)).to_string());
    }
    places
}

fn try_row(row: &'static Row, index: usize, faults: &[Fault]) -> Result<(), String> {
    let scene = &SCENES[index];
    let mut wrong = Vec::new();
    for fault in faults {
        let played = play(scene, &fault.tamper());
        wrong.extend(judge(scene, row, fault, clean(index), &played).err());
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n\n")) }
}

/// Nothing creeps in: each call that a scene makes without a fault is in the table, and the table has
/// none that no scene makes.
pub fn the_table_has_every_call_of_every_scene() -> Result<(), String> {
    let mut made = BTreeMap::new();
    for (index, scene) in SCENES.iter().enumerate() {
        for call in counts(&clean(index).calls).into_keys() {
            made.entry(call).or_insert(scene.name);
        }
    }
    let listed: Vec<&str> = ROWS.iter().map(|row| row.call).collect();
    let new = made.iter().filter(|(call, _)| !listed.contains(call));
    let wrong: Vec<String> = new
        .map(|(call, scene)| format!("{call} is made in {scene:?} and is not in the table"))
        .chain(
            listed
                .iter()
                .filter(|call| !made.contains_key(*call))
                .map(|call| format!("{call} is in the table, and no scene makes it")),
        )
        .collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

/// Without a fault each scene ends as it says.
pub fn the_scenes_end_as_they_say() -> Result<(), String> {
    let nothing = Fault { call: "", errno: "", when: String::new() };
    let row = Row { call: "", errnos: &[], then: &[] };
    let wrong: Vec<String> = (0..SCENES.len())
        .filter_map(|index| judge(&SCENES[index], &row, &nothing, clean(index), clean(index)).err())
        .collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n\n")) }
}

/// One trial for each call and scene. Not `full`, each place gets the next error of the call, and the
/// first scene what is left of them: each error is tried, and each place.
pub fn trials(seed: u64, full: bool) -> Vec<Trial> {
    let mut random = Random(seed);
    let mut cases: Vec<(&Row, usize, Vec<Fault>)> = Vec::new();
    for row in ROWS.iter().filter(|row| !row.errnos.is_empty()) {
        let first_case = cases.len();
        let start = random.below(row.errnos.len());
        let mut tried = 0;
        for (index, scene) in SCENES.iter().enumerate() {
            let count = counts(&clean(index).calls).get(row.call).copied().unwrap_or(0);
            if count == 0 || !is_sure_to_end(row, scene) {
                continue;
            }
            let mut faults = Vec::new();
            for when in places(row, scene, count, &mut random) {
                let next = if full { row.errnos.len() } else { 1 };
                for _ in 0..next {
                    let errno = row.errnos[(start + tried) % row.errnos.len()];
                    faults.push(Fault { call: row.call, errno, when: when.clone() });
                    tried += 1;
                }
            }
            cases.push((row, index, faults));
        }
        if let Some((_, _, faults)) = cases.get_mut(first_case) {
            for untried in tried..row.errnos.len() {
                let errno = row.errnos[(start + untried) % row.errnos.len()];
                faults.push(Fault { call: row.call, errno, when: "1".to_string() });
            }
        }
    }
    let runs: usize = cases.iter().map(|(_, _, faults)| faults.len()).sum();
    let calls = ROWS.iter().filter(|row| !row.errnos.is_empty()).count();
    println!("SEED={seed}: {runs} faults, {calls} calls, {} scenes", SCENES.len());
    let trial = |(row, index, faults): (&'static Row, usize, Vec<Fault>)| {
        let name = format!("{} in {}", row.call, SCENES[index].name);
        Trial::test(name, move || Ok(try_row(row, index, &faults)?))
    };
    cases.into_iter().map(trial).collect()
}

/// A scene by its name.
fn scene(name: &str) -> (usize, &'static Scene) {
    SCENES.iter().enumerate().find(|(_, scene)| scene.name == name).expect("a scene of this name")
}

/// SIGTERM comes with each of the calls, from the first after the signals are blocked on: it is a
/// stop, whatever clawinit was about to do.
pub fn a_stop_with_any_call_is_a_stop() -> Result<(), String> {
    let mut wrong = Vec::new();
    for name in ["stop", "restart", "group", "exporter", "user", "notify"] {
        let (index, scene) = scene(name);
        let calls = &clean(index).calls;
        let blocked = calls.iter().position(|line| name_of(line) == Some("rt_sigprocmask"));
        let blocked = blocked.expect("signals are blocked");
        for call in counts(&calls[blocked + 1..]).into_keys().filter(|call| *call != "exit_group") {
            let before = counts(&calls[..blocked]).get(call).copied().unwrap_or(0);
            let signal = format!("inject={call}:signal=SIGTERM:when={}", before + 1);
            let played = play(scene, &["-e".to_string(), signal.clone()]);
            // A child that is told before it has blocked its signals dies of it.
            let stopped = [End::Code(0), End::Code(128 + libc::SIGTERM)].contains(&played.end);
            // Where no signal is waited for any more, the scene was over without it.
            let told = played.err.iter().any(|line| line.contains("stop requested by"));
            if !stopped || !told || !played.missed.is_empty() {
                let Played { end, missed, err, .. } = played;
                wrong.push(format!("{name}: {signal}: {end:?}, {missed:?}\n{}", err.join("\n")));
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

/// A kernel that takes its time: nothing is lost, and nobody is ended early.
pub fn slow_calls_change_nothing() -> Result<(), String> {
    let mut wrong = Vec::new();
    let nothing = Row { call: "", errnos: &[], then: &[] };
    for name in ["stop", "restart", "sweep", "deaf"] {
        let (index, scene) = scene(name);
        for call in ["rt_sigtimedwait", "wait4", "kill", "clone", "write"] {
            for side in ["delay_enter", "delay_exit"] {
                let when = format!("{call} with {side}");
                let slow = format!("inject={call}:{side}=5000:when=1+2");
                let played = play(scene, &["-e".to_string(), slow]);
                let fault = Fault { call: "", errno: "none", when };
                wrong.extend(judge(scene, &nothing, &fault, clean(index), &played).err());
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

/// A write that takes a part: of the log that is a line that is lost; of the report nothing stays.
pub fn a_write_that_takes_a_part_only_loses_a_line_and_leaves_no_half_report() -> Result<(), String>
{
    let (index, scene) = scene("exit");
    let mut wrong = Vec::new();
    for (place, line) in
        clean(index).calls.iter().filter(|l| name_of(l) == Some("write")).enumerate()
    {
        let part = format!("inject=write:retval=5:when={}", place + 1);
        let played = play(scene, &["-e".to_string(), part]);
        let report = line.contains("\"{\\\"");
        let told = played.err.iter().any(|line| line.contains("report could not be written"));
        let emptied = played.calls.iter().filter(|line| line.contains(", 0) ")).count();
        let emptied = emptied > 0 && played.calls.iter().any(|line| line.starts_with("ftruncate("));
        if played.end != End::Code(scene.code) || report != told || report && !emptied {
            wrong.push(format!("{line}: {:?}\n{}", played.end, played.err.join("\n")));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}
