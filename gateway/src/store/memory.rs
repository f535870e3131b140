//! The memory file: a redb database of two tables.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use redb::{
    Database, Error, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _,
    TableDefinition,
};

use super::reserve::Reserve;
use crate::files;

/// The file's name in the state folder.
pub const FILE: &str = "memory.redb";
/// What redb may keep in memory beside our own cache.
const REDB_CACHE: usize = 8 * 1024 * 1024;
/// The values.
const VALUES: TableDefinition<&str, &[u8]> = TableDefinition::new("values");
/// Sums over the values, kept in the same transactions.
const SUMS: TableDefinition<&str, u64> = TableDefinition::new("sums");
/// The sum of the values' lengths.
const VALUE_BYTES: &str = "value-bytes";
/// A check of the file that a killed gateway left running keeps redb's own lock for a
/// moment.
const ALREADY_OPEN_WAIT: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// How many keys there are, and how many bytes of values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Keys.
    pub keys: u64,
    /// Bytes of values.
    pub bytes: u64,
}

/// Why a request to the memory failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The disk is full, or the quota used up.
    Full,
    /// Anything else, in words for the log.
    Failed(String),
}

/// One write of a batch.
#[derive(Clone, Debug)]
pub enum Write {
    /// Sets a key.
    Put(String, Arc<[u8]>),
    /// Removes a key.
    Delete(String),
}

/// A key with the length of its value.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Bytes of its value.
    pub bytes: usize,
}

/// The memory file, open or about to be opened again.
pub struct Memory {
    path: PathBuf,
    reserve: Reserve,
    /// None after a failure: redb wants to be opened anew then, and repairs itself.
    database: Option<Database>,
}

/// Whether the error means that the file is not what redb wrote. Files of another format
/// version are among them: no gateway ever wrote one, so a byte of the header was changed.
pub fn is_damage(error: &Error) -> bool {
    match error {
        Error::Corrupted(_)
        | Error::TableTypeMismatch { .. }
        | Error::TableDoesNotExist(_)
        | Error::UpgradeRequired(_) => true,
        Error::Io(error) => {
            matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
        }
        _ => false,
    }
}

/// Whether the error means that the disk, or the quota, has no room.
pub fn is_full(error: &Error) -> bool {
    matches!(error, Error::Io(error) if is_full_io(error))
}

/// The same of a file's error.
pub fn is_full_io(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Opens a database that exists. With `check`, every page is read and compared with its
/// checksum, where a plain open may panic on a file that was altered.
pub fn open_database(path: &Path, check: bool) -> Result<Database, Error> {
    let until = Instant::now() + ALREADY_OPEN_WAIT;
    loop {
        let opened = Database::builder()
            .set_cache_size(REDB_CACHE)
            .set_check_integrity_on_open(check)
            .open(path);
        match opened {
            Err(redb::DatabaseError::DatabaseAlreadyOpen) if Instant::now() < until => {
                std::thread::sleep(LOOK_AGAIN);
            }
            other => return Ok(other?),
        }
    }
}

/// The sums of a database; fails when it is none of ours.
pub fn totals(database: &Database) -> Result<Totals, Error> {
    let read = database.begin_read()?;
    let keys = read.open_table(VALUES)?.len()?;
    let bytes = read.open_table(SUMS)?.get(VALUE_BYTES)?.map_or(0, |sum| sum.value());
    Ok(Totals { keys, bytes })
}

impl Memory {
    /// Opens the memory in `folder`, or makes an empty one. The reserve has been released
    /// for that, and is held when this returns.
    pub fn open(folder: &Path) -> Result<(Self, Totals), Error> {
        let path = folder.join(FILE);
        let reserve = Reserve::of(folder);
        if !path.try_exists()? {
            create(&path)?;
        }
        let database = open_database(&path, false)?;
        let totals = totals(&database)?;
        reserve.refill();
        Ok((Self { path, reserve, database: Some(database) }, totals))
    }

    /// Applies `writes` in one transaction that is on the disk when this returns: for
    /// each write, whether the key was there before; and the new sums.
    pub fn apply(&mut self, writes: &[Write]) -> Result<(Vec<bool>, Totals), Trouble> {
        let result = self.database().and_then(|database| apply(database, writes));
        let applied = self.settle(result);
        // Who deletes is about to make room.
        if applied == Err(Trouble::Full)
            && writes.iter().all(|write| matches!(write, Write::Delete(_)))
        {
            self.reserve.release();
            let result = open_database(&self.path, false)
                .and_then(|database| apply(self.database.insert(database), writes));
            self.reserve.refill();
            return self.settle(result);
        }
        applied
    }

    /// The value of a key.
    pub fn get(&mut self, key: &str) -> Result<Option<Arc<[u8]>>, Trouble> {
        let result = self.database().and_then(|database| {
            let table = database.begin_read()?.open_table(VALUES)?;
            Ok(table.get(key)?.map(|value| value.value().into()))
        });
        self.settle(result)
    }

    /// Up to `limit` entries behind the key `after`, and whether there are more.
    pub fn list(&mut self, after: &str, limit: usize) -> Result<(Vec<Entry>, bool), Trouble> {
        let result = self.database().and_then(|database| {
            let table = database.begin_read()?.open_table(VALUES)?;
            let bounds = (std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded);
            let mut entries = Vec::new();
            for entry in table.range::<&str>(bounds)? {
                if entries.len() == limit {
                    return Ok((entries, true));
                }
                let (key, value) = entry?;
                entries.push(Entry { key: key.value().to_owned(), bytes: value.value().len() });
            }
            Ok((entries, false))
        });
        self.settle(result)
    }

    /// Closes the file, so that the next open need not repair it. The reserve is left
    /// released, for the state file.
    pub fn close(self) -> Result<(), Error> {
        self.reserve.release();
        let database = match self.database {
            Some(database) => database,
            None => open_database(&self.path, false)?,
        };
        match database.close() {
            // The last commit failed, and with it the close; the repair may not.
            Err(_) => Ok(open_database(&self.path, false)?.close()?),
            Ok(()) => Ok(()),
        }
    }

    /// Does `work` with the reserve released.
    pub fn lend<T>(&self, work: impl FnOnce() -> T) -> T {
        self.reserve.lend(work)
    }

    fn database(&mut self) -> Result<&Database, Error> {
        let database = match self.database.take() {
            Some(database) => database,
            // A repair needs room.
            None => self.reserve.lend(|| open_database(&self.path, false))?,
        };
        Ok(self.database.insert(database))
    }

    fn settle<T>(&mut self, result: Result<T, Error>) -> Result<T, Trouble> {
        result.map_err(|error| {
            self.database = None;
            if is_full(&error) { Trouble::Full } else { Trouble::Failed(error.to_string()) }
        })
    }
}

/// Makes an empty database under another name first: `memory.redb` is never half made.
fn create(path: &Path) -> Result<(), Error> {
    let new = files::sibling(path, ".new");
    // Emptied, and with its mode, before redb makes a database of it.
    files::create(&new)?;
    let database = Database::builder().set_cache_size(REDB_CACHE).create(&new)?;
    let write = database.begin_write()?;
    write.open_table(VALUES)?;
    write.open_table(SUMS)?;
    write.commit()?;
    database.close()?;
    fs::rename(&new, path)?;
    files::sync_folder_of(path)?;
    Ok(())
}

fn apply(database: &Database, writes: &[Write]) -> Result<(Vec<bool>, Totals), Error> {
    // The default durability is Immediate: commit() returns after the fsync.
    let transaction = database.begin_write()?;
    let mut existed = Vec::with_capacity(writes.len());
    let totals = {
        let mut values = transaction.open_table(VALUES)?;
        let mut sums = transaction.open_table(SUMS)?;
        let mut bytes = sums.get(VALUE_BYTES)?.map_or(0, |sum| sum.value());
        for write in writes {
            let before = match write {
                Write::Put(key, value) => {
                    bytes += value.len() as u64;
                    values.insert(key.as_str(), value.as_ref())?.map(|old| old.value().len())
                }
                Write::Delete(key) => values.remove(key.as_str())?.map(|old| old.value().len()),
            };
            bytes = bytes.saturating_sub(before.unwrap_or(0) as u64);
            existed.push(before.is_some());
        }
        sums.insert(VALUE_BYTES, bytes)?;
        Totals { keys: values.len()?, bytes }
    };
    transaction.commit()?;
    Ok((existed, totals))
}
