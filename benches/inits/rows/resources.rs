//! What an init takes while it does nothing: bytes, pages, wake-ups.

use super::signals::echoes;
use super::{Effort, empty, real};
use crate::Result;
use crate::figures::{Cell, Row, Target};
use crate::inits::{CLAWINIT, Init, on_path};
use crate::space::{Plan, Space, field, wait_until};
use std::process::{Command, Stdio};
use std::time::Duration;

pub fn size(inits: &[Init]) -> Vec<Row> {
    let bytes = |init: &Init| Some(std::fs::metadata(init.path.as_ref()?).ok()?.len());
    let cells =
        inits.iter().map(|init| bytes(init).map(|bytes| Cell::exact(bytes as f64))).collect();
    vec![
        Row::new("size", "size of the binary", "bytes")
            .cells(cells)
            .target(Target::AtMost(700_000.0))
            .budget(),
    ]
}

/// An image with nothing but clawinit in it, as Docker counts it.
pub fn image(inits: &[Init], notes: &mut Vec<String>) -> Option<Row> {
    let name = format!("clawinit-test-bench-{}", std::process::id());
    let built = build_image(inits[CLAWINIT].path.as_deref()?, &name);
    if on_path("docker").is_some() {
        let _ = Command::new("docker")
            .args(["rmi", &name])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
    match built {
        Ok(bytes) => {
            let mut cells = vec![None; inits.len()];
            cells[CLAWINIT] = Some(Cell::exact(bytes));
            let row = Row::new("image", "size of an image of clawinit alone", "bytes");
            Some(row.cells(cells).target(Target::AtMost(700_000.0)))
        }
        Err(why) => {
            notes.push(format!("No image was made ({why}); it would be the binary's size."));
            None
        }
    }
}

/// As a tar archive that Docker imports: a layer with one file.
fn build_image(clawinit: &std::path::Path, name: &str) -> Result<f64> {
    on_path("docker").ok_or("docker is absent")?;
    let folder = clawinit.parent().ok_or("no folder")?;
    let file = clawinit.file_name().ok_or("no name")?;
    let mut tar = Command::new("tar")
        .arg("-C")
        .arg(folder)
        .arg("-c")
        .arg(file)
        .stdout(Stdio::piped())
        .spawn()?;
    let archive = tar.stdout.take().ok_or("no pipe")?;
    let import = Command::new("docker").args(["import", "-", name]).stdin(archive).output();
    let _ = tar.wait();
    let import = import?;
    if !import.status.success() {
        let said = String::from_utf8_lossy(&import.stderr);
        return Err(said.lines().next().unwrap_or("docker import").to_string().into());
    }
    let size =
        Command::new("docker").args(["image", "inspect", "-f", "{{.Size}}", name]).output()?;
    Ok(String::from_utf8_lossy(&size.stdout).trim().parse()?)
}

/// Resident and private dirty memory, and threads.
pub fn memory(inits: &[Init]) -> Result<Vec<Row>> {
    // Where the kernel puts a stack makes a page of difference.
    const LOOKS: usize = 15;
    let (mut resident, mut dirty, mut threads) = (empty(inits), empty(inits), empty(inits));
    for _ in 0..LOOKS {
        for (i, init) in real(inits) {
            let mut space = Plan::new(init, &["pause"])?.start()?;
            space.expect("the child")?;
            let seen = look(&space)?;
            resident[i].push(seen[0]);
            dirty[i].push(seen[1]);
            threads[i].push(seen[2]);
        }
    }
    Ok(vec![
        Row::new("memory-resident", "memory: resident", "KiB")
            .samples(&resident)
            .target(Target::AtMost(600.0))
            .target(Target::UnderAll)
            .budget(),
        Row::new("memory-dirty", "memory: private dirty", "KiB")
            .samples(&dirty)
            .target(Target::AtMost(60.0))
            .budget(),
        Row::new("threads", "threads", "").samples(&threads).target(Target::AtMost(1.0)).budget(),
    ])
}

/// The memory of an init once it sleeps and nothing of it changes any more.
fn look(space: &Space) -> Result<[f64; 3]> {
    let mut before = None;
    let mut seen = [0.0; 3];
    wait_until("an init at rest", || {
        let status = space.proc("status")?;
        let rollup = space.proc("smaps_rollup")?;
        let number = |text: &str, name: &str| -> Result<f64> {
            let value = field(text, name).ok_or_else(|| format!("no {name}"))?;
            Ok(value.split_whitespace().next().unwrap_or_default().parse()?)
        };
        seen = [
            number(&rollup, "Rss")?,
            number(&rollup, "Private_Dirty")?,
            number(&status, "Threads")?,
        ];
        let sleeps = field(&status, "State").is_some_and(|state| state.starts_with('S'));
        let same = before == Some(seen);
        before = Some(seen);
        Ok(sleeps && same)
    })?;
    Ok(seen)
}

/// How often each is woken while nothing happens.
pub fn idle(inits: &[Init], effort: Effort) -> Result<Row> {
    let spaces = echoes(inits, false)?;
    let switches = |space: &Space| -> Result<f64> {
        let status = space.proc("status")?;
        let number = |name| field(&status, name).and_then(|n| n.parse::<f64>().ok());
        let names = number("voluntary_ctxt_switches").zip(number("nonvoluntary_ctxt_switches"));
        names.map(|(own, forced)| own + forced).ok_or_else(|| "no context switches".into())
    };
    let before: Vec<f64> =
        spaces.iter().map(|(_, space)| switches(space)).collect::<Result<_>>()?;
    let time = effort.time(Duration::from_secs(60));
    std::thread::sleep(time);
    let mut cells = vec![None; inits.len()];
    for ((i, space), before) in spaces.iter().zip(before) {
        cells[*i] = Some(Cell::exact(switches(space)? - before));
    }
    let what = format!("idle: wake-ups in {} s", time.as_secs());
    Ok(Row::new("idle", &what, "").cells(cells).target(Target::AtMost(0.0)))
}
