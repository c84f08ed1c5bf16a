//! What `--cache auto` comes to.

use footplate_core::Bytes;
use footplate_data::{CacheSettings, Dataset, measure_rates, stall};

/// The cache for a data set where the plan needs `planned` of the `available` memory, and a line on why.
pub(crate) fn choose(dataset: &Dataset, available: Bytes, planned: Bytes) -> (Option<CacheSettings>, String) {
    let known = (available != Bytes(u64::MAX)).then_some(available);
    let free = known.map(|bytes| bytes.0.saturating_sub(planned.0));
    let data = measure_rates::data_bytes(dataset);
    let size = data.zip(free).and_then(|(data, free)| stall::cache_size(data, free));
    let words = match (data, free, size) {
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
    let cache = size.map(|bytes| CacheSettings::Ram { bytes });
    (cache, format!("cache (sizes are estimates): {words}"))
}
