//! Values read or written lately, so that most reads need no disk.
//!
//! It holds only what the disk has acknowledged, in the order of the acknowledgements,
//! so that it never knows more or other than the disk does.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The most bytes of keys and values that are kept.
pub const MAX_BYTES: usize = 16 * 1024 * 1024;

/// The least recently used go first.
#[derive(Default)]
pub struct Cache {
    values: HashMap<String, (u64, Arc<[u8]>)>,
    /// Keys by when they were last used.
    uses: BTreeMap<u64, String>,
    clock: u64,
    bytes: usize,
    /// Reads that were answered from here.
    pub hits: u64,
    /// Reads that had to ask the disk.
    pub misses: u64,
}

impl Cache {
    /// The value, when it is here.
    pub fn get(&mut self, key: &str) -> Option<Arc<[u8]>> {
        let Some((used, value)) = self.values.get_mut(key) else {
            self.misses += 1;
            return None;
        };
        self.hits += 1;
        self.clock += 1;
        if let Some(name) = self.uses.remove(used) {
            self.uses.insert(self.clock, name);
        }
        *used = self.clock;
        Some(Arc::clone(value))
    }

    /// Keeps a value, and drops the least recently used where there is no room.
    pub fn put(&mut self, key: String, value: Arc<[u8]>) {
        self.remove(&key);
        self.clock += 1;
        self.bytes += key.len() + value.len();
        self.uses.insert(self.clock, key.clone());
        self.values.insert(key, (self.clock, value));
        while self.bytes > MAX_BYTES {
            let Some((_, oldest)) = self.uses.pop_first() else { break };
            self.forget(&oldest);
        }
    }

    /// Drops a value.
    pub fn remove(&mut self, key: &str) {
        if let Some(used) = self.forget(key) {
            self.uses.remove(&used);
        }
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.values.clear();
        self.uses.clear();
        self.bytes = 0;
    }

    /// Bytes of keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many values are here.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    fn forget(&mut self, key: &str) -> Option<u64> {
        let (used, value) = self.values.remove(key)?;
        self.bytes -= key.len() + value.len();
        Some(used)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn least_recently_used_goes_first_and_the_bound_holds() {
        let mut cache = Cache::default();
        let value: Arc<[u8]> = vec![0; MAX_BYTES / 4].into();
        for key in ["a", "b", "c"] {
            cache.put(key.to_owned(), Arc::clone(&value));
        }
        assert!(cache.get("a").is_some());
        cache.put("d".to_owned(), Arc::clone(&value));
        assert!(cache.bytes() <= MAX_BYTES);
        assert!(cache.get("b").is_none(), "b was used least recently");
        assert!(cache.get("a").is_some() && cache.get("c").is_some() && cache.get("d").is_some());
    }

    #[test]
    fn replaced_and_removed_values_are_no_longer_counted() {
        let mut cache = Cache::default();
        cache.put("k".to_owned(), vec![0; 10].into());
        cache.put("k".to_owned(), vec![0; 4].into());
        assert_eq!((cache.len(), cache.bytes()), (1, 5));
        cache.remove("k");
        assert_eq!((cache.len(), cache.bytes(), cache.uses.len()), (0, 0, 0));
    }
}
