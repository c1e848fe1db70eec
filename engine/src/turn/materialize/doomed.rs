//! Which rows lose their place along with one that has no parent: those that refer to it, those that refer to those, and
//! so on. They are found before any of them is taken out, so that the last of a long chain can go first.
//!
//! Each row is looked at once. Its children are found by an index of the user's, where one serves. Where none does, the
//! whole table is read for the children of all rows found so far; and if that happens often, as in a chain, where each
//! reading finds one row, the pairs of parent and child are put into a temporary table with an index.

use std::collections::{BTreeMap, HashMap, HashSet};

use driftless_protocol::RowKey;
use rusqlite::Transaction;

use super::references::{self, Orphan};
use super::{Limit, units};
use crate::error::{Doing, Error, Result};
use crate::schema::constraints::Reference;
use crate::schema::{Catalog, Child, Target, Tracked};
use crate::store::{documents, quote, sql, value};

/// A table is read so many times for the children of some rows; the next time all of its pairs are written down, which
/// costs about as much.
const MOST_READINGS: u32 = 4;

/// Looks for rows that have lost their place, in the tables as they are.
pub(super) struct Doomed<'a> {
    tx: &'a Transaction<'a>,
    catalog: &'a Catalog,
    /// In the order in which they were found: none stands before a row that it was found through.
    found: Vec<Orphan>,
    known: HashSet<(i64, RowKey)>,
    /// By the numbers of a child: how often its table was read.
    readings: HashMap<(i64, usize), u32>,
    limit: Limit,
}

/// Whether it takes more than there is time for.
type TooMuch = bool;

/// Rows that can leave their tables only together: one, nearly always.
pub(crate) type Unit = Vec<Orphan>;

/// All rows that go when `orphans` do, as far as they are in their tables, each unit after those that it refers to.
pub(crate) fn all_that_go(
    tx: &Transaction<'_>,
    catalog: &Catalog,
    orphans: Vec<Orphan>,
) -> Result<Vec<Unit>> {
    let mut there = Vec::new();
    for orphan in orphans {
        let Some(tracked) = catalog.get(orphan.table) else { continue };
        let values = references::referring_values(tx, tracked, orphan.reference, &orphan.key)?;
        if values.as_ref() == Some(&orphan.values) {
            there.push(orphan);
        }
    }
    let all = Doomed::new(tx, catalog, Limit::NONE).find(there)?.unwrap_or_default();
    let places: HashMap<(i64, RowKey), usize> =
        all.iter().enumerate().map(|(at, row)| ((row.table, row.key.clone()), at)).collect();
    let mut refers_to = Vec::with_capacity(all.len());
    for row in &all {
        let mut above = Vec::new();
        each_parent(tx, catalog, row.table, &row.key, |parent| above.extend(places.get(&parent)))?;
        refers_to.push(above);
    }
    let mut all: Vec<Option<Orphan>> = all.into_iter().map(Some).collect();
    let units = units::parents_first(&refers_to).into_iter();
    Ok(units.map(|unit| unit.into_iter().filter_map(|at| all[at].take()).collect()).collect())
}

/// Calls `each` with the rows that a row refers to.
fn each_parent(
    tx: &Transaction<'_>,
    catalog: &Catalog,
    table: i64,
    key: &RowKey,
    mut each: impl FnMut((i64, RowKey)),
) -> Result<()> {
    let Some(tracked) = catalog.get(table) else { return Ok(()) };
    for (at, reference) in tracked.table.references.iter().enumerate() {
        let Some(parent) = catalog.named(&reference.parent) else { continue };
        let Some(values) = references::referring_values(tx, tracked, at, key)? else { continue };
        for above in references::parents(tx, parent, reference, &values)?.into_iter().flatten() {
            each((parent.id, above));
        }
    }
    Ok(())
}

/// Whether a row refers to one of these.
pub(crate) fn refers_to_any(
    tx: &Transaction<'_>,
    catalog: &Catalog,
    table: i64,
    key: &RowKey,
    rows: &HashSet<(i64, RowKey)>,
) -> Result<bool> {
    let mut refers = false;
    each_parent(tx, catalog, table, key, |parent| refers |= rows.contains(&parent))?;
    Ok(refers)
}

impl<'a> Doomed<'a> {
    pub(super) fn new(tx: &'a Transaction<'a>, catalog: &'a Catalog, limit: Limit) -> Self {
        Self { tx, catalog, found: Vec::new(), known: HashSet::new(), readings: HashMap::new(), limit }
    }

    /// All rows that must go when `orphans` must, those included, each after one that it refers to. `None` if that takes more
    /// than the limit.
    pub(super) fn find(mut self, orphans: Vec<Orphan>) -> Result<Option<Vec<Orphan>>> {
        for orphan in orphans {
            self.add(orphan)?;
        }
        let mut done = 0;
        let mut too_much = false;
        while done < self.found.len() && !too_much {
            let mut rows: BTreeMap<i64, Vec<RowKey>> = BTreeMap::new();
            for row in &self.found[done..] {
                rows.entry(row.table).or_default().push(row.key.clone());
            }
            done = self.found.len();
            too_much = self.limit.left(done) == 0 || self.children_of(rows)?;
        }
        if self.readings.values().any(|&readings| readings > MOST_READINGS) {
            forget_pairs(self.tx)?;
        }
        Ok((!too_much).then_some(self.found))
    }

    fn children_of(&mut self, rows: BTreeMap<i64, Vec<RowKey>>) -> Result<TooMuch> {
        // Nothing is taken out of a table in the making; it is judged when it is compared with its documents.
        let in_the_making =
            |child: &Child| self.catalog.get(child.table).is_some_and(|tracked| tracked.settling);
        for (table, keys) in rows {
            let Some(parent) = self.catalog.get(table) else { continue };
            for target in &parent.targets {
                for &child in target.children.iter().filter(|child| !in_the_making(child)) {
                    if self.children_by(parent, target, child, &keys)? {
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
    }

    /// Adds a row, if it has a document: another is nobody's to take away, and its children stay with it.
    fn add(&mut self, orphan: Orphan) -> Result<()> {
        let id = (orphan.table, orphan.key.clone());
        if !self.known.contains(&id)
            && documents::get(self.tx, orphan.table, orphan.key.as_bytes())?.is_some()
        {
            self.known.insert(id);
            self.found.push(orphan);
        }
        Ok(())
    }

    /// Adds the rows that refer by `child` to the rows of `parent` with these keys.
    fn children_by(
        &mut self,
        parent: &Tracked,
        target: &Target,
        child: Child,
        keys: &[RowKey],
    ) -> Result<TooMuch> {
        let Some((tracked, reference)) = references::reference(self.catalog, child) else { return Ok(false) };
        let mut children = Vec::new();
        if reference.alike && reference.indexed {
            for key in keys {
                if let Some(values) = references::values_of(self.tx, parent, target, key)? {
                    references::children(self.tx, tracked, reference, &values, |key| children.push(key))?;
                }
            }
        } else {
            let readings = self.readings.entry((child.table, child.reference)).or_default();
            *readings += 1;
            if !self.limit.is_none() && (*readings > MOST_READINGS || *readings > 1 && self.limit.is_late()) {
                return Ok(true);
            }
            if *readings <= MOST_READINGS {
                let wanted: HashSet<&RowKey> = keys.iter().collect();
                each_pair(self.tx, parent, tracked, reference, |above, below| {
                    if wanted.contains(&above) {
                        children.push(below);
                    }
                    Ok(())
                })?;
            } else {
                if *readings == MOST_READINGS + 1 {
                    write_pairs(self.tx, parent, tracked, child)?;
                }
                for key in keys {
                    children.extend(pairs_of(self.tx, child, key)?);
                }
            }
        }
        for key in children {
            self.consider(parent, tracked, child.reference, key)?;
        }
        Ok(false)
    }

    /// Adds a row that refers to one that goes, unless another row that stays has the values that it refers to.
    fn consider(&mut self, parent: &Tracked, tracked: &Tracked, at: usize, key: RowKey) -> Result<()> {
        if self.known.contains(&(tracked.id, key.clone())) {
            return Ok(());
        }
        let Some(values) = references::referring_values(self.tx, tracked, at, &key)? else { return Ok(()) };
        let parents = references::parents(self.tx, parent, &tracked.table.references[at], &values)?;
        // A parent whose key cannot travel is not to be taken out.
        let goes = |above: Option<RowKey>| above.is_some_and(|key| self.known.contains(&(parent.id, key)));
        if parents.into_iter().all(goes) {
            self.add(Orphan { table: tracked.id, key, reference: at, values })?;
        }
        Ok(())
    }
}

/// Calls `each` with the keys of a row of `parent` and of a row of `tracked` that refers to it, for all such pairs.
fn each_pair(
    tx: &Transaction<'_>,
    parent: &Tracked,
    tracked: &Tracked,
    reference: &Reference,
    mut each: impl FnMut(RowKey, RowKey) -> Result<()>,
) -> Result<()> {
    let columns = |tracked: &Tracked, alias: &str| {
        let names = tracked.table.key.iter().map(|key| &tracked.table.columns[key.at].spelled);
        names.map(|name| format!("{alias}.{}", quote(name))).collect::<Vec<_>>().join(", ")
    };
    // Compared as `orphans_sql` does.
    let equal = reference.to.iter().zip(&reference.from);
    let equal = equal.map(|(to, from)| format!("p.{} = +c.{}", quote(to), quote(from)));
    let sql = format!(
        "SELECT {}, {} FROM main.{} AS c CROSS JOIN main.{} AS p WHERE {}",
        columns(tracked, "c"),
        columns(parent, "p"),
        quote(&tracked.table.spelled),
        quote(&parent.table.spelled),
        equal.collect::<Vec<_>>().join(" AND ")
    );
    let doing = "looking for rows that refer to others";
    sql::each(tx, doing, &sql, [], |row| {
        let key = |tracked: &Tracked, from: usize| -> Result<Option<RowKey>> {
            let values = (0..tracked.table.key.len()).map(|at| row.get_ref(from + at).map(value));
            let values = values.collect::<rusqlite::Result<Vec<_>>>().doing(doing)?;
            Ok(tracked.table.row_key(&values).ok())
        };
        if let (Some(below), Some(above)) = (key(tracked, 0)?, key(parent, tracked.table.key.len())?) {
            each(above, below)?;
        }
        Ok(())
    })
}

/// Writes down who refers by `child` to whom.
fn write_pairs(tx: &Transaction<'_>, parent: &Tracked, tracked: &Tracked, child: Child) -> Result<()> {
    let doing = "noting which rows refer to others";
    tx.execute_batch(
        "CREATE TEMP TABLE IF NOT EXISTS _driftless_pairs (tbl INTEGER, reference INTEGER, parent BLOB, child BLOB);
         DROP INDEX IF EXISTS temp._driftless_pairs_parent",
    )
    .doing(doing)?;
    let numbers = (child.table, child.reference as i64);
    sql::exec(tx, doing, "DELETE FROM temp._driftless_pairs WHERE tbl = ?1 AND reference = ?2", numbers)?;
    {
        let mut insert =
            tx.prepare("INSERT INTO temp._driftless_pairs VALUES (?1, ?2, ?3, ?4)").doing(doing)?;
        each_pair(tx, parent, tracked, &tracked.table.references[child.reference], |above, below| {
            let row = (numbers.0, numbers.1, above.as_bytes(), below.as_bytes());
            insert.execute(row).doing(doing)?;
            Ok(())
        })?;
    }
    tx.execute_batch("CREATE INDEX temp._driftless_pairs_parent ON _driftless_pairs (tbl, reference, parent)")
        .doing(doing)
}

fn pairs_of(tx: &Transaction<'_>, child: Child, parent: &RowKey) -> Result<Vec<RowKey>> {
    let doing = "looking for rows that refer to others";
    let numbers = (child.table, child.reference as i64, parent.as_bytes());
    let query = "SELECT child FROM temp._driftless_pairs WHERE tbl = ?1 AND reference = ?2 AND parent = ?3";
    let damaged = |error: driftless_protocol::KeyError| Error::Damaged {
        table: "_driftless_pairs",
        what: error.to_string(),
    };
    let mut children = Vec::new();
    sql::each(tx, doing, query, numbers, |row| {
        children.push(RowKey::from_bytes(sql::blob(row, 0).doing(doing)?).map_err(damaged)?);
        Ok(())
    })?;
    Ok(children)
}

/// Forgets what was written down: it is of no use to anybody after the look.
fn forget_pairs(tx: &Transaction<'_>) -> Result<()> {
    tx.execute_batch("DROP TABLE IF EXISTS temp._driftless_pairs")
        .doing("forgetting which rows refer to others")
}
