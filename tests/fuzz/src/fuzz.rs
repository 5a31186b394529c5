//! libFuzzer's `main`, for the target that `FUZZ_TARGET` names. One binary for all of them, since linking is what takes long.
#![no_main]

use std::sync::OnceLock;

use nexus_fuzz::{Body, target};

static BODY: OnceLock<Body> = OnceLock::new();

fn chosen() -> Body {
    let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
    target(&name).unwrap_or_else(|| panic!("there is no target {name}"))
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| BODY.get_or_init(chosen)(data));
