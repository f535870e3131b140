//! Words and variables as the kernel lays them out for a process, which has them for ever; here
//! they are there for one call, or millions of runs would fill the memory.

use clawinit::kernel::entry::Start;
use clawinit::kernel::signals::Mask;
use std::ffi::{CStr, CString, c_char};

/// Bytes as a C string: what is behind a zero byte is not of it.
pub fn c_string(bytes: &[u8]) -> CString {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    CString::new(&bytes[..end]).unwrap_or_default()
}

/// Calls `with` as if the process had been started with these. It must let nothing of them out,
/// which is why it returns nothing.
pub fn lend(words: &[CString], variables: &[CString], with: impl FnOnce(&Start)) {
    let pointers: Vec<*const c_char> = variables.iter().map(|word| word.as_ptr()).collect();
    let start = Start {
        // SAFETY: the strings outlive this call, and so everything that `with` can make of them.
        args: words.iter().map(|word| unsafe { CStr::from_ptr(word.as_ptr()) }).collect(),
        // SAFETY: as above.
        environment: unsafe { std::slice::from_raw_parts(pointers.as_ptr(), pointers.len()) },
        mask: Mask::NONE,
        parent: 0,
    };
    with(&start);
}
