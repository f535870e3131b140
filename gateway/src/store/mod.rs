//! The memory: a cache before an on-disk store. An acknowledged write is on the disk.

pub mod cache;
pub mod check;
pub mod disk;
pub mod memory;
pub mod reserve;
