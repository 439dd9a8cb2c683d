//! Words that read like a translation. `Phrases` finds them in a text.

use std::collections::BTreeSet;

/// Phrases that no text for people contains: lower case, matched as whole words, across line breaks.
#[derive(Debug, Clone, Copy)]
pub struct Phrases {
    pub rejected: &'static [&'static str],
    /// Longer phrases in which a rejected one is right: those that every text may contain, and those of this kind of text.
    pub allowed: [&'static [&'static str]; 2],
}

/// Longer phrases that every text may contain.
const ALLOWED: &[&str] = &[
    "there is no",
    "there are no",
    "which is no longer",
    "is no longer",
    "are no longer",
    "is no more",
    "are no more",
    "stands for",
    "stands in for",
    // A finding.
    "nobody trusted",
];

pub const REJECTED: Phrases = Phrases {
    rejected: &[
        "anew",
        "in spite of",
        "merely",
        "as it were",
        "moved since",
        "nothing moved",
        "nobody",
        "somebody",
        "does what is left",
        "look at",
        "looked at",
        "looks at",
        "looking at",
        "look into",
        "mend",
        "mends",
        "mended",
        "told",
        "tells",
        "give back",
        "given back",
        "gives back",
        "left alone",
        "relinquish",
        "relinquished",
        "sound",
        "cut off",
        "stands",
        "stood",
        "is no",
        "are no",
        "in a circle",
        "the spec asks for it",
        "asks for it",
        "our mark",
        "our marks",
        "a mark of ours",
        "is ours",
        "not ours",
        "no longer ours",
        "thing",
        "things",
        "hop",
        "hops",
        "superseded",
        "shall",
        "by hand",
        "take it away",
        "takes it away",
        "take away",
        "let go of",
        "no sign of life",
        "it is there",
        "it is not there",
        "still there",
        "waits for",
        "wait for each other",
        "not tried",
        "the home of",
        "of the former",
        "home of",
        "what is there",
        "what was there",
        "whatever is there",
        "is there already",
        "it was there",
        "reclaim",
        "reclaims",
        "reclaimed",
        "wish",
        "wishes",
        "wished",
        "turn the answer",
        "turns the answer",
        "laid over",
        "learnt of",
        "heed",
        "heeds",
        "heeded",
        "made again",
        "taken away",
        "takes away",
        "bears a mark",
        "befalls",
        "abroad",
        "on its way out",
    ],
    allowed: [
        ALLOWED,
        // A title of the demo.
        &["the bucket policy by hand"],
    ],
};

/// The same for comments, in which some more phrases are right.
pub const IN_COMMENTS: Phrases = Phrases {
    rejected: REJECTED.rejected,
    allowed: [
        ALLOWED,
        &[
            "is no such",
            "waits for a",
            "waits for an",
            "waits for answers",
            "waits for its",
            "waits for something",
            "waits for the",
        ],
    ],
};

/// A word, in lower case, without the characters around it and a possessive `'s`. Hyphens and underscores separate
/// words.
struct Word {
    text: String,
    line: usize,
    /// Whether characters before or after it separate it from its neighbors.
    parted: (bool, bool),
}

impl Phrases {
    /// The rejected phrases of a text in their order, each with its line, from 1.
    pub fn find(&self, text: &str) -> Vec<(usize, &'static str)> {
        let words = words(text);
        let allowed: BTreeSet<usize> = self
            .allowed
            .iter()
            .copied()
            .flatten()
            .flat_map(|phrase| places(&words, phrase).into_iter().flat_map(|at| at..at + phrase.split(' ').count()))
            .collect();
        let mut found: Vec<(usize, &'static str)> = self
            .rejected
            .iter()
            .flat_map(|phrase| places(&words, phrase).into_iter().map(move |at| (at, *phrase)))
            .filter(|(at, _)| !allowed.contains(at))
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(at, phrase)| (words[at].line, phrase)).collect()
    }
}

fn words(text: &str) -> Vec<Word> {
    let is_sign = |c: char| !c.is_alphanumeric() && c != '\'';
    let parts = |signs: &str| !signs.chars().all(|c| matches!(c, '-' | '_'));
    let mut words = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        for piece in text.split_whitespace() {
            let mut rest = piece;
            if piece.chars().all(is_sign) {
                words.push(Word { text: String::new(), line, parted: (true, true) });
            }
            while let Some(begin) = rest.find(|c| !is_sign(c)) {
                let (before, inside) = rest.split_at(begin);
                let (word, after) = inside.split_at(inside.find(is_sign).unwrap_or(inside.len()));
                let signs = &after[..after.find(|c| !is_sign(c)).unwrap_or(after.len())];
                let bare = word.trim_matches('\'');
                words.push(Word {
                    text: bare.strip_suffix("'s").unwrap_or(bare).to_lowercase(),
                    line,
                    parted: (parts(before) || word.starts_with('\''), parts(signs) || word.ends_with('\'')),
                });
                rest = after;
            }
        }
    }
    words
}

/// The indices of the words at which a phrase begins.
fn places(words: &[Word], phrase: &str) -> Vec<usize> {
    let parts: Vec<&str> = phrase.split(' ').collect();
    let same = |window: &[Word]| {
        window.iter().zip(&parts).all(|(word, part)| word.text == *part)
            && window.windows(2).all(|pair| !pair[0].parted.1 && !pair[1].parted.0)
    };
    let begins = words.windows(parts.len()).enumerate().filter(|(_, window)| same(window));
    begins.map(|(at, _)| at).collect()
}
