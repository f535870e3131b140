//! What the standard library wants of an unwinder, answered with "there is nothing to unwind".
//!
//! In the release binary a panic ends the process, and there are no tables to unwind by (see
//! `build.rs`), so a backtrace would be empty. The code that would print one, with its readers of
//! debug information, its decompressor and its demangler, is a third of that binary. With these
//! functions in the place of the C++ library's, which would be linked otherwise, the compiler
//! sees that nothing reaches it. The names and what they take are those of the Itanium C++ ABI.

#![allow(non_snake_case)]

use super::process;
use std::ffi::{c_int, c_void};
use std::ptr;

/// `_URC_END_OF_STACK`.
const END_OF_STACK: c_int = 5;

/// EX_SOFTWARE, as after any fault in clawinit.
const FAULT: u8 = 70;

/// `trace` is shown no frame.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Backtrace(_trace: *const c_void, _argument: *mut c_void) -> c_int {
    END_OF_STACK
}

/// Goes on with an unwinding that nobody can have begun.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume(_exception: *mut c_void) -> ! {
    process::exit(FAULT)
}

// The rest asks about a frame, and nobody has one to ask about.

#[unsafe(no_mangle)]
extern "C" fn _Unwind_GetIP(_frame: *const c_void) -> usize {
    0
}

#[unsafe(no_mangle)]
extern "C" fn _Unwind_GetIPInfo(_frame: *const c_void, _before: *mut c_int) -> usize {
    0
}

#[unsafe(no_mangle)]
extern "C" fn _Unwind_GetLanguageSpecificData(_frame: *const c_void) -> *const c_void {
    ptr::null()
}

#[unsafe(no_mangle)]
extern "C" fn _Unwind_GetRegionStart(_frame: *const c_void) -> usize {
    0
}

#[unsafe(no_mangle)]
extern "C" fn _Unwind_GetTextRelBase(_frame: *const c_void) -> usize {
    0
}

#[unsafe(no_mangle)]
extern "C" fn _Unwind_GetDataRelBase(_frame: *const c_void) -> usize {
    0
}

#[unsafe(no_mangle)]
extern "C" fn _Unwind_SetGR(_frame: *const c_void, _register: c_int, _value: usize) {}

#[unsafe(no_mangle)]
extern "C" fn _Unwind_SetIP(_frame: *const c_void, _value: usize) {}
