//! What a child says of itself by sd_notify(3), and what the state machine makes of it.

use super::core_step::says;
use crate::input::Input;
use clawinit::core::Notice;
use clawinit::notice::{self, Said};
use std::time::Duration;

/// Reads the bytes as a datagram; then what stands behind a zero byte decides what else happens.
pub fn notify(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let (datagram, rest) = data.split_at(end);
    let all: Vec<Said> = notice::said(data).collect();
    let lines = data.split(|byte| *byte == b'\n');
    assert!(all.len() <= lines.count());
    for said in &all {
        match said {
            Said::Status(text) => assert!(!text.contains(&b'\n')),
            Said::Notice(Notice::Extend(time)) => {
                assert!(*time <= Duration::from_secs(366 * 86_400), "{time:?}");
            }
            Said::Notice(_) => {}
        }
    }
    // Each line is read for itself.
    if let Some(cut) = data.iter().position(|byte| *byte == b'\n') {
        let apart = notice::said(&data[..cut]).chain(notice::said(&data[cut + 1..]));
        assert_eq!(apart.collect::<Vec<_>>(), all);
    }
    let notices = notice::said(datagram).filter_map(|said| match said {
        Said::Notice(notice) => Some(notice),
        Said::Status(_) => None,
    });
    says(notices, &mut Input(rest.get(1..).unwrap_or_default()));
}
