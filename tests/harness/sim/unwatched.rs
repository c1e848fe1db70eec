//! Tables that are written while our triggers are gone: an app makes one anew, as migrations do, or a tool drops the triggers.

use std::collections::BTreeSet;

use rusqlite::{Connection, Result, params_from_iter};

use super::always::unreadable;
use super::read;
use super::scenario::Rebuilding;
use super::schema::quote;
use super::world::{Checked, World};

/// What a table is called until it takes the place of the old one.
const NEW: &str = "the new one";

/// What a table loses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    SomeTriggers,
    AllTriggers,
    /// All triggers, and all rows, which nobody means to delete.
    Rows,
}

/// The names of our triggers that a file has.
pub(super) fn own_triggers(app: &Connection) -> Result<BTreeSet<String>> {
    let sql = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND name GLOB '_driftless_[0-9]*'";
    app.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
}

/// Whether an engine has made these triggers again, and captured what it found in their tables.
pub(super) fn is_watched(app: &Connection, triggers: &BTreeSet<String>) -> Result<bool> {
    let pending = "SELECT EXISTS (SELECT 1 FROM _driftless_tables WHERE rebuilt IS NOT NULL)
                       OR EXISTS (SELECT 1 FROM _driftless_backlog)";
    Ok(triggers.is_subset(&own_triggers(app)?) && !app.query_row(pending, [], |row| row.get::<_, bool>(0))?)
}

/// Whether the table is there and tracked under that name.
fn is_tracked(app: &Connection, table: &str) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM _driftless_tables WHERE lower(spelled) = lower(?1) AND state = 'tracked')
                  AND EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND lower(name) = lower(?1))";
    app.query_row(sql, [table], |row| row.get(0))
}

/// What makes a table anew, with its indexes, and with the triggers that name it.
fn statements(app: &Connection, table: &str, how: Rebuilding) -> Result<Vec<String>> {
    let all = |sql: &str, what: &[&str]| -> Result<Vec<String>> {
        app.prepare(sql)?.query_map(params_from_iter(what), |row| row.get(0))?.collect()
    };
    let made: String = app.query_row(
        "SELECT sql FROM sqlite_master WHERE type = 'table' AND lower(name) = lower(?1)",
        [table],
        |row| row.get(0),
    )?;
    // SQLite refuses to rename a table while a trigger names another that is not there.
    let of_app = "FROM sqlite_master WHERE type = 'trigger' AND name NOT GLOB '_driftless_*'
                  AND instr(lower(sql), lower(?1)) ORDER BY rowid";
    let dropped = all(&format!("SELECT name {of_app}"), &[table])?;
    let mut sql = vec!["BEGIN IMMEDIATE".to_owned()];
    sql.extend(dropped.iter().map(|trigger| format!("DROP TRIGGER {}", quote(trigger))));
    match how {
        Rebuilding::Empty => sql.extend([format!("DROP TABLE {}", quote(table)), made]),
        Rebuilding::Copied => {
            let columns = all("SELECT name FROM pragma_table_xinfo(?1) WHERE hidden = 0", &[table])?;
            let columns = columns.iter().map(|column| quote(column)).collect::<Vec<_>>().join(", ");
            let (new, old) = (quote(NEW), quote(table));
            let (_, body) = made.split_once('(').unwrap_or_default();
            // What names the table in a CHECK; what refers to it will find it under its old name.
            let body = body.replace(&format!("{old}."), &format!("{new}."));
            sql.extend([
                format!("CREATE TABLE {new} ({body}"),
                format!("INSERT INTO {new} ({columns}) SELECT {columns} FROM {old}"),
                format!("DROP TABLE {old}"),
                format!("ALTER TABLE {new} RENAME TO {old}"),
            ]);
        }
    }
    let of_table = "SELECT sql FROM sqlite_master WHERE type = 'index' AND lower(tbl_name) = lower(?1)
                    AND sql IS NOT NULL ORDER BY rowid";
    sql.extend(all(of_table, &[table])?);
    sql.extend(all(&format!("SELECT sql {of_app}"), &[table])?);
    Ok(sql)
}

/// Our triggers of a table, or those of them that are called so.
fn triggers_of(app: &Connection, table: &str, only: &[String]) -> Result<Vec<String>> {
    let sql = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND name GLOB '_driftless_[0-9]*'
               AND lower(tbl_name) = lower(?1)";
    let names: Vec<String> =
        app.prepare(sql)?.query_map([table], |row| row.get(0))?.collect::<Result<_>>()?;
    let kind =
        |name: &str| name.trim_start_matches("_driftless_").split_once('_').map(|(_, kind)| kind.to_owned());
    let is_wanted = |name: &String| only.is_empty() || kind(name).is_some_and(|kind| only.contains(&kind));
    Ok(names.into_iter().filter(is_wanted).collect())
}

impl World {
    /// The app makes a table anew and runs statements, in one transaction.
    pub(super) fn rebuild(&mut self, n: usize, table: &str, how: Rebuilding, sql: &[String]) -> Checked {
        if how == Rebuilding::Empty && is_witness(table) {
            // What nobody has captured goes with the table.
            self.look_at(n)?;
        }
        if !self.is_at_work(n)? {
            return Ok(());
        }
        let Some(app) = &self.nodes[n].app else { return Ok(()) };
        if !is_tracked(app, table).map_err(unreadable)? {
            return Ok(());
        }
        let statements = statements(app, table, how).map_err(unreadable)?;
        let loss = if how == Rebuilding::Empty { Loss::Rows } else { Loss::AllTriggers };
        self.without_triggers(n, table, loss, &statements, sql)
    }

    /// A tool drops triggers of ours, and the app runs statements after that.
    pub(super) fn drop_triggers(
        &mut self,
        n: usize,
        table: &str,
        only: &[String],
        sql: &[String],
    ) -> Checked {
        if !self.is_at_work(n)? {
            return Ok(());
        }
        let Some(app) = &self.nodes[n].app else { return Ok(()) };
        if !is_tracked(app, table).map_err(unreadable)? {
            return Ok(());
        }
        let names = triggers_of(app, table, only).map_err(unreadable)?;
        let statements: Vec<String> =
            names.iter().map(|name| format!("DROP TRIGGER {}", quote(name))).collect();
        let all = triggers_of(app, table, &[]).map_err(unreadable)?.len() == names.len();
        let loss = if all { Loss::AllTriggers } else { Loss::SomeTriggers };
        self.without_triggers(n, table, loss, &statements, sql)
    }

    /// What takes triggers away, all of it or nothing, and the statements that follow, in the same transaction if it is one.
    fn without_triggers(
        &mut self,
        n: usize,
        table: &str,
        loss: Loss,
        statements: &[String],
        sql: &[String],
    ) -> Checked {
        self.set_clock(n);
        let Some(app) = &self.nodes[n].app else { return Ok(()) };
        self.always.unwatch(n, app, table, loss)?;
        // As any migration it waits for the disk, so that no loss of power brings the old table back.
        app.execute_batch("PRAGMA foreign_keys = 0; PRAGMA synchronous = FULL").map_err(unreadable)?;
        let done = statements.iter().try_for_each(|statement| {
            let done = app.execute_batch(statement);
            self.trace.line(|| format!("  {statement}; -- {done:?}"));
            done
        });
        if done.is_ok() {
            self.always.writes(app)?;
            self.run_statements(n, sql)?;
            if let Some(app) = self.nodes[n].app.as_ref().filter(|app| !app.is_autocommit()) {
                let done = app.execute_batch("COMMIT");
                self.trace.line(|| format!("  COMMIT; -- {done:?}"));
                self.tally.transactions += 1;
            }
        }
        self.wrote(n)?;
        self.nodes[n].set_durability();
        Ok(())
    }

    /// An engine looks at a file, whose tables may be without triggers, before something else happens to it.
    pub(super) fn look_at(&mut self, n: usize) -> Checked {
        if self.nodes[n].app.is_some() && self.nodes[n].engine.is_none() {
            self.open(n)?;
        }
        self.engine(n, false, |engine, _| engine.turn(Vec::new()))?;
        Ok(())
    }
}

/// Whether a table is one of the witnesses.
pub(super) fn is_witness(table: &str) -> bool {
    use super::schema::{LEFT, PAGE, RIGHT, TALLY};
    [LEFT, PAGE, RIGHT, TALLY].contains(&table)
}

/// The tables that can be made anew.
pub(super) fn tables(app: &Connection) -> Vec<String> {
    read::tables(app).unwrap_or_default()
}
