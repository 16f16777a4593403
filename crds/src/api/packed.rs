//! Texts of objects in memory, packed by what they have in common with another of their kind.
//!
//! Most of an object's text is names of fields, and objects of one kind have the same ones. LZ4 with
//! one of them as a dictionary writes the others in an eighth of their length, in a microsecond or
//! two, and reads them in less. Nothing of this gets to disk.
//!
//! Laws:
//! - A text is the same when it comes out, whatever it is: one that would not be is held as it is, so
//!   that reading cannot fail.
//! - A packed text is never longer than half of the plain one: a text that is too short or too long, too
//!   different or of one kind too many is held as it is.
//! - A kind takes as its next dictionary a text that its present one made too little of: one that is held
//!   as it is at once, so that it does not keep to an exception, and one that is merely longer than it
//!   should be each time that twice as many texts were packed. Objects change their form early, as when
//!   they get a status, and the one that was seen first is rarely the best.
//! - So the dictionaries are bounded: by [`MOST_KINDS`], and by the logarithm of the texts of a kind. An
//!   old one lives as long as an object that was packed with it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use lz4_flex::block;
use parking_lot::Mutex;

/// The shortest and the longest texts that are packed, in bytes. LZ4 looks back for 64 KiB, and the
/// dictionary must be within.
const SHORTEST: usize = 256;
const LONGEST: usize = 16 * 1024;
/// Which part of a text is as short as it should become, and what any two objects differ in (name, uid
/// and times), in bytes.
const GOOD: usize = 8;
const OWN: usize = 128;
/// Kinds that have a dictionary.
const MOST_KINDS: usize = 256;

/// A text of the kind that it is for.
type Dictionary = Arc<Box<[u8]>>;

/// What the texts of one kind are packed with.
#[derive(Debug)]
struct Kind {
    dictionary: Dictionary,
    /// Texts that were packed, with this dictionary and those before it.
    packed: u64,
    /// At how many of them a better dictionary is taken.
    renewed_at: u64,
}

impl Kind {
    /// Counts a text that was packed. True when it should be the next dictionary.
    fn counts(&mut self, text: &[u8], packed: &[u8]) -> bool {
        self.packed += 1;
        self.packed >= self.renewed_at && packed.len() > text.len() / GOOD + OWN
    }

    fn renew(&mut self, text: &[u8]) {
        self.dictionary = Arc::new(text.into());
        self.renewed_at = self.packed.saturating_mul(2).max(1);
    }
}

/// Of the whole process, by name.
static KINDS: LazyLock<Mutex<HashMap<Box<str>, Kind>>> = LazyLock::new(Mutex::default);

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
        let known = KINDS.lock().get(kind).map(|kind| kind.dictionary.clone());
        let packed = known.and_then(|dictionary| {
            let packed = block::compress_with_dict(&text, &dictionary);
            let comes_out = || {
                let out = block::decompress_with_dict(&packed, text.len(), &dictionary);
                out.is_ok_and(|out| out == text)
            };
            (packed.len() <= text.len() / 2 && comes_out()).then_some((packed, dictionary))
        });
        let mut kinds = KINDS.lock();
        let Some((packed, dictionary)) = packed else {
            if let Some(kind) = kinds.get_mut(kind) {
                kind.renew(&text);
            } else if kinds.len() < MOST_KINDS {
                let dictionary = Arc::new(text.as_slice().into());
                let (packed, renewed_at) = (0, 1);
                kinds.insert(
                    kind.into(),
                    Kind {
                        dictionary,
                        packed,
                        renewed_at,
                    },
                );
            }
            return Self::Plain(text.into());
        };
        if let Some(kind) = kinds.get_mut(kind)
            && kind.counts(&text, &packed)
        {
            kind.renew(&text);
        }
        Self::Packed {
            packed: packed.into(),
            // Bounded by `LONGEST`.
            length: text.len() as u32,
            dictionary,
        }
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
    fn objects_that_get_a_status_get_a_better_dictionary() {
        let status: String = (0..60_u32)
            .map(|n| format!("\"{:x}\":1,", 2_654_435_761_u32.wrapping_mul(n)))
            .collect();
        let grown = |number| [text(number), status.clone().into_bytes()].concat();
        Own::new(text(0), "growing");
        let lengths: Vec<_> = (0..4)
            .map(|number| match Own::new(grown(number), "growing") {
                Own::Plain(text) => text.len(),
                Own::Packed { packed, .. } => packed.len(),
            })
            .collect();
        assert!(lengths[0] > OWN + grown(0).len() / GOOD, "{lengths:?}");
        assert!(
            lengths[1..].iter().all(|length| *length < OWN),
            "{lengths:?}"
        );
        // So many dictionaries at most, whatever comes.
        let noise = |number: u32| {
            let noise = (0..600_u32)
                .map(|n| (n.wrapping_mul(number | 1).wrapping_mul(2_654_435_761) >> 24) as u8);
            [noise.collect(), text(0), text(0), text(0)].concat()
        };
        let all: Vec<_> = (0..200)
            .map(|number| Own::new(noise(number), "growing"))
            .collect();
        let used = all.iter().filter_map(|own| match own {
            Own::Plain(_) => None,
            Own::Packed { dictionary, .. } => Some(Arc::as_ptr(dictionary)),
        });
        let used: std::collections::HashSet<_> = used.collect();
        assert!((2..12).contains(&used.len()), "{}", used.len());
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
