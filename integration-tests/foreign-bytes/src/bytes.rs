//! Bytes: valid ones with damage, and noise.

use std::{fmt, ops::Deref};

use proptest::{collection::vec, prelude::*, sample::Index};

/// Bytes that a failing test shows as text.
#[derive(Clone, PartialEq, Eq)]
pub struct Raw(pub Vec<u8>);

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

impl Deref for Raw {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// One damage.
#[derive(Clone, Debug)]
enum Damage {
    /// Everything from here on is lost.
    Cut(Index),
    /// One byte is another.
    Set(Index, u8),
    /// Bytes appear.
    Insert(Index, Vec<u8>),
    /// A piece is lost.
    Remove(Index, u8),
    /// A piece stands twice.
    Double(Index, u8),
    /// One byte, very often.
    Flood(Index, u8, u16),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<Index>;
    prop_oneof![
        at().prop_map(Damage::Cut),
        (at(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        (at(), vec(any::<u8>(), 1..8)).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        (at(), 1..40_u8).prop_map(|(at, length)| Damage::Remove(at, length)),
        (at(), 1..200_u8).prop_map(|(at, length)| Damage::Double(at, length)),
        (at(), prop::sample::select(&b"[{(\"\\0- \n\xff"[..]), 1..20_000_u16)
            .prop_map(|(at, byte, times)| Damage::Flood(at, byte, times)),
    ]
}

fn apply(bytes: &mut Vec<u8>, damage: &Damage) {
    let place = |at: &Index, length: usize| at.index(length + 1);
    match damage {
        Damage::Cut(at) => bytes.truncate(place(at, bytes.len())),
        Damage::Set(at, byte) => {
            let at = place(at, bytes.len());
            if let Some(there) = bytes.get_mut(at) {
                *there = *byte;
            }
        }
        Damage::Insert(at, new) => {
            let at = place(at, bytes.len());
            bytes.splice(at..at, new.iter().copied());
        }
        Damage::Remove(at, length) => {
            let at = place(at, bytes.len());
            let end = (at + usize::from(*length)).min(bytes.len());
            bytes.drain(at..end);
        }
        Damage::Double(at, length) => {
            let at = place(at, bytes.len());
            let end = (at + usize::from(*length)).min(bytes.len());
            let piece: Vec<u8> = bytes.get(at..end).unwrap_or_default().to_vec();
            bytes.splice(at..at, piece);
        }
        Damage::Flood(at, byte, times) => {
            let at = place(at, bytes.len());
            bytes.splice(at..at, std::iter::repeat_n(*byte, usize::from(*times)));
        }
    }
}

/// Nothing in particular.
pub fn noise() -> BoxedStrategy<Raw> {
    vec(any::<u8>(), 0..512).prop_map(Raw).boxed()
}

/// One of these, with up to four damages; now and then noise.
///
/// # Panics
/// Without seeds.
pub fn bytes(seeds: Vec<Vec<u8>>) -> BoxedStrategy<Raw> {
    let damaged = (prop::sample::select(seeds), vec(damage(), 0..5)).prop_map(|(seed, damages)| {
        let mut bytes = seed;
        damages.iter().for_each(|damage| apply(&mut bytes, damage));
        Raw(bytes)
    });
    prop_oneof![9 => damaged, 1 => noise()].boxed()
}

/// The same as text: what is not UTF-8 becomes replacement characters, which are odd enough.
///
/// # Panics
/// Without seeds.
pub fn text(seeds: Vec<String>) -> BoxedStrategy<String> {
    bytes(seeds.into_iter().map(String::into_bytes).collect())
        .prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .boxed()
}
