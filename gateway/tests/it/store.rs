//! What is acknowledged is kept; what is damaged is set aside.

use std::fs;
use std::io::Write;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Folder, Gateway, Random, Small, is_root, program, start, wait_for};

#[test]
fn state_file_cut_at_every_length_is_set_aside_and_the_gateway_starts() {
    let folder = Folder::new("state-cut");
    assert_eq!(Gateway::start(&folder).end(Signal::SIGTERM), 0);
    let state = folder.state().join("state.json");
    let whole = fs::read(&state).unwrap();
    // Without its last newline it is whole still.
    for length in 0..whole.len() - 1 {
        fs::write(&state, &whole[..length]).unwrap();
        let mut gateway = Gateway::start(&folder);
        let log = gateway.log();
        assert!(
            log.contains("is damaged") && log.contains("generation 1,"),
            "cut at {length}: {log}"
        );
        assert_eq!(gateway.ask("GET", "/status", b"").json()["generation"], 1);
        gateway.kill();
        let aside = folder.named("state.json.damaged-");
        assert_eq!(aside.len(), 1, "cut at {length}");
        let aside = folder.state().join(&aside[0]);
        assert_eq!(
            fs::read(&aside).unwrap(),
            &whole[..length],
            "what was set aside is what was there"
        );
        fs::remove_file(aside).unwrap();
    }
}

#[test]
fn files_set_aside_in_the_same_second_do_not_replace_each_other() {
    let folder = Folder::new("aside");
    fs::create_dir(folder.state()).unwrap();
    for count in 1..=3 {
        fs::write(folder.state().join("state.json"), format!("damage {count}")).unwrap();
        Gateway::start(&folder).kill();
        assert_eq!(folder.named("state.json.damaged-").len(), count);
    }
}

/// A memory file of some pages, and what is in it.
fn filled(folder: &Folder) -> Vec<(String, Vec<u8>)> {
    let mut gateway = Gateway::start(folder);
    let mut client = gateway.connect();
    let mut values = Vec::new();
    for number in 0..60_usize {
        let value = vec![b'a' + (number % 26) as u8; 1 + number * 131];
        assert_eq!(client.ask("PUT", &format!("/memory/{number}"), &value).status, 201);
        values.push((format!("/memory/{number}"), value));
    }
    assert_eq!(gateway.end(Signal::SIGTERM), 0);
    values
}

/// Starts on a file that was tampered with: it is set aside, or nothing is missing.
fn starts_with(folder: &Folder, bytes: &[u8], values: &[(String, Vec<u8>)], what: &str) -> bool {
    fs::write(folder.state().join("memory.redb"), bytes).unwrap();
    let mut gateway = Gateway::start(folder);
    let aside = folder.named("memory.redb.damaged-");
    if let [name] = aside.as_slice() {
        assert!(gateway.log().contains("is damaged"), "{what}: {}", gateway.log());
        let aside = folder.state().join(name);
        assert_eq!(fs::read(&aside).unwrap().len(), bytes.len(), "{what}: set aside as it was");
        fs::remove_file(aside).unwrap();
        assert_eq!(gateway.ask("PUT", "/memory/new", b"x").status, 201, "{what}");
    } else {
        let mut client = gateway.connect();
        for (path, value) in values {
            let answer = client.ask("GET", path, b"");
            assert_eq!((answer.status, &answer.body == value), (200, true), "{what}: {path}");
        }
    }
    gateway.kill();
    !aside.is_empty()
}

#[test]
fn memory_file_cut_at_many_lengths_is_set_aside_and_the_gateway_starts() {
    let mut random = Random::new("memory cut");
    let folder = Folder::new("memory-cut");
    let values = filled(&folder);
    let whole = fs::read(folder.state().join("memory.redb")).unwrap();
    let mut lengths: Vec<usize> =
        vec![0, 1, 8, 9, 63, 64, 319, 320, 511, 512, 4095, 4096, 4097, whole.len() - 1];
    lengths.extend((0..whole.len()).step_by(whole.len() / 24));
    lengths.extend((0..24).map(|_| random.below(whole.len() as u64) as usize));
    let mut aside = 0;
    for &length in &lengths {
        aside += usize::from(starts_with(
            &folder,
            &whole[..length],
            &values,
            &format!("cut at {length}"),
        ));
    }
    println!("{} cuts, {aside} set aside", lengths.len());
    assert_eq!(aside, lengths.len(), "a cut file holds less than it did");
}

#[test]
fn memory_file_with_random_damage_never_takes_the_gateway_down_or_serves_wrong_values() {
    let mut random = Random::new("memory damage");
    let folder = Folder::new("memory-damage");
    let values = filled(&folder);
    let whole = fs::read(folder.state().join("memory.redb")).unwrap();
    let mut aside = 0;
    for round in 0..60 {
        let mut bytes = whole.clone();
        // A flipped bit, a run of noise, or a page of zeros; every third in the header.
        let reach = if round % 3 == 0 { 512 } else { bytes.len() };
        let place = random.below(reach as u64) as usize;
        match round % 4 {
            0 | 1 => bytes[place] ^= 1 << random.below(8),
            2 => {
                let end = (place + 64).min(bytes.len());
                bytes[place..end].iter_mut().for_each(|byte| *byte = random.below(256) as u8);
            }
            _ => {
                let end = (place / 4096 * 4096 + 4096).min(bytes.len());
                bytes[place / 4096 * 4096..end].fill(0);
            }
        }
        aside += usize::from(starts_with(
            &folder,
            &bytes,
            &values,
            &format!("round {round} at {place}"),
        ));
    }
    println!("60 damaged files, {aside} set aside, the others served every value");
    assert!(aside > 0);
}

/// A byte of the header that redb takes for the number of an older format.
#[test]
fn memory_file_with_any_byte_of_its_header_damaged_keeps_no_gateway_from_starting() {
    let folder = Folder::new("memory-header");
    let values = filled(&folder);
    let whole = fs::read(folder.state().join("memory.redb")).unwrap();
    let mut aside = 0;
    // The version of each of the two slots, and what stands around it.
    for place in [0, 8, 9, 12, 64, 65, 192, 193] {
        for value in [0, 1, 2, 255] {
            let mut bytes = whole.clone();
            bytes[place] = value;
            let what = format!("{value} at {place}");
            aside += usize::from(bytes != whole && starts_with(&folder, &bytes, &values, &what));
        }
    }
    assert!(aside > 0);
}

#[test]
fn file_that_is_no_memory_is_set_aside() {
    let folder = Folder::new("no-memory");
    fs::create_dir(folder.state()).unwrap();
    assert!(starts_with(&folder, b"SQLite format 3\0", &[], "another format"));
}

#[test]
fn values_live_on_over_generations_and_the_list_names_them() {
    let folder = Folder::new("generations");
    let mut gateway = Gateway::start(&folder);
    assert_eq!(gateway.ask("PUT", "/memory/a%20b", b"one").status, 201);
    assert_eq!(gateway.ask("PUT", "/memory/a%20b", b"two").status, 204);
    assert_eq!(gateway.ask("PUT", "/memory/gone", b"x").status, 201);
    assert_eq!(gateway.ask("DELETE", "/memory/gone", b"").status, 204);
    assert_eq!(gateway.ask("DELETE", "/memory/gone", b"").status, 404);
    assert_eq!(gateway.ask("PUT", "/memory/empty", b"").status, 201);
    assert_eq!(gateway.end(Signal::SIGTERM), 0);
    let gateway = Gateway::start(&folder);
    assert!(
        gateway.log().contains("generation 2, by the state folder's count; 2 keys"),
        "{}",
        gateway.log()
    );
    assert_eq!(gateway.ask("GET", "/memory/a%20b", b"").text(), "two");
    assert_eq!(gateway.ask("GET", "/memory/gone", b"").status, 404);
    let list = gateway.ask("GET", "/memory", b"").json();
    assert_eq!(
        list.to_string(),
        r#"{"keys":[{"bytes":3,"key":"a b"},{"bytes":0,"key":"empty"}],"more":false}"#
    );
    let list = gateway.ask("GET", "/memory?limit=1", b"").json();
    assert_eq!(list.to_string(), r#"{"keys":[{"bytes":3,"key":"a b"}],"more":true}"#);
    let list = gateway.ask("GET", "/memory?after=a%20b", b"").json();
    assert_eq!(list["keys"][0]["key"], "empty");
}

#[test]
fn full_disk_refuses_writes_with_507_and_works_again_when_there_is_room() {
    if !is_root("full_disk_refuses_writes_with_507_and_works_again_when_there_is_room") {
        return;
    }
    let folder = Folder::new("full");
    let Some(_small) = Small::mount(&folder.state(), "size=3m") else { return };
    let filler = folder.state().join("filler");
    fs::write(&filler, vec![0; 1_500_000]).unwrap();
    let mut gateway = Gateway::start(&folder);
    let value = vec![b'v'; 100_000];
    let mut kept = 0;
    let refused = loop {
        let answer = gateway.ask("PUT", &format!("/memory/{kept}"), &value);
        if answer.status != 201 {
            break answer;
        }
        kept += 1;
        assert!(kept < 100, "3 MB hold more than 10 MB");
    };
    println!("{kept} values of 100 kB fitted");
    assert_eq!(refused.status, 507, "{refused:?}");
    assert!(kept > 2, "{kept}");
    // It stays up, says so once, and serves what it has acknowledged.
    assert_eq!(gateway.ask("GET", "/health", b"").status, 200);
    assert_eq!(gateway.ask("PUT", &format!("/memory/{kept}"), &value).status, 507);
    assert_eq!(gateway.log().matches("the disk is full").count(), 1, "{}", gateway.log());
    assert_eq!(
        gateway.ask("GET", &format!("/memory/{kept}"), b"").status,
        404,
        "not acknowledged, not there"
    );

    fs::remove_file(&filler).unwrap();
    assert_eq!(gateway.ask("PUT", &format!("/memory/{kept}"), &value).status, 201);
    gateway.kill();
    let mut gateway = Gateway::start(&folder);
    for key in 0..=kept {
        assert_eq!(gateway.ask("GET", &format!("/memory/{key}"), b"").body, value, "key {key}");
    }
    assert_eq!(gateway.end(Signal::SIGTERM), 0);
}

#[test]
fn full_disk_does_not_keep_the_gateway_from_starting_or_stopping() {
    if !is_root("full_disk_does_not_keep_the_gateway_from_starting_or_stopping") {
        return;
    }
    let folder = Folder::new("full-start");
    let Some(_small) = Small::mount(&folder.state(), "size=3m") else { return };
    let mut gateway = Gateway::start(&folder);
    assert_eq!(gateway.ask("PUT", "/memory/a", b"kept").status, 201);
    gateway.kill();
    let filler = folder.state().join("filler");
    let fill = || {
        let mut file = fs::File::create(&filler).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
    };
    fill();
    let mut gateway = Gateway::start(&folder);
    assert_eq!(gateway.ask("GET", "/memory/a", b"").text(), "kept");
    assert!(gateway.log().contains("generation 2"), "{}", gateway.log());
    fs::remove_file(&filler).unwrap();
    fill();
    assert_eq!(gateway.end(Signal::SIGTERM), 0, "{}", gateway.log());
    assert!(gateway.log().contains("stopped"), "{}", gateway.log());
}

#[test]
fn restart_on_a_full_disk_serves_every_acknowledged_value_and_refuses_writes() {
    if !is_root("restart_on_a_full_disk_serves_every_acknowledged_value_and_refuses_writes") {
        return;
    }
    for (size, length) in [(300, 100), (300, 3_000), (304, 20_000), (1_000, 700), (3_000, 100_000)]
    {
        let folder = Folder::new("full-restart");
        let options = format!("size={size}k");
        let Some(_small) = Small::mount(&folder.state(), &options) else { return };
        let mut gateway = Gateway::start(&folder);
        let mut client = gateway.connect();
        let mut kept = 0;
        let what = |gateway: &Gateway| format!("{options}, {length} bytes: {}", gateway.log());
        loop {
            let value = vec![b'v'; length + kept % 7];
            match client.ask("PUT", &format!("/memory/{kept}"), &value).status {
                201 => kept += 1,
                507 => break,
                other => panic!("{other}: {}", what(&gateway)),
            }
        }
        println!("{options}: {kept} values of {length} bytes fitted");
        // Ends in order and by force, both with the disk full from here on.
        for end in [Signal::SIGUSR1, Signal::SIGKILL, Signal::SIGTERM, Signal::SIGUSR1] {
            match end {
                Signal::SIGKILL => gateway.kill(),
                other => {
                    gateway.end(other);
                }
            }
            gateway = Gateway::start(&folder);
            let mut client = gateway.connect();
            for key in 0..kept {
                let answer = client.ask("GET", &format!("/memory/{key}"), b"");
                assert_eq!(answer.status, 200, "key {key}: {}", what(&gateway));
                assert_eq!(answer.body.len(), length + key % 7, "key {key}");
            }
            let large = vec![b'w'; 1024 * 1024];
            if size < 3_000 {
                assert_eq!(
                    client.ask("PUT", "/memory/large", &large).status,
                    507,
                    "{}",
                    what(&gateway)
                );
            }
            assert_eq!(client.ask("GET", "/memory/0", b"").status, 200, "{}", what(&gateway));
        }
        assert_eq!(folder.named("memory.redb.damaged"), [""; 0]);
        // Room comes from what is deleted.
        let mut client = gateway.connect();
        let mut deleted = 0;
        while client.ask("PUT", "/memory/again", &vec![b'a'; length]).status == 507 {
            client.ask("DELETE", &format!("/memory/{deleted}"), b"");
            deleted += 1;
            assert!(deleted <= kept, "{}", what(&gateway));
        }
        println!("{options}: {deleted} values deleted make room for one");
    }
}

#[test]
fn full_disk_without_a_reserve_serves_or_says_that_space_is_wanted() {
    if !is_root("full_disk_without_a_reserve_serves_or_says_that_space_is_wanted") {
        return;
    }
    for (size, length, end) in [
        (300, 100, Signal::SIGUSR1),
        (300, 100, Signal::SIGKILL),
        (300, 3_000, Signal::SIGUSR1),
        (1_000, 700, Signal::SIGUSR1),
        (1_000, 700, Signal::SIGKILL),
        (1_000, 20_000, Signal::SIGUSR1),
    ] {
        let what = format!("size={size}k, {length} bytes, {end}");
        let folder = Folder::new("no-reserve");
        let Some(_small) = Small::mount(&folder.state(), &format!("size={size}k")) else { return };
        let mut gateway = Gateway::start(&folder);
        let mut client = gateway.connect();
        let mut kept = 0;
        while client.ask("PUT", &format!("/memory/{kept}"), &vec![b'v'; length]).status == 201 {
            kept += 1;
        }
        // Somebody else takes all that is left, and the reserve with it.
        fs::remove_file(folder.state().join("memory.reserve")).unwrap();
        let filler = folder.state().join("filler");
        let mut file = fs::File::create(&filler).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        gateway.signal(end);
        gateway.wait();
        let mut gateway = Gateway::spawn(start(&folder), &folder);
        wait_for("a start or its failure", || {
            let log = gateway.log();
            log.contains("ready on port") || log.contains("free some space on that disk")
        });
        println!("{what}: {}", gateway.log());
        gateway.kill();
        fs::remove_file(filler).unwrap();
        let gateway = Gateway::start(&folder);
        let mut client = gateway.connect();
        for key in 0..kept {
            assert_eq!(client.ask("GET", &format!("/memory/{key}"), b"").status, 200, "{what}");
        }
        assert_eq!(folder.named("memory.redb.damaged"), [""; 0], "{what}");
    }
}

#[test]
fn memory_kept_open_by_a_leftover_check_is_waited_for() {
    // A check that a killed gateway left behind holds redb's lock on the file.
    let folder = Folder::new("leftover");
    Gateway::start(&folder).kill();
    let file = fs::File::open(folder.state().join("memory.redb")).unwrap();
    file.lock().unwrap();
    let gateway = Gateway::spawn(start(&folder), &folder);
    wait_for("the state to be saved by the new generation", || {
        fs::read_to_string(folder.state().join("state.json"))
            .is_ok_and(|text| text.contains("\"generation\": 2"))
    });
    file.unlock().unwrap();
    gateway.wait_log("generation 2");
    assert_eq!(folder.named("memory.redb.damaged"), [""; 0]);
}

#[test]
fn check_that_somebody_kills_is_begun_anew_and_the_memory_is_served() {
    // What a kernel short of memory does, or Ctrl-C, which a terminal sends to the check too.
    let folder = Folder::new("check-killed");
    let values = filled(&folder);
    Gateway::start(&folder).kill();
    // It waits for the lock, so that it can be met.
    let file = fs::File::open(folder.state().join("memory.redb")).unwrap();
    file.lock().unwrap();
    let gateway = Gateway::spawn(start(&folder), &folder);
    let first = wait_for_check(&gateway, None);
    kill(first, Signal::SIGKILL).unwrap();
    let second = wait_for_check(&gateway, Some(first));
    kill(second, Signal::SIGINT).unwrap();
    wait_for_check(&gateway, Some(second));
    file.unlock().unwrap();
    gateway.wait_log("generation 3");
    assert!(gateway.log().contains(&format!("{} keys", values.len())), "{}", gateway.log());
    assert_eq!(folder.named("memory.redb.damaged"), [""; 0]);
}

#[test]
fn check_that_is_killed_every_time_leaves_the_memory_where_it_is() {
    let folder = Folder::new("check-dies");
    let values = filled(&folder);
    Gateway::start(&folder).kill();
    let file = fs::File::open(folder.state().join("memory.redb")).unwrap();
    file.lock().unwrap();
    let mut gateway = Gateway::spawn(start(&folder), &folder);
    let mut last = None;
    for _ in 0..3 {
        let check = wait_for_check(&gateway, last);
        kill(check, Signal::SIGKILL).unwrap();
        last = Some(check);
    }
    assert_eq!(gateway.wait().code(), Some(1));
    assert!(gateway.log().contains("its check was ended by SIGKILL 3 times"), "{}", gateway.log());
    file.unlock().unwrap();
    let gateway = Gateway::start(&folder);
    assert!(gateway.log().contains(&format!("{} keys", values.len())), "{}", gateway.log());
}

/// Waits for a check that is not this one.
fn wait_for_check(gateway: &Gateway, but: Option<Pid>) -> Pid {
    let mut found = None;
    wait_for("a check", || {
        found = gateway.check().filter(|check| Some(*check) != but);
        found.is_some()
    });
    found.unwrap()
}

#[test]
fn check_whose_gateway_was_killed_before_it_began_leaves_the_file_alone() {
    let folder = Folder::new("check-orphan");
    filled(&folder);
    Gateway::start(&folder).kill();
    let file = folder.state().join("memory.redb");
    let unclean = fs::read(&file).unwrap();
    let check = |parent: u32| {
        let mut command = Command::new(program());
        command.env_clear().env("OPENCLAW_CHECK_PARENT", parent.to_string());
        command.arg("check-memory").arg(&file).output().unwrap().status.code()
    };
    assert_eq!(check(1), Some(74));
    assert!(fs::read(&file).unwrap() == unclean, "it was repaired for nobody");
    assert_eq!(check(std::process::id()), Some(0));
    assert!(fs::read(&file).unwrap() != unclean, "it was not repaired");
}
