//! The definitions that the space has of its tables: taken over, and made where a table is missing.

use std::collections::HashSet;
use std::time::Duration;

use rusqlite::{Connection, Transaction};

use super::{Replica, begin};
use crate::config::TableOptions;
use crate::env::now;
use crate::error::{Doing, Error, Result};
use crate::schema::definitions::{self, Defined, Definition, Type};
use crate::schema::making::{self, Gate, Making};
use crate::schema::tracking::{self, rule};
use crate::schema::{introspect, objects, sql_text};
use crate::space_objects::{LeftOut, ObjectKind, RenamedIndex, SpaceObject};
use crate::store::limits::Bounds;
use crate::store::{quote, sql};

/// How long a full-text table may take to be filled.
const FILL_TIME: Duration = Duration::from_secs(600);

/// What was made of the space's definitions, and what was not.
#[derive(Debug, Default)]
pub(crate) struct Made {
    pub(crate) tables: Vec<String>,
    pub(crate) objects: Vec<SpaceObject>,
    pub(crate) left_out: Vec<LeftOut>,
    pub(crate) renamed_indexes: Vec<RenamedIndex>,
    pub(crate) notes: Vec<String>,
}

impl Made {
    fn leave_out(&mut self, kind: ObjectKind, name: &str, table: Option<&str>, reason: String) {
        tracing::warn!(kind = kind.name(), name, reason, "left out of the clone");
        self.left_out.push(LeftOut { kind, name: name.to_owned(), table: table.map(str::to_owned), reason });
    }
}

impl Replica {
    /// Everything that the space defines, in the order in which a clone makes it.
    pub(crate) fn space_objects(&self) -> Result<Vec<SpaceObject>> {
        let mut all = Vec::new();
        for definition in definitions::all(&self.connection)?.into_iter().filter(|known| !known.retired) {
            let table = definition.called().to_owned();
            let Some(sql) = definition.sql.clone() else { continue };
            all.push(SpaceObject { kind: ObjectKind::Table, name: table.clone(), table: None, sql });
            for sql in definition.indexes() {
                let name = index_name(&sql);
                all.push(SpaceObject { kind: ObjectKind::Index, name, table: Some(table.clone()), sql });
            }
        }
        let defined = definitions::defined(&self.connection)?;
        all.extend(defined.into_iter().map(|Defined { is, name, sql }| SpaceObject {
            kind: kind_of(is),
            name,
            table: None,
            sql,
        }));
        Ok(all)
    }

    /// Makes the tables that the space defines and that are not here, with their indexes, and tracks them. What cannot be
    /// made is left out, and holds nothing else up.
    pub(crate) fn make_defined_tables(&mut self) -> Result<Made> {
        let mut defined = definitions::all(&self.connection)?;
        defined.retain(|definition| !definition.retired);
        self.within_gate(|connection, gate| {
            // A statement that SQLite interrupts takes the whole transaction with it; it is not tried again.
            let mut hopeless = HashSet::new();
            loop {
                let tx = begin(connection)?;
                match make_tables(&tx, gate, &defined, &mut hopeless)? {
                    Some(made) => {
                        tx.commit().doing("making the space's tables")?;
                        return Ok(made);
                    }
                    None => drop(tx),
                }
            }
        })
    }

    /// Makes views, virtual tables and triggers, each by itself, when the rows are in: triggers that ran on the first fill
    /// would do again what they did for the rows' authors. Sets the app's numbers of the file.
    pub(crate) fn make_objects(&mut self, wanted: &[SpaceObject], made: &mut Made) -> Result<()> {
        self.within_gate(|connection, gate| {
            for kind in [ObjectKind::View, ObjectKind::VirtualTable, ObjectKind::Trigger] {
                for object in wanted.iter().filter(|object| object.kind == kind) {
                    let tx = begin(connection)?;
                    match make_object(&tx, gate, object)? {
                        Ok(()) => {
                            tx.commit().doing("making the space's tables")?;
                            made.objects.push(object.clone());
                            if kind == ObjectKind::VirtualTable {
                                made.notes.extend(fill(connection, object)?);
                            }
                        }
                        Err(reason) => made.leave_out(kind, &object.name, None, reason),
                    }
                }
            }
            Ok(())
        })?;
        self.capture_all()?;
        let tx = begin(&mut self.connection)?;
        for set in objects::set_pragmas(&tx)? {
            made.notes.push(format!("{set} was taken over from the space"));
        }
        objects::remember(&tx, &self.user_tables.catalog)?;
        tx.commit().doing("making the space's tables")?;
        self.user_tables.look_again();
        Ok(())
    }

    /// Tracks tables that are made later and that the space knows: what a clone does.
    pub(crate) fn follow_space(&mut self) -> Result<()> {
        let tx = begin(&mut self.connection)?;
        rule::set_space(&tx)?;
        tx.commit().doing("writing the rule of a clone")
    }

    fn within_gate<T>(&mut self, work: impl FnOnce(&mut Connection, &Gate) -> Result<T>) -> Result<T> {
        let gate = Gate::install(&mut self.connection)?;
        let done = work(&mut self.connection, &gate);
        gate.remove(&mut self.connection)?;
        self.user_tables.look_again();
        done
    }
}

fn kind_of(is: Type) -> ObjectKind {
    match is {
        Type::View => ObjectKind::View,
        Type::Trigger => ObjectKind::Trigger,
        Type::Virtual => ObjectKind::VirtualTable,
        Type::Pragma => ObjectKind::Pragma,
    }
}

/// `None`: the transaction was rolled back, and `hopeless` names one more statement.
fn make_tables(
    tx: &Transaction<'_>,
    gate: &Gate,
    defined: &[Definition],
    hopeless: &mut HashSet<String>,
) -> Result<Option<Made>> {
    let mut made = Made::default();
    let mut attempts = Attempts { tx, gate, hopeless };
    // All tables before the first index: an index must not take the name of a table.
    let Some(here) = make_each_table(&mut attempts, defined, &mut made)? else { return Ok(None) };
    for definition in &here {
        if make_indexes(&mut attempts, definition, &mut made)?.is_none() {
            return Ok(None);
        }
    }
    for definition in here {
        let table = definition.called();
        match track(tx, definition)? {
            Ok(()) => made.tables.push(table.to_owned()),
            Err(reason) => {
                made.left_out.retain(|left| left.table.as_deref() != Some(table));
                made.renamed_indexes.retain(|renamed| renamed.table != table);
                made.leave_out(ObjectKind::Table, table, None, reason);
            }
        }
    }
    Ok(Some(made))
}

/// Attempts to run the space's statements.
struct Attempts<'a> {
    tx: &'a Transaction<'a>,
    gate: &'a Gate,
    /// Statements that took so long that SQLite interrupted them.
    hopeless: &'a mut HashSet<String>,
}

impl Attempts<'_> {
    /// The inner error says why the statement fails. `None`: it took the whole transaction with it.
    fn attempt(&mut self, making: Making, sql: &str) -> Result<Option<std::result::Result<(), String>>> {
        if self.hopeless.contains(sql) {
            return Ok(Some(Err("it takes too long".to_owned())));
        }
        let attempted = self.gate.make(self.tx, making, sql)?;
        if self.tx.is_autocommit() {
            self.hopeless.insert(sql.to_owned());
            return Ok(None);
        }
        Ok(Some(attempted))
    }
}

/// Makes the tables that are not here. Returns them, or `None` if the transaction was rolled back.
fn make_each_table<'d>(
    attempts: &mut Attempts<'_>,
    defined: &'d [Definition],
    made: &mut Made,
) -> Result<Option<Vec<&'d Definition>>> {
    let mut here: Vec<&Definition> = Vec::new();
    for definition in defined {
        let table = definition.called();
        let called_so = |other: &&&Definition| other.called().eq_ignore_ascii_case(table);
        if let Some(other) = here.iter().find(called_so) {
            let reason = format!(
                "the space has two tables that are called so, known to it as '{}' and '{}', and this is the first of them; \
                 rename the other where it is, and clone again",
                other.name, definition.name
            );
            made.leave_out(ObjectKind::Table, table, None, reason);
            continue;
        }
        if introspect::table(attempts.tx, table)?.is_some() {
            continue;
        }
        let attempted = match &definition.sql {
            None => Some(Err("the space has no statement for it".to_owned())),
            Some(sql) => attempts.attempt(Making::Table(table.to_owned()), sql)?,
        };
        match attempted {
            None => return Ok(None),
            Some(Err(reason)) => made.leave_out(ObjectKind::Table, table, None, reason),
            Some(Ok(())) => here.push(definition),
        }
    }
    Ok(Some(here))
}

/// Makes the indexes of a table. `None`: the transaction was rolled back.
fn make_indexes(attempts: &mut Attempts<'_>, definition: &Definition, made: &mut Made) -> Result<Option<()>> {
    let table = definition.called();
    for index in definition.indexes() {
        let Some((index, renamed)) = with_free_name(attempts.tx, table, &index)? else {
            let reason = "it is no CREATE INDEX statement".to_owned();
            made.leave_out(ObjectKind::Index, &index_name(&index), Some(table), reason);
            continue;
        };
        match attempts.attempt(Making::Index(table.to_owned()), &index)? {
            None => return Ok(None),
            Some(Ok(())) => made.renamed_indexes.extend(renamed),
            Some(Err(reason)) => made.leave_out(ObjectKind::Index, &index_name(&index), Some(table), reason),
        }
    }
    Ok(Some(()))
}

/// An index's statement under a name that nothing else here has: names of indexes and tables are one set in a file, and in a
/// space files bring them together that never met. The rule of a UNIQUE index must hold whatever it is called, and any
/// other is worth more under another name than not at all.
fn with_free_name(
    tx: &Transaction<'_>,
    table: &str,
    sql: &str,
) -> Result<Option<(String, Option<RenamedIndex>)>> {
    let Some(head) = sql_text::index_head(sql) else { return Ok(None) };
    let is_free = |name: &str| -> Result<bool> {
        Ok(!sql::exists(
            tx,
            "reading the schema",
            "SELECT 1 FROM sqlite_master WHERE name = ?1 COLLATE NOCASE",
            [name],
        )?)
    };
    if is_free(&head.name)? {
        return Ok(Some((sql.to_owned(), None)));
    }
    let mut name = format!("{}_{table}", head.name);
    let mut number = 1;
    while !is_free(&name)? {
        number += 1;
        name = format!("{}_{table}_{number}", head.name);
    }
    let renamed = RenamedIndex { table: table.to_owned(), index: head.name.clone(), name: name.clone() };
    Ok(Some((sql_text::with_index_name(sql, &head, &name), Some(renamed))))
}

/// For people: the name that a CREATE INDEX statement gives, or its beginning.
fn index_name(sql: &str) -> String {
    match sql_text::index_head(sql) {
        Some(head) => head.name,
        None => sql.chars().take(40).collect(),
    }
}

/// Tracks a table that was just made; one that cannot be tracked cannot be given its rows, and is removed again.
fn track(tx: &Transaction<'_>, definition: &Definition) -> Result<std::result::Result<(), String>> {
    let (doing, table) = ("making the space's tables", definition.called());
    tx.execute_batch("SAVEPOINT _driftless_clone").doing(doing)?;
    // What one replica could track all can; a key that was allowed there is allowed here. Saying so where nobody had to
    // would only be news for everybody.
    let allow_integer_key = matches!(introspect::table(tx, table)?, Some(Ok(table)) if table.integer_key);
    let options = TableOptions { allow_integer_key, ..definition.options.clone() };
    let reason = match tracking::track_as(tx, table, &definition.name, options, now()) {
        Ok(()) => {
            tx.execute_batch("RELEASE _driftless_clone").doing(doing)?;
            return Ok(Ok(()));
        }
        Err(Error::NotTrackable { refusal, .. }) => refusal.to_string(),
        Err(error @ (Error::Contradiction { .. } | Error::KindRefused { .. } | Error::NoSuchColumn(_))) => {
            error.to_string()
        }
        Err(error) => return Err(error),
    };
    tx.execute_batch(&format!(
        "ROLLBACK TO _driftless_clone; RELEASE _driftless_clone; DROP TABLE main.{}",
        quote(table)
    ))
    .doing(doing)?;
    Ok(Err(reason))
}

/// Makes a view, a virtual table or a trigger. After the inner error the transaction must be rolled back.
fn make_object(
    tx: &Transaction<'_>,
    gate: &Gate,
    object: &SpaceObject,
) -> Result<std::result::Result<(), String>> {
    let name = object.name.clone();
    let making = match object.kind {
        ObjectKind::View => Making::View(name),
        ObjectKind::VirtualTable => Making::Virtual(name),
        _ => Making::Trigger(name),
    };
    if let Err(reason) = gate.make(tx, making, &object.sql)? {
        return Ok(Err(reason));
    }
    if object.kind != ObjectKind::Trigger {
        return Ok(Ok(()));
    }
    // SQLite looks at what a trigger does when it is to run: one that needs what is not here would fail every write.
    let table: Option<String> = tx
        .query_row(
            "SELECT tbl_name FROM sqlite_master WHERE type = 'trigger' AND name = ?1 COLLATE NOCASE
             AND tbl_name IN (SELECT name FROM sqlite_master WHERE type = 'table')",
            [&object.name],
            |row| row.get(0),
        )
        .map(Some)
        .or_else(|error| if error == rusqlite::Error::QueryReturnedNoRows { Ok(None) } else { Err(error) })
        .doing("reading the schema")?;
    let Some(Some(Ok(table))) = table.map(|table| introspect::table(tx, &table)).transpose()? else {
        return Ok(Ok(()));
    };
    let name = quote(&table.spelled);
    let columns: Vec<String> = table.columns.iter().map(|column| quote(&column.spelled)).collect();
    let sets: Vec<String> = columns.iter().map(|column| format!("{column} = {column}")).collect();
    let columns = columns.join(", ");
    for sql in [
        format!("INSERT INTO main.{name} ({columns}) SELECT {columns} FROM main.{name}"),
        format!("UPDATE main.{name} SET {}", sets.join(", ")),
        format!("DELETE FROM main.{name}"),
    ] {
        if let Err(error) = tx.prepare(&sql) {
            return Ok(Err(format!(
                "every write to '{}' would fail: {}",
                table.spelled,
                making::refusal("making the space's tables", error)?
            )));
        }
    }
    Ok(Ok(()))
}

/// Fills a full-text table from the table that its contents come from; of any other nobody but the app knows what belongs
/// in it. Returns what there is to say.
fn fill(connection: &mut Connection, object: &SpaceObject) -> Result<Option<String>> {
    let name = &object.name;
    if sql_text::content_table(&object.sql).is_none() {
        return Ok(Some(format!(
            "'{name}' was made and is empty: only your application knows what belongs in it"
        )));
    }
    let tx = begin(connection)?;
    let bounds = Bounds::begin(&tx, FILL_TIME).doing("filling a full-text table")?;
    let quoted = quote(name);
    let filled = tx.execute(&format!("INSERT INTO main.{quoted} ({quoted}) VALUES ('rebuild')"), []);
    drop(bounds);
    match filled {
        Ok(_) => {
            tx.commit().doing("filling a full-text table")?;
            Ok(None)
        }
        Err(source) => Ok(Some(format!(
            "'{name}' was made and is empty, since it could not be filled: {}",
            making::refusal("making the space's tables", source)?
        ))),
    }
}
