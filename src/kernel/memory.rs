//! Memory that is there from the start.
//!
//! The C library's first malloc(3) takes four system calls and touches three pages, all before
//! the child runs. What clawinit keeps fits in less than a page of its own data segment; where
//! more is wanted, malloc is asked as ever.

use super::output::Output;
use super::process;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Room for a long command line and environment, a line of the log and what goes with them; pages
/// that nobody touches cost nothing.
const BYTES: usize = 16 * 1024;

/// Gives memory out and never takes it back: whatever is allocated at start stays for life.
///
/// `used` comes first, on the page that is touched anyhow.
#[repr(C, align(16))]
pub struct Arena {
    used: AtomicUsize,
    bytes: UnsafeCell<Bytes>,
}

#[repr(align(16))]
struct Bytes(#[allow(dead_code, reason = "reached by address")] MaybeUninit<[u8; BYTES]>);

// SAFETY: no byte is given out twice: `used` only grows, in one atomic step.
unsafe impl Sync for Arena {}

impl Arena {
    /// Empty.
    #[allow(clippy::new_without_default, reason = "a static is made at compile time")]
    pub const fn new() -> Arena {
        Arena { used: AtomicUsize::new(0), bytes: UnsafeCell::new(Bytes(MaybeUninit::uninit())) }
    }

    fn holds(&self, address: *mut u8) -> bool {
        (address as usize).wrapping_sub(self.bytes.get() as usize) < BYTES
    }
}

// SAFETY: blocks lie within `bytes`, are aligned as asked for (the arena itself to 16, and what
// wants more goes to malloc), and no two overlap; every other block is malloc's own affair.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        let place = |used: usize| {
            let start = used.next_multiple_of(align);
            Some((start, start.checked_add(size).filter(|end| *end <= BYTES)?))
        };
        let taken = self.used.fetch_update(Relaxed, Relaxed, |used| Some(place(used)?.1));
        match taken.ok().filter(|_| align <= 16).and_then(place) {
            // SAFETY: `start` is at most BYTES.
            Some((start, _)) => unsafe { self.bytes.get().cast::<u8>().add(start) },
            // SAFETY: as the caller promises of the layout.
            None => or_leave(unsafe { System.alloc(layout) }),
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if !self.holds(block) {
            // SAFETY: not from here, so it came from malloc with this layout.
            unsafe { System.dealloc(block, layout) };
        }
    }
}

/// Where there is no memory left, Rust would call abort(3): no code that is documented, and its
/// line waits for whoever reads the log.
fn or_leave(block: *mut u8) -> *mut u8 {
    if block.is_null() {
        let _ = Output::default().write(b"clawinit: no memory left; leaving with 70\n");
        process::exit(70);
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_aligned_apart_and_go_over_to_malloc_when_it_is_full() {
        let arena = Arena::new();
        let mut taken: Vec<(usize, usize)> = Vec::new();
        let (mut inside, mut outside) = (0, 0);
        for round in 0..400usize {
            let layout = Layout::from_size_align(1 + round % 90, 1 << (round % 6)).unwrap();
            // SAFETY: the layout has a size, and the block goes back with it.
            let block = unsafe { arena.alloc(layout) };
            assert!(!block.is_null());
            assert_eq!(block as usize % layout.align(), 0, "round {round}");
            if arena.holds(block) {
                inside += 1;
                let (start, end) = (block as usize, block as usize + layout.size());
                assert!(
                    taken.iter().all(|&(from, to)| end <= from || to <= start),
                    "round {round}"
                );
                taken.push((start, end));
            } else {
                outside += 1;
            }
            // SAFETY: it came from there, with this layout.
            unsafe { arena.dealloc(block, layout) };
        }
        assert!(inside > 100 && outside > 100, "{inside} inside, {outside} outside");
    }
}
