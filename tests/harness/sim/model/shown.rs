//! What a file showed when its engine last looked, and what may have changed since without a trigger of ours: the tables as they
//! are read, the rows that the app touched, and the tables that lost our triggers.

use std::collections::{BTreeMap, BTreeSet};

use driftless_protocol::{ReplicaId, Seq, StateVector};
use rusqlite::Connection;

use super::super::always::unreadable;
use super::super::schema::quote;
use super::super::unwatched::aside;
use super::super::world::Checked;
use super::Model;
use super::behind::Behind;

/// A table and a key, folded as the key compares.
pub(in super::super) type RowId = (String, String);

/// The values of a row, by column, as SQL literals.
pub(in super::super) type Row = BTreeMap<String, String>;

/// All rows of all tables.
pub(in super::super) type Snapshot = BTreeMap<RowId, Row>;

/// The model's knowledge of a file.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    pub(super) name: Option<ReplicaId>,
    pub(super) vector: StateVector,
    /// The rows that it showed when nothing was waiting to be captured.
    pub(super) shown: Snapshot,
    /// The rows that it showed when the engine last began to work, if something was waiting then.
    pub(super) attempt: Option<Snapshot>,
    /// The rows that were parked in it then.
    pub(super) parked: BTreeSet<RowId>,
    /// Rows that the app touched, whether or not they look different now.
    pub(super) touched: BTreeSet<RowId>,
    /// Between which times the app wrote what waits.
    pub(super) since: Option<(i64, i64)>,
    /// Earlier values that the documents may still hold of rows that waited when something was captured.
    pub(super) behind: Behind,
    pub(super) unwatched: Option<Unwatched>,
}

/// Tables that lost our triggers and are not yet compared with the rows that they had shown.
#[derive(Debug, Clone, Default)]
pub(super) struct Unwatched {
    /// All triggers that there should be.
    pub(super) triggers: BTreeSet<String>,
    pub(super) tables: BTreeMap<String, Lost>,
    /// The first and last time of the engine's looks. Rows that it finds get a time between them.
    pub(super) looked: Option<(i64, i64)>,
    /// How many own changesets there were before any of them could tell of these tables.
    pub(super) from: u64,
    /// Whether the file took another name meanwhile, so that it is not known what was captured under the old one.
    pub(super) renamed: bool,
}

/// A table that lost triggers.
#[derive(Debug, Clone, Default)]
pub(super) struct Lost {
    /// Whether it lost all of them, as one does that is made anew.
    pub(super) all: bool,
    /// The state vector of the rows that the table shows: the engine writes nothing into it until it is compared.
    pub(super) seen: StateVector,
    /// Between which times the app wrote since.
    pub(super) since: Option<(i64, i64)>,
    /// Whether it may have done so under triggers that were made again before the table was compared.
    pub(super) watched: bool,
    /// Whether the engine has yet to decide about it.
    pub(super) undecided: bool,
    /// Rows that were gone before it lost them. A table that is made again empty need not be filled with these.
    pub(super) gone: BTreeSet<RowId>,
}

/// A table as far as it matters here.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) deletes_win: bool,
    /// In the order of the key; whether case is ignored.
    pub(super) key: Vec<(String, bool)>,
    /// Columns of which one value shows and others are kept.
    pub(super) registers: BTreeSet<String>,
}

impl Table {
    pub(super) fn key_of(&self, row: &Row) -> String {
        let values = self.key.iter().map(|(name, folds)| {
            let value = row.get(name).cloned().unwrap_or_default();
            if *folds { value.to_ascii_lowercase() } else { value }
        });
        values.collect::<Vec<_>>().join(", ")
    }
}

impl Known {
    /// The engine has decided about the rows that it changes, so their new values are no writes of the app's: also in a table that is
    /// compared over several turns, of which the others are to come.
    pub(super) fn keep_shown(&mut self, before: &Snapshot, after: &Snapshot) {
        for row in difference(before, after) {
            match after.get(&row) {
                Some(values) => self.shown.insert(row, values.clone()),
                None => self.shown.remove(&row),
            };
        }
    }

    /// Keeps the known rows of tables that lost triggers.
    pub(super) fn keep_lost(&self, look: &mut Snapshot) {
        let is_lost = |table: &str| {
            self.unwatched.as_ref().is_some_and(|unwatched| unwatched.tables.contains_key(table))
        };
        look.retain(|(table, _), _| !is_lost(table));
        let kept = self.shown.iter().filter(|((table, _), _)| is_lost(table));
        look.extend(kept.map(|(row, values)| (row.clone(), values.clone())));
    }

    /// Keeps the known rows of tables that the engine has not decided about.
    pub(super) fn keep_undecided(&self, look: &mut Snapshot) {
        let is_kept = |(table, _): &RowId| is_kept(self.unwatched.as_ref(), table);
        look.retain(|row, _| !is_kept(row));
        let kept = self.shown.iter().filter(|(row, _)| is_kept(row));
        look.extend(kept.map(|(row, values)| (row.clone(), values.clone())));
    }
}

impl Model {
    pub(super) fn snapshot(&self, app: &Connection) -> Checked<Snapshot> {
        let mut snapshot = Snapshot::new();
        let aside = aside(app).map_err(unreadable)?;
        for table in &self.tables {
            // As long as it is there, the engine writes into that.
            let stands_for = aside.as_ref().filter(|(name, _)| *name == table.name.to_lowercase());
            let name = stands_for.map_or(&table.name, |(_, aside)| aside);
            // Not cached: a statement that is kept does not notice that its table is gone.
            let mut statement = match app.prepare(&format!("SELECT * FROM {}", quote(name))) {
                Ok(statement) => statement,
                // A node that joined has no tables yet, or one is being made anew.
                Err(_) => continue,
            };
            let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
            let mut rows = statement.query([]).map_err(unreadable)?;
            while let Some(found) = rows.next().map_err(unreadable)? {
                let mut row = Row::new();
                for (at, name) in names.iter().enumerate() {
                    row.insert(name.clone(), crate::database::render(found.get_ref(at).map_err(unreadable)?));
                }
                snapshot.insert((table.name.clone(), table.key_of(&row)), row);
            }
        }
        Ok(snapshot)
    }

    /// The rows that are listed as parked.
    pub(super) fn parked_in(&self, app: &Connection) -> Checked<BTreeSet<RowId>> {
        let sql = "SELECT \"table\", \"key\" FROM driftless_parked";
        let listed: Vec<(String, String)> = app
            .prepare_cached(sql)
            .and_then(|mut statement| {
                statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
            })
            .map_err(unreadable)?;
        let id = |(table, key): (String, String)| (table.clone(), self.fold(&table, &key));
        Ok(listed.into_iter().map(id).collect())
    }

    /// A key as it is listed, folded like those that were read from tables.
    pub(in super::super) fn fold(&self, table: &str, key: &str) -> String {
        let folds = |table: &&Table| table.key.iter().any(|(_, folds)| *folds);
        match self.tables.iter().filter(|known| known.name == table).find(folds) {
            Some(_) => key.to_ascii_lowercase(),
            None => key.to_owned(),
        }
    }
}

/// Whether an engine has yet to decide about a table.
pub(super) fn is_kept(unwatched: Option<&Unwatched>, table: &str) -> bool {
    unwatched.and_then(|unwatched| unwatched.tables.get(table)).is_some_and(|lost| lost.undecided)
}

/// A span of time that holds this one too. Clocks may go backwards.
pub(super) fn widened(span: Option<(i64, i64)>, now: i64) -> Option<(i64, i64)> {
    Some(span.map_or((now, now), |(least, most)| (least.min(now), most.max(now))))
}

pub(super) fn has_rows(snapshot: &Snapshot, table: &str) -> bool {
    snapshot.keys().any(|(of, _)| of == table)
}

/// Rows that are not the same in both.
pub(super) fn difference(before: &Snapshot, after: &Snapshot) -> Vec<RowId> {
    let rows: BTreeSet<&RowId> = before.keys().chain(after.keys()).collect();
    rows.into_iter().filter(|row| before.get(*row) != after.get(*row)).cloned().collect()
}

/// A file's name, its state vector, and whether nothing waits to be captured.
pub(super) fn state(app: &Connection) -> rusqlite::Result<(ReplicaId, StateVector, bool)> {
    let name: Vec<u8> = app
        .prepare_cached("SELECT value FROM _driftless_meta WHERE name = 'replica'")?
        .query_row([], |row| row.get(0))?;
    let mut statement = app.prepare_cached("SELECT replica, seq FROM _driftless_progress")?;
    let entries = statement.query_map([], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, i64>(1)?)))?;
    let mut vector = StateVector::new();
    let id = |bytes: &[u8]| ReplicaId::from_slice(bytes).expect("an id in the engine's own table");
    for entry in entries {
        let (replica, seq) = entry?;
        if let Some(seq) = Seq::new(seq as u64) {
            vector.raise(id(&replica), seq);
        }
    }
    let clean = app
        .prepare_cached("SELECT NOT EXISTS (SELECT 1 FROM _driftless_dirty)")?
        .query_row([], |row| row.get(0))?;
    Ok((id(&name), vector, clean))
}

/// Rows that are parked in a file, as [`Model::check`] takes them.
pub(in super::super) fn parked(model: &Model, path: &std::path::Path) -> Checked<Snapshot> {
    use driftless_protocol::Value;
    use rusqlite::types::ValueRef;
    let literal = |value: &Value<'_>| {
        crate::database::render(match value {
            Value::Null => ValueRef::Null,
            Value::Integer(integer) => ValueRef::Integer(*integer),
            Value::Real(real) => ValueRef::Real(*real),
            Value::Text(text) => ValueRef::Text(text),
            Value::Blob(blob) => ValueRef::Blob(blob),
        })
    };
    let parked = driftless::parked(path).map_err(unreadable)?.into_iter().map(|parked| {
        let row = parked.row.iter().map(|(name, value)| (name.clone(), literal(value))).collect();
        let key = model.fold(&parked.table, &parked.key);
        ((parked.table, key), row)
    });
    Ok(parked.collect())
}
