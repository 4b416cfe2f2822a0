//! GUIDs from a counter: unique within a world, the same in every run of the same seed.

/// Hands out GUIDs.
#[derive(Debug, Clone)]
pub(crate) struct Guids {
    seed: u64,
    next: u64,
}

impl Guids {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, next: 0 }
    }

    pub(crate) fn next(&mut self) -> String {
        self.next += 1;
        let high = scramble(self.seed ^ scramble(self.next));
        let low = scramble(high ^ self.next);
        // Version 4 and variant bits, so that strict parsers are content.
        let high = (high & !0xf000) | 0x4000;
        let low = (low & !(0b11 << 62)) | (0b10 << 62);
        format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xffff,
            low >> 48,
            low & 0xffff_ffff_ffff
        )
    }
}

/// A bijection with good mixing (multiply and xor-shift).
fn scramble(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_guids_and_no_guid_twice() {
        let (mut a, mut b) = (Guids::new(7), Guids::new(7));
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..1_000 {
            let guid = a.next();
            assert_eq!(guid, b.next());
            assert_eq!(guid.len(), 36);
            assert_eq!(&guid[14..15], "4");
            assert!(seen.insert(guid));
        }
    }
}
