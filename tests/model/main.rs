//! The state machine: its whole table by hand, and a search of everything it can come to.

mod backoff;
mod decisions;
mod exit_codes;
mod invariants;
#[rustfmt::skip] // a row of the table is a row here
mod readiness;
mod search;
mod starts;
#[rustfmt::skip] // a row of the table is a row here
mod table;
mod timeless;
