#![no_main]

#[path = "../oracles/mod.rs"]
#[allow(dead_code, reason = "each target uses one of them")]
mod oracles;

libfuzzer_sys::fuzz_target!(|input: &[u8]| oracles::startup(input));
