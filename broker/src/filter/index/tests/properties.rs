//! The index agrees with the scan on everything.

use proptest::prelude::*;

use crate::filter::index::oracle::compare;

/// How many scripts are drawn. `HEDDLE_FILTER_CASES` asks for more, to run for as long as one likes.
fn cases() -> u32 {
    let wanted = std::env::var("HEDDLE_FILTER_CASES").ok();
    wanted.and_then(|text| text.parse().ok()).unwrap_or(256)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn the_index_is_the_scan(script in prop::collection::vec(any::<u8>(), 0..4000)) {
        compare(&script);
    }
}
