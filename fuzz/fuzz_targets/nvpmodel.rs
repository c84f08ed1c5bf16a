//! nvpmodel's configuration: never a panic, and what is parsed prints as the same bytes.
#![no_main]

use footplate_device::nvpmodel::{Conf, status_id};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = status_id(text);
    if let Ok(conf) = Conf::parse(text) {
        assert_eq!(conf.to_string(), text);
        assert_eq!(Conf::parse(&conf.to_string()), Ok(conf));
    }
});
