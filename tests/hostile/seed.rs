//! Chance that can be had again: `PGDUET_HOSTILE_SEED`, else always the same.

pub struct Chance(u64);

impl Chance {
    pub fn seeded() -> Chance {
        let given = std::env::var("PGDUET_HOSTILE_SEED").ok().and_then(|text| text.parse().ok());
        Chance(given.unwrap_or(0x9e37_79b9_7f4a_7c15))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    /// Less than `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next()).expect("31 bits") % bound
    }
}

/// `PGDUET_HOSTILE_ROUNDS`, else this.
pub fn rounds(default: usize) -> usize {
    std::env::var("PGDUET_HOSTILE_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
