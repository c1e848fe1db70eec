//! Beginning and ceasing to track tables: triggers, options, what the space already says of them. A few writes in
//! one transaction, so it needs no engine: it works beside a running one, which then captures the rows.

pub(crate) mod look;
pub(crate) mod rule;

use std::collections::{BTreeMap, HashMap};

use driftless_protocol::Seq;
use rusqlite::Transaction;

use crate::config::{ColumnKind, TableOptions};
use crate::error::refusal::Refusal;
use crate::error::{Error, Result};
use crate::schema::column_changes::Key;
use crate::schema::definitions::{self, Definition};
use crate::schema::eligibility;
use crate::schema::introspect::Look;
use crate::schema::inventory::{Inventory, Object};
use crate::schema::names;
use crate::schema::{
    Table, bookkeeping, column_changes, column_names, installed, introspect, lifecycle, triggers,
};
use crate::store::fold;
use crate::store::kinds::{self, Kinds};
use crate::store::renames::Renames;
use crate::store::tables::{self, DEFINITIONS, Entry, State};

/// What there is in the file and in the space, read once for all tables that are to be tracked.
struct Known {
    inventory: Inventory,
    looks: BTreeMap<String, Look>,
    /// Under which name the table travels that is called so here, both folded; as [`tables::called`] has it.
    called: HashMap<String, String>,
    /// The same of what the space defines, but for what is gone from it for good.
    defined: HashMap<String, String>,
    /// The name by which the table travels, where the caller knows it.
    travels: Option<String>,
    /// The tables that were untracked by their names.
    untracked: Vec<Entry>,
}

impl Known {
    fn read(tx: &Transaction<'_>) -> Result<Self> {
        Self::with(tx, Inventory::read(tx)?)
    }

    fn with(tx: &Transaction<'_>, inventory: Inventory) -> Result<Self> {
        let mut entries = tables::all(tx)?;
        entries.sort_by_key(|entry| match entry.state {
            State::Tracked => 0,
            State::Unknown => 2,
            _ => 1,
        });
        let definitions = definitions::all(tx)?;
        let is_retired = |name: &str| definitions.iter().any(|known| known.retired && known.name == name);
        // A table that has the name of a given-up one is another table.
        entries.retain(|entry| entry.state != State::Missing || !is_retired(&entry.name));
        let untracked = entries.iter().filter(|entry| is_untracked_by_name(entry)).cloned().collect();
        let mut called = HashMap::new();
        // A table that was renamed is still the one whose triggers it has, whatever it was called at the last look.
        for (id, table) in triggers::places(tx)? {
            let entry = entries.iter().find(|entry| entry.id == id && entry.state == State::Tracked);
            called.extend(entry.map(|entry| (fold(&table), entry.name.clone())));
        }
        for entry in entries {
            called.entry(fold(&entry.spelled)).or_insert(entry.name);
        }
        let mut defined = HashMap::new();
        for definition in definitions.into_iter().filter(|definition| !definition.retired) {
            defined.entry(fold(definition.called())).or_insert(definition.name);
        }
        Ok(Self {
            looks: introspect::tables(tx, &inventory)?,
            inventory,
            called,
            defined,
            travels: None,
            untracked,
        })
    }

    /// A table that was untracked by its name and that this one may be: renamed, or in the middle of being made anew. This one
    /// has all of its columns, and the untracked one is gone or its name is part of this one's.
    fn may_be_untracked(&self, table: &Table) -> Option<&Entry> {
        let local = fold(&table.spelled);
        self.untracked.iter().find(|entry| {
            let name = fold(&entry.spelled);
            let mut columns = entry.columns.iter().filter(|known| known.place.is_some()).peekable();
            local != name
                && (!self.looks.contains_key(&name) || local.contains(&name))
                && columns.peek().is_some()
                && columns.all(|known| table.columns.iter().any(|column| fold(&column.spelled) == known.name))
        })
    }

    /// The entry of the table that is called so here.
    fn entry(&self, tx: &Transaction<'_>, local: &str) -> Result<Option<Entry>> {
        match self.called.get(local) {
            Some(name) => tables::find(tx, name),
            None => Ok(None),
        }
    }
}

/// Begins to track tables. One that is tracked already with the same options is left as it is.
/// Fails on the first that cannot be, and then the transaction must be rolled back.
pub(crate) fn track(
    tx: &Transaction<'_>,
    names: &[&str],
    options: TableOptions,
    now: i64,
) -> Result<Vec<String>> {
    let known = match names {
        [name] => Known::with(tx, Inventory::read_one(tx, name)?)?,
        _ => Known::read(tx)?,
    };
    track_known(tx, &known, names, options, false, now)
}

/// Begins to track a table that was just made as the space defines it: the one that travels by the name `travels`, whatever
/// other tables are called.
/// Fails as [`track`] does.
pub(crate) fn track_as(
    tx: &Transaction<'_>,
    table: &str,
    travels: &str,
    options: TableOptions,
    now: i64,
) -> Result<()> {
    let known =
        Known { travels: Some(travels.to_owned()), ..Known::with(tx, Inventory::read_one(tx, table)?)? };
    track_known(tx, &known, &[table], options, false, now).map(|_| ())
}

/// `keep`: tables that are tracked, or were, keep their options, whatever is said of the others.
fn track_known(
    tx: &Transaction<'_>,
    known: &Known,
    names: &[&str],
    options: TableOptions,
    keep: bool,
    now: i64,
) -> Result<Vec<String>> {
    let mut stated = vec![Vec::new(); names.len()];
    for (column, kind) in &options.kinds {
        // A table's name may hold a dot, so that the longest counts.
        let of_table = |name: &&&str| names.len() == 1 || strip_table(column, name).is_some();
        let table = names.iter().filter(of_table).max_by_key(|name| name.len());
        let at = table.and_then(|table| names.iter().position(|name| name == table));
        stated[at.ok_or_else(|| Error::NoSuchColumn(column.clone()))?].push((column.clone(), *kind));
    }
    let (mut tracked, mut begun) = (Vec::new(), Vec::new());
    for (name, kinds) in names.iter().zip(stated) {
        let tracked_as = if keep { known.entry(tx, &fold(name))? } else { None }
            .filter(|entry| entry.state != State::Unknown)
            .map(|entry| entry.options);
        let tracked_as = tracked_as.unwrap_or_else(|| options.clone());
        let allow_integer_key = tracked_as.allow_integer_key || options.allow_integer_key;
        let options = TableOptions { kinds, allow_integer_key, ..tracked_as };
        let (spelled, new) = track_one(tx, known, name, &options, now)?;
        tracked.push(spelled);
        begun.extend(new);
    }
    installed::install_all(tx, &begun, &known.inventory)?;
    Ok(tracked)
}

/// The column of `table.column`.
fn strip_table<'a>(column: &'a str, table: &str) -> Option<&'a str> {
    let (before, after) = (column.get(..table.len())?, column.get(table.len()..)?);
    before.eq_ignore_ascii_case(table).then(|| after.strip_prefix('.')).flatten()
}

/// The columns that a caller states a kind of, folded; registers included.
fn stated_kinds(table: &Table, options: &TableOptions) -> std::result::Result<Kinds, Refusal> {
    let mut stated = Kinds::new();
    for (given, kind) in &options.kinds {
        let is_column = table.columns.iter().any(|column| column.name == fold(given));
        let column = strip_table(given, &table.spelled).filter(|_| !is_column).unwrap_or(given);
        eligibility::check_kind(table, column, *kind)?;
        let column = fold(column);
        stated.retain(|(known, _)| *known != column);
        stated.push((column, *kind));
    }
    Ok(stated)
}

/// Returns the name as the table spells it and, if it was not tracked before, the table and its number: its triggers are
/// still to be made.
fn track_one(
    tx: &Transaction<'_>,
    file: &Known,
    name: &str,
    options: &TableOptions,
    now: i64,
) -> Result<(String, Option<(i64, Table)>)> {
    let refuse = |refusal| Error::NotTrackable { table: name.to_owned(), refusal };
    let look = match file.looks.get(&fold(name)) {
        Some(look) => Some(look.clone()),
        // One of SQLite's or of the engine's own, or none.
        None => introspect::table(tx, name)?,
    };
    let mut table = look.ok_or(refuse(Refusal::NoSuchTable))?.map_err(refuse)?;
    let (known, travels, options) = match &file.travels {
        Some(travels) => (tables::find(tx, travels)?, travels.clone(), options.clone()),
        None => known_as(tx, file, &table, options, now)?,
    };
    check_fits(tx, &table, known.as_ref(), &options)?.map_err(refuse)?;
    let defined = definitions::find(tx, &travels)?;
    let renames = renames_of(&table, known.as_ref(), defined.as_ref());
    table.rename(&renames);
    let stated = stated_kinds(&table, &options).map_err(refuse)?;
    let agreed = agreed_options(&table, known.as_ref(), defined, &options, &stated)?;
    let mut entry = match known {
        Some(entry) if entry.state == State::Tracked => return Ok((table.spelled, None)),
        Some(entry) => entry,
        None => {
            tables::add(tx, &travels, &table.spelled, State::Unknown)?;
            tables::find(tx, &travels)?.ok_or(Error::NotTracked(name.to_owned()))?
        }
    };
    let text = kinds::to_text(&agreed.kinds);
    entry.options = TableOptions { allow_integer_key: options.allow_integer_key, ..agreed };
    entry.renames = renames;
    let id = entry.id;
    lifecycle::begin(tx, entry, &table, (!stated.is_empty()).then_some(text), now)?;
    Ok((table.spelled.clone(), Some((id, table))))
}

/// Whether a table, and what is in it, can be tracked with these options; the inner error says why not. `known`: its entry.
fn check_fits(
    tx: &Transaction<'_>,
    table: &Table,
    known: Option<&Entry>,
    options: &TableOptions,
) -> Result<std::result::Result<(), Refusal>> {
    if let Some(entry) = known.filter(|entry| entry.state == State::Tracked) {
        // What was allowed for it need not be said again.
        let allow_integer_key = options.allow_integer_key || entry.options.allow_integer_key;
        return Ok(eligibility::check(table, &TableOptions { allow_integer_key, ..options.clone() }));
    }
    match eligibility::check(table, options) {
        Ok(()) => eligibility::check_rows(tx, table),
        refused => Ok(refused),
    }
}

/// The names by which a table's columns travel, where those are not their own: as its entry has them, or else the space.
fn renames_of(table: &Table, known: Option<&Entry>, defined: Option<&Definition>) -> Renames {
    let renames = match (known, defined) {
        (Some(entry), _) if !entry.renames.is_empty() => entry.renames.clone(),
        (_, Some(definition)) => definition.renames_of(table),
        _ => Renames::new(),
    };
    let retired = defined.map(Definition::retired_columns).unwrap_or_default();
    column_names::rename_apart(table, &retired, known, renames)
}

/// How a table is tracked: as it is already, or as the space says. Where neither says anything, as is stated now. Fails if what is
/// stated contradicts that; that deletes do not win is said by saying nothing, and contradicts nothing.
fn agreed_options(
    table: &Table,
    known: Option<&Entry>,
    defined: Option<Definition>,
    asked: &TableOptions,
    stated: &Kinds,
) -> Result<TableOptions> {
    let agreed = match known {
        Some(entry) if entry.state == State::Tracked => Some(entry.options.clone()),
        _ => defined.map(|definition| TableOptions { kinds: definition.kinds(), ..definition.options }),
    };
    if let Some(agreed) = agreed {
        agree(table, &agreed, asked, stated)?;
        return Ok(agreed);
    }
    let mut kinds = Kinds::new();
    stated.iter().for_each(|(column, kind)| kinds::set(&mut kinds, column.clone(), *kind));
    Ok(TableOptions { kinds, ..asked.clone() })
}

/// What is known of a table by what it is called: its entry, the name by which it travels, and the options to track it with.
fn known_as(
    tx: &Transaction<'_>,
    file: &Known,
    table: &Table,
    options: &TableOptions,
    now: i64,
) -> Result<(Option<Entry>, String, TableOptions)> {
    let local = fold(&table.spelled);
    let mut called = file.entry(tx, &local)?;
    let mut defined = file.defined.get(&local).map(String::as_str);
    // Under another key every row has another name: it is another table.
    let rekeyed = called.take_if(|entry| entry.state != State::Tracked && has_other_key(entry, table));
    let options = match rekeyed {
        Some(entry) => {
            defined = defined.filter(|name| *name != entry.name);
            give_up_old_key(tx, entry, table, options, now)?
        }
        None => options.clone(),
    };
    let (known, travels) = names::of_table(tx, &local, called, defined)?;
    Ok((known, travels, options))
}

/// Whether a table has another primary key than it had when it was last looked at.
fn has_other_key(entry: &Entry, table: &Table) -> bool {
    let mut table = table.clone();
    table.rename(&entry.renames);
    matches!(column_changes::of_key(entry, &table), Key::Other { .. })
}

/// Gives up the table with the old primary key, here and in the space: files that still have that key go on with it, clones
/// no longer get it. Returns the options for the table with the new key; options that were stated for the old one stay.
fn give_up_old_key(
    tx: &Transaction<'_>,
    entry: Entry,
    table: &Table,
    options: &TableOptions,
    now: i64,
) -> Result<TableOptions> {
    if let Some(definition) = definitions::find(tx, &entry.name)? {
        definitions::put(tx, &Definition { retired: true, ..definition }, now)?;
    }
    let mut options = options.clone();
    options.deletes_win |= entry.options.deletes_win;
    options.allow_integer_key |= entry.options.allow_integer_key;
    for (column, kind) in &entry.options.kinds {
        let stated = options.kinds.iter().any(|(known, _)| fold(known) == *column);
        if !stated && eligibility::check_kind(table, column, *kind).is_ok() {
            options.kinds.push((column.clone(), *kind));
        }
    }
    lifecycle::end_as(tx, Entry { reason: Some(OTHER_KEY.to_owned()), ..entry }, State::Missing)?;
    Ok(options)
}

/// Why a table is no longer here whose primary key changed, as it is kept of it.
const OTHER_KEY: &str = "its primary key changed; the table is tracked apart from what it was";

/// Whether what a caller says of a table is what the space says.
fn agree(table: &Table, agreed: &TableOptions, asked: &TableOptions, kinds: &Kinds) -> Result<()> {
    let contradiction = |existing: String, asked: String, way_out| {
        Err(Error::Contradiction { table: table.spelled.clone(), existing, asked, way_out })
    };
    if asked.deletes_win && !agreed.deletes_win {
        return contradiction(
            "edits winning over deletes".to_owned(),
            "deletes winning over edits".to_owned(),
            "every replica must treat a table alike; leave out --deletes-win (`deletes_win`) for it",
        );
    }
    for (column, kind) in kinds {
        let existing = kinds::of(&agreed.kinds, column);
        if existing != *kind {
            return contradiction(
                format!("column '{column}' as a {existing}"),
                format!("a {kind}"),
                "`driftless set-kind` changes it for the whole space",
            );
        }
    }
    Ok(())
}

/// Makes a column of a tracked table of this kind, here and, when they hear of it, on all replicas of the space.
pub(crate) fn set_kind(
    tx: &Transaction<'_>,
    name: &str,
    column: &str,
    kind: ColumnKind,
    now: i64,
) -> Result<()> {
    let not_tracked = || Error::NotTracked(name.to_owned());
    let known = tables::called(tx, &fold(name))?.filter(|entry| entry.state == State::Tracked);
    let mut entry = known.ok_or_else(not_tracked)?;
    let refuse = |refusal| Error::NotTrackable { table: name.to_owned(), refusal };
    let mut table = introspect::table(tx, name)?.ok_or_else(not_tracked)?.map_err(refuse)?;
    table.rename(&entry.renames);
    let folded =
        table.called(&fold(column)).map_or_else(|| fold(column), |at| table.columns[at].name.clone());
    // What others said of a column that does not fit it here can be taken back.
    let takes_back =
        kind == ColumnKind::Register && kinds::of(&entry.options.kinds, &folded) != ColumnKind::Register;
    if !takes_back {
        let refuse = |refusal| Error::KindRefused { table: table.spelled.clone(), refusal };
        eligibility::check_kind(&table, column, kind).map_err(refuse)?;
    }
    kinds::set(&mut entry.options.kinds, folded, kind);
    tables::update(tx, &entry)?;
    let definition = definitions::find(tx, &entry.name)?;
    let mut definition =
        definition.unwrap_or_else(|| definitions::Definition::of(&entry.name, &table, &entry.options));
    definition.kinds = Some(kinds::to_text(&entry.options.kinds));
    definitions::put(tx, &definition, now)?;
    // A running engine looks at its tables again when the schema has changed.
    installed::install(tx, entry.id, &table, false)
}

/// Why a table that was untracked by its name is not tracked, as it is kept of it.
const BY_NAME: &str = "it was untracked by its name; `driftless track FILE TABLE` tracks it again";

/// Ceases to track tables. Fails with [`Error::NotTracked`] on one that is not. The rule that all are tracked does not bring
/// them back.
pub(crate) fn untrack(tx: &Transaction<'_>, names: &[&str]) -> Result<Vec<String>> {
    names
        .iter()
        .map(|name| {
            let entry = tables::called(tx, &fold(name))?;
            let tracked = entry.filter(|entry| !matches!(entry.state, State::Untracked | State::Unknown));
            let entry = tracked.ok_or_else(|| Error::NotTracked((*name).to_owned()))?;
            let spelled = entry.spelled.clone();
            lifecycle::end(tx, Entry { reason: Some(BY_NAME.to_owned()), ..entry })?;
            Ok(spelled)
        })
        .collect()
}

/// Ceases to track every table, and ends the rule that all are tracked. Returns the names of those that had not been given up
/// before.
pub(crate) fn untrack_all(tx: &Transaction<'_>) -> Result<Vec<String>> {
    rule::end(tx)?;
    let mut untracked = Vec::new();
    for entry in tables::all(tx)? {
        if entry.id != DEFINITIONS && !matches!(entry.state, State::Untracked | State::Unknown) {
            let definition = definitions::find(tx, &entry.name)?;
            if entry.state != State::Missing || definition.is_none_or(|definition| !definition.retired) {
                untracked.push(entry.spelled.clone());
            }
            lifecycle::end(tx, Entry { reason: None, ..entry })?;
        }
    }
    Ok(untracked)
}

/// A table that is not tracked, and why.
pub(crate) type LeftOut = (String, Refusal);

/// Begins to track every table of the user's that these options allow to track, and makes that the rule for tables to
/// come. Returns the others with the reason.
pub(crate) fn track_all(
    tx: &Transaction<'_>,
    options: TableOptions,
    now: i64,
) -> Result<(Vec<String>, Vec<LeftOut>)> {
    let known = Known::read(tx)?;
    let (mut fit, mut unfit) = (Vec::new(), Vec::new());
    for object in known.inventory.user_tables() {
        let Some(look) = known.looks.get(&fold(&object.name)) else { continue };
        let mut judged = judge(tx, &known, object, look, &options)?;
        if let (Ok(()), Ok(table)) = (&judged, look) {
            judged = eligibility::check_rows(tx, table)?;
        }
        match judged {
            Ok(()) => fit.push(&*object.name),
            // The storage of a virtual table is nobody's to track, and naming it would only confuse.
            Err(Refusal::Shadow) => {}
            Err(refusal) => unfit.push((object.name.clone(), refusal)),
        }
    }
    rule::set(tx, &options)?;
    Ok((track_known(tx, &known, &fit, options, true, now)?, unfit))
}

/// Whether a table is one that `track --all` tracks, as long as its rows fit, which is still to be looked at.
fn judge(
    tx: &Transaction<'_>,
    known: &Known,
    object: &Object,
    look: &Look,
    options: &TableOptions,
) -> Result<std::result::Result<(), Refusal>> {
    let entry = known.entry(tx, &fold(&object.name))?;
    if entry.as_ref().is_some_and(|entry| entry.state == State::Tracked) {
        return Ok(Ok(()));
    }
    if let Some(purpose) = bookkeeping::purpose(object) {
        return Ok(Err(purpose.into()));
    }
    if entry.is_some_and(|entry| is_untracked_by_name(&entry)) {
        return Ok(Err(Refusal::Untracked));
    }
    let table = match look {
        Ok(table) => table,
        Err(refusal) => return Ok(Err(refusal.clone())),
    };
    if let Some(other) = known.may_be_untracked(table) {
        return Ok(Err(Refusal::MayBeUntracked(other.spelled.clone())));
    }
    Ok(eligibility::check(table, options))
}

/// Whether somebody said of this very table that it is not to be tracked.
pub(crate) fn is_untracked_by_name(entry: &Entry) -> bool {
    entry.state == State::Untracked && entry.reason.is_some()
}

/// Whether a table is one that only `track FILE TABLE` tracks, by its name and columns.
pub(crate) fn is_bookkeeping(tx: &Transaction<'_>, name: &str) -> Result<Option<Refusal>> {
    let inventory = Inventory::read_one(tx, name)?;
    Ok(inventory.get(name).and_then(bookkeeping::purpose).map(Refusal::from))
}

/// The seq after the last, for a replica that has `last`.
pub(crate) fn following(last: u64) -> Option<Seq> {
    Seq::new(last.checked_add(1)?)
}
