//! A start that cannot be says why in one line, before the port is open.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::harness::{Folder, Gateway, OPENCLAW, TOKEN, failure, is_root, start, verb};

#[test]
fn second_gateway_on_the_same_folder_is_refused_by_pid() {
    let folder = Folder::new("second");
    let mut first = Gateway::start(&folder);
    let (line, code) = failure(start(&folder));
    let who = format!("in use by the gateway with pid {} on port {};", first.pid(), first.port);
    assert!(line.contains(&who) && line.contains("--state-dir"), "{line}");
    assert_eq!(code, 78);
    assert_eq!(first.ask("GET", "/ready", b"").status, 200, "the first one is not disturbed");
    assert_eq!(first.end(Signal::SIGTERM), 0);
}

#[test]
fn lock_file_of_a_killed_gateway_keeps_nobody_out() {
    let folder = Folder::new("stale");
    let mut first = Gateway::start(&folder);
    first.kill();
    // The pid in the file is alive and is somebody else: us.
    let path = folder.state().join("gateway.lock");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace(&first.pid().to_string(), &std::process::id().to_string()))
        .unwrap();
    let gateway = Gateway::start(&folder);
    assert!(gateway.log().contains("generation 1 was killed"), "{}", gateway.log());
}

#[test]
fn port_that_is_taken_names_the_holder() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let folder = Folder::new("port");
    let mut command = verb(&folder, "start");
    command.args(["--port", &port.to_string()]);
    let (line, code) = failure(command);
    let holder = format!("port {port} is taken by pid {} (", std::process::id());
    assert!(line.contains(&holder) && line.contains("--port"), "{line}");
    assert_eq!(code, 1);
}

#[test]
fn port_and_folder_come_from_the_environment_and_address_from_the_option() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let folder = Folder::new("environment");
    let mut command = Command::new(OPENCLAW);
    command
        .env_clear()
        .env("GATEWAY_PORT", port.to_string())
        .env("GATEWAY_STATE_DIR", folder.state())
        .args(["gateway", "run", "--bind", "127.0.0.1"]);
    let gateway = Gateway::run(command, &folder);
    assert_eq!(gateway.port, port);
    assert!(folder.state().join("state.json").exists());
}

#[test]
fn state_folder_that_cannot_be_written_is_named_with_whose_it_is() {
    if !is_root("state_folder_that_cannot_be_written_is_named_with_whose_it_is") {
        return;
    }
    let folder = Folder::new("unwritable");
    // Where another user can execute it, wherever the target folder is.
    let program = folder.path().join("openclaw");
    fs::copy(OPENCLAW, &program).unwrap();
    fs::create_dir(folder.state()).unwrap();
    fs::set_permissions(folder.state(), fs::Permissions::from_mode(0o750)).unwrap();
    let as_nobody = || {
        let mut command = Command::new(&program);
        command.env_clear().uid(65532).gid(65532);
        command
    };
    let mut command = as_nobody();
    command.args(["gateway", "start", "--port", "0", "--state-dir"]).arg(folder.state());
    let (line, code) = failure(command);
    let state = folder.state();
    let state = state.display();
    for part in [
        format!("state folder {state} cannot be written by uid 65532 gid 65532"),
        format!("{state} belongs to uid 0 gid 0, mode 0750"),
        "chown it to 65532:65532".to_owned(),
    ] {
        assert!(line.contains(&part), "{part:?} is not in: {line}");
    }
    assert_eq!(code, 1);

    // One that is not there yet, below a folder of somebody else's.
    let mut command = as_nobody();
    command.args(["gateway", "start", "--port", "0", "--state-dir"]).arg(folder.path().join("a/b"));
    let (line, _) = failure(command);
    assert!(line.contains(&format!("{} belongs to uid 0", folder.path().display())), "{line}");
}

#[test]
fn file_that_cannot_be_read_is_named_with_whose_it_is_before_anything_is_changed() {
    if !is_root("file_that_cannot_be_read_is_named_with_whose_it_is_before_anything_is_changed") {
        return;
    }
    for (name, said) in [
        ("memory.redb", "memory file {} cannot be read and written by uid 65532 gid 65532"),
        ("state.json", "state file {} cannot be read by uid 65532 gid 65532"),
        ("gateway.lock", "lock file {} cannot be opened by uid 65532 gid 65532"),
    ] {
        let folder = Folder::new("unreadable");
        let program = folder.path().join("openclaw");
        fs::copy(OPENCLAW, &program).unwrap();
        Gateway::start(&folder).end(Signal::SIGTERM);
        let state = fs::read_to_string(folder.state().join("state.json")).unwrap();
        for entry in fs::read_dir(folder.state()).unwrap() {
            std::os::unix::fs::chown(entry.unwrap().path(), Some(65532), Some(65532)).unwrap();
        }
        let path = folder.state().join(name);
        std::os::unix::fs::chown(&path, Some(0), Some(0)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(folder.state(), fs::Permissions::from_mode(0o777)).unwrap();
        let mut command = Command::new(&program);
        command.env_clear().uid(65532).gid(65532);
        command.args(["gateway", "start", "--port", "0", "--state-dir"]).arg(folder.state());
        let (line, code) = failure(command);
        let display = path.display().to_string();
        for part in [
            said.replace("{}", &display),
            format!("{display} belongs to uid 0 gid 0, mode 0600"),
            "chown it to 65532:65532".to_owned(),
        ] {
            assert!(line.contains(&part), "{part:?} is not in: {line}");
        }
        assert_eq!(code, 1);
        assert_eq!(fs::read_to_string(folder.state().join("state.json")).unwrap(), state);
    }
}

#[test]
fn other_reasons_than_permission_have_advice_of_their_own() {
    for name in ["memory.redb", "state.json"] {
        let folder = Folder::new("folder-as-file");
        fs::create_dir_all(folder.state().join(name)).unwrap();
        let (line, code) = failure(start(&folder));
        assert!(line.contains(name) && line.contains("a folder stands where a file"), "{line}");
        assert!(!line.contains("chown"), "{line}");
        assert_eq!(code, 1);
    }
    let folder = Folder::new("below-file");
    fs::write(folder.state(), "x").unwrap();
    let mut command = Command::new(OPENCLAW);
    command.env_clear().args(["gateway", "start", "--port", "0", "--state-dir"]);
    command.arg(folder.state().join("a"));
    let (line, _) = failure(command);
    assert!(line.contains("choose a folder") && !line.contains("chown"), "{line}");
}

#[test]
fn disk_without_inodes_is_said_to_be_one() {
    if !is_root("disk_without_inodes_is_said_to_be_one") {
        return;
    }
    let folder = Folder::new("inodes");
    let Some(_small) = crate::harness::Small::mount(&folder.state(), "size=3m,nr_inodes=1") else {
        return;
    };
    let (line, code) = failure(start(&folder));
    assert!(line.contains("no inodes left") && !line.contains("chown"), "{line}");
    assert_eq!(code, 1);
}

#[test]
fn folders_that_a_start_makes_survive_a_power_loss() {
    let folder = Folder::new("synced");
    let trace = folder.path().join("trace");
    // A start that ends once it has its folder: the port is taken.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-e", "trace=mkdir,mkdirat,fsync", "-o"]).arg(&trace).arg(OPENCLAW);
    command.args(["gateway", "start", "--port"]);
    command.arg(listener.local_addr().unwrap().port().to_string());
    let made = ["a", "a/b", "a/b/c"].map(|name| folder.path().join(name));
    command.arg("--state-dir").arg(&made[2]);
    match command.output() {
        Ok(output) if made[2].exists() => assert_eq!(output.status.code(), Some(1), "{output:?}"),
        other => return println!("skipped: strace does not work here: {other:?}"),
    }
    let calls = fs::read_to_string(&trace).unwrap();
    for path in made {
        let made = calls.find(&format!("\"{}\"", path.display())).expect("a mkdir");
        let synced = format!("<{}>)", path.parent().unwrap().display());
        assert!(calls[made..].contains(&synced), "{synced} is not behind its mkdir:\n{calls}");
    }
}

#[test]
fn new_files_are_for_their_owner_only() {
    let folder = Folder::new("modes");
    fs::create_dir(folder.state()).unwrap();
    let mut gateway = Gateway::start(&folder);
    assert_eq!(gateway.end(Signal::SIGTERM), 0);
    for name in ["memory.redb", "memory.reserve", "state.json"] {
        let mode = fs::metadata(folder.state().join(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, 0o600, "{name}: {mode:o}");
    }
}

#[test]
fn state_folder_that_is_a_file_is_refused() {
    let folder = Folder::new("file");
    fs::write(folder.state(), "x").unwrap();
    let (line, code) = failure(start(&folder));
    assert!(line.contains("cannot be written") && line.contains("choose a folder"), "{line}");
    assert_eq!(code, 1);
}

#[test]
fn gateway_runs_as_another_user_with_only_its_folder_writable() {
    if !is_root("gateway_runs_as_another_user_with_only_its_folder_writable") {
        return;
    }
    let folder = Folder::new("nobody");
    let program = folder.path().join("openclaw");
    fs::copy(OPENCLAW, &program).unwrap();
    fs::create_dir(folder.state()).unwrap();
    std::os::unix::fs::chown(folder.state(), Some(65532), Some(65532)).unwrap();
    let mut command = Command::new(&program);
    command
        .env_clear()
        .env("GATEWAY_TOKEN", crate::harness::TOKEN)
        .uid(65532)
        .gid(65532)
        .current_dir("/");
    command.args(["gateway", "start", "--port", "0", "--state-dir"]).arg(folder.state());
    let mut gateway = Gateway::run(command, &folder);
    assert_eq!(gateway.ask("PUT", "/memory/a", b"x").status, 201);
    assert_eq!(gateway.end(Signal::SIGTERM), 0);
}

#[test]
fn usage_errors_leave_with_2_and_one_line() {
    let folder = Folder::new("usage");
    for (arguments, expected) in [
        (&["--drain-time", "5"][..], "--drain-time: \"5\" has no unit; write 5s"),
        (&["--port", "http"], "--port: \"http\" is no port"),
        (&["--nonsense"], "unexpected argument '--nonsense' found"),
        (&["--agent", "sh -c 'x"], "--agent: the quote ' is not closed"),
    ] {
        let mut command = verb(&folder, "start");
        command.args(arguments);
        let (line, code) = failure(command);
        assert!(line.contains(expected), "{arguments:?}: {line}");
        assert_eq!(code, 2, "{arguments:?}");
    }
    for text in ["300", "garbage"] {
        let mut command = start(&folder);
        command.env("CLAWINIT_RESTART_CODE", text);
        let (line, code) = failure(command);
        assert!(line.contains(&format!("CLAWINIT_RESTART_CODE: \"{text}\" is no exit")), "{line}");
        assert_eq!(code, 2);
    }
    let mut command = start(&folder);
    command.env("GATEWAY_TOKEN_FILE", "/x");
    let (line, code) = failure(command);
    assert!(line.contains("both set"), "{line}");
    assert_eq!(code, 2);
    assert!(!folder.state().exists(), "nothing is made for a command that is wrong");
}

#[test]
fn token_file_that_cannot_be_read_is_a_usage_error_and_never_a_hang() {
    let folder = Folder::new("token-file");
    let path = |name: &str| folder.path().join(name);
    nix::unistd::mkfifo(&path("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::write(path("latin1"), b"t\xf6ken").unwrap();
    fs::write(path("long"), "x".repeat(100_000)).unwrap();
    symlink("nowhere", path("dangling")).unwrap();
    for (name, expected) in [
        ("missing", "No such file or directory (os error 2); name a file that uid "),
        ("dangling", "No such file"),
        (".", "not a regular file; name one that holds the token"),
        ("fifo", "not a regular file; name one that holds the token"),
        ("latin1", "not UTF-8; make one with: openssl rand -hex 32"),
        ("long", "the token is longer than 256 bytes"),
    ] {
        let mut command = start(&folder);
        command.env_remove("GATEWAY_TOKEN").env("GATEWAY_TOKEN_FILE", path(name));
        let (line, code) = failure(command);
        let expected = format!("GATEWAY_TOKEN_FILE: {}: {expected}", path(name).display());
        assert!(line.contains(&expected), "{line}");
        assert_eq!(code, 2, "{line}");
    }

    // As Kubernetes mounts it: a link to a link.
    fs::create_dir(path("..data")).unwrap();
    fs::write(path("..data/token"), TOKEN).unwrap();
    symlink("..data/token", path("token")).unwrap();
    let mut command = start(&folder);
    command.env_remove("GATEWAY_TOKEN").env("GATEWAY_TOKEN_FILE", path("token"));
    let mut gateway = Gateway::run(command, &folder);
    assert_eq!(gateway.ask("PUT", "/memory/a", b"x").status, 201);
    assert_eq!(gateway.end(Signal::SIGTERM), 0);
}
