//! clawinit, the program; all of it is in the library beside it.
#![no_main]
clawinit::entry!();
