//! Texts of objects in memory, packed by what they have in common with another of their kind.
//!
//! Most of an object's text is names of fields, and objects of one kind have the same ones. LZ4 with
//! one of them as a dictionary writes the others in an eighth of their length, in a microsecond or
//! two, and reads them in less. Nothing of this gets to disk.
//!
//! Laws:
//! - A text is the same when it comes out, whatever it is: one that would not be is held as it is, so
//!   that reading cannot fail.
//! - The dictionaries in use are bounded by [`MOST_KINDS`], and a packed text is never longer than
//!   half of the plain one: a text that is too short or too long, too different or of one kind too
//!   many is held as it is. A kind takes the latest text that was too different as its dictionary, so
//!   that it does not keep to one that was an exception.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use lz4_flex::block;
use parking_lot::Mutex;

/// The shortest and the longest texts that are packed, in bytes. LZ4 looks back for 64 KiB, and the
/// dictionary must be within.
const SHORTEST: usize = 256;
const LONGEST: usize = 16 * 1024;
/// Kinds that have a dictionary.
const MOST_KINDS: usize = 256;

/// A text of the kind that it is for.
type Dictionary = Arc<Box<[u8]>>;

/// Of the whole process, by kind.
static DICTIONARIES: LazyLock<Mutex<HashMap<Box<str>, Dictionary>>> = LazyLock::new(Mutex::default);

/// A text that its owner holds alone.
#[derive(Clone, Debug)]
pub(super) enum Own {
    Plain(Box<[u8]>),
    Packed {
        packed: Box<[u8]>,
        length: u32,
        dictionary: Dictionary,
    },
}

impl Own {
    /// Packs the text of an object of this kind, if that is worth it.
    pub(super) fn new(text: Vec<u8>, kind: &str) -> Self {
        if !(SHORTEST..=LONGEST).contains(&text.len()) {
            return Self::Plain(text.into());
        }
        let known = DICTIONARIES.lock().get(kind).cloned();
        let packed = known.and_then(|dictionary| {
            let packed = block::compress_with_dict(&text, &dictionary);
            let length = u32::try_from(text.len()).ok()?;
            let comes_out = || {
                let out = block::decompress_with_dict(&packed, text.len(), &dictionary);
                out.is_ok_and(|out| out == text)
            };
            (packed.len() <= text.len() / 2 && comes_out()).then(|| Self::Packed {
                packed: packed.into(),
                length,
                dictionary,
            })
        });
        packed.unwrap_or_else(|| {
            let text: Box<[u8]> = text.into();
            let mut dictionaries = DICTIONARIES.lock();
            if dictionaries.len() < MOST_KINDS || dictionaries.contains_key(kind) {
                dictionaries.insert(kind.into(), Arc::new(text.clone()));
            }
            Self::Plain(text)
        })
    }

    /// The length of the text in bytes.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Plain(text) => text.len(),
            Self::Packed { length, .. } => *length as usize,
        }
    }

    /// The text.
    pub(super) fn text(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Plain(text) => Cow::Borrowed(text),
            Self::Packed {
                packed, dictionary, ..
            } => {
                let text = block::decompress_with_dict(packed, self.len(), dictionary);
                Cow::Owned(text.unwrap_or_else(|error| {
                    // It came out when it was packed, and nothing of it has changed since.
                    tracing::error!(%error, "an object in memory is damaged; restart the process");
                    Vec::new()
                }))
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(number: usize) -> Vec<u8> {
        let fields = (0..8).map(|field| format!("\"field-{field}\":\"of some length, for once\""));
        format!(
            "{{\"number\":{number},{}}}",
            fields.collect::<Vec<_>>().join(",")
        )
        .into_bytes()
    }

    #[test]
    fn alike_ones_take_little() {
        for number in 0..4 {
            let own = Own::new(text(number), "alike");
            assert_eq!(
                (own.text().into_owned(), own.len()),
                (text(number), text(number).len())
            );
            match own {
                Own::Plain(_) => assert_eq!(number, 0, "the first is the dictionary"),
                Own::Packed { packed, .. } => assert!(packed.len() < text(number).len() / 8),
            }
        }
    }

    #[test]
    fn an_exception_does_not_last() {
        let mut odd: Vec<u8> = (0..1_000_u32)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        Own::new(odd.clone(), "odd");
        Own::new(text(1), "odd");
        assert!(matches!(Own::new(text(2), "odd"), Own::Packed { .. }));
        odd.reverse();
        assert!(matches!(Own::new(odd, "odd"), Own::Plain(_)));
    }

    proptest! {
        #[test]
        fn a_text_comes_out_as_it_went_in(
            texts in prop::collection::vec(
                prop_oneof![
                    prop::collection::vec(any::<u8>(), 0..2_000),
                    prop::collection::vec(b'a'..=b'c', 0..20_000),
                    (0..9_usize).prop_map(text),
                ],
                1..6,
            ),
        ) {
            let owned: Vec<Own> = texts.iter().map(|text| Own::new(text.clone(), "any")).collect();
            for (own, text) in owned.iter().zip(&texts) {
                prop_assert_eq!(&*own.text(), &text[..]);
                prop_assert_eq!(own.len(), text.len());
            }
        }
    }
}
