//! An object as a watch gets it: decoded, or the reason why it cannot be.
//!
//! A list or an event with one such object is read all the same, where decoding the object itself
//! would fail the whole. The text of an object is found first and then decoded, once; only of one
//! that fails is the metadata read as well. Texts are needed for it: this works with `serde_json`
//! reading a text, and in an event that names its type before its object, as API servers write it.

use std::borrow::Cow;

use kube::Resource;
use kube::core::ObjectMeta;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error};
use serde_json::value::RawValue;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Guarded<K>(pub(super) Result<K, Invalid>);

/// An object that cannot be decoded.
#[derive(Clone, Debug)]
pub(super) struct Invalid {
    /// Why, for people.
    pub(super) error: String,
    /// Which one it is.
    pub(super) metadata: Box<ObjectMeta>,
}

/// The least of an object.
#[derive(Deserialize)]
struct Outline {
    #[serde(default)]
    metadata: Box<ObjectMeta>,
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Guarded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&RawValue>::deserialize(deserializer)?.get();
        match serde_json::from_str(text) {
            Ok(object) => Ok(Self(Ok(object))),
            Err(error) => {
                let Outline { metadata } = serde_json::from_str(text).map_err(Error::custom)?;
                let error = error.to_string();
                Ok(Self(Err(Invalid { error, metadata })))
            }
        }
    }
}

impl<K: Resource> Resource for Guarded<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(dynamic: &K::DynamicType) -> Cow<'_, str> {
        K::kind(dynamic)
    }

    fn group(dynamic: &K::DynamicType) -> Cow<'_, str> {
        K::group(dynamic)
    }

    fn version(dynamic: &K::DynamicType) -> Cow<'_, str> {
        K::version(dynamic)
    }

    fn plural(dynamic: &K::DynamicType) -> Cow<'_, str> {
        K::plural(dynamic)
    }

    fn meta(&self) -> &ObjectMeta {
        match &self.0 {
            Ok(object) => object.meta(),
            Err(invalid) => &invalid.metadata,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match &mut self.0 {
            Ok(object) => object.meta_mut(),
            Err(invalid) => &mut invalid.metadata,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::ResourceExt;
    use kube::core::{ObjectList, WatchEvent};

    use super::Guarded;

    const BAD: &str = r#"{"metadata": {"name": "bad", "uid": "u"}, "data": ["not", "a", "map"]}"#;
    const GOOD: &str = r#"{"metadata": {"name": "good"}, "data": {"\u0061": "\"b\""}}"#;

    #[test]
    fn one_that_cannot_be_decoded_does_not_hide_others() {
        for items in [format!("[{BAD}, {GOOD}]"), "null".to_owned()] {
            let list = format!(
                r#"{{"kind": "ConfigMapList", "items": {items}, "metadata": {{"continue": "c"}}}}"#
            );
            let list: ObjectList<Guarded<ConfigMap>> = serde_json::from_str(&list).unwrap();
            assert_eq!(list.metadata.continue_.as_deref(), Some("c"));
            let [bad, good] = &list.items[..] else {
                assert_eq!(items, "null");
                continue;
            };
            assert_eq!(
                (bad.name_any(), bad.uid()),
                ("bad".into(), Some("u".into()))
            );
            let error = &bad.0.as_ref().unwrap_err().error;
            assert!(error.contains("expected a map"), "{error}");
            let good = good.0.as_ref().unwrap();
            assert_eq!(good.data.as_ref().unwrap()["a"], "\"b\"");
        }
    }

    #[test]
    fn an_event_is_read_all_the_same() {
        let event = format!(r#"{{"type": "MODIFIED", "object": {BAD}}}"#);
        let event: WatchEvent<Guarded<ConfigMap>> = serde_json::from_str(&event).unwrap();
        let WatchEvent::Modified(bad) = event else {
            panic!("{event:?}");
        };
        assert_eq!(bad.name_any(), "bad");
        assert!(bad.0.is_err());
    }

    #[test]
    fn what_has_no_metadata_that_can_be_read_is_an_error() {
        for text in ["7", r#"{"metadata": {"name": 7}}"#, "{"] {
            assert!(
                serde_json::from_str::<Guarded<ConfigMap>>(text).is_err(),
                "{text}"
            );
        }
    }
}
