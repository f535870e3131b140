//! Whether a command can be run, as far as one can tell without running it.

use crate::kernel::spawn;
use crate::report::Words;
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The most of a script that is looked through.
const MAX_SCRIPT: u64 = 64 * 1024;

/// A command that was found.
pub struct Program {
    /// Its path.
    pub path: String,
    /// Its text, where a shell is to run it.
    pub script: Option<String>,
}

/// Looks where execvp(3) would, in the same order. Errors: what is wrong.
pub fn find(command: &CStr) -> Result<Program, String> {
    let name = Words(command.to_bytes()).to_string();
    if name.is_empty() {
        return Err("the command is empty; write a name or a path".to_owned());
    }
    let mut instead = None;
    for place in spawn::places(command) {
        let path = Path::new(OsStr::from_bytes(place.as_bytes()));
        let Ok(metadata) = path.metadata() else { continue };
        if metadata.is_dir() {
            instead = Some(format!("{} is a folder", shown(&place)));
        } else if !can_execute(&place) {
            instead = Some(format!("{} may not be executed; chmod +x it?", shown(&place)));
        } else {
            let script =
                look_inside(path).map_err(|wrong| format!("{}: {wrong}", shown(&place)))?;
            return Ok(Program { path: shown(&place), script });
        }
    }
    Err(instead.unwrap_or_else(|| {
        if command.to_bytes().contains(&b'/') {
            format!("{name}: there is no such file")
        } else {
            format!("{name} is not on PATH; write its full path, or set PATH")
        }
    }))
}

fn shown(place: &CString) -> String {
    Words(place.as_bytes()).to_string()
}

fn can_execute(place: &CString) -> bool {
    crate::kernel::descriptors::may_execute(place)
}

/// What the kernel looks at (execve(2)). `Ok`: it can be run; with the text of a shell's script.
fn look_inside(path: &Path) -> Result<Option<String>, String> {
    // A program may be executable and not readable: nothing is known of it then.
    let Ok(file) = File::open(path) else { return Ok(None) };
    let mut head = [0; 256];
    let length = file.read_at(&mut head, 0).unwrap_or_default();
    match &head[..length] {
        [b'#', b'!', rest @ ..] => {
            let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
            let line = line.trim_ascii_start();
            let blank = |byte: &u8| [b' ', b'\t'].contains(byte);
            let interpreter = line.split(blank).next().unwrap_or_default();
            is_there(interpreter, "#! line")?;
            let shell = line.split(blank).any(is_shell);
            Ok(shell.then(|| text_of(file)))
        }
        [0x7f, b'E', b'L', b'F', ..] => {
            let head = &head[..length];
            if !is_ours(head) {
                return Err("it is a program for another machine".to_owned());
            }
            match loader(&file, head) {
                Some(loader) => is_there(&loader, "dynamic loader").map(|()| None),
                None => Ok(None),
            }
        }
        _ => Err("it is no program, and has no #! line".to_owned()),
    }
}

fn is_there(interpreter: &[u8], what: &str) -> Result<(), String> {
    if Path::new(OsStr::from_bytes(interpreter)).exists() {
        return Ok(());
    }
    let name = String::from_utf8_lossy(interpreter);
    let name = name.escape_default();
    let windows = if interpreter.ends_with(b"\r") {
        "; its lines end as on Windows: write them again with \\n alone"
    } else {
        ""
    };
    Err(format!("its {what} names {name}, which is not there{windows}"))
}

fn text_of(file: File) -> String {
    let mut text = Vec::new();
    // What cannot be read is not looked through.
    let _ = file.take(MAX_SCRIPT).read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// Whether a word is the name or the path of a shell.
pub fn is_shell(word: &[u8]) -> bool {
    let name = word.rsplit(|byte| *byte == b'/').next().unwrap_or(word);
    [&b"sh"[..], b"bash", b"dash", b"ash", b"zsh", b"ksh", b"mksh"].contains(&name)
}

/// A number of an ELF file (elf(5)), 64 bits and in our own byte order.
fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<u64> {
    let mut wide = [0; 8];
    wide[..N].copy_from_slice(bytes.get(at..at + N)?);
    Some(u64::from_le_bytes(wide))
}

/// Whether this machine runs it. What is not of 64 bits may run too, with libraries of its own.
fn is_ours(head: &[u8]) -> bool {
    const ELFCLASS64: u8 = 2;
    let machine = if cfg!(target_arch = "x86_64") { libc::EM_X86_64 } else { libc::EM_AARCH64 };
    head.get(4) != Some(&ELFCLASS64) || number::<2>(head, 18) == Some(machine.into())
}

/// The program that the kernel loads first: the segment PT_INTERP.
fn loader(file: &File, head: &[u8]) -> Option<Vec<u8>> {
    const PT_INTERP: u64 = 3;
    if head.get(4) != Some(&2) {
        return None;
    }
    let (table, size, count) =
        (number::<8>(head, 32)?, number::<2>(head, 54)?, number::<2>(head, 56)?);
    for i in 0..count {
        let mut entry = [0; 56];
        file.read_exact_at(&mut entry, table.checked_add(i * size)?).ok()?;
        if number::<4>(&entry, 0) == Some(PT_INTERP) {
            let (at, length) = (number::<8>(&entry, 8)?, number::<8>(&entry, 32)?);
            let mut path = vec![0; usize::try_from(length.min(4096)).ok()?];
            file.read_exact_at(&mut path, at).ok()?;
            path.pop(); // its zero byte
            return Some(path);
        }
    }
    None
}
