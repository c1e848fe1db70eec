//! What a space defines, told to callers: its tables and what else there is, and what a file does not have of it.

/// What a space may define.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ObjectKind {
    /// A table; always made.
    Table,
    /// An index of a table; always made.
    Index,
    /// A view.
    View,
    /// A virtual table: full text or R*Tree.
    VirtualTable,
    /// A trigger of the app's.
    Trigger,
    /// `user_version` or `application_id`; always set.
    Pragma,
}

impl ObjectKind {
    /// `table`, `index`, `view`, `virtual table`, `trigger` or `pragma`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Index => "index",
            Self::View => "view",
            Self::VirtualTable => "virtual table",
            Self::Trigger => "trigger",
            Self::Pragma => "pragma",
        }
    }
}

/// One thing that a space defines.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct SpaceObject {
    /// What it is.
    pub kind: ObjectKind,
    /// Its name.
    pub name: String,
    /// Of an index, the table.
    pub table: Option<String>,
    /// The CREATE statement, as a file of the space had it; of a pragma, its number.
    pub sql: String,
}

/// Something that a clone does not have.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct LeftOut {
    /// What it is.
    pub kind: ObjectKind,
    /// Its name.
    pub name: String,
    /// Of an index, the table.
    pub table: Option<String>,
    /// Why, in words.
    pub reason: String,
}

/// An index whose name something else in the file has already.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct RenamedIndex {
    /// Its table.
    pub table: String,
    /// Its name in the space.
    pub index: String,
    /// Its name in the clone.
    pub name: String,
}
