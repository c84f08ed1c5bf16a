//! What `--cache auto` comes to.

use footplate_core::Bytes;
use footplate_data::{CacheSettings, Dataset, measure_rates, stall};

/// The cache for a data set where the plan needs `planned` of the `available` memory (`None`: unknown), and a line
/// that says why.
pub(crate) fn choose(
    dataset: &Dataset,
    available: Option<Bytes>,
    planned: Bytes,
) -> (Option<CacheSettings>, String) {
    let free = available.map(|bytes| bytes.0.saturating_sub(planned.0));
    let (size, why) = size(measure_rates::data_bytes(dataset), free);
    (size.map(|bytes| CacheSettings::Ram { bytes }), format!("cache (sizes are estimates): {why}"))
}

/// The cache's size in bytes for `data` bytes of samples (`None`: they are in memory already) beside `free` bytes.
fn size(data: Option<u64>, free: Option<u64>) -> (Option<u64>, String) {
    let size = data.zip(free).and_then(|(data, free)| stall::cache_size(data, free));
    let why = match (data, free, size) {
        (None, ..) => "none: the data is in memory already".to_owned(),
        (_, None, _) => "none: this system does not tell how much memory is free".to_owned(),
        (Some(data), Some(free), None) if data < free => {
            format!(
                "none: the system's page cache can hold {} in the {} that are free",
                Bytes(data),
                Bytes(free)
            )
        }
        (Some(data), Some(free), None) => {
            format!(
                "none: {} of memory are free beside the plan, too little for {}",
                Bytes(free),
                Bytes(data)
            )
        }
        (Some(data), _, Some(size)) => format!("ram:{}MiB of {} of data", size >> 20, Bytes(data)),
    };
    (size, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn data_that_the_page_cache_holds_or_that_memory_cannot_hold_at_all_gets_none() {
        let cases = [
            (None, Some(8 * GIB), "in memory already"),
            (Some(GIB), None, "does not tell how much memory"),
            (Some(GIB), Some(8 * GIB), "page cache can hold 1.0 GiB in the 8.0 GiB"),
            (Some(100 * GIB), Some(1 << 20), "too little for 100 GiB"),
        ];
        for (data, free, words) in cases {
            let (size, why) = size(data, free);
            assert!(size.is_none() && why.contains(words), "{data:?} of data, {free:?} free: {why}");
        }
    }

    #[test]
    fn data_larger_than_memory_gets_a_part_of_what_is_free() {
        let (size, why) = size(Some(10 * GIB), Some(4 * GIB));
        let size = size.expect("there is room for a part");
        assert!(size < 4 * GIB, "{size}");
        assert_eq!(why, format!("ram:{}MiB of 10.0 GiB of data", size >> 20));
    }
}
