//! Files that are there whole or not at all, and damaged ones that are set aside.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Puts `bytes` at `path`: a new file, fsync, rename, fsync of the folder. Whoever
/// reads `path`, also after a power loss, finds the old bytes or the new ones.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = sibling(path, ".new");
    let mut file = create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    sync_folder_of(path)
}

/// Makes an empty file that nobody else may read: the folder may be somebody's bind
/// mount, open to all.
pub fn create(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Makes a rename or a new name in the folder of `path` last (fsync(2), "Calling
/// fsync() does not necessarily ensure that the entry in the directory … has also
/// reached disk").
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Makes `folder`, and those above it that are missing, with mode 0700: what the memory
/// holds is nobody else's business. Each is there after a power loss, too.
pub fn make_folder(folder: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = folder
        .ancestors()
        .take_while(|path| !path.as_os_str().is_empty() && fs::metadata(path).is_err())
        .collect();
    for path in missing.into_iter().rev() {
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
            other => other?,
        }
        match sync_folder_of(path) {
            // A folder that we may write to and not read cannot be synced by us.
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    if fs::metadata(folder)?.is_dir() { Ok(()) } else { Err(io::ErrorKind::NotADirectory.into()) }
}

/// Moves a damaged file out of the way as `NAME.damaged-UNIXTIME`; nothing is deleted,
/// and nothing that was set aside before is overwritten.
pub fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let now = unix_seconds();
    let mut aside = sibling(path, &format!(".damaged-{now}"));
    for count in 1.. {
        if !aside.try_exists()? {
            break;
        }
        aside = sibling(path, &format!(".damaged-{now}.{count}"));
    }
    fs::rename(path, &aside)?;
    sync_folder_of(path)?;
    Ok(aside)
}

/// The path with `suffix` behind its last name.
pub fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Seconds since 1970; 0 for a clock before that.
pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
