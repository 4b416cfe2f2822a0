//! How a value is kept on disk and sent as a snapshot: one byte of format, then JSON.
//!
//! The format stands outside of the JSON, so that a record of a later version is recognised
//! without being understood.

use serde::{Serialize, de::DeserializeOwned};

use super::store::StoreError;

/// The format that this version writes, and the only one that it reads.
const FORMAT: u8 = 1;

/// Encodes a value.
pub(super) fn encode<T: Serialize>(what: &'static str, value: &T) -> Result<Vec<u8>, StoreError> {
    let mut bytes = vec![FORMAT];
    serde_json::to_writer(&mut bytes, value)
        .map_err(|source| StoreError::Record { what, source: source.into() })?;
    Ok(bytes)
}

/// Decodes a value; `what` names it in the error.
pub(super) fn decode<T: DeserializeOwned>(
    what: &'static str,
    bytes: &[u8],
) -> Result<T, StoreError> {
    match bytes.split_first() {
        Some((&FORMAT, json)) => serde_json::from_slice(json)
            .map_err(|source| StoreError::Record { what, source: source.into() }),
        Some((&found, _)) => Err(StoreError::Format { what, found: found.into() }),
        None => Err(StoreError::Format { what, found: 0 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_what_it_wrote() {
        let bytes = encode("a number", &7_u64).expect("plain");
        assert_eq!(bytes, b"\x017");
        assert_eq!(decode::<u64>("a number", &bytes).expect("same"), 7);
    }

    #[test]
    fn a_record_of_a_later_format_is_named_in_the_error() {
        let error = decode::<u64>("the vote", b"\x027").expect_err("unknown format");
        assert_eq!(
            error.to_string(),
            "the vote has format 2, this version knows only 1; it was written by a later version"
        );
    }
}
