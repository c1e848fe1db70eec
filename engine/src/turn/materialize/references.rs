//! Rows whose parents are not there: the third stage, judged at the end of a turn on what the first two admitted.
//!
//! Everything that might fit is put in first, and then what has no parent is taken out, again and again until nothing
//! changes. So rows that hold one another, rings and rows that refer to themselves, have one answer: they stay, unless
//! one of them lacks something else.

use std::collections::{BTreeMap, BTreeSet};

use driftless_protocol::{RowKey, Value};
use rusqlite::{Transaction, params_from_iter};

use super::waits;
use super::write::{Effect, Wrote};
use crate::error::{Doing, Result};
use crate::schema::constraints::Reference;
use crate::schema::{Catalog, Child, Target, Tracked};
use crate::store::{Bind, quote, sql, value};

/// Above so many rows of one table, all of its rows are looked at in one query instead.
const MOST_ROWS: usize = 50_000;

/// What is to be looked at when the turn ends.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Rows whose parents are to be looked for, by table.
    checks: BTreeMap<i64, Check>,
    /// Values that rows of `child` may refer to and that are gone.
    gone: Vec<Gone>,
    /// Rows that came, or that now have what others refer to.
    came: BTreeSet<(i64, RowKey)>,
}

/// Which rows of a table.
#[derive(Debug)]
pub(super) enum Check {
    Rows(BTreeSet<RowKey>),
    All,
}

/// Values that are no longer there.
#[derive(Debug)]
pub(super) struct Gone {
    pub(super) child: Child,
    pub(super) values: Vec<Value<'static>>,
}

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        self.checks.is_empty() && self.gone.is_empty() && self.came.is_empty()
    }

    /// Looks for the parents of one row.
    pub(super) fn check(&mut self, table: i64, key: &RowKey) {
        match self.checks.entry(table).or_insert_with(|| Check::Rows(BTreeSet::new())) {
            Check::All => {}
            Check::Rows(rows) if rows.len() >= MOST_ROWS => {
                self.checks.insert(table, Check::All);
            }
            Check::Rows(rows) => {
                rows.insert(key.clone());
            }
        }
    }

    /// Looks for the parents of all rows.
    pub(super) fn check_all(&mut self, table: i64) {
        self.checks.insert(table, Check::All);
    }

    pub(super) fn next_check(&mut self) -> Option<(i64, Check)> {
        self.checks.pop_first()
    }

    pub(super) fn next_gone(&mut self) -> Option<Gone> {
        self.gone.pop()
    }

    /// A row has come, or has its parents now.
    pub(super) fn comes(&mut self, table: i64, key: RowKey) {
        self.came.insert((table, key));
    }

    pub(super) fn next_came(&mut self) -> Option<(i64, RowKey)> {
        self.came.pop_first()
    }

    /// Notes what a write does to those who refer to the row.
    pub(super) fn note(&mut self, tracked: &Tracked, key: &RowKey, wrote: &Wrote, anyone_waits: bool) {
        if !tracked.table.references.is_empty() && wrote.effect != Effect::Went {
            self.check(tracked.id, key);
        }
        if tracked.targets.is_empty() {
            return;
        }
        if anyone_waits && wrote.effect != Effect::Went {
            self.came.insert((tracked.id, key.clone()));
        }
        if let Some(old) = &wrote.old {
            for target in &tracked.targets {
                let unchanged =
                    |places: &Vec<usize>| places.iter().all(|place| !wrote.changed.contains(place));
                if wrote.effect == Effect::Changed && target.places.as_ref().is_some_and(unchanged) {
                    continue;
                }
                self.gone(target, |place| old.get(place).cloned());
            }
        }
    }

    /// Notes that a row has ceased to have the values that `old` gives, by their place, in the columns of `target`.
    pub(super) fn gone(&mut self, target: &Target, old: impl Fn(usize) -> Option<Value<'static>>) {
        let values = match &target.places {
            Some(places) => places.iter().map(|&place| old(place)).collect::<Option<Vec<_>>>(),
            None => None,
        };
        for &child in &target.children {
            match &values {
                // What has a NULL in it, nobody refers to.
                Some(values) if values.contains(&Value::Null) => {}
                Some(values) if self.gone.len() < MOST_ROWS => {
                    self.gone.push(Gone { child, values: values.clone() });
                }
                _ => self.check_all(child.table),
            }
        }
    }
}

/// The tracked table and the reference that a child names.
pub(super) fn reference(catalog: &Catalog, child: Child) -> Option<(&Tracked, &Reference)> {
    let tracked = catalog.get(child.table)?;
    Some((tracked, tracked.table.references.get(child.reference)?))
}

/// Looks for rows that refer to what is gone: they are to be checked.
pub(super) fn look_for_children(
    tx: &Transaction<'_>,
    catalog: &Catalog,
    pending: &mut Pending,
    gone: &Gone,
) -> Result<()> {
    let Some((tracked, reference)) = reference(catalog, gone.child) else { return Ok(()) };
    if !reference.alike || !reference.indexed {
        pending.check_all(tracked.id);
        return Ok(());
    }
    children(tx, tracked, reference, &gone.values, |key| pending.check(tracked.id, &key))
}

/// Calls `each` with the keys of the rows of `tracked` that refer to these values. By an index: for references whose
/// columns have one.
pub(super) fn children(
    tx: &Transaction<'_>,
    tracked: &Tracked,
    reference: &Reference,
    values: &[Value<'static>],
    mut each: impl FnMut(RowKey),
) -> Result<()> {
    let equal =
        reference.from.iter().enumerate().map(|(n, column)| format!("{} = ?{}", quote(column), n + 1));
    let sql = format!(
        "SELECT {} FROM main.{} WHERE {}",
        tracked.table.key_columns(),
        quote(&tracked.table.spelled),
        equal.collect::<Vec<_>>().join(" AND ")
    );
    let doing = "looking for rows that refer to a deleted one";
    sql::each(tx, doing, &sql, params_from_iter(values.iter().map(Bind)), |row| {
        if let Some(key) = key_of(tracked, row)? {
            each(key);
        }
        Ok(())
    })
}

/// The key in the first columns of a row; `None` for one that cannot travel.
pub(super) fn key_of(tracked: &Tracked, row: &rusqlite::Row<'_>) -> Result<Option<RowKey>> {
    let values = (0..tracked.table.key.len()).map(|at| row.get_ref(at).map(value));
    let values = values.collect::<rusqlite::Result<Vec<_>>>().doing("reading a key")?;
    Ok(tracked.table.row_key(&values).ok())
}

/// A row whose parent is not there, or is about to go: which of its references, and the values that no row has.
#[derive(Debug, Clone)]
pub(crate) struct Orphan {
    pub(super) table: i64,
    pub(super) key: RowKey,
    pub(super) reference: usize,
    pub(super) values: Vec<Value<'static>>,
}

impl Orphan {
    /// The number of its table.
    pub(crate) fn table(&self) -> i64 {
        self.table
    }

    pub(crate) fn key(&self) -> &RowKey {
        &self.key
    }
}

/// The references that can be judged: not those to a table in the making, which may lack rows only for now.
fn judged<'a>(catalog: &'a Catalog, tracked: &'a Tracked) -> impl Iterator<Item = usize> + 'a {
    let in_the_making =
        |reference: &Reference| catalog.named(&reference.parent).is_some_and(|parent| parent.settling);
    let references = tracked.table.references.iter().enumerate();
    references.filter(move |(_, reference)| !in_the_making(reference)).map(|(at, _)| at)
}

/// Looks for the parents of one row.
pub(super) fn orphan(
    tx: &Transaction<'_>,
    catalog: &Catalog,
    tracked: &Tracked,
    key: &RowKey,
) -> Result<Option<Orphan>> {
    for at in judged(catalog, tracked) {
        if let Some(orphan) = orphan_by(tx, tracked, at, key)? {
            return Ok(Some(orphan));
        }
    }
    Ok(None)
}

/// Looks for the parent that one of its references names.
pub(super) fn orphan_by(
    tx: &Transaction<'_>,
    tracked: &Tracked,
    at: usize,
    key: &RowKey,
) -> Result<Option<Orphan>> {
    let sql = orphans_sql(tracked, at, &tracked.table.key_condition());
    let key_values = key.values();
    let binds = params_from_iter(key_values.iter().map(Bind));
    let doing = "looking for what a row refers to";
    let values = sql::opt(tx, doing, &sql, binds, |row| referring(tracked, at, row))?;
    Ok(values.map(|values| Orphan { table: tracked.id, key: key.clone(), reference: at, values }))
}

/// Looks for the parents of all rows of a table. A row that lacks several is listed once.
pub(super) fn orphans(tx: &Transaction<'_>, catalog: &Catalog, tracked: &Tracked) -> Result<Vec<Orphan>> {
    let doing = "looking for what the rows of a table refer to";
    let mut all: BTreeMap<RowKey, Orphan> = BTreeMap::new();
    for at in judged(catalog, tracked) {
        sql::each(tx, doing, &orphans_sql(tracked, at, "1"), [], |row| {
            if let Some(key) = key_of(tracked, row)? {
                let values = referring(tracked, at, row).doing(doing)?;
                all.entry(key.clone()).or_insert(Orphan { table: tracked.id, key, reference: at, values });
            }
            Ok(())
        })?;
    }
    Ok(all.into_values().collect())
}

fn referring(
    tracked: &Tracked,
    reference: usize,
    row: &rusqlite::Row<'_>,
) -> rusqlite::Result<Vec<Value<'static>>> {
    let (first, count) = (tracked.table.key.len(), tracked.table.references[reference].from.len());
    (first..first + count).map(|at| Ok(value(row.get_ref(at)?).into_owned())).collect()
}

/// Keys and referring values of the rows that meet `condition` and refer to a row that is not there.
fn orphans_sql(tracked: &Tracked, reference: usize, condition: &str) -> String {
    let from = tracked.table.references[reference].from.iter().map(|column| quote(column));
    let columns = [tracked.table.key_columns()].into_iter().chain(from).collect::<Vec<_>>().join(", ");
    tracked.table.orphans_sql(reference, &columns, condition)
}

/// Something that parked rows may wait for, which has come.
pub(super) struct End {
    pub(super) waits: Vec<u8>,
    /// Whether they wait for these very values.
    pub(super) exact: bool,
}

/// What the parked rows would wait for that a row which came can end: for each way in which others refer to it.
pub(super) fn ends_waiting(
    tx: &Transaction<'_>,
    catalog: &Catalog,
    tracked: &Tracked,
    key: &RowKey,
) -> Result<Vec<End>> {
    let mut ends = Vec::new();
    for target in &tracked.targets {
        let Some(values) = values_of(tx, tracked, target, key)? else { continue };
        ends.push(End { waits: waits::on_values(&target.columns, None), exact: false });
        // All of them name the same columns of this table.
        let any = target.children.iter().find_map(|&child| reference(catalog, child));
        if let Some(bytes) = any.and_then(|(_, reference)| waits::held(reference, &values)) {
            ends.push(End { waits: waits::on_values(&target.columns, Some(&bytes)), exact: true });
        }
    }
    Ok(ends)
}

/// The values by which others can refer to a row; `None` where nobody can: it is not there, or has a NULL among them.
pub(super) fn values_of(
    tx: &Transaction<'_>,
    tracked: &Tracked,
    target: &Target,
    key: &RowKey,
) -> Result<Option<Vec<Value<'static>>>> {
    read_columns(tx, tracked, &target.columns, key, "looking for rows that wait for this one")
}

/// The values by which a row refers to another; `None` where it refers to nothing, or is not there.
pub(super) fn referring_values(
    tx: &Transaction<'_>,
    tracked: &Tracked,
    reference: usize,
    key: &RowKey,
) -> Result<Option<Vec<Value<'static>>>> {
    let from = &tracked.table.references[reference].from;
    read_columns(tx, tracked, from, key, "looking for what a row refers to")
}

/// Some columns of a row, if it is there and none of them is NULL.
fn read_columns(
    tx: &Transaction<'_>,
    tracked: &Tracked,
    columns: &[String],
    key: &RowKey,
    doing: &'static str,
) -> Result<Option<Vec<Value<'static>>>> {
    let names: Vec<String> = columns.iter().map(|column| quote(column)).collect();
    let sql = format!(
        "SELECT {} FROM main.{} WHERE {}",
        names.join(", "),
        quote(&tracked.table.spelled),
        tracked.table.key_condition()
    );
    let key_values = key.values();
    let read = |row: &rusqlite::Row<'_>| -> rusqlite::Result<Vec<Value<'static>>> {
        (0..columns.len()).map(|at| Ok(value(row.get_ref(at)?).into_owned())).collect()
    };
    let values = sql::opt(tx, doing, &sql, params_from_iter(key_values.iter().map(Bind)), read)?;
    Ok(values.filter(|values| !values.contains(&Value::Null)))
}

/// Whether a row is in its table.
pub(super) fn is_there(tx: &Transaction<'_>, tracked: &Tracked, key: &RowKey) -> Result<bool> {
    let key_values = key.values();
    sql::exists(tx, "looking for a row", &tracked.select, params_from_iter(key_values.iter().map(Bind)))
}

/// Whether a row has these values in the columns of a target.
pub(super) fn has_values(
    tx: &Transaction<'_>,
    tracked: &Tracked,
    target: &Target,
    values: &[Value<'static>],
) -> Result<bool> {
    let equal = target.columns.iter().enumerate().map(|(n, to)| format!("{} = ?{}", quote(to), n + 1));
    let sql = format!(
        "SELECT 1 FROM main.{} WHERE {}",
        quote(&tracked.table.spelled),
        equal.collect::<Vec<_>>().join(" AND ")
    );
    sql::exists(tx, "looking for what a row refers to", &sql, params_from_iter(values.iter().map(Bind)))
}

/// The keys of the rows that have the values that a row refers to; `None` for one whose key cannot travel.
pub(super) fn parents(
    tx: &Transaction<'_>,
    parent: &Tracked,
    reference: &Reference,
    values: &[Value<'static>],
) -> Result<Vec<Option<RowKey>>> {
    // A bound value has no affinity, like the other side in `orphans_sql`.
    let equal = reference.to.iter().enumerate().map(|(n, to)| format!("{} = ?{}", quote(to), n + 1));
    let sql = format!(
        "SELECT {} FROM main.{} WHERE {}",
        parent.table.key_columns(),
        quote(&parent.table.spelled),
        equal.collect::<Vec<_>>().join(" AND ")
    );
    let doing = "looking for what a row refers to";
    let mut parents = Vec::new();
    sql::each(tx, doing, &sql, params_from_iter(values.iter().map(Bind)), |row| {
        parents.push(key_of(parent, row)?);
        Ok(())
    })?;
    Ok(parents)
}
