//! Tables that are written while our triggers are gone: an app makes one anew, as migrations do, or a tool drops the triggers.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension as _, Result, params_from_iter};

use super::always::unreadable;
use super::read;
use super::scenario::{Migrating, Rebuilding};
use super::schema::quote;
use super::world::{Checked, World, broken};

/// The new table's name until it takes the old one's place.
const NEW: &str = "the new one";
/// The old table's name once it is renamed aside, to be dropped soon.
const OLD: &str = "the old one";
/// So many times an engine looks at a file until it has decided about its tables.
const MOST_LOOKS: usize = 8;

/// The triggers or rows that a table loses.
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

/// Whether an engine has yet to decide about a table that lost triggers. `triggers`: all that there should be.
pub(super) fn is_undecided(app: &Connection, table: &str, triggers: &BTreeSet<String>) -> Result<bool> {
    let sql = "SELECT id FROM _driftless_tables WHERE lower(spelled) = lower(?1) AND state = 'tracked'
               AND rebuilt IS NULL";
    let mut statement = app.prepare(sql)?;
    let ids: Vec<i64> = statement.query_map([table], |row| row.get(0))?.collect::<Result<_>>()?;
    let present = own_triggers(app)?;
    let is_whole = |id: &i64| {
        let prefix = format!("_driftless_{id}_");
        triggers.iter().filter(|name| name.starts_with(&prefix)).all(|name| present.contains(name))
    };
    Ok(!ids.iter().any(is_whole))
}

/// The table that is renamed aside and still has our triggers: its name before, and its name now.
pub(super) fn aside(app: &Connection) -> Result<Option<(String, String)>> {
    let sql = "SELECT t.name, m.tbl_name FROM sqlite_master m JOIN _driftless_tables t ON m.name = '_driftless_' || t.id || '_insert'
               WHERE m.type = 'trigger' AND m.tbl_name = ?1";
    app.prepare_cached(sql)?.query_row([OLD], |row| Ok((row.get(0)?, row.get(1)?))).optional()
}

/// Whether the table is there and tracked under that name.
fn is_tracked(app: &Connection, table: &str) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM _driftless_tables WHERE lower(spelled) = lower(?1) AND state = 'tracked')
                  AND EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND lower(name) = lower(?1))";
    app.query_row(sql, [table], |row| row.get(0))
}

/// The statements that make a table anew, with its indexes and with the triggers that name it.
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
    let of_app = "FROM sqlite_master WHERE type = 'trigger' AND name NOT GLOB '*driftless_*'
                  AND (instr(lower(sql), lower(?1)) OR instr(lower(sql), lower(replace(?1, '\"', '\"\"')))) ORDER BY rowid";
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
            // A CHECK may name the table. References to it find it again under its old name.
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

/// The steps in which a table is made anew, each a transaction. `aside`: whether its engine knows all of it and has named it so
/// from the beginning, which a table takes that gives up its name.
fn steps(app: &Connection, table: &str, how: Migrating, aside: bool) -> Result<Vec<String>> {
    let mut sql = statements(app, table, Rebuilding::Copied)?;
    sql.remove(0);
    let made: String = app.query_row(
        "SELECT sql FROM sqlite_master WHERE type = 'table' AND lower(name) = lower(?1)",
        [table],
        |row| row.get(0),
    )?;
    let (new, old, name) = (quote(NEW), quote(OLD), quote(table));
    let travels = "SELECT EXISTS (SELECT 1 FROM _driftless_tables WHERE name = lower(?1) AND lower(spelled) = lower(?1))";
    let aside = aside && app.query_row(travels, [table], |row| row.get::<_, bool>(0))?;
    let is_create = |statement: &String| statement.starts_with(&format!("CREATE TABLE {new}"));
    let at = sql.iter().position(is_create).unwrap_or_default();
    let after = sql.split_off(at + 4);
    let parts = sql.split_off(at);
    let [create, copy, drop, rename] = &parts[..] else { return Ok(Vec::new()) };
    let together = |statements: &[String]| format!("BEGIN IMMEDIATE; {}; COMMIT", statements.join("; "));
    let is_index = |statement: &&String| statement.contains(" INDEX ");
    let (indexes, triggers): (Vec<&String>, Vec<&String>) = after.iter().partition(is_index);
    let owned = |statements: Vec<&String>| statements.into_iter().cloned().collect::<Vec<_>>();
    // SQLite would leave a CHECK that names its own table as it is.
    if how == Migrating::Beside || !aside || made.contains(&format!("{name}.")) {
        sql.push(create.clone());
        // Writes between the copy and the drop would be lost.
        match is_witness(table) {
            true => sql.push(together(&[copy.clone(), drop.clone()])),
            false => sql.extend([copy.clone(), drop.clone()]),
        }
        sql.push(together(&[vec![rename.clone()], after].concat()));
        return Ok(sql);
    }
    sql.push(format!(
        "PRAGMA legacy_alter_table = 1; ALTER TABLE {name} RENAME TO {old}; PRAGMA legacy_alter_table = 0"
    ));
    let mut begin: Vec<String> = app
        .prepare("SELECT name FROM sqlite_master WHERE type = 'index' AND lower(tbl_name) = lower(?1) AND sql IS NOT NULL")?
        .query_map([table], |row| row.get::<_, String>(0))?
        .map(|index| Ok(format!("DROP INDEX {}", quote(&index?))))
        .collect::<Result<_>>()?;
    begin.push(made);
    begin.extend(owned(indexes));
    sql.push(together(&begin));
    // Rows that the app has written into the new table by then are newer than the copies.
    let copy = copy.replacen("INSERT INTO", "INSERT OR IGNORE INTO", 1).replacen(&new, &name, 1);
    let copy = match copy.rsplit_once(&name) {
        Some((insert, "")) => format!("{insert}{old}"),
        _ => copy,
    };
    sql.push(together(&[copy, format!("DROP TABLE {old}")]));
    sql.push(together(&owned(triggers)));
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
    /// Finishes what is half made. Returns whether the app is at work and has the table, tracked.
    fn can_change(&mut self, n: usize, table: &str) -> Checked<bool> {
        if !self.is_at_work(n)? {
            return Ok(false);
        }
        self.migrate_all(n)?;
        let Some(app) = &self.nodes[n].app else { return Ok(false) };
        is_tracked(app, table).map_err(unreadable)
    }

    /// The app makes a table anew and runs statements, in one transaction.
    pub(super) fn rebuild(&mut self, n: usize, table: &str, how: Rebuilding, sql: &[String]) -> Checked {
        if how == Rebuilding::Empty && is_witness(table) {
            // Uncaptured writes are lost with the table, so they are captured first.
            self.look_at(n)?;
        }
        if !self.can_change(n, table)? {
            return Ok(());
        }
        let Some(app) = &self.nodes[n].app else { return Ok(()) };
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
        if !self.can_change(n, table)? {
            return Ok(());
        }
        let Some(app) = &self.nodes[n].app else { return Ok(()) };
        let names = triggers_of(app, table, only).map_err(unreadable)?;
        let statements: Vec<String> =
            names.iter().map(|name| format!("DROP TRIGGER {}", quote(name))).collect();
        let all = triggers_of(app, table, &[]).map_err(unreadable)?.len() == names.len();
        let loss = if all { Loss::AllTriggers } else { Loss::SomeTriggers };
        self.without_triggers(n, table, loss, &statements, sql)
    }

    /// Runs `statements`, which take triggers away. If all of them succeed, runs `sql`, in the transaction that
    /// `statements` began if they did; otherwise that transaction is rolled back.
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

    /// The app begins to make a table anew in several transactions.
    pub(super) fn migrate(&mut self, n: usize, table: &str, how: Migrating) -> Checked {
        if self.quiet == 0 || !self.can_change(n, table)? {
            return Ok(());
        }
        let Some(app) = &self.nodes[n].app else { return Ok(()) };
        let steps = steps(app, table, how, !self.always.is_unwatched(n)).map_err(unreadable)?;
        self.always.begins_half(n, app, table)?;
        (self.nodes[n].half, self.nodes[n].half_of) = (steps.into(), table.to_owned());
        self.migrate_on(n)
    }

    /// The app takes the next step of that.
    pub(super) fn migrate_on(&mut self, n: usize) -> Checked {
        self.set_clock(n);
        let node = &mut self.nodes[n];
        let (Some(step), Some(app)) = (node.half.pop_front(), &node.app) else { return Ok(()) };
        if step.contains("DROP TABLE") {
            self.always.unwatch(n, app, &node.half_of, Loss::AllTriggers)?;
            self.always.drops(app, &node.half_of)?;
        }
        app.execute_batch("PRAGMA foreign_keys = 0; PRAGMA synchronous = FULL").map_err(unreadable)?;
        let done = app.execute_batch(&step);
        self.trace.line(|| format!("  {step}; -- {done:?}"));
        if let Err(error) = done {
            return broken("a table can be made anew", format!("{n}: {step}: {error}"));
        }
        if self.nodes[n].half.is_empty() {
            self.always.ends_half(n);
        }
        self.nodes[n].set_durability();
        self.wrote(n)
    }

    /// It takes all that are left.
    pub(super) fn migrate_all(&mut self, n: usize) -> Checked {
        while self.nodes[n].app.is_some() && !self.nodes[n].half.is_empty() {
            self.migrate_on(n)?;
        }
        Ok(())
    }

    /// Time passes, and no table is half made when engines decide about it.
    pub(super) fn wait(&mut self, by: i64) -> Checked {
        for n in 0..self.nodes.len() {
            self.migrate_all(n)?;
        }
        self.now += by;
        Ok(())
    }

    /// An engine looks at a file, and decides about its tables, before something else happens to it.
    pub(super) fn look_at(&mut self, n: usize) -> Checked {
        if self.nodes[n].app.is_some() && self.nodes[n].engine.is_none() {
            self.open(n)?;
        }
        self.migrate_all(n)?;
        for _ in 0..MOST_LOOKS {
            self.engine(n, false, |engine, _| engine.turn(Vec::new()))?;
            if self.quiet == 0 || !self.always.is_unwatched(n) {
                return Ok(());
            }
            self.wait(self.quiet)?;
        }
        let why = self.nodes[n].app.as_ref().map(|app| self.always.why_unwatched(n, app));
        broken("a table that is left alone is decided about", format!("{n}: {why:?}"))
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
