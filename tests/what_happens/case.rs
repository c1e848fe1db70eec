//! The language of the cases.
//!
//! A case is written down in the order of time: who writes what, when they meet, and what everybody then has. How it is run is
//! told in `case/play.rs`.

use driftless::{ColumnKind, TableOptions};

mod play;

/// One of the replicas. With two of them, b does what c would.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    A,
    B,
    C,
}
use Who::{A, B, C};

#[derive(Debug, Clone)]
enum Step {
    Sql(Who, String),
    Refused(Who, String, String),
    Track(Who, String),
    Untrack(Who, String),
    /// Table, old name, new name.
    Rename(Who, [String; 3]),
    /// Table, column.
    Kind(Who, [String; 2], ColumnKind),
    Clock(Who, i64),
    Reopen(Who),
    Copy(Who, Who),
    Vacuum(Who, Who),
    Clone(Who, Who),
    Save(Who),
    Restore(Who),
    Meet(Meeting),
}

/// Who meets, and what holds afterwards; of whom, or of all that met.
#[derive(Debug, Clone, Default)]
struct Meeting {
    parties: Vec<Who>,
    /// Whether merging may bring forth changesets, as where definitions differ that are then agreed upon.
    settles: bool,
    shows: Vec<(Option<Who>, String, Vec<String>)>,
    /// Table, key, a part of the reason.
    parked: Vec<(Option<Who>, [String; 3])>,
    conflicts: Vec<String>,
    /// A table, and its columns that are no registers.
    kinds: Vec<(String, Vec<String>)>,
    /// A table, and a part of what `status` says of it; nothing if that is `None`.
    remarks: Vec<(Option<Who>, String, Option<String>)>,
}

/// How a table is tracked: at one replica, or at all.
#[derive(Debug, Clone)]
struct Tracked {
    at: Option<Who>,
    table: String,
    options: fn() -> TableOptions,
}

/// A case: see [`case`].
#[derive(Debug, Clone)]
#[must_use = "a case that is not run claims nothing: end it with `holds`"]
pub(crate) struct Case {
    both: String,
    others: Vec<(Who, String)>,
    options: Vec<Tracked>,
    untracked: Vec<String>,
    steps: Vec<Step>,
    one_schema: bool,
}

/// A case that begins with a file of these statements at each replica, all tables tracked, everything agreed upon.
pub(crate) fn case(both: &str) -> Case {
    Case {
        both: both.to_owned(),
        others: Vec::new(),
        options: Vec::new(),
        untracked: Vec::new(),
        steps: Vec::new(),
        one_schema: true,
    }
}

impl Case {
    /// Tracks this table with other options than the default.
    pub(crate) fn with(mut self, table: &str, options: fn() -> TableOptions) -> Self {
        self.options.push(Tracked { at: None, table: table.to_owned(), options });
        self
    }

    /// Tracks this table with other options at one of them.
    pub(crate) fn with_at(mut self, who: Who, table: &str, options: fn() -> TableOptions) -> Self {
        self.options.insert(0, Tracked { at: Some(who), table: table.to_owned(), options });
        self
    }

    /// The file of `who` begins with these statements, and not with those of the others.
    pub(crate) fn has_instead(mut self, who: Who, statements: &str) -> Self {
        self.others.push((who, statements.to_owned()));
        self.schemas_differ()
    }

    /// Does not track this table.
    pub(crate) fn leaves(mut self, table: &str) -> Self {
        self.untracked.push(table.to_owned());
        self
    }

    /// The replicas' tables differ in their definitions, so that only what the case says is compared.
    pub(crate) fn schemas_differ(mut self) -> Self {
        self.one_schema = false;
        self
    }

    fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// a runs these statements, later than everything above.
    pub(crate) fn a(self, sql: &str) -> Self {
        self.step(Step::Sql(A, sql.to_owned()))
    }

    /// b runs these statements, later than everything above.
    pub(crate) fn b(self, sql: &str) -> Self {
        self.step(Step::Sql(B, sql.to_owned()))
    }

    /// c runs these statements, later than everything above.
    pub(crate) fn c(self, sql: &str) -> Self {
        self.step(Step::Sql(C, sql.to_owned()))
    }

    /// SQLite refuses these statements at `who`, and the error says `why`.
    pub(crate) fn refused(self, who: Who, sql: &str, why: &str) -> Self {
        self.step(Step::Refused(who, sql.to_owned(), why.to_owned()))
    }

    /// Tracks a table that came later, with the default options.
    pub(crate) fn tracks(self, who: Who, table: &str) -> Self {
        self.step(Step::Track(who, table.to_owned()))
    }

    /// Ceases to track a table.
    pub(crate) fn untracks(self, who: Who, table: &str) -> Self {
        self.step(Step::Untrack(who, table.to_owned()))
    }

    /// A column is renamed, as by `driftless rename-column`.
    pub(crate) fn renames(self, who: Who, table: &str, old: &str, new: &str) -> Self {
        self.step(Step::Rename(who, [table, old, new].map(str::to_owned)))
    }

    /// A column gets another kind, as by `driftless set-kind`.
    pub(crate) fn sets_kind(self, who: Who, table: &str, column: &str, kind: ColumnKind) -> Self {
        self.step(Step::Kind(who, [table, column].map(str::to_owned), kind))
    }

    /// Whatever `who` wrote just now was written by a clock that shows this, in milliseconds since 1970.
    pub(crate) fn by_a_clock_at(self, who: Who, at: i64) -> Self {
        self.step(Step::Clock(who, at))
    }

    /// The engine at `who` is closed and opened again.
    pub(crate) fn reopens(self, who: Who) -> Self {
        self.step(Step::Reopen(who))
    }

    /// `to`'s file is replaced by a copy of `from`'s, as by `cp`.
    pub(crate) fn copies(self, from: Who, to: Who) -> Self {
        self.step(Step::Copy(from, to))
    }

    /// `to`'s file is replaced by what `VACUUM INTO` makes of `from`'s.
    pub(crate) fn vacuums(self, from: Who, to: Who) -> Self {
        self.step(Step::Vacuum(from, to))
    }

    /// `to` begins anew with an empty file and a snapshot of `from`'s, as by `driftless clone`.
    pub(crate) fn clones(self, from: Who, to: Who) -> Self {
        self.step(Step::Clone(from, to))
    }

    /// A backup is made of `who`'s file.
    pub(crate) fn saves(self, who: Who) -> Self {
        self.step(Step::Save(who))
    }

    /// `who`'s file becomes again what it was when it was saved.
    pub(crate) fn restores(self, who: Who) -> Self {
        self.step(Step::Restore(who))
    }

    /// Everybody meets, and nobody's merging brings forth a changeset.
    pub(crate) fn meet(self) -> Self {
        self.meet_of(&[A, B, C])
    }

    /// Only these meet.
    pub(crate) fn meet_of(self, parties: &[Who]) -> Self {
        self.step(Step::Meet(Meeting { parties: parties.to_vec(), ..Meeting::default() }))
    }

    /// Everybody meets, and hears also what comes of that, as where definitions differ that are then agreed upon.
    pub(crate) fn settle(self) -> Self {
        self.step(Step::Meet(Meeting { parties: vec![A, B, C], settles: true, ..Meeting::default() }))
    }

    fn last(&mut self) -> &mut Meeting {
        match self.steps.last_mut() {
            Some(Step::Meet(meeting)) => meeting,
            _ => panic!("what holds is said after a meeting"),
        }
    }

    fn show(mut self, who: Option<Who>, what: &str, rows: &[&str]) -> Self {
        let rows = rows.iter().map(|row| (*row).to_owned()).collect();
        self.last().shows.push((who, what.to_owned(), rows));
        self
    }

    /// A table, or a query, has these rows at all that met: SQL literals with commas between. Those of a table are sorted
    /// as text.
    pub(crate) fn shows(self, what: &str, rows: &[&str]) -> Self {
        self.show(None, what, rows)
    }

    /// The same at one of them.
    pub(crate) fn shows_at(self, who: Who, what: &str, rows: &[&str]) -> Self {
        self.show(Some(who), what, rows)
    }

    fn park(mut self, who: Option<Who>, parked: [&str; 3]) -> Self {
        self.last().parked.push((who, parked.map(str::to_owned)));
        self
    }

    /// This row is parked everywhere, for a reason that has `why` in it. Rows that a meeting does not name are not
    /// parked.
    pub(crate) fn parks(self, table: &str, key: &str, why: &str) -> Self {
        self.park(None, [table, key, why])
    }

    /// This row is parked at one of them.
    pub(crate) fn parks_at(self, who: Who, table: &str, key: &str, why: &str) -> Self {
        self.park(Some(who), [table, key, why])
    }

    /// In this column several values stand: `notes 'n' title: 'shown' over 'kept', 'kept before that'`. Columns that a
    /// meeting does not name are not in conflict.
    pub(crate) fn conflict(mut self, conflict: &str) -> Self {
        self.last().conflicts.push(conflict.to_owned());
        self
    }

    /// These are the columns of a table that are no registers: `hits: counter`.
    pub(crate) fn kinds(mut self, table: &str, kinds: &[&str]) -> Self {
        let kinds = kinds.iter().map(|kind| (*kind).to_owned()).collect();
        self.last().kinds.push((table.to_owned(), kinds));
        self
    }

    fn remark(mut self, who: Option<Who>, table: &str, words: Option<&str>) -> Self {
        self.last().remarks.push((who, table.to_owned(), words.map(str::to_owned)));
        self
    }

    /// `status` says something of this table at one of them, which has these words in it.
    pub(crate) fn remarks_at(self, who: Who, table: &str, words: &str) -> Self {
        self.remark(Some(who), table, Some(words))
    }

    /// `status` has nothing to say of this table at one of them: it asks nobody, and warns of nothing.
    pub(crate) fn remarks_nothing_at(self, who: Who, table: &str) -> Self {
        self.remark(Some(who), table, None)
    }

    /// Runs the case, with two replicas and with three.
    #[track_caller]
    pub(crate) fn holds(self) {
        self.run_with(2);
        self.run_with(3);
    }

    /// Runs a case that needs three.
    #[track_caller]
    pub(crate) fn holds_of_three(self) {
        self.run_with(3);
    }
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "  both: {}", self.both.trim())?;
        self.steps.iter().try_for_each(|step| writeln!(f, "  {step:?}"))
    }
}
