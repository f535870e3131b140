//! The state machine: its whole table by hand, and a search of everything it can come to.

mod search;
mod table;
