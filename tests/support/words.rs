//! Words that read like a translation. `Phrases` finds them in a text.

use std::collections::BTreeSet;

/// Phrases that no text for people contains: lower case, matched as whole words, across line breaks.
#[derive(Debug, Clone, Copy)]
pub struct Phrases {
    pub rejected: &'static [&'static str],
    /// Longer phrases in which a rejected one is right.
    pub allowed: &'static [&'static str],
}

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
    ],
    allowed: &[
        "there is no",
        "there are no",
        "which is no longer",
        "is no longer",
        "are no longer",
        "is no more",
        "are no more",
    ],
};

/// A word, in lower case and without the characters around it.
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
    let sign = |c: char| !c.is_alphanumeric();
    let pieces =
        text.lines().enumerate().flat_map(|(at, line)| line.split_whitespace().map(move |piece| (at + 1, piece)));
    pieces
        .map(|(line, piece)| Word {
            text: piece.trim_matches(sign).to_lowercase(),
            line,
            parted: (piece.starts_with(sign), piece.ends_with(sign)),
        })
        .collect()
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
