//! The neutral tree in which bodies are compared and shown.
//!
//! A [`Document`] is JSON with sorted keys, so that equal trees have equal text and equal [`Digest`]s. IAM policies in
//! a document are already canonical and treated as leaves: they are compared as a whole.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::ser::Formatter;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

/// A body as a neutral tree, stored as its canonical text. A tree in memory would take ten times as much, and most
/// documents are only compared with an identical one. Copies share the text.
#[derive(Clone, PartialEq, Eq, schemars::JsonSchema)]
#[schemars(with = "Value", description = "A body as a neutral tree.")]
pub struct Document(Arc<str>);

impl From<Value> for Document {
    fn from(tree: Value) -> Self {
        // Maps have sorted keys.
        Self(tree.to_string().into())
    }
}

impl Default for Document {
    fn default() -> Self {
        Self::from(Value::Null)
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Avoids a tree, which takes ten times the memory.
        serde_transcode::transcode(&mut serde_json::Deserializer::from_str(&self.0), serializer)
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::of(&serde_transcode::Transcoder::new(deserializer)).map_err(serde::de::Error::custom)
    }
}

impl Document {
    /// The document of any serializable value.
    ///
    /// # Errors
    /// When the value has no JSON form, such as a map with keys that are not strings.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        let text = RefCell::new(Vec::new());
        let formatter = InOrder { text: &text, open: Vec::new() };
        value.serialize(&mut serde_json::Serializer::with_formatter(Appended(&text), formatter))?;
        // JSON is always valid UTF-8.
        Ok(Self(String::from_utf8(text.into_inner()).unwrap_or_default().into()))
    }

    /// The tree, parsed on every call.
    #[must_use]
    pub fn tree(&self) -> Value {
        // Cannot fail: the text was serialized from a tree.
        serde_json::from_str(&self.0).unwrap_or_default()
    }

    /// The canonical text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the document is `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        &*self.0 == "null"
    }

    /// Deserializes one field. `None` if it is absent or has another type.
    #[must_use]
    pub fn field<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        self.find(name)
    }

    /// The JSON text of one field. `None` if it is absent.
    #[must_use]
    pub fn field_text(&self, name: &str) -> Option<&str> {
        self.find::<&RawValue>(name).map(RawValue::get)
    }

    fn find<'d, T: Deserialize<'d>>(&'d self, name: &str) -> Option<T> {
        let mut found = None;
        let seed = FieldSeed { name, found: &mut found };
        // The search stops at the field by returning an error, so the rest of the text is not read.
        match seed.deserialize(&mut serde_json::Deserializer::from_str(&self.0)) {
            Ok(()) | Err(_) => found,
        }
    }

    /// Deserializes the whole document.
    ///
    /// # Errors
    /// When it has another type.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.0)
    }

    /// Deserializes some fields in one pass over the text. `None` if any has another type. Use [`lenient`] for a field
    /// that may have one, so that the other fields are kept.
    #[must_use]
    pub fn view<'d, T: Deserialize<'d>>(&'d self) -> Option<T> {
        serde_json::from_str(&self.0).ok()
    }

    /// The digest of the canonical text.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }

    /// The managed fields of `live`: the keys in `desired`, and those in the `last` applied body.
    ///
    /// A key in neither is not managed, such as a foreign tag or a setting that the spec does not have. Lists, scalars
    /// and policies are taken as a whole.
    #[must_use]
    pub fn managed_fields(live: &Self, desired: Option<&Self>, last: Option<&Self>) -> Self {
        // A body equal to the desired one is managed as a whole.
        if desired == Some(live) {
            return live.clone();
        }
        let tree = |document: Option<&Self>| document.map(Self::tree);
        Self::from(managed_fields(&live.tree(), tree(desired).as_ref(), tree(last).as_ref()))
    }

    /// The body after a write: `live` without the fields of `before`, merged with `after`. Policies are replaced as a
    /// whole.
    #[must_use]
    pub fn overlaid(live: Option<&Self>, before: Option<&Self>, after: &Self) -> Self {
        let object = |document: Option<&Self>| document.and_then(|d| d.read::<Map<_, _>>().ok()).unwrap_or_default();
        let (mut body, ours, before) = (object(live), object(Some(after)), object(before));
        body.retain(|field, _| !before.contains_key(field) || ours.contains_key(field));
        for (field, value) in ours {
            let merged = match (body.remove(&field), &value) {
                (Some(Value::Object(mut old)), Value::Object(new)) if !is_policy(&value) => {
                    let gone = before.get(&field).and_then(Value::as_object);
                    old.retain(|key, _| gone.is_none_or(|gone| !gone.contains_key(key)));
                    old.extend(new.clone());
                    Value::Object(old)
                }
                _ => value,
            };
            body.insert(field, merged);
        }
        Self::from(Value::from(body))
    }

    /// The paths at which two trees differ, with both values, sorted by key.
    #[must_use]
    pub fn differences(before: &Self, after: &Self) -> Vec<Difference> {
        let mut found = Vec::new();
        if before != after {
            differences(&FieldPath::default(), Some(&before.tree()), Some(&after.tree()), &mut found);
        }
        found
    }
}

/// The output for JSON while [`InOrder`] sorts its keys.
struct Appended<'t>(&'t RefCell<Vec<u8>>);

impl io::Write for Appended<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes compact JSON with sorted keys, as a tree has them, without building a tree.
struct InOrder<'t> {
    text: &'t RefCell<Vec<u8>>,
    /// The open objects: where each entry begins, and where its key ends.
    open: Vec<Vec<Range<usize>>>,
}

impl InOrder<'_> {
    /// Sorts the entries of an object that ends at the end of the text.
    fn put_in_order(&self, entries: &[Range<usize>]) {
        let mut text = self.text.borrow_mut();
        // A key with escapes sorts by its unescaped characters.
        let key_of = |key: &Range<usize>| -> Cow<'_, [u8]> {
            let raw = text.get(key.clone()).unwrap_or_default();
            if raw.contains(&b'\\') {
                return Cow::Owned(serde_json::from_slice::<String>(raw).unwrap_or_default().into_bytes());
            }
            Cow::Borrowed(raw.strip_suffix(b"\"").and_then(|raw| raw.strip_prefix(b"\"")).unwrap_or_default())
        };
        if entries.is_sorted_by_key(key_of) {
            return;
        }
        let ends = entries.iter().skip(1).map(|next| next.start - 1).chain([text.len()]);
        let mut sorted: Vec<_> = entries.iter().zip(ends).map(|(key, end)| (key_of(key), key.start..end)).collect();
        sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
        let entries: Vec<&[u8]> = sorted.into_iter().filter_map(|(_, entry)| text.get(entry)).collect();
        let entries = entries.join(&b',');
        let start = text.len() - entries.len();
        text.truncate(start);
        text.extend(entries);
    }
}

impl Formatter for InOrder<'_> {
    fn begin_object<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open.push(Vec::new());
        writer.write_all(b"{")
    }

    fn begin_object_key<W: io::Write + ?Sized>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if !first {
            writer.write_all(b",")?;
        }
        let start = self.text.borrow().len();
        self.open.last_mut().into_iter().for_each(|entries| entries.push(start..start));
        Ok(())
    }

    fn end_object_key<W: io::Write + ?Sized>(&mut self, _writer: &mut W) -> io::Result<()> {
        let end = self.text.borrow().len();
        self.open.last_mut().and_then(|entries| entries.last_mut()).into_iter().for_each(|key| key.end = end);
        Ok(())
    }

    fn end_object<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        let entries = self.open.pop().unwrap_or_default();
        self.put_in_order(&entries);
        writer.write_all(b"}")
    }
}

/// For `deserialize_with`: a field of a [view](Document::view), or `None` if it has another type.
///
/// # Errors
/// When the text is not JSON.
pub fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned>(from: D) -> Result<Option<T>, D::Error> {
    let text = <&'de RawValue>::deserialize(from)?;
    Ok(serde_json::from_str(text.get()).ok())
}

/// Searches a map for one field, and returns an error once it is found.
struct FieldSeed<'a, T> {
    name: &'a str,
    found: &'a mut Option<T>,
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for FieldSeed<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for FieldSeed<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            if key == self.name {
                *self.found = Some(map.next_value()?);
                return Err(A::Error::custom("found"));
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

/// One place at which two documents differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The path.
    pub path: FieldPath,
    /// The value before; absent if the key is new.
    pub before: Option<Value>,
    /// The value after; absent if the key was removed.
    pub after: Option<Value>,
}

/// Whether a value is an IAM policy document, which is compared and shown as a whole.
#[must_use]
pub fn is_policy(value: &Value) -> bool {
    value.as_object().is_some_and(|map| map.contains_key("Statement"))
}

fn managed_fields(live: &Value, desired: Option<&Value>, last: Option<&Value>) -> Value {
    let (desired, last) = (desired.and_then(Value::as_object), last.and_then(Value::as_object));
    let Value::Object(entries) = live else { return live.clone() };
    if is_policy(live) || (desired.is_none() && last.is_none()) {
        return live.clone();
    }
    let ours = entries.iter().filter_map(|(key, value)| {
        match (desired.and_then(|d| d.get(key)), last.and_then(|l| l.get(key))) {
            (None, None) => None,
            (desired, last) => Some((key.clone(), managed_fields(value, desired, last))),
        }
    });
    Value::Object(ours.collect())
}

fn differences(path: &FieldPath, before: Option<&Value>, after: Option<&Value>, found: &mut Vec<Difference>) {
    if before == after {
        return;
    }
    if let (Some(Value::Object(b)), Some(Value::Object(a))) = (before, after)
        && !before.is_some_and(is_policy)
        && !after.is_some_and(is_policy)
    {
        let mut keys: Vec<&String> = b.keys().chain(a.keys()).collect();
        keys.sort();
        keys.dedup();
        for key in keys {
            differences(&path.join(key), b.get(key), a.get(key), found);
        }
        return;
    }
    found.push(Difference { path: path.clone(), before: before.cloned(), after: after.cloned() });
}

/// A path in a document, such as `tags.team`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct FieldPath(String);

impl FieldPath {
    /// The path extended by one key.
    #[must_use]
    pub fn join(&self, key: &str) -> Self {
        if self.0.is_empty() { Self(key.to_owned()) } else { Self(format!("{}.{key}", self.0)) }
    }

    /// The first key, which is a field of the body.
    #[must_use]
    pub fn field(&self) -> &str {
        self.0.split('.').next().unwrap_or_default()
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for FieldPath {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

struct Hashed(Sha256);

impl io::Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A SHA-256 digest, printed as `sha256:<64 hex digits>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct Digest(String);

impl Digest {
    /// The digest of some bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self::hex(&Sha256::digest(bytes))
    }

    /// The digest of a value's compact JSON, computed without holding it as a whole.
    ///
    /// # Errors
    /// When the value has no JSON form.
    pub fn of_value<T: Serialize>(value: &T) -> Result<Self, serde_json::Error> {
        let mut hash = io::BufWriter::new(Hashed(Sha256::new()));
        serde_json::to_writer(&mut hash, value)?;
        let hash = hash.into_inner().map_err(|e| serde_json::Error::io(e.into_error()))?;
        Ok(Self::hex(&hash.0.finalize()))
    }

    /// The digest of several JSON texts in sequence, ignoring white space.
    #[must_use]
    pub fn of_json<'t>(texts: impl IntoIterator<Item = &'t str>) -> Self {
        let mut hash = Sha256::new();
        for text in texts {
            let (mut quoted, mut escaped) = (false, false);
            let pieces = text.as_bytes().split(|byte| {
                let space = !quoted && byte.is_ascii_whitespace();
                quoted ^= *byte == b'"' && !escaped;
                escaped = quoted && *byte == b'\\' && !escaped;
                space
            });
            pieces.for_each(|piece| hash.update(piece));
        }
        Self::hex(&hash.finalize())
    }

    fn hex(hash: &[u8]) -> Self {
        let digits = hash.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        let digits = digits.filter_map(|digit| char::from_digit(u32::from(digit), 16));
        let mut text = String::with_capacity(71);
        text.push_str("sha256:");
        text.extend(digits);
        Self(text)
    }

    /// The first `n` hex digits, for names that must be short and stable.
    #[must_use]
    pub fn short(&self, n: usize) -> &str {
        let hex = self.0.strip_prefix("sha256:").unwrap_or(&self.0);
        hex.get(..n).unwrap_or(hex)
    }

    /// The digest as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<String> for Digest {
    fn from(text: String) -> Self {
        Self(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn check_claimed(live: Value, desired: Value, last: Value, expected: Value) {
        let doc = |v: Value| if v.is_null() { None } else { Some(Document::from(v)) };
        let (desired, last) = (doc(desired), doc(last));
        assert_eq!(
            Document::managed_fields(&Document::from(live), desired.as_ref(), last.as_ref()),
            Document::from(expected)
        );
    }

    /// Any JSON, including keys that sort differently when escaped.
    fn any_tree() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), ".{0,3}".prop_map(Value::from)];
        leaf.prop_recursive(4, 24, 5, |inner| {
            let key = prop_oneof!["[a-c\"\\\\\u{1}!#é]{0,3}", "[a-c]{1,2}"];
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::vec((key, inner), 0..5).prop_map(|entries| entries.into_iter().collect()),
            ]
        })
    }

    /// Serializes the entries of all objects in reverse order.
    struct Backwards<'v>(&'v Value);

    impl Serialize for Backwards<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            match self.0 {
                Value::Object(entries) => serializer.collect_map(entries.iter().rev().map(|(k, v)| (k, Backwards(v)))),
                Value::Array(items) => serializer.collect_seq(items.iter().map(Backwards)),
                leaf => leaf.serialize(serializer),
            }
        }
    }

    #[test]
    fn a_field_of_another_type_leaves_the_others_of_a_view() {
        #[derive(Deserialize)]
        struct View<'d> {
            #[serde(default, deserialize_with = "lenient")]
            path: Option<String>,
            #[serde(default, deserialize_with = "lenient")]
            boundary: Option<String>,
            #[serde(borrow)]
            trust: Option<&'d RawValue>,
        }
        let body = Document::from(json!({ "path": 7, "trust": { "Statement": [] }, "other": true }));
        let View { path, boundary, trust } = body.view().unwrap();
        assert_eq!((path, boundary, trust.map(RawValue::get)), (None, None, Some(r#"{"Statement":[]}"#)));
        assert!(Document::from(json!([1])).view::<View>().is_none());
    }

    proptest! {
        #[test]
        fn keys_are_written_in_the_order_of_a_tree(tree in any_tree()) {
            let expected = Document::from(tree.clone());
            prop_assert_eq!(&Document::of(&Backwards(&tree)).unwrap(), &expected);
            prop_assert_eq!(&Document::of(&tree).unwrap(), &expected);
            prop_assert_eq!(&serde_json::from_str::<Document>(&format!("{tree:#}")).unwrap(), &expected);
            prop_assert_eq!(serde_json::to_value(&expected).unwrap(), tree);
        }
    }

    #[test]
    fn only_named_keys_are_managed() {
        check_claimed(
            json!({"tags": {"team": "ml", "cost": "7"}, "versioning": true}),
            json!({"tags": {"team": "web"}}),
            Value::Null,
            json!({"tags": {"team": "ml"}}),
        );
    }

    #[test]
    fn key_applied_last_time_stays_managed_until_removed() {
        check_claimed(
            json!({"tags": {"team": "ml", "cost": "7"}}),
            json!({"tags": {}}),
            json!({"tags": {"team": "ml"}}),
            json!({"tags": {"team": "ml"}}),
        );
    }

    #[test]
    fn policies_are_leaves() {
        let live = json!({"trust": {"Statement": [], "Version": "2012-10-17", "Id": "x"}});
        check_claimed(live.clone(), json!({"trust": {"Statement": []}}), Value::Null, live);
    }

    #[test]
    fn differences_name_the_deepest_path() {
        let before = Document::from(json!({"tags": {"a": "1", "b": "2"}, "n": 1}));
        let after = Document::from(json!({"tags": {"a": "1", "c": "3"}, "n": 2}));
        let paths: Vec<String> = Document::differences(&before, &after).iter().map(|d| d.path.to_string()).collect();
        assert_eq!(paths, ["n", "tags.b", "tags.c"]);
        assert!(Document::differences(&before, &before).is_empty());
    }

    #[test]
    fn digests_of_json_do_not_depend_on_white_space_outside_of_texts() {
        let digest = |text: &str| Digest::of_json([text]);
        assert_eq!(digest("{ \"a b\": [1,\n\t2] }"), Digest::of(b"{\"a b\":[1,2]}"));
        assert_ne!(digest(r#"{"a b":1}"#), digest(r#"{"ab":1}"#));
        assert_eq!(digest(r#"["\" \\", "x y"]"#), Digest::of(br#"["\" \\","x y"]"#));
        assert_eq!(digest(&"[ 1 ]".repeat(5000)), Digest::of("[1]".repeat(5000).as_bytes()));
    }

    #[test]
    fn field_is_read_as_the_requested_type() {
        let document = Document::from(json!({"a": {"x": "\u{e9}\n\""}, "b": true, "c": ["1"]}));
        assert_eq!(document.field("b"), Some(true));
        assert_eq!(document.field("c"), Some(vec!["1".to_owned()]));
        assert_eq!(document.field("a"), Some(json!({"x": "\u{e9}\n\""})));
        assert_eq!((document.field::<bool>("c"), document.field::<bool>("d")), (None, None));
        assert_eq!(Document::from(json!([1])).field::<bool>("a"), None);
        assert_eq!(document.field_text("a"), Some(r#"{"x":"é\n\""}"#));
        assert_eq!((document.field_text("b"), document.field_text("d")), (Some("true"), None));
    }

    #[test]
    fn digests_do_not_depend_on_key_order() {
        let a: Document = serde_json::from_str(r#"{"x": 1, "y": [2]}"#).unwrap();
        let b: Document = serde_json::from_str(r#"{"y": [2], "x": 1}"#).unwrap();
        assert_eq!(a.digest(), b.digest());
        assert!(a.digest().as_str().starts_with("sha256:"));
        assert_eq!(a.digest().as_str().len(), 71);
        assert_eq!(a.digest().short(8).len(), 8);
    }

    #[test]
    fn write_keeps_fields_of_others() {
        let document = |value: Value| Document::from(value);
        let live = json!({"annotations": {"ours": "1", "old": "1", "theirs": "1"}, "boundary": "b", "seen": true});
        let before = json!({"annotations": {"ours": "1", "old": "1"}, "boundary": "b"});
        let after = json!({"annotations": {"ours": "2"}});
        let written = Document::overlaid(Some(&document(live)), Some(&document(before)), &document(after.clone()));
        assert_eq!(written.tree(), json!({"annotations": {"ours": "2", "theirs": "1"}, "seen": true}));
        assert_eq!(Document::overlaid(None, None, &document(after.clone())).tree(), after);
    }
}
