//! Rows whose parents are not there: the third stage, judged at the end of a turn on what the first two admitted.
//!
//! Everything that might fit is put in first, and then what has no parent is taken out, again and again until nothing
//! changes. So rows that hold one another, rings and rows that refer to themselves, have one answer: they stay, unless
//! one of them lacks something else.

use std::collections::{BTreeMap, BTreeSet};

use driftless_protocol::{RowKey, Value};
use rusqlite::{OptionalExtension, Transaction, params_from_iter};

use super::waits;
use super::write::{Effect, Wrote};
use crate::error::{Doing, Result};
use crate::schema::constraints::Reference;
use crate::schema::{Catalog, Child, Target, Tracked};
use crate::store::{Bind, quote, value};

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
fn reference(catalog: &Catalog, child: Child) -> Option<(&Tracked, &Reference)> {
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
    let equal =
        reference.from.iter().enumerate().map(|(n, column)| format!("{} = ?{}", quote(column), n + 1));
    let sql = format!(
        "SELECT {} FROM main.{} WHERE {}",
        tracked.table.key_columns(),
        quote(&tracked.table.spelled),
        equal.collect::<Vec<_>>().join(" AND ")
    );
    let doing = "looking for rows that refer to a deleted one";
    let mut select = tx.prepare_cached(&sql).doing(doing)?;
    let mut rows = select.query(params_from_iter(gone.values.iter().map(Bind))).doing(doing)?;
    while let Some(row) = rows.next().doing(doing)? {
        if let Some(key) = key_of(tracked, row)? {
            pending.check(tracked.id, &key);
        }
    }
    Ok(())
}

/// The key in the first columns of a row; `None` for one that cannot travel.
pub(super) fn key_of(tracked: &Tracked, row: &rusqlite::Row<'_>) -> Result<Option<RowKey>> {
    let values = (0..tracked.table.key.len()).map(|at| row.get_ref(at).map(value));
    let values = values.collect::<rusqlite::Result<Vec<_>>>().doing("reading a key")?;
    Ok(tracked.table.row_key(&values).ok())
}

/// A row whose parent is not there: which of its references, and the values that no row has.
pub(super) struct Orphan {
    pub(super) key: RowKey,
    pub(super) reference: usize,
    pub(super) values: Vec<Value<'static>>,
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
        let sql = orphans_sql(tracked, at, &tracked.table.key_condition());
        let key_values = key.values();
        let values = tx
            .prepare_cached(&sql)
            .and_then(|mut select| {
                let binds = params_from_iter(key_values.iter().map(Bind));
                select.query_row(binds, |row| referring(tracked, at, row)).optional()
            })
            .doing("looking for what a row refers to")?;
        if let Some(values) = values {
            return Ok(Some(Orphan { key: key.clone(), reference: at, values }));
        }
    }
    Ok(None)
}

/// Looks for the parents of all rows of a table. A row that lacks several is listed once.
pub(super) fn orphans(tx: &Transaction<'_>, catalog: &Catalog, tracked: &Tracked) -> Result<Vec<Orphan>> {
    let doing = "looking for what the rows of a table refer to";
    let mut all: BTreeMap<RowKey, Orphan> = BTreeMap::new();
    for at in judged(catalog, tracked) {
        let mut select = tx.prepare_cached(&orphans_sql(tracked, at, "1")).doing(doing)?;
        let mut rows = select.query([]).doing(doing)?;
        while let Some(row) = rows.next().doing(doing)? {
            if let Some(key) = key_of(tracked, row)? {
                let values = referring(tracked, at, row).doing(doing)?;
                all.entry(key.clone()).or_insert(Orphan { key, reference: at, values });
            }
        }
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

/// What the parked rows would wait for that a row which came can end: for each way in which others refer to it.
pub(super) fn ends_waiting(
    tx: &Transaction<'_>,
    catalog: &Catalog,
    tracked: &Tracked,
    key: &RowKey,
) -> Result<Vec<Vec<u8>>> {
    let mut ends = Vec::new();
    let key_values = key.values();
    for target in &tracked.targets {
        let columns: Vec<String> = target.columns.iter().map(|column| quote(column)).collect();
        let sql = format!(
            "SELECT {} FROM main.{} WHERE {}",
            columns.join(", "),
            quote(&tracked.table.spelled),
            tracked.table.key_condition()
        );
        let values: Option<Vec<Value<'static>>> = tx
            .prepare_cached(&sql)
            .and_then(|mut select| {
                let binds = params_from_iter(key_values.iter().map(Bind));
                let read = |row: &rusqlite::Row<'_>| {
                    (0..columns.len()).map(|at| Ok(value(row.get_ref(at)?).into_owned())).collect()
                };
                select.query_row(binds, read).optional()
            })
            .doing("looking for rows that wait for this one")?;
        let Some(values) = values.filter(|values| !values.contains(&Value::Null)) else { continue };
        ends.push(waits::on_values(&target.columns, None));
        let like =
            target.children.iter().filter_map(|&child| reference(catalog, child)).find(|(_, r)| r.alike);
        if let Some(bytes) = like.and_then(|(_, reference)| waits::values(reference, &values)) {
            ends.push(waits::on_values(&target.columns, Some(&bytes)));
        }
    }
    Ok(ends)
}
