//! What the disk has of an object: its JSON, or its JSON packed with LZ4 where that is shorter.
//!
//! sled keeps what it wrote last in memory, as it was written, beyond what its cache may take. So less
//! on disk is less in memory, too.
//!
//! Laws:
//! - A record is readable by itself: nothing but its own bytes is needed to read it.
//! - A JSON text is a record of itself (the first byte is `{`), and was the only form of layout 1. A
//!   packed one is the byte [`PACKED`], the text's length (4 bytes, little endian) and an LZ4 block.
//! - A damaged record is an error, and takes no more memory than LZ4 can make of its length.

use std::borrow::Cow;

use lz4_flex::block;

/// The first byte of a packed record, which no JSON begins with.
const PACKED: u8 = 1;
/// The first byte and the length.
const HEAD: usize = 5;
/// The most that LZ4 makes of one byte.
const MOST_OF_ONE: usize = 255;

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordError {
    /// It ends before its text does, or says that the text is longer than it can be.
    #[error("the record is cut off or damaged")]
    Damaged,
    /// Its block is not one of LZ4.
    #[error("the record cannot be unpacked: {0}")]
    Block(#[from] block::DecompressError),
}

/// The record of a JSON text.
pub(super) fn encode(json: &[u8]) -> Cow<'_, [u8]> {
    let Ok(length) = u32::try_from(json.len()) else {
        return Cow::Borrowed(json);
    };
    let mut record = vec![0; HEAD + block::get_maximum_output_size(json.len())];
    let packed = match block::compress_into(json, &mut record[HEAD..]) {
        Ok(packed) if HEAD + packed < json.len() => packed,
        Ok(_) | Err(_) => return Cow::Borrowed(json),
    };
    record.truncate(HEAD + packed);
    record[0] = PACKED;
    record[1..HEAD].copy_from_slice(&length.to_le_bytes());
    Cow::Owned(record)
}

/// The JSON text of a record, whether or not it is one.
pub(super) fn decode(record: &[u8]) -> Result<Cow<'_, [u8]>, RecordError> {
    let Some((&PACKED, rest)) = record.split_first() else {
        return Ok(Cow::Borrowed(record));
    };
    let (length, packed) = rest.split_first_chunk().ok_or(RecordError::Damaged)?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > packed.len().saturating_mul(MOST_OF_ONE) {
        return Err(RecordError::Damaged);
    }
    let json = block::decompress(packed, length)?;
    if json.len() == length {
        Ok(Cow::Owned(json))
    } else {
        Err(RecordError::Damaged)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_text_comes_out_as_it_went_in(text in prop_oneof![
            "[{]\\PC{0,400}",
            "[{][ab]{0,4000}",
            Just("{".to_owned()),
        ]) {
            let record = encode(text.as_bytes());
            prop_assert!(record.len() <= text.len());
            prop_assert_eq!(&*decode(&record).unwrap(), text.as_bytes());
        }

        #[test]
        fn damage_is_an_error_or_another_text_of_bounded_length(
            text in "[{][ab]{100,400}", at in any::<prop::sample::Index>(), with in any::<u8>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut record = encode(text.as_bytes()).into_owned();
            prop_assert_eq!(record[0], PACKED);
            let length = record.len();
            record[at.index(length)] = with;
            record.truncate(cut.index(length));
            if let Ok(text) = decode(&record) {
                prop_assert!(text.len() <= length * MOST_OF_ONE);
            }
        }
    }

    #[test]
    fn a_cut_record_is_an_error() {
        let text = format!("{{{}}}", "\"a\":1,".repeat(50));
        let record = encode(text.as_bytes());
        assert!(record.len() < text.len() / 4);
        for end in 1..record.len() {
            assert!(decode(&record[..end]).is_err(), "{end}");
        }
    }
}
