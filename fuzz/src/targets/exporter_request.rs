//! What a client sends to the exporter.

use clawinit::exporter::request::{self, Head};

/// Reads the bytes as they come.
pub fn exporter_request(data: &[u8]) {
    let data = &data[..data.len().min(2 * request::MOST_BYTES)];
    let whole = request::read(data);
    match &whole {
        Head::Whole(asked) => {
            assert!(asked.length <= data.len().min(request::MOST_BYTES));
            assert!(!asked.path.contains(['?', ' ', '\r', '\n']), "{asked:?}");
            // What follows a head has no say in it, and without its last byte it is none.
            assert_eq!(request::read(&data[..asked.length]), whole);
            assert_eq!(request::read(&data[..asked.length - 1]), Head::Part);
        }
        Head::Part => assert!(data.len() < request::MOST_BYTES),
        Head::Refused(status) => assert!(matches!(status, 400 | 431 | 505), "{status}"),
    }
    // However it is cut: what was refused stays refused, what was read stays as it was read.
    for cut in (0..data.len()).step_by(1 + data.len() / 48) {
        match request::read(&data[..cut]) {
            Head::Part => {}
            Head::Whole(asked) => assert_eq!(Head::Whole(asked), whole, "cut at {cut}"),
            Head::Refused(status) => assert_eq!(Head::Refused(status), whole, "cut at {cut}"),
        }
    }
}
