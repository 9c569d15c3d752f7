//! Numbers that are the same for the same seed, on every machine.

/// `PGDUET_FAULT_SEED`, else 1.
pub fn seed() -> u64 {
    number("PGDUET_FAULT_SEED", 1)
}

/// How often each kind of fault happens: `PGDUET_FAULT_ROUNDS`, else once.
pub fn rounds() -> u64 {
    number("PGDUET_FAULT_ROUNDS", 1)
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// SplitMix64: enough to choose faults by, and reproducible.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    pub fn throw(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % sides.max(1)
    }
}
