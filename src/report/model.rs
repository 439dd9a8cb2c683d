//! The view model.

/// A report: a headline, sections, and a last line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// The verdict or summary.
    pub headline: String,
    /// The sections.
    pub sections: Vec<Section>,
    /// The next steps for the user.
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

/// The mark of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A new resource.
    Add,
    /// A change.
    Change,
    /// A replacement.
    Replace,
    /// A deletion.
    Remove,
    /// A resource that Bailiwick adopts.
    Adopt,
    /// A resource that Bailiwick releases.
    Forget,
    /// A success.
    Good,
    /// A failure.
    Bad,
    /// Needs attention.
    Warn,
    /// Worth knowing.
    Note,
}

/// One row: a mark, a title, a place, and details below.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The mark.
    pub mark: Mark,
    /// The subject.
    pub title: String,
    /// The place: an account or a cluster.
    pub place: String,
    /// Sentences below the title.
    pub notes: Vec<String>,
    /// The fields and their changes.
    pub details: Vec<Detail>,
}

/// A field of a resource.
#[derive(Clone, Debug, PartialEq)]
pub enum Detail {
    /// A field with a short value.
    Value {
        /// The path.
        path: String,
        /// The value before, if it changes.
        before: Option<String>,
        /// The value after the change; absent if it is removed.
        after: Option<String>,
    },
    /// A document in words, line by line.
    Lines {
        /// The path.
        path: String,
        /// The lines.
        lines: Vec<String>,
    },
    /// Two texts, shown as a diff.
    Diff {
        /// The path.
        path: String,
        /// The text before.
        before: String,
        /// The text after.
        after: String,
    },
}
