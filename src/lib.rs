//! clawinit.
