//! The view model.

/// A report: a headline, sections, and a last line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// What it comes down to.
    pub headline: String,
    /// What there is to read.
    pub sections: Vec<Section>,
    /// What to do next.
    pub footer: Vec<String>,
}

/// A part of a report.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Section {
    /// Its title.
    pub title: String,
    /// Its rows.
    pub rows: Vec<Row>,
}

/// How a row is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Something new.
    Add,
    /// Something that changes.
    Change,
    /// Something replaced.
    Replace,
    /// Something that goes.
    Remove,
    /// Something that becomes ours.
    Adopt,
    /// A resource that Bailiwick no longer manages.
    Forget,
    /// Done well.
    Good,
    /// Not done.
    Bad,
    /// Needs attention.
    Warn,
    /// Worth knowing.
    Note,
}

/// One row: a mark, a title, where it is, and details below.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// How it is marked.
    pub mark: Mark,
    /// What it is about.
    pub title: String,
    /// Where it is.
    pub place: String,
    /// Sentences.
    pub notes: Vec<String>,
    /// Fields and how they change.
    pub details: Vec<Detail>,
}

/// A field of a resource, shown.
#[derive(Clone, Debug, PartialEq)]
pub enum Detail {
    /// A field with a short value.
    Value {
        /// The path.
        path: String,
        /// The value before, if it changes.
        before: Option<String>,
        /// The value after; absent when it goes.
        after: Option<String>,
    },
    /// A document, line by line in words.
    Lines {
        /// The path.
        path: String,
        /// The lines.
        lines: Vec<String>,
    },
    /// Two texts, to be shown as a difference.
    Diff {
        /// The path.
        path: String,
        /// The text before.
        before: String,
        /// The text after.
        after: String,
    },
}
