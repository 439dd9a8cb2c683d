//! A JSON parser for policies: it keeps every member, including duplicates, and the place of each value.

use std::borrow::Cow;

/// The maximum nesting of arrays and objects, as in `serde_json`.
const MAX_DEPTH: usize = 128;

/// A JSON value that borrows from its text where possible.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct JsonNode<'a> {
    /// The byte offset in the text; `None` for a value that was not parsed from text.
    pub offset: Option<usize>,
    pub value: Json<'a>,
}

/// The six kinds of JSON values. Objects keep their order and duplicates.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Json<'a> {
    Null,
    Bool(bool),
    Number(Cow<'a, str>),
    String(Cow<'a, str>),
    Array(Vec<JsonNode<'a>>),
    Object(Vec<Member<'a>>),
}

/// One member of an object; `offset` is the offset of its name.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Member<'a> {
    pub offset: Option<usize>,
    pub name: Cow<'a, str>,
    pub node: JsonNode<'a>,
}

/// A JSON syntax error and its byte offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Malformed {
    pub message: String,
    pub offset: usize,
}

impl Json<'_> {
    /// The kind of value in plain words.
    pub fn kind(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "a boolean",
            Json::Number(_) => "a number",
            Json::String(_) => "a string",
            Json::Array(_) => "a list",
            Json::Object(_) => "an object",
        }
    }
}

/// Parses exactly one JSON value (RFC 8259), with only white space around it.
pub(super) fn read(text: &str) -> Result<JsonNode<'_>, Malformed> {
    let mut reader = JsonReader { text, bytes: text.as_bytes(), at: 0, depth: 0 };
    reader.skip_space();
    let node = reader.node()?;
    reader.skip_space();
    if reader.at < reader.bytes.len() {
        return Err(reader.fail("unexpected text after the end of the document"));
    }
    Ok(node)
}

/// The same tree from a value that `serde_json` parsed. It has no places and no duplicates.
pub(super) fn from_value(value: &serde_json::Value) -> JsonNode<'_> {
    use serde_json::Value;
    let value = match value {
        Value::Null => Json::Null,
        Value::Bool(flag) => Json::Bool(*flag),
        Value::Number(number) => Json::Number(Cow::Owned(number.to_string())),
        Value::String(text) => Json::String(Cow::Borrowed(text)),
        Value::Array(list) => Json::Array(list.iter().map(from_value).collect()),
        Value::Object(map) => Json::Object(
            map.iter()
                .map(|(name, value)| Member { offset: None, name: Cow::Borrowed(name), node: from_value(value) })
                .collect(),
        ),
    };
    JsonNode { offset: None, value }
}

/// The line and column of a byte offset, both from 1, the column in characters.
pub(super) fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    lines_and_columns(text, &[offset]).into_iter().next().unwrap_or((1, 1))
}

/// The lines and columns of many byte offsets, in their order, in one pass over the text.
pub(super) fn lines_and_columns(text: &str, offsets: &[usize]) -> Vec<(usize, usize)> {
    let mut order: Vec<(usize, usize)> = offsets.iter().copied().zip(0..).collect();
    order.sort_unstable();
    let mut found = vec![(1, 1); offsets.len()];
    let (mut at, mut line, mut column) = (0, 1, 1);
    for (offset, index) in order {
        for byte in text.as_bytes().get(at..offset).unwrap_or_default() {
            match byte {
                b'\n' => (line, column) = (line + 1, 1),
                // Continuation bytes of a character do not count.
                0x80..0xc0 => {}
                _ => column += 1,
            }
        }
        at = at.max(offset);
        if let Some(place) = found.get_mut(index) {
            *place = (line, column);
        }
    }
    found
}

struct JsonReader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    depth: usize,
}

impl<'a> JsonReader<'a> {
    fn fail(&self, message: &str) -> Malformed {
        Malformed { message: message.to_owned(), offset: self.at }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn node(&mut self) -> Result<JsonNode<'a>, Malformed> {
        let offset = Some(self.at);
        let value = match self.peek() {
            Some(b'"') => Json::String(self.string()?),
            Some(b'{') => self.nested(Self::object)?,
            Some(b'[') => self.nested(Self::array)?,
            Some(b't') => self.word("true", Json::Bool(true))?,
            Some(b'f') => self.word("false", Json::Bool(false))?,
            Some(b'n') => self.word("null", Json::Null)?,
            Some(b'-' | b'0'..=b'9') => Json::Number(Cow::Borrowed(self.number()?)),
            Some(_) => return Err(self.fail("expected a JSON value")),
            None => return Err(self.fail("the document ends where a JSON value should be")),
        };
        Ok(JsonNode { offset, value })
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<Json<'a>, Malformed>) -> Result<Json<'a>, Malformed> {
        self.depth += 1;
        if self.depth >= MAX_DEPTH {
            return Err(self.fail("lists and objects nest too deep"));
        }
        self.at += 1;
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn array(&mut self) -> Result<Json<'a>, Malformed> {
        let mut list = Vec::new();
        self.skip_space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Json::Array(list));
        }
        loop {
            self.skip_space();
            list.push(self.node()?);
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Json::Array(list));
                }
                _ => return Err(self.fail("expected `,` or `]`")),
            }
        }
    }

    fn object(&mut self) -> Result<Json<'a>, Malformed> {
        let mut members = Vec::new();
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Json::Object(members));
        }
        loop {
            self.skip_space();
            let offset = Some(self.at);
            if self.peek() != Some(b'"') {
                return Err(self.fail("expected a member name in quotes"));
            }
            let name = self.string()?;
            self.skip_space();
            if self.peek() != Some(b':') {
                return Err(self.fail("expected `:` after a member name"));
            }
            self.at += 1;
            self.skip_space();
            let node = self.node()?;
            members.push(Member { offset, name, node });
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Json::Object(members));
                }
                _ => return Err(self.fail("expected `,` or `}`")),
            }
        }
    }

    fn word(&mut self, word: &str, value: Json<'a>) -> Result<Json<'a>, Malformed> {
        if self.bytes.get(self.at..self.at + word.len()) == Some(word.as_bytes()) {
            self.at += word.len();
            Ok(value)
        } else {
            Err(self.fail("expected a JSON value"))
        }
    }

    fn digits(&mut self) -> Result<(), Malformed> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if start == self.at { Err(self.fail("expected a digit")) } else { Ok(()) }
    }

    fn number(&mut self) -> Result<&'a str, Malformed> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        self.slice(start)
    }

    fn slice(&self, start: usize) -> Result<&'a str, Malformed> {
        self.text.get(start..self.at).ok_or_else(|| self.fail("a character is cut in two"))
    }

    /// Reads a string from its opening to its closing quote. Without escapes it is borrowed.
    fn string(&mut self) -> Result<Cow<'a, str>, Malformed> {
        self.at += 1;
        let start = self.at;
        let rest = self.bytes.get(start..).unwrap_or_default();
        let length = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f));
        self.at = start + length.unwrap_or(rest.len());
        if self.peek() == Some(b'"') {
            let text = self.slice(start)?;
            self.at += 1;
            return Ok(Cow::Borrowed(text));
        }
        let mut owned = self.slice(start)?.to_owned();
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Cow::Owned(owned));
                }
                Some(b'\\') => {
                    self.at += 1;
                    owned.push(self.escape()?);
                }
                Some(0..=0x1f) => return Err(self.fail("a control character inside a string")),
                Some(_) => {
                    let from = self.at;
                    while let Some(byte) = self.peek() {
                        if matches!(byte, b'"' | b'\\' | 0..=0x1f) {
                            break;
                        }
                        self.at += 1;
                    }
                    owned.push_str(self.slice(from)?);
                }
                None => return Err(self.fail("the document ends inside a string")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Malformed> {
        let letter = self.peek();
        self.at += 1;
        Ok(match letter {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => return Err(self.fail("unknown escape in a string")),
        })
    }

    fn unicode(&mut self) -> Result<char, Malformed> {
        let first = self.hex4()?;
        let code = if (0xd800..0xdc00).contains(&first) {
            if self.bytes.get(self.at..self.at + 2) != Some(b"\\u") {
                return Err(self.fail("half of a surrogate pair in a string"));
            }
            self.at += 2;
            let second = self.hex4()?;
            if !(0xdc00..0xe000).contains(&second) {
                return Err(self.fail("half of a surrogate pair in a string"));
            }
            0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
        } else {
            first
        };
        char::from_u32(code).ok_or_else(|| self.fail("half of a surrogate pair in a string"))
    }

    fn hex4(&mut self) -> Result<u32, Malformed> {
        let digits = self.bytes.get(self.at..self.at + 4).unwrap_or_default();
        let mut code = 0;
        for digit in digits {
            let Some(value) = char::from(*digit).to_digit(16) else {
                return Err(self.fail("expected four hexadecimal digits"));
            };
            code = code * 16 + value;
        }
        if digits.len() != 4 {
            return Err(self.fail("expected four hexadecimal digits"));
        }
        self.at += 4;
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The tree as `serde_json` would parse it, where the last duplicate wins.
    fn plain(node: &JsonNode) -> serde_json::Value {
        match &node.value {
            Json::Null => serde_json::Value::Null,
            Json::Bool(flag) => (*flag).into(),
            Json::Number(text) => text.parse::<f64>().unwrap().into(),
            Json::String(text) => text.as_ref().into(),
            Json::Array(list) => list.iter().map(plain).collect(),
            Json::Object(members) => members.iter().map(|m| (m.name.to_string(), plain(&m.node))).collect(),
        }
    }

    fn check(text: &str) {
        match (read(text), serde_json::from_str::<serde_json::Value>(text)) {
            (Ok(ours), Ok(theirs)) => {
                let ours = plain(&ours);
                let theirs = plain(&from_value(&theirs));
                assert_eq!(ours, theirs, "{text}");
            }
            (Err(_), Err(_)) => {}
            (ours, theirs) => panic!("{text}: {ours:?} against {theirs:?}"),
        }
    }

    #[test]
    fn agrees_with_serde_json_on_the_corners() {
        for text in [
            "",
            " ",
            "{}",
            "[]",
            "[1,]",
            "{\"a\":1,}",
            "01",
            "-",
            "-0",
            "1.",
            "1e",
            "1E+2",
            "\"\\u00e9\"",
            "\"\\ud83d\\ude00\"",
            "\"\\ud83d\"",
            "\"\\udc00\"",
            "\"\\x\"",
            "\"a\nb\"",
            "tru",
            "nullx",
            "{\"a\" 1}",
            "{a:1}",
            "\"é\"",
            "[1] 2",
            "\u{feff}{}",
            "\"\\u12\"",
            "{\"a\":1,\"a\":2}",
            "\"\\",
            "\"",
            "[",
            "{\"a\"",
        ] {
            check(text);
        }
        check(&"[".repeat(200));
        check(&format!("{}{}", "[".repeat(127), "]".repeat(127)));
        check(&format!("{}{}", "[".repeat(128), "]".repeat(128)));
    }

    #[test]
    fn places_are_counted_in_characters() {
        let text = "aé\nüb\n";
        assert_eq!(lines_and_columns(text, &[6, 0, 3, 4, 3, 8]), [(2, 2), (1, 1), (1, 3), (2, 1), (1, 3), (3, 1)]);
        assert_eq!(line_and_column(text, 6), (2, 2));
    }

    #[test]
    fn keeps_duplicates_and_places() {
        let text = "{\n \"a\": 1,\n \"a\": [true]}";
        let Json::Object(members) = read(text).unwrap().value else { panic!("no object") };
        let places: Vec<_> =
            members.iter().map(|m| (m.name.as_ref(), line_and_column(text, m.offset.unwrap()))).collect();
        assert_eq!(places, [("a", (2, 2)), ("a", (3, 2))]);
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json(text in r#"([\[\]{},:"\\ue0-9.tfn\-+ ]|true|null|"a"|\\u00e9){0,24}"#) {
            check(&text);
        }
    }
}
