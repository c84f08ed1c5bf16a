//! The frame on records of the run log, which is its first user.

use proptest::prelude::*;

use super::LINE_BYTES_MAX;
use crate::record::{Record, WarningRecord};
use crate::runlog::{Decoder, decode, decode_all, encode};

fn warning(message: &str) -> Record {
    Record::Warning(WarningRecord { message: message.into() })
}

#[test]
fn a_line_without_end_is_not_kept() {
    let mut decoder = Decoder::default();
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..40 {
        decoder.push(&piece, |_| {});
        assert!(decoder.partial.len() <= LINE_BYTES_MAX);
    }
    let good = encode(&warning("still read")).unwrap();
    let mut records = Vec::new();
    decoder.push(format!("\n{good}").as_bytes(), |record| records.push(record));
    assert_eq!((records, decoder.damaged()), (vec![warning("still read")], 1));
    assert_eq!(decoder.whole_bytes(), (40 << 20) + 1 + good.len() as u64);
}

#[test]
fn a_torn_line_is_forgotten_when_its_writer_died() {
    let (mut decoder, mut records) = (Decoder::default(), Vec::new());
    let good = encode(&warning("good")).unwrap();
    decoder.push(format!("{good}{}", &good[..30]).as_bytes(), |record| records.push(record));
    decoder.forget_partial();
    decoder.push(good.as_bytes(), |record| records.push(record));
    assert_eq!((records.len(), decoder.damaged()), (2, 0));
}

proptest! {
    #[test]
    fn a_flipped_bit_costs_one_record(at in 0usize..10_000, bit in 0u8..8) {
        let lines: Vec<String> = (0..5).map(|i| encode(&warning(&format!("message {i}"))).unwrap()).collect();
        let mut log = lines.concat().into_bytes();
        let at = at % log.len();
        log[at] ^= 1 << bit;
        let decoded = decode_all(&log);
        // A flip may make a newline (two damaged lines) or unmake one (two lines become one).
        prop_assert!(decoded.records.len() >= 3);
        for record in &decoded.records {
            let is_original = lines.iter().any(|l| decode(l).as_ref() == Ok(record));
            prop_assert!(is_original);
        }
    }

    #[test]
    fn a_log_in_pieces_is_the_log(cuts in prop::collection::vec(0usize..600, 0..8), flip in prop::option::of(0usize..600)) {
        let mut log: Vec<u8> =
            (0..6).flat_map(|i| encode(&warning(&format!("message {i}"))).unwrap().into_bytes()).collect();
        if let Some(at) = flip {
            let at = at % log.len();
            log[at] ^= 4;
        }
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % log.len()).collect();
        cuts.extend([0, log.len()]);
        cuts.sort_unstable();
        let (mut decoder, mut records) = (Decoder::default(), Vec::new());
        for pair in cuts.windows(2) {
            decoder.push(&log[pair[0]..pair[1]], |record| records.push(record));
        }
        let whole = decode_all(&log);
        prop_assert_eq!(decoder.whole_bytes(), whole.whole_bytes);
        prop_assert_eq!(decoder.damaged(), whole.damaged.len() as u64);
        prop_assert_eq!(decoder.first_damage(), whole.damaged.first());
        prop_assert_eq!(records, whole.records);
    }

    #[test]
    fn a_log_cut_anywhere_keeps_its_whole_lines(cut in 0usize..10_000) {
        let lines: Vec<String> = (0..5).map(|i| encode(&warning(&format!("message {i}"))).unwrap()).collect();
        let log = lines.concat().into_bytes();
        let cut = cut % (log.len() + 1);
        let decoded = decode_all(&log[..cut]);
        let whole = log[..cut].iter().filter(|b| **b == b'\n').count();
        prop_assert_eq!(decoded.records.len(), whole);
        prop_assert!(decoded.damaged.is_empty());
    }
}
