//! A corpus as one file: for each input its length, four bytes in little-endian order, then its
//! bytes. A hundred small files for each target would be a thousand in the repository.

use std::io;
use std::path::{Path, PathBuf};

/// Where the committed corpora are.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// The inputs in a corpus. Errors: the file cannot be read, or ends within an input.
pub fn read(file: &Path) -> io::Result<Vec<Vec<u8>>> {
    let bytes = std::fs::read(file)?;
    let mut rest = &bytes[..];
    let mut inputs = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        let Some((input, behind)) = behind.split_at_checked(length) else { break };
        inputs.push(input.to_vec());
        rest = behind;
    }
    match rest {
        [] => Ok(inputs),
        _ => Err(io::Error::other(format!("{}: it ends within an input", file.display()))),
    }
}

/// Writes a corpus: the shortest inputs first, as many as fit into `most` bytes. How many that were.
pub fn write(file: &Path, mut inputs: Vec<Vec<u8>>, most: usize) -> io::Result<usize> {
    inputs.sort_unstable_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
    inputs.dedup();
    let mut bytes = Vec::new();
    let mut count = 0;
    for input in &inputs {
        if bytes.len() + 4 + input.len() > most {
            break;
        }
        bytes.extend((input.len() as u32).to_le_bytes());
        bytes.extend(input);
        count += 1;
    }
    std::fs::write(file, bytes)?;
    Ok(count)
}
