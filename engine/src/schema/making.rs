//! Running the CREATE statements of the space.
//!
//! They come from outside, so each runs under an authorizer that lets through the making of just that object and nothing
//! else: no other statement, no query of other tables, no attached file; and within [`Bounds`]. What an object computes
//! later, when rows are written, is bounded there.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::{Connection, Error as SqliteError};

use crate::error::{Doing, Error, Result};
use crate::store::limits::Bounds;
use crate::store::{PREFIX, fold};

/// How long a CREATE statement of the space's may take.
const TIME: Duration = Duration::from_secs(10);
/// The virtual tables that may be made: those that come with SQLite, keep all they hold in the file and reach nothing else.
const MODULES: [&str; 5] = ["fts3", "fts4", "fts5", "rtree", "rtree_i32"];

/// What a statement is to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Making {
    Table(String),
    /// Of this table.
    Index(String),
    View(String),
    Trigger(String),
    Virtual(String),
}

impl Making {
    fn name(&self) -> Option<&str> {
        match self {
            Self::Index(_) => None,
            Self::Table(name) | Self::View(name) | Self::Trigger(name) | Self::Virtual(name) => Some(name),
        }
    }
}

/// The authorizer of a connection. Everything of our own passes; while [`Gate::make`] runs, only what it is to make.
#[derive(Debug)]
pub(crate) struct Gate {
    making: Arc<Mutex<Option<Making>>>,
}

impl Gate {
    /// Puts it in place.
    pub(crate) fn install(connection: &mut Connection) -> Result<Self> {
        let making = Arc::new(Mutex::new(None));
        let asked = Arc::clone(&making);
        connection
            .authorizer(Some(move |context: AuthContext<'_>| {
                match asked.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
                    Some(making) => authorize(&context, making),
                    None => Authorization::Allow,
                }
            }))
            .doing("making the space's tables")?;
        Ok(Self { making })
    }

    /// Takes it away.
    pub(crate) fn remove(self, connection: &mut Connection) -> Result<()> {
        connection.authorizer(None::<fn(AuthContext<'_>) -> Authorization>).doing("making the space's tables")
    }

    /// Runs a statement of the space's. The inner error says in words why nothing came of it; disks that fail are the
    /// outer one.
    pub(crate) fn make(
        &self,
        connection: &Connection,
        making: Making,
        sql: &str,
    ) -> Result<std::result::Result<(), String>> {
        if let Err(why) = check(&making, sql) {
            return Ok(Err(why));
        }
        let doing = "making the space's tables";
        let bounds = Bounds::of_text(connection, TIME).doing(doing)?;
        let set = |making| *self.making.lock().unwrap_or_else(PoisonError::into_inner) = making;
        set(Some(making));
        // `execute` refuses text after the first statement.
        let made = connection.execute(sql, []);
        set(None);
        drop(bounds);
        match made {
            Ok(_) => Ok(Ok(())),
            Err(source) => refusal(doing, source).map(Err),
        }
    }
}

/// In words why SQLite refused a statement; the error itself where the disk fails.
pub(crate) fn refusal(doing: &'static str, source: SqliteError) -> Result<String> {
    let why = match &source {
        SqliteError::SqlInputError { msg, .. } => msg.clone(),
        SqliteError::SqliteFailure(_, Some(message)) => message.clone(),
        other => other.to_string(),
    };
    let error = Error::Sqlite { doing, source };
    if error.is_disk() || error.is_busy() { Err(error) } else { Ok(why) }
}

/// What can be said of a statement before SQLite sees it.
fn check(making: &Making, sql: &str) -> std::result::Result<(), String> {
    if let Some(name) = making.name().map(fold)
        && [PREFIX, "driftless_", "sqlite_"].iter().any(|prefix| name.starts_with(prefix))
    {
        return Err("its name belongs to SQLite or to Driftless".to_owned());
    }
    // What these do later reaches further than their own rows.
    let reaches = matches!(making, Making::View(_) | Making::Trigger(_) | Making::Virtual(_));
    if reaches && fold(sql).contains(PREFIX) {
        return Err("it names a table of Driftless's own".to_owned());
    }
    Ok(())
}

fn authorize(context: &AuthContext<'_>, making: &Making) -> Authorization {
    let main = context.database_name.is_none_or(|database| database == "main");
    if main && allows(&context.action, making) { Authorization::Allow } else { Authorization::Deny }
}

fn allows(action: &AuthAction<'_>, making: &Making) -> bool {
    let schema = |name: &str| matches!(name, "sqlite_master" | "sqlite_schema" | "sqlite_sequence");
    match action {
        // Every CREATE writes the schema.
        AuthAction::Insert { table_name } | AuthAction::Update { table_name, .. } if schema(table_name) => {
            return true;
        }
        AuthAction::Read { table_name, .. } if schema(table_name) => return true,
        AuthAction::Function { .. } => return true,
        _ => {}
    }
    let is = |name: &str, of: &str| name.eq_ignore_ascii_case(of);
    match (making, action) {
        (Making::Table(table), AuthAction::CreateTable { table_name }) => {
            // AUTOINCREMENT: the first such table of a file brings the table that SQLite counts in.
            is(table_name, table) || *table_name == "sqlite_sequence"
        }
        (
            Making::Table(table),
            AuthAction::CreateIndex { table_name, .. } | AuthAction::Read { table_name, .. },
        ) => is(table_name, table),
        (
            Making::Index(table),
            AuthAction::CreateIndex { table_name, .. } | AuthAction::Read { table_name, .. },
        ) => is(table_name, table),
        (Making::Index(_), AuthAction::Reindex { .. }) => true,
        (Making::View(view), AuthAction::CreateView { view_name }) => is(view_name, view),
        (Making::Trigger(trigger), AuthAction::CreateTrigger { trigger_name, .. }) => {
            is(trigger_name, trigger)
        }
        (Making::Virtual(table), action) => allows_virtual(action, table),
        _ => false,
    }
}

/// A virtual table makes tables of its own, which are called after it, and looks at the one that its contents come from.
fn allows_virtual(action: &AuthAction<'_>, table: &str) -> bool {
    let own = |name: &str| {
        let (head, tail) = (name.get(..table.len()), name.get(table.len()..));
        head.is_some_and(|head| head.eq_ignore_ascii_case(table))
            && tail.is_some_and(|tail| tail.is_empty() || tail.starts_with('_'))
    };
    match action {
        AuthAction::CreateVtable { table_name, module_name } => {
            table_name.eq_ignore_ascii_case(table) && MODULES.contains(&&*fold(module_name))
        }
        AuthAction::CreateTable { table_name }
        | AuthAction::CreateIndex { table_name, .. }
        | AuthAction::Insert { table_name }
        | AuthAction::Update { table_name, .. }
        | AuthAction::Delete { table_name } => own(table_name),
        AuthAction::Read { .. } | AuthAction::Select | AuthAction::Pragma { pragma_value: None, .. } => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> (Connection, Gate) {
        let mut connection = Connection::open_in_memory().expect("in memory");
        connection.execute_batch("CREATE TABLE there (k TEXT PRIMARY KEY, v)").expect("valid SQL");
        let gate = Gate::install(&mut connection).expect("installed");
        (connection, gate)
    }

    #[track_caller]
    fn refused(making: Making, sql: &str) {
        let (connection, gate) = connection();
        let why = gate.make(&connection, making, sql).expect("no disk fails").expect_err(sql);
        assert!(!why.is_empty());
        let objects: i64 = connection
            .query_row("SELECT count(*) FROM sqlite_master WHERE sql IS NOT NULL", [], |row| row.get(0))
            .expect("counted");
        assert_eq!(objects, 1, "{sql}: {why}");
    }

    #[track_caller]
    fn made(making: Making, sql: &str) {
        let (connection, gate) = connection();
        gate.make(&connection, making, sql)
            .expect("no disk fails")
            .unwrap_or_else(|why| panic!("{sql}: {why}"));
    }

    fn table() -> Making {
        Making::Table("t".to_owned())
    }

    #[test]
    fn tables_of_every_form_are_made() {
        for sql in [
            "CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE)",
            "CREATE TABLE T(id TEXT PRIMARY KEY, v AS (upper(id)) STORED, w CHECK (w > 0) DEFAULT (random())) WITHOUT ROWID",
            "CREATE TABLE \"t\"(id TEXT PRIMARY KEY, o REFERENCES there, t REFERENCES t, w REFERENCES nowhere) STRICT",
            "CREATE TABLE t(id TEXT PRIMARY KEY -- ends;\n, v) -- and again;",
        ] {
            let sql = if sql.ends_with("STRICT") {
                sql.replace(" REFERENCES", " TEXT REFERENCES")
            } else {
                sql.to_owned()
            };
            made(table(), &sql);
        }
    }

    #[test]
    fn nothing_but_the_object_at_hand_is_made() {
        for sql in [
            "CREATE TABLE u (k TEXT PRIMARY KEY)",
            "CREATE TABLE t AS SELECT * FROM there",
            "CREATE TEMP TABLE t (k TEXT PRIMARY KEY)",
            "CREATE TABLE t (k TEXT PRIMARY KEY); DROP TABLE there",
            "CREATE VIRTUAL TABLE t USING fts5 (a)",
            "CREATE VIEW t AS SELECT 1",
            "DROP TABLE there",
            "DELETE FROM there",
            "INSERT INTO there VALUES (1, 2)",
            "PRAGMA user_version = 7",
            "ATTACH 'x' AS y",
            "SELECT 1",
            "",
        ] {
            refused(table(), sql);
        }
        refused(Making::Index("there".into()), "CREATE TABLE t (k TEXT PRIMARY KEY)");
        refused(Making::View("v".into()), "CREATE VIEW w AS SELECT 1");
        refused(Making::View("v".into()), "CREATE TEMP VIEW v AS SELECT 1");
        refused(Making::Trigger("g".into()), "CREATE TRIGGER h AFTER INSERT ON there BEGIN SELECT 1; END");
        refused(
            Making::Trigger("g".into()),
            "CREATE TEMP TRIGGER g AFTER INSERT ON there BEGIN SELECT 1; END",
        );
        refused(Making::Virtual("f".into()), "CREATE VIRTUAL TABLE f USING dbstat");
        refused(Making::Virtual("f".into()), "CREATE VIRTUAL TABLE g USING fts5 (a)");
    }

    #[test]
    fn views_triggers_and_virtual_tables_are_made_where_they_are_asked_for() {
        made(Making::Index("there".into()), "CREATE UNIQUE INDEX i ON there (lower(v)) WHERE v > ';\n'");
        made(Making::View("v".into()), "CREATE VIEW v AS SELECT k, v FROM there WHERE v = ';'");
        made(
            Making::Trigger("g".into()),
            "CREATE TRIGGER g AFTER INSERT ON there BEGIN DELETE FROM elsewhere; INSERT INTO u SELECT 1; END",
        );
        for module in [
            "fts5 (k, v, content='there')",
            "fts5 (v)",
            "fts4 (v, content=\"there\")",
            "fts3 (v)",
            "rtree (id, a, b)",
        ] {
            made(Making::Virtual("f".into()), &format!("CREATE VIRTUAL TABLE f USING {module}"));
        }
    }

    #[test]
    fn what_names_the_engine_s_own_tables_is_not_made() {
        refused(Making::Table("_driftless_more".into()), "CREATE TABLE _driftless_more (k TEXT PRIMARY KEY)");
        refused(
            Making::Trigger("g".into()),
            "CREATE TRIGGER g AFTER INSERT ON there BEGIN DELETE FROM \"_Driftless_meta\"; END",
        );
        refused(Making::View("v".into()), "CREATE VIEW v AS SELECT * FROM _driftless_meta");
        refused(
            Making::Virtual("f".into()),
            "CREATE VIRTUAL TABLE f USING fts5 (v, content='_driftless_meta')",
        );
    }
}
