//! Documents against tables, both ways, and the list of conflicts against the documents.

use std::collections::{BTreeMap, BTreeSet};

use driftless_protocol::{KeyError, RowKey, Value};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Statement, params_from_iter};

use crate::document::affinity::Affinity;
use crate::document::row::resolve::RowState;
use crate::document::row::{ColumnNames, RowDocument};
use crate::error::{Doing, Error, Result};
use crate::integrity::repairs::Repair;
use crate::integrity::report::{DEFINITIONS_CALLED, Findings};
use crate::replica::repair::Part;
use crate::schema::{Catalog, Tracked, definitions, introspect, triggers};
use crate::store::tables::{self, DEFINITIONS, State};
use crate::store::{Bind, dirty, fold, quote, texts, value};
use crate::turn::materialize::wanted;

/// How many documents are looked at between two words about it.
const TELL_EVERY: u64 = 10_000;

type Key = (i64, Vec<u8>);

pub(in crate::integrity) fn check(
    connection: &Connection,
    tell: &mut dyn FnMut(&str),
    found: &mut Findings,
) -> Result<()> {
    let catalog = catalog(connection, found)?;
    let mut look = Look {
        connection,
        waiting: waiting(connection, &catalog)?,
        parked: parked(connection)?,
        conflicts: conflicts(connection)?,
        found,
    };
    for entry in tables::all(connection)? {
        let called = if entry.id == DEFINITIONS { DEFINITIONS_CALLED } else { &entry.spelled };
        look.documents(entry.id, called, catalog.get(entry.id), tell)?;
    }
    for tracked in catalog.iter() {
        tell(&format!("the rows of {}", name_of(tracked)));
        look.rows(tracked)?;
    }
    look.leftovers(&catalog)
}

/// The name of a table in reports.
fn name_of(tracked: &Tracked) -> &str {
    if tracked.id == DEFINITIONS { DEFINITIONS_CALLED } else { &tracked.table.spelled }
}

/// The tables as they are, without the engine's help: it may be running elsewhere.
fn catalog(connection: &Connection, found: &mut Findings) -> Result<Catalog> {
    let own = definitions::own_table(connection)?;
    let mut tracked =
        vec![Tracked::new(DEFINITIONS, "_driftless_definitions".to_owned(), Default::default(), own)];
    let undecided = undecided(connection)?;
    for entry in tables::all(connection)? {
        if entry.id == DEFINITIONS || entry.state != State::Tracked {
            continue;
        }
        if undecided.contains(&fold(&entry.spelled)) {
            let documents: i64 = connection
                .query_row("SELECT count(*) FROM _driftless_rows WHERE tbl = ?1", [entry.id], |row| {
                    row.get(0)
                })
                .doing("reading the row documents")?;
            let check = found.check("tables");
            check.waiting += documents as u64;
            check.notes.push(format!(
                "table {} was rebuilt just now, and the running engine has not compared it with its last known rows yet: \
                 its rows were left out; run `driftless verify` again in a few seconds",
                entry.spelled
            ));
            continue;
        }
        match introspect::table(connection, &entry.spelled)? {
            Some(Ok(mut table)) => {
                let renames = table.rename(&entry.renames);
                tracked.push(Tracked { renames, ..Tracked::new(entry.id, entry.name, entry.options, table) });
            }
            _ => found.check("tables").notes.push(format!(
                "table {} was left out: the engine has yet to see how it changed",
                entry.spelled
            )),
        }
    }
    Ok(Catalog::new(tracked))
}

/// The tables, folded, that are there without our triggers, or were until a moment ago: they were rebuilt, and are not
/// compared with their documents yet.
pub(super) fn undecided(connection: &Connection) -> Result<BTreeSet<String>> {
    let places = triggers::places(connection)?;
    let mut undecided = BTreeSet::new();
    for entry in tables::all(connection)? {
        if entry.id == DEFINITIONS || entry.state != State::Tracked {
            continue;
        }
        let is_watched = places.iter().any(|(id, _)| *id == entry.id);
        if entry.rebuilt.is_some() || !is_watched && introspect::table(connection, &entry.spelled)?.is_some()
        {
            undecided.insert(fold(&entry.spelled));
        }
    }
    Ok(undecided)
}

/// Rows that wait to be captured or shown.
fn waiting(connection: &Connection, catalog: &Catalog) -> Result<BTreeSet<Key>> {
    let mut waiting = BTreeSet::new();
    let marks = dirty::read(connection, usize::MAX >> 1)?;
    let found = dirty::read_backlog(connection, usize::MAX >> 1)?;
    for mut mark in marks.into_iter().chain(found) {
        let Some(tracked) = catalog.get(mark.table) else { continue };
        mark.key.truncate(tracked.table.key.len());
        if let Ok(key) = tracked.table.row_key(&mark.key) {
            waiting.insert((mark.table, key.as_bytes().to_vec()));
        }
    }
    let doing = "reading what waits";
    for table in ["_driftless_refresh", "_driftless_bases", "_driftless_text_bases"] {
        let mut statement = connection.prepare(&format!("SELECT tbl, key FROM {table}")).doing(doing)?;
        let mut rows = statement.query([]).doing(doing)?;
        while let Some(row) = rows.next().doing(doing)? {
            waiting.insert((row.get(0).doing(doing)?, row.get(1).doing(doing)?));
        }
    }
    Ok(waiting)
}

/// The parked rows, and whether each has a document.
fn parked(connection: &Connection) -> Result<BTreeMap<Key, bool>> {
    let doing = "reading the parked rows";
    let mut statement =
        connection.prepare("SELECT tbl, key, stage <> 0 FROM _driftless_parked").doing(doing)?;
    let rows = statement
        .query_map([], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))
        .and_then(|rows| rows.collect());
    rows.doing(doing)
}

/// One value of a column in conflict: column, whether it is the one shown, time, writer.
type Standing = (String, bool, i64, i64);

fn conflicts(connection: &Connection) -> Result<BTreeMap<Key, BTreeSet<Standing>>> {
    let doing = "reading the conflicts";
    let mut statement = connection
        .prepare("SELECT tbl, key, col, shown, at, writer FROM _driftless_conflicts")
        .doing(doing)?;
    let mut rows = statement.query([]).doing(doing)?;
    let mut all: BTreeMap<Key, BTreeSet<Standing>> = BTreeMap::new();
    while let Some(row) = rows.next().doing(doing)? {
        let key = (row.get(0).doing(doing)?, row.get(1).doing(doing)?);
        let standing = (
            row.get(2).doing(doing)?,
            row.get(3).doing(doing)?,
            row.get(4).doing(doing)?,
            row.get(5).doing(doing)?,
        );
        all.entry(key).or_default().insert(standing);
    }
    Ok(all)
}

struct Look<'a> {
    connection: &'a Connection,
    waiting: BTreeSet<Key>,
    parked: BTreeMap<Key, bool>,
    /// Those that no document has accounted for yet.
    conflicts: BTreeMap<Key, BTreeSet<Standing>>,
    found: &'a mut Findings,
}

impl Look<'_> {
    /// Every document of a table: whether it can be read, and, if the table is tracked, whether the table shows it.
    fn documents(
        &mut self,
        table: i64,
        called: &str,
        tracked: Option<&Tracked>,
        tell: &mut dyn FnMut(&str),
    ) -> Result<()> {
        let doing = "reading the row documents";
        let mut statement = self
            .connection
            .prepare(
                "SELECT r.key, d.body FROM _driftless_rows r JOIN _driftless_documents d ON d.id = r.doc
                 WHERE r.tbl = ?1 ORDER BY r.key",
            )
            .doing(doing)?;
        let mut shown = tracked.map(|tracked| ShownRows::new(self.connection, tracked)).transpose()?;
        let mut rows = statement.query([table]).doing(doing)?;
        let mut count = 0;
        while let Some(row) = rows.next().doing(doing)? {
            if count % TELL_EVERY == 0 {
                tell(&format!("the documents of {called}: {count}"));
            }
            count += 1;
            let (key, body) = (row.get_ref(0).doing(doing)?, row.get_ref(1).doing(doing)?);
            let names = tracked.map(Tracked::column_names).unwrap_or_default();
            let document = match readable(key, body, names) {
                Ok(document) => document,
                Err(why) => {
                    self.unreadable(table, called, key, &why);
                    continue;
                }
            };
            let (Some(tracked), Some(shown)) = (tracked, &mut shown) else { continue };
            match self.document(tracked, document, shown) {
                Err(Error::TextDoc(error)) => self.unreadable(table, called, key, &error.to_string()),
                looked => looked?,
            }
        }
        self.found.check("documents").looked_at += count;
        Ok(())
    }

    /// Whether the table shows a document. Fails with [`Error::TextDoc`] if one of its texts cannot be read.
    fn document(
        &mut self,
        tracked: &Tracked,
        (key, document): (RowKey, RowDocument<'_>),
        shown: &mut ShownRows<'_>,
    ) -> Result<()> {
        let mut state = document.view(tracked.options.deletes_win).state;
        if !tracked.table.can_have(self.connection, &key, &key.values())? {
            // Whether it is listed as parked is for that check to say.
            self.found.check("tables").looked_at += 1;
            return Ok(());
        }
        texts::fill(self.connection, tracked.id, key.as_bytes(), &mut state, |_| None)?;
        let place = (tracked.id, key.as_bytes().to_vec());
        if self.waiting.contains(&place) {
            self.conflicts.remove(&place);
            self.found.check("tables").waiting += 1;
            return Ok(());
        }
        self.conflict(tracked, &key, &state);
        self.found.check("tables").looked_at += 1;
        let parked = self.parked.contains_key(&place);
        if let Some((what, repair)) = shown.compare(tracked, &key, &state, parked)? {
            let check = self.found.check("tables");
            check.differs(Some(name_of(tracked).to_owned()), Some(key.to_string()), what);
            self.found.repairs.push(repair);
        }
        Ok(())
    }

    fn unreadable(&mut self, table: i64, called: &str, key: ValueRef<'_>, why: &str) {
        let name = key.as_blob().ok().and_then(|bytes| RowKey::from_bytes(bytes).ok());
        let name = name.map(|key| key.to_string());
        let what = format!("the document cannot be read: {why}");
        self.found.check("documents").differs(Some(called.to_owned()), name, what);
        self.found.rebuild(Part::Documents { table, key: value(key).into_owned() });
    }

    /// Whether the conflicts of a row are listed as they are.
    fn conflict(&mut self, tracked: &Tracked, key: &RowKey, state: &RowState<'_>) {
        let listed = self.conflicts.remove(&(tracked.id, key.as_bytes().to_vec())).unwrap_or_default();
        let mut expected = BTreeSet::new();
        for column in state.columns.iter().filter(|column| state.alive && !column.kept.is_empty()) {
            let all =
                std::iter::once((true, &column.shown)).chain(column.kept.iter().map(|kept| (false, kept)));
            expected.extend(all.map(|(shown, standing)| {
                (column.name.to_string(), shown, standing.time, standing.writer.get() as i64)
            }));
        }
        let check = self.found.check("conflicts");
        check.looked_at += u64::from(!expected.is_empty() || !listed.is_empty());
        if listed != expected {
            let what = match (listed.is_empty(), expected.is_empty()) {
                (true, _) => "columns in which several values stand are not listed",
                (_, true) => "it is listed as in conflict and is not",
                _ => "other values are listed than those that stand",
            };
            check.differs(Some(name_of(tracked).to_owned()), Some(key.to_string()), what.to_owned());
            self.found.repairs.push(Repair::Show { table: tracked.id, key: key.clone() });
        }
    }

    /// Every row of a table: whether it has a document.
    fn rows(&mut self, tracked: &Tracked) -> Result<()> {
        let doing = "reading the rows of a table";
        let sql =
            format!("SELECT {} FROM main.{}", tracked.table.key_columns(), quote(&tracked.table.spelled));
        let mut statement = self.connection.prepare(&sql).doing(doing)?;
        let mut known = self
            .connection
            .prepare(
                "SELECT EXISTS (SELECT 1 FROM _driftless_rows r JOIN _driftless_documents d ON d.id = r.doc
                 WHERE r.tbl = ?1 AND r.key = ?2)",
            )
            .doing(doing)?;
        let mut rows = statement.query([]).doing(doing)?;
        while let Some(row) = rows.next().doing(doing)? {
            let values: Vec<Value<'static>> = (0..tracked.table.key.len())
                .map(|at| Ok(value(row.get_ref(at)?).into_owned()))
                .collect::<rusqlite::Result<_>>()
                .doing(doing)?;
            let key = match tracked.table.row_key(&values) {
                Ok(key) => key,
                // It stays here; status counts it.
                Err(KeyError::Null) => continue,
                // Listed as a row that stays here.
                Err(_) => continue,
            };
            let place = (tracked.id, key.as_bytes().to_vec());
            if known.query_row((tracked.id, key.as_bytes()), |row| row.get(0)).doing(doing)?
                || self.waiting.contains(&place)
                || self.parked.contains_key(&place)
            {
                continue;
            }
            let what = "it is in the table, and there is no document of it".to_owned();
            let check = self.found.check("tables");
            check.differs(Some(name_of(tracked).to_owned()), Some(key.to_string()), what);
            self.found.repairs.push(Repair::Capture { table: tracked.id, key: values });
        }
        Ok(())
    }

    /// What is listed of rows that have no document.
    fn leftovers(&mut self, catalog: &Catalog) -> Result<()> {
        let doing = "reading the row documents";
        let mut known = self
            .connection
            .prepare("SELECT EXISTS (SELECT 1 FROM _driftless_rows WHERE tbl = ?1 AND key = ?2)")
            .doing(doing)?;
        let name = |bytes: &[u8]| RowKey::from_bytes(bytes).ok().map(|key| key.to_string());
        for (table, key) in self.conflicts.keys() {
            let Some(tracked) = catalog.get(*table) else { continue };
            let (spelled, key_name) = (name_of(tracked).to_owned(), name(key));
            let what = "it is listed as in conflict, and there is no document of it".to_owned();
            self.found.check("conflicts").differs(Some(spelled), key_name, what);
            self.found.rebuild(Part::Lists);
        }
        for ((table, key), travels) in &self.parked {
            let Some(tracked) = catalog.get(*table).filter(|_| *travels) else { continue };
            if !known.query_row((table, key), |row| row.get::<_, bool>(0)).doing(doing)? {
                let what = "it is listed as parked, and there is no document of it".to_owned();
                let check = self.found.check("parked");
                check.differs(Some(name_of(tracked).to_owned()), name(key), what);
                self.found.rebuild(Part::Lists);
            }
        }
        Ok(())
    }
}

/// A row's key and its document, or why they cannot be read.
fn readable<'a>(
    key: ValueRef<'_>,
    body: ValueRef<'a>,
    names: ColumnNames<'_>,
) -> std::result::Result<(RowKey, RowDocument<'a>), String> {
    let (Ok(key), Ok(body)) = (key.as_blob(), body.as_blob()) else { return Err("it is no blob".to_owned()) };
    let key = RowKey::from_bytes(key).map_err(|error| error.to_string())?;
    let document = RowDocument::read(body, names).map_err(|error| error.to_string())?;
    Ok((key, document))
}

/// The rows of one table, to be compared with their documents.
struct ShownRows<'a> {
    select: Statement<'a>,
    /// For each column: whether SQLite takes a value for what stands in it, once converted; `None` where it converts
    /// nothing.
    same: Vec<Option<Statement<'a>>>,
}

/// A difference in words, and its repair.
type Differs = (String, Repair);

impl<'a> ShownRows<'a> {
    fn new(connection: &'a Connection, tracked: &Tracked) -> Result<Self> {
        let doing = "reading the rows of a table";
        let select = connection.prepare(&tracked.select).doing(doing)?;
        let mut types = connection
            .prepare("SELECT upper(type) FROM pragma_table_xinfo(?1) WHERE name = ?2")
            .doing(doing)?;
        let mut same = Vec::with_capacity(tracked.table.columns.len());
        for column in &tracked.table.columns {
            let declared: String =
                types.query_row([&tracked.table.spelled, &column.spelled], |row| row.get(0)).doing(doing)?;
            // ANY keeps values as they are in a STRICT table.
            same.push(if declared == "ANY" || Affinity::of(&declared) == Affinity::Blob {
                None
            } else {
                let sql = format!(
                    "SELECT {} COLLATE BINARY IS ?{} FROM main.{} WHERE {}",
                    quote(&column.spelled),
                    tracked.table.key.len() + 1,
                    quote(&tracked.table.spelled),
                    tracked.table.key_condition()
                );
                Some(connection.prepare(&sql).doing(doing)?)
            });
        }
        Ok(Self { select, same })
    }

    /// What a row's table says other than its document: the one place that knows what a document shows.
    fn compare(
        &mut self,
        tracked: &Tracked,
        key: &RowKey,
        state: &RowState<'_>,
        parked: bool,
    ) -> Result<Option<Differs>> {
        let doing = "reading a row";
        let key_values = key.values();
        let columns = tracked.table.columns.len();
        let row: Option<Vec<Value<'static>>> = {
            let mut rows = self.select.query(params_from_iter(key_values.iter().map(Bind))).doing(doing)?;
            let row = rows.next().doing(doing)?;
            let read =
                row.map(|row| (0..columns).map(|at| Ok(value(row.get_ref(at)?).into_owned())).collect());
            read.transpose().doing(doing)?
        };
        let show = || Repair::Show { table: tracked.id, key: key.clone() };
        let look = |row: &[Value<'static>]| Repair::Capture {
            table: tracked.id,
            key: tracked.table.key.iter().map(|key| row[key.at].clone()).collect(),
        };
        let differs = match (state.alive, parked, row) {
            (true, false, None) => Some(("it is not in the table".to_owned(), show())),
            (true, true, Some(_)) => Some(("it is in the table, and listed as parked".to_owned(), show())),
            (false, _, Some(row)) => Some((
                "it is in the table, although its document says that it was deleted".to_owned(),
                look(&row),
            )),
            (false, true, None) => Some(("it is listed as parked, and was deleted".to_owned(), show())),
            (true, false, Some(row)) => {
                let differing = self.columns(tracked, &key_values, state, &row)?;
                let what = format!("the table has other values than the document: {}", differing.join(", "));
                (!differing.is_empty()).then(|| (what, look(&row)))
            }
            (true, true, None) | (false, false, None) => None,
        };
        Ok(differs)
    }

    /// The columns in which a row differs from its document, with both values.
    fn columns(
        &mut self,
        tracked: &Tracked,
        key_values: &[Value<'static>],
        state: &RowState<'_>,
        row: &[Value<'static>],
    ) -> Result<Vec<String>> {
        let wanted = wanted(tracked, key_values, state);
        let mut differing = Vec::new();
        for (at, column) in tracked.table.columns.iter().enumerate() {
            // Of a column that the document says nothing of, the table shows the default.
            let said = wanted.iter().find(|(place, _)| *place == at).map(|(_, value)| &**value);
            let Some(wanted) = said.or(column.default.as_ref()) else { continue };
            if *wanted == row[at] {
                continue;
            }
            let converted = match &mut self.same[at] {
                Some(same) => same
                    .query_row(params_from_iter(key_values.iter().chain([wanted]).map(Bind)), |row| {
                        row.get(0)
                    })
                    .doing("comparing a value")?,
                None => false,
            };
            if !converted {
                differing.push(format!("{} is {}, not {}", column.spelled, short(&row[at]), short(wanted)));
            }
        }
        Ok(differing)
    }
}

/// A value for people, cut where it grows long.
fn short(value: &Value<'_>) -> String {
    const MOST: usize = 40;
    let text = value.to_string();
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
