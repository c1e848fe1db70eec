//! Why a table cannot be tracked, or a column cannot be of a kind. The checks are in `schema/eligibility.rs`.

use thiserror::Error;

use crate::config::ColumnKind;
use crate::document::affinity::Affinity;

/// Why a table cannot be tracked, and what to do instead.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// There is no such table.
    #[error("there is no such table")]
    NoSuchTable,
    /// It has no primary key, so nothing names its rows on every replica alike.
    #[error(
        "it has no PRIMARY KEY, so nothing names its rows on every replica; give it one, a UUID in a TEXT column for instance"
    )]
    NoPrimaryKey,
    /// Its key is an alias of the rowid.
    #[error(
        "its INTEGER PRIMARY KEY is handed out by each file on its own: two machines will create the same id, online too, \
         and the two rows will be merged into one; AUTOINCREMENT does not help. Use UUID keys in a TEXT or BLOB column; \
         --allow-integer-key is only for ids that the app draws so that no two machines draw the same"
    )]
    IntegerKey,
    /// A migration tool keeps in it what it has applied to this file. Left out of
    /// [`Selection::All`](crate::Selection::All); by its name it can be tracked.
    #[error(
        "it is the list of a migration tool: if it travelled, one machine's migration would make the others skip \
         theirs; track it by its name if it is data after all"
    )]
    Migrations,
    /// It holds sessions or a cache. Left out of [`Selection::All`](crate::Selection::All); by its name it can be
    /// tracked.
    #[error(
        "it holds sessions or a cache, which belong to one machine; track it by its name if it is data after all"
    )]
    Sessions,
    /// It was untracked by its name. Left out of [`Selection::All`](crate::Selection::All) until it is tracked by its
    /// name.
    #[error("it was untracked by its name; track it by its name to begin again")]
    Untracked,
    /// It may be a table that was untracked by its name, under another name or while a migration makes it anew. Left out of
    /// [`Selection::All`](crate::Selection::All) until it is tracked by its name.
    #[error(
        "it has the columns of '{0}', which was untracked by its name, and may be that table under another name; track it by \
         its name if it is another"
    )]
    MayBeUntracked(String),
    /// The statement of one of its UNIQUE indexes is not understood.
    #[error("its index {0} has a CREATE statement that Driftless cannot read; drop it and make it again")]
    UnreadableIndex(String),
    /// Some of its rows break its own foreign keys.
    #[error(
        "{0} of its rows refer to rows that are not there (PRAGMA foreign_key_check lists them), and would be parked everywhere; repair them first"
    )]
    Orphans(u64),
    /// Writing to it needs what only the application has.
    #[error(
        "nothing but your application can write to it ({0}): it uses a function or a collation that SQLite itself does not have"
    )]
    NeedsApplication(String),
    /// It is a virtual table.
    #[error("it is a virtual table; track the tables that its contents come from")]
    Virtual,
    /// It belongs to a virtual table.
    #[error("it is the storage of a virtual table, which SQLite fills itself")]
    Shadow,
    /// It is a view.
    #[error("it is a view; track the tables under it")]
    View,
    /// It belongs to SQLite or to Driftless.
    #[error("it is an internal table")]
    Internal,
    /// A collation in its key was registered by an application.
    #[error(
        "its primary key uses the collation {0}, which only your application knows; use BINARY, NOCASE or RTRIM in the key"
    )]
    CustomCollation(String),
    /// A column has no name.
    #[error("one of its columns has the empty name; rename it")]
    NamelessColumn,
    /// The name of the table or of a column is too long.
    #[error("its name or the name of a column is longer than 1,024 bytes")]
    LongName,
    /// A column cannot be of the kind that was asked for.
    #[error("column '{column}' cannot be a {kind}: {why}")]
    Kind {
        /// The column, as the caller named it.
        column: String,
        /// The kind asked for.
        kind: ColumnKind,
        /// Why, and what to do instead.
        why: KindRefusal,
    },
}

impl Refusal {
    /// Whether the table holds data and cannot be tracked as it is, so that somebody should change it. Otherwise it is left
    /// out of [`Selection::All`](crate::Selection::All) for what it is for, or because somebody said so.
    pub fn is_shape(&self) -> bool {
        !matches!(
            self,
            Self::Migrations
                | Self::Sessions
                | Self::Untracked
                | Self::MayBeUntracked(_)
                | Self::Virtual
                | Self::Shadow
                | Self::View
        )
    }
}

/// Why a column cannot be of a kind, and what to do instead.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KindRefusal {
    /// The table has no such column.
    #[error("the table has no such column")]
    NoSuchColumn,
    /// It is generated.
    #[error("it is generated, and every copy computes it by itself; name a column that it is computed from")]
    Generated,
    /// It is part of the primary key.
    #[error("it is part of the primary key, which names the row; use another column")]
    Key,
    /// Its name holds a line break.
    #[error("its name holds a line break; rename it")]
    Newline,
    /// It turns what is written into something else.
    #[error("its declared type gives it {0} affinity; {way_out}", way_out = way_out(*.0))]
    Affinity(Affinity),
}

fn way_out(affinity: Affinity) -> &'static str {
    match affinity {
        Affinity::Text => "a counter is declared INTEGER, or without a type",
        Affinity::Real => "a counter is declared INTEGER and a text TEXT; a REAL can be neither",
        _ => "a text is declared TEXT, or without a type",
    }
}
