#![no_main]
libfuzzer_sys::fuzz_target!(|seed: u64| kiln_fuzz::targets::fuzz("smith", seed));
