//! Files that were a store once.

#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use queuectl_testkit::checks::{Damage, damaged_store};

/// Damage as the fuzzer makes it up.
#[derive(Debug, Arbitrary)]
enum Made {
    Flip { at: u16, bits: u8 },
    Cut { at: u16 },
    Insert { at: u16, bytes: Vec<u8> },
    Header { at: u8, byte: u8 },
}

impl From<Made> for Damage {
    fn from(made: Made) -> Self {
        match made {
            Made::Flip { at, bits } => Damage::Flip { at, bits },
            Made::Cut { at } => Damage::Cut { at },
            Made::Insert { at, bytes } => Damage::Insert { at, bytes },
            Made::Header { at, byte } => Damage::Header { at, byte },
        }
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(made) = Vec::<Made>::arbitrary(&mut Unstructured::new(bytes)) {
        let damage: Vec<Damage> = made.into_iter().take(8).map(Damage::from).collect();
        damaged_store(&damage);
    }
});
