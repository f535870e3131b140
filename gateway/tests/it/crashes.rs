//! `kill -9` in every phase of a gateway's life, under writes: nothing acknowledged is
//! lost, no value is half there, and no start is refused.
//!
//! `GATEWAY_KILLS` says how many; `make gateway-crashes` has ten thousand.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Client, Folder, Gateway, Random, setting, start, wait_for};

/// Gateways that are killed at the same time, each on a folder of its own.
const LANES: u64 = 3;
const WRITERS: usize = 4;
const KEYS: usize = 4;
/// A folder is left for a new one now and then: the very first start is killed, too.
const KILLS_OF_A_FOLDER: u64 = 100;

/// When a gateway is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// At any time of the start: lock, check, repair, first save.
    Start,
    /// While a process of its own checks and repairs the file.
    Check,
    /// Not the gateway, but its check: as the kernel does that is short of memory.
    OnlyTheCheck,
    /// While writers write.
    Writes,
    /// Behind a signal that asks for an end in order, while writers write.
    Drain(Signal),
}

impl Moment {
    fn any(random: &mut Random) -> Self {
        match random.below(20) {
            0..=2 => Self::Start,
            3..=5 => Self::Check,
            6 => Self::OnlyTheCheck,
            7..=14 => Self::Writes,
            15..=16 => Self::Drain(Signal::SIGTERM),
            _ => Self::Drain(Signal::SIGUSR1),
        }
    }
}

/// One key, and what may be found under it.
#[derive(Clone, Copy, Default)]
struct Key {
    /// The last operation that is known to be on the disk; 0 is no value.
    settled: u64,
    /// One that was sent and not answered.
    pending: Option<u64>,
    /// How many were sent.
    sent: u64,
}

/// What the operation with this number leaves: no value where it was a DELETE.
fn left_by(operation: u64) -> Option<String> {
    // Of changing length, so that pages split and merge.
    (!operation.is_multiple_of(5))
        .then(|| format!("{operation}{}", ".".repeat((operation as usize * 977) % 6000)))
}

impl Key {
    /// Takes what was found for what is there; none where that cannot be.
    fn settle(&mut self, found: Option<&str>) -> Option<()> {
        let candidates = [Some(self.settled), self.pending];
        let mut candidates = candidates.into_iter().flatten();
        self.settled = candidates.find(|operation| left_by(*operation).as_deref() == found)?;
        self.pending = None;
        Some(())
    }
}

/// One folder, and what its writers know.
struct Lane {
    folder: Folder,
    keys: [Mutex<[Key; KEYS]>; WRITERS],
}

/// What a lane saw.
#[derive(Default)]
struct Seen {
    /// Kills by where the gateway stood.
    phases: BTreeMap<&'static str, u64>,
    acknowledged: u64,
}

impl Lane {
    fn new() -> Self {
        Self { folder: Folder::new("crash"), keys: Default::default() }
    }

    /// Starts the gateway and compares all that is in it with what may be.
    fn verified(&self, what: &str) -> Gateway {
        let gateway = Gateway::start(&self.folder);
        let mut reader = gateway.connect();
        for (writer, keys) in self.keys.iter().enumerate() {
            for (number, key) in keys.lock().unwrap().iter_mut().enumerate() {
                let answer = reader.ask("GET", &format!("/memory/{writer}-{number}"), b"");
                let found = match answer.status {
                    200 => Some(answer.text()),
                    404 => None,
                    other => panic!("{what}: status {other}: {}", gateway.log()),
                };
                key.settle(found).unwrap_or_else(|| {
                    panic!(
                        "{what}: operation {} on {writer}-{number} was acknowledged, {:?} under \
                         way, and {:?} is there: {}",
                        key.settled,
                        key.pending,
                        found.map(|text| text.trim_end_matches('.')),
                        gateway.log()
                    )
                });
            }
        }
        for name in ["memory.redb.damaged", "state.json.damaged"] {
            let aside = self.folder.named(name);
            assert_eq!(aside, [""; 0], "{what}: unclean, not damaged: {}", gateway.log());
        }
        gateway
    }

    fn write<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        port: u16,
    ) -> Vec<ScopedJoinHandle<'scope, u64>> {
        let writer = |keys| scope.spawn(move || write_until_it_dies(port, keys));
        self.keys.iter().enumerate().map(writer).collect()
    }

    /// Kills one gateway at `moment` and says where it stood.
    fn kill_at(&self, moment: Moment, random: &mut Random, seen: &mut Seen) -> &'static str {
        let pause = |random: &mut Random, end| {
            thread::sleep(Duration::from_micros(random.below(end)));
        };
        match moment {
            Moment::Start => {
                let mut gateway = Gateway::spawn(start(&self.folder), &self.folder);
                pause(random, 12_000);
                phase_of_kill(&mut gateway)
            }
            Moment::Check | Moment::OnlyTheCheck => {
                let mut gateway = Gateway::spawn(start(&self.folder), &self.folder);
                let Some(check) = wait_for_check(&gateway) else {
                    return phase_of_kill(&mut gateway);
                };
                pause(random, 4_000);
                if moment == Moment::Check {
                    return phase_of_kill(&mut gateway);
                }
                // It may be through by now; then there is nothing to kill.
                let _ = kill(check, Signal::SIGKILL);
                wait_for("the start, for all that its check was killed", || {
                    gateway.log().contains("ready on port")
                });
                gateway.kill();
                "the check alone"
            }
            Moment::Writes | Moment::Drain(_) => {
                let mut gateway = self.verified(&format!("{moment:?}"));
                thread::scope(|scope| {
                    let writers = self.write(scope, gateway.port);
                    pause(random, 20_000);
                    if let Moment::Drain(signal) = moment {
                        gateway.signal(signal);
                        pause(random, 9_000);
                    }
                    let phase = phase_of_kill(&mut gateway);
                    seen.acknowledged +=
                        writers.into_iter().map(|writer| writer.join().unwrap()).sum::<u64>();
                    phase
                })
            }
        }
    }
}

/// Kills the gateway and reads in its log how far it had come.
fn phase_of_kill(gateway: &mut Gateway) -> &'static str {
    let checks = gateway.check().is_some();
    gateway.kill();
    let log = gateway.log();
    // The last sign that is there counts.
    [
        ("leaving with exit code", "after its last line"),
        ("openclaw: stopped", "after its last line"),
        ("final state saved", "drain: state saved, not gone"),
        ("memory flushed", "drain: memory being closed"),
        ("SIGUSR1", "drain: requests, state being saved"),
        ("SIGTERM", "drain: requests"),
        ("ready on port", "serving, under writes or none yet"),
    ]
    .into_iter()
    .find(|(sign, _)| log.contains(sign))
    .map_or(if checks { "start: check and repair" } else { "start: outside the check" }, |found| {
        found.1
    })
}

/// Waits for the check; none where the start needs none, or is too quick to be seen.
fn wait_for_check(gateway: &Gateway) -> Option<Pid> {
    let mut found = None;
    wait_for("the check, or a start without one", || {
        found = gateway.check();
        found.is_some() || gateway.log().contains("ready on port")
    });
    found
}

/// Puts and deletes, one key after the other, and says how many were acknowledged.
fn write_until_it_dies(port: u16, (writer, keys): (usize, &Mutex<[Key; KEYS]>)) -> u64 {
    let Ok(mut client) = Client::try_connect(port) else { return 0 };
    let mut keys = keys.lock().unwrap();
    for count in 0.. {
        let number = count as usize % KEYS;
        let key = &mut keys[number];
        key.sent += 1;
        key.pending = Some(key.sent);
        let path = format!("/memory/{writer}-{number}");
        let answer = match left_by(key.sent) {
            Some(value) => client.try_ask("PUT", &path, value.as_bytes()),
            None => client.try_ask("DELETE", &path, b""),
        };
        match answer.map(|answer| answer.status) {
            Some(201 | 204) => {}
            // A key that an unanswered DELETE took already.
            Some(404) if left_by(key.sent).is_none() => {}
            Some(other) => panic!("status {other} while the gateway lives"),
            None => return count,
        }
        key.settled = key.sent;
        key.pending = None;
    }
    unreachable!("no gateway outlives its kill")
}

fn kill_many(kills: u64, mut random: Random) -> Seen {
    let mut seen = Seen::default();
    let mut lane = Lane::new();
    for round in 0..kills {
        if round % KILLS_OF_A_FOLDER == 0 {
            lane.verified("the last of a folder");
            lane = Lane::new();
        }
        let phase = lane.kill_at(Moment::any(&mut random), &mut random, &mut seen);
        *seen.phases.entry(phase).or_default() += 1;
    }
    lane.verified("the last");
    seen
}

#[test]
fn acknowledged_writes_survive_kill_9_in_every_phase_and_no_start_is_refused() {
    let kills = setting("GATEWAY_KILLS", 500);
    let mut random = Random::new("kill -9");
    let mut seen = Seen::default();
    let lanes: Vec<_> = (0..LANES)
        .map(|lane| {
            let (own, random) = ((kills + lane) / LANES, random.fork());
            thread::spawn(move || kill_many(own, random))
        })
        .collect();
    for lane in lanes {
        let other = lane.join().unwrap();
        seen.acknowledged += other.acknowledged;
        for (phase, count) in other.phases {
            *seen.phases.entry(phase).or_default() += count;
        }
    }
    println!("{kills} kills, {} acknowledged writes, none lost:", seen.acknowledged);
    for (phase, count) in &seen.phases {
        println!("  {count:>6}  {phase}");
    }
    assert_eq!(seen.phases.values().sum::<u64>(), kills);
    assert!(seen.acknowledged > kills, "too few writes to prove anything");
    let phases = ["start: check and repair", "start: outside the check", "the check alone"];
    for phase in phases.into_iter().filter(|_| kills >= 200) {
        assert!(seen.phases.contains_key(phase), "no kill in {phase:?}");
    }
}
