//! The filter index against the linear scan, on scripts of filters, changes and events.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|script: &[u8]| heddle_broker::filter::index::oracle::compare(script));
