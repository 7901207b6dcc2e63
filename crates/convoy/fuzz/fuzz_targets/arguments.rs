//! With `CONVOY_FUZZ_CONTROL`, a mistake is planted that the fuzzer has to find.
#![no_main]

use std::sync::LazyLock;

static HAS_MISTAKE: LazyLock<bool> = LazyLock::new(|| std::env::var_os("CONVOY_FUZZ_CONTROL").is_some());

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    convoy::fuzzing::arguments(data);
    if *HAS_MISTAKE {
        let nested = std::str::from_utf8(data).ok().and_then(|text| text.strip_prefix("[["));
        assert!(nested.is_none_or(|rest| !rest.contains(']')), "the planted mistake: arrays do not nest");
    }
});
