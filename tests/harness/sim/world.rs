//! A cluster on one thread: files with engines and apps on them, relays, and what is on its way between. It does one
//! [`Step`] after the other, and checks after each what must always hold.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use std::time::Duration;

use driftless::Config;
use driftless::sim::{self, Link, Replica};
use driftless_protocol::{ClientMessage, SpaceId};
use driftless_test_disk::Failure as DiskFailure;
use tempfile::TempDir;

use super::always::{Always, unreadable};
use super::node::Node;
use super::relay::Relay;
use super::scenario::{Change, Copying, NodeSpec, Restoring, Scenario, Side, Step, TableSpec};
use super::schema::quote;
use super::trace::Trace;
use super::wires::Wire;

/// What must hold and does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Which promise, by its name.
    pub rule: &'static str,
    /// What was found.
    pub found: String,
}

/// Short for what may fail.
pub(super) type Checked<T = ()> = Result<T, Failure>;

pub(super) fn broken<T>(rule: &'static str, found: impl Into<String>) -> Checked<T> {
    Err(Failure { rule, found: found.into() })
}

/// What went on, in numbers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    /// Steps done.
    pub steps: u64,
    /// Of them faults.
    pub faults: u64,
    /// Transactions that apps committed, statements outside of one included.
    pub transactions: u64,
    /// Frames that arrived.
    pub frames: u64,
    /// Milliseconds of virtual time.
    pub time: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.steps += other.steps;
        self.faults += other.faults;
        self.transactions += other.transactions;
        self.frames += other.frames;
        self.time += other.time;
    }
}

/// A cluster. See the [module](self).
pub(super) struct World {
    pub(super) nodes: Vec<Node>,
    pub(super) relays: Vec<Relay>,
    pub(super) always: Always,
    pub(super) trace: Trace,
    pub(super) tally: Tally,
    pub(super) tables: Vec<TableSpec>,
    /// Changes of the schema in the order in which they were first made.
    pub(super) changes: Vec<Change>,
    /// Whether a file was restored in the middle of a migration. Others may have heard of the table's passing name, and nobody
    /// tells them of the old one.
    pub(super) misnamed: bool,
    pub(super) wires: BTreeMap<u64, Wire>,
    pub(super) last_wire: u64,
    /// How often an engine or a relay has ended a connection.
    pub(super) cut_off: u64,
    /// Whose turn it is at a connection.
    pub(super) rotation: usize,
    pub(super) space: SpaceId,
    pub(super) now: i64,
    pub(super) quiet: i64,
    folder: TempDir,
}

impl World {
    pub(super) fn new(scenario: &Scenario, print: bool) -> Checked<Self> {
        let folder = tempfile::tempdir().expect("a folder for the files");
        sim::set_seed(Some(scenario.seed));
        let mut rng = fastrand::Rng::with_seed(scenario.seed ^ 0x5ace);
        let mut world = Self {
            nodes: Vec::new(),
            relays: (0..scenario.relays).map(|_| Relay::new()).collect(),
            always: Always::new(scenario),
            trace: Trace::new(print),
            tally: Tally::default(),
            tables: scenario.tables.clone(),
            changes: Vec::new(),
            misnamed: false,
            wires: BTreeMap::new(),
            last_wire: 0,
            cut_off: 0,
            rotation: 0,
            now: 1_700_000_000_000,
            quiet: scenario.quiet,
            space: SpaceId::from_bytes(rng.u128(1..).to_le_bytes()).expect("not nil"),
            folder,
        };
        world.trace.line(|| scenario.schema.clone());
        for spec in &scenario.nodes {
            world.begin_node(spec, &scenario.schema)?;
        }
        if let Some(app) = world.nodes.first().and_then(|node| node.app.as_ref()) {
            world.always.begins(app)?;
        }
        Ok(world)
    }

    fn begin_node(&mut self, spec: &NodeSpec, schema: &str) -> Checked {
        let n = self.add_node(spec.clone());
        self.set_clock(n);
        let path = self.nodes[n].path.clone();
        crate::create_database(&path, schema);
        self.open(n)?;
        let tables = self.tables.clone();
        self.engine(n, false, |engine, _| {
            let groups = TableSpec::together(&tables).into_iter();
            groups
                .map(|(names, options)| engine.track(&names, options).map(drop))
                .collect::<Result<Vec<()>, _>>()
        })?;
        if let (Some(model), Some(app)) = (&mut self.always.model, &self.nodes[n].app) {
            model.begin(n, app, &tables)?;
        }
        Ok(())
    }

    fn add_node(&mut self, spec: NodeSpec) -> usize {
        let n = self.nodes.len();
        // One folder is one disk.
        let folder = self.folder.path().join(n.to_string());
        std::fs::create_dir(&folder).expect("a folder for a node");
        self.nodes.push(Node::new(&folder, spec));
        n
    }

    /// Opens what is not open of a node: the app's connection and the engine.
    pub(super) fn open(&mut self, n: usize) -> Checked {
        self.set_clock(n);
        let node = &mut self.nodes[n];
        if node.app.is_none() {
            node.open_app();
        }
        if node.engine.is_none() {
            let mut config = Config::default();
            config.rebuild_quiet = Duration::from_millis(self.quiet.unsigned_abs());
            config.turn_rows = node.spec.turn_rows;
            config.changeset_bytes = node.spec.changeset_bytes;
            let path = node.path.clone();
            let opened = guarded(|| Replica::open_durable(&path, config))?;
            match opened {
                Ok(engine) => node.engine = Some(engine),
                Err(error) => return broken("the engine opens a sound file", format!("{n}: {error:?}")),
            }
        }
        self.always.opened(n, &mut self.nodes[n])
    }

    /// Time goes on; what follows happens at that node.
    pub(super) fn set_clock(&mut self, n: usize) {
        self.now += 7;
        let now = self.time_at(n);
        sim::set_clock(Some(now));
        driftless_test_disk::set_clock(Some(now));
    }

    /// What a node's clock says.
    fn time_at(&self, n: usize) -> i64 {
        let spec = &self.nodes[n].spec;
        let now = self.now + spec.clock;
        now - now.rem_euclid(spec.grain.max(1))
    }

    /// The engine of a node does something. `None` if it failed, which it may only when its disk does.
    pub(super) fn engine<T>(
        &mut self,
        n: usize,
        troubled: bool,
        work: impl FnOnce(&mut Replica, Option<&mut Link>) -> driftless::Result<T>,
    ) -> Checked<Option<T>> {
        self.set_clock(n);
        let now = self.time_at(n);
        let node = &mut self.nodes[n];
        let Some(engine) = node.engine.as_mut() else { return Ok(None) };
        self.always.before(n, node.app.as_ref(), now)?;
        let link = node.link.as_mut().map(|conversation| &mut conversation.link);
        let done = guarded(|| work(engine, link))?;
        if node.unnoticed.is_some() && node.unnoticed != Some(engine.replica_id()) {
            node.unnoticed = None;
        }
        let done = match done {
            Ok(done) => Some(done),
            Err(error) => {
                self.trace.line(|| format!("  {n} fails: {error}"));
                if !troubled {
                    return broken("the engine does not fail by itself", format!("{n}: {error:?}"));
                }
                None
            }
        };
        if let (Some(link), false) = (&mut node.link, troubled && done.is_none())
            && let Err(error) = link.link.progressed(engine)
            && !troubled
        {
            return broken("the engine does not fail by itself", format!("{n}: {error:?}"));
        }
        if !troubled {
            self.always.after(n, &mut self.nodes[n], &mut self.trace)?;
        }
        self.forget_ended(n);
        Ok(done)
    }

    /// Does a step.
    pub(super) fn step(&mut self, step: &Step) -> Checked {
        self.tally.steps += 1;
        self.tally.faults += u64::from(step.is_fault());
        self.trace.line(|| format!("{step:?}"));
        let begun = self.now;
        self.perform(step)?;
        self.tally.time += (self.now - begun).unsigned_abs();
        Ok(())
    }

    fn perform(&mut self, step: &Step) -> Checked {
        match step {
            Step::Write { node, .. }
            | Step::Alter { node, .. }
            | Step::Rebuild { node, .. }
            | Step::Migrate { node, .. }
            | Step::MigrateOn { node }
            | Step::RestoreUnder { node, .. }
            | Step::DropTriggers { node, .. }
            | Step::Close { node }
            | Step::Open { node }
            | Step::Turn { node }
            | Step::Connect { node, .. }
            | Step::Cut { node, .. }
            | Step::Pump { node, .. }
            | Step::PumpOld { node, .. }
            | Step::Mangle { node, .. }
            | Step::Block { node, .. }
            | Step::Tick { node }
            | Step::Kill { node }
            | Step::KillAt { node, .. }
            | Step::PowerLoss { node, .. }
            | Step::DiskFails { node, .. }
            | Step::Clock { node, .. }
            | Step::Copy { node, .. }
            | Step::Save { node }
            | Step::Restore { node, .. }
                if *node >= self.nodes.len() =>
            {
                return Ok(());
            }
            Step::RelayKill { relay }
            | Step::RelaySave { relay }
            | Step::RelayRestore { relay }
            | Step::Join { relay }
                if *relay >= self.relays.len() =>
            {
                return Ok(());
            }
            _ => {}
        }
        match *step {
            Step::Write { node, ref sql } => self.write(node, sql)?,
            // Who joined has made its tables from the newest definitions: there is nothing to catch up on step by step.
            Step::Alter { .. } if self.nodes.iter().any(|node| node.joined) => {}
            Step::Alter { node, ref change } => {
                self.always.skew();
                self.alter(node, change)?;
            }
            Step::Rebuild { node, ref table, how, ref sql } => self.rebuild(node, table, how, sql)?,
            Step::Migrate { node, ref table, how } => self.migrate(node, table, how)?,
            Step::MigrateOn { node } => self.migrate_on(node)?,
            Step::Wait { by } => self.wait(by)?,
            Step::DropTriggers { node, ref table, ref only, ref sql } => {
                self.drop_triggers(node, table, only, sql)?;
            }
            Step::Close { node } => self.stop_engine(node),
            Step::Open { node } => self.open(node)?,
            Step::Turn { node } => {
                self.engine(node, false, |engine, _| engine.turn(Vec::new()))?;
            }
            Step::Connect { node, relay } => self.connect(node, relay)?,
            Step::Cut { node, known_to } => self.hang_up(node, known_to),
            Step::Pump { node, moves } => drop(self.pump(node, moves.into(), false)?),
            Step::PumpOld { node, moves } => self.pump_old(node, moves.into())?,
            Step::Mangle { node, to, how } => self.mangle(node, to, how),
            Step::Block { node, to } => {
                let node = &mut self.nodes[node];
                node.blocked_up |= to != Side::Node;
                node.blocked_down |= to != Side::Relay;
            }
            Step::Tick { node } => {
                if let Some(conversation) = &mut self.nodes[node].link {
                    conversation.link.tick();
                }
            }
            Step::Kill { node } => {
                self.stop_engine(node);
                self.open(node)?;
            }
            Step::KillAt { node, write, torn, moves } => {
                self.nodes[node].disk.die_at(write.into(), if torn { 100 } else { 0 });
                self.troubled(node, moves)?;
                self.nodes[node].disk.die();
                self.stop_all(node);
                self.nodes[node].disk.revive();
                self.open(node)?;
            }
            Step::PowerLoss { node, write, moves, chance } => {
                self.always.power_fails();
                if let Some(write) = write {
                    self.nodes[node].disk.die_at(write.into(), 100);
                    self.troubled(node, moves)?;
                }
                self.nodes[node].disk.die();
                self.stop_all(node);
                let loss = self.nodes[node].disk.power_loss(&mut fastrand::Rng::with_seed(chance));
                self.trace.line(|| format!("  {loss:?}"));
                self.nodes[node].open_app();
                self.always.lost_power(node, &self.nodes[node])?;
                self.open(node)?;
            }
            Step::DiskFails { node, write, full, once, moves } => {
                let failure = if full { DiskFailure::Full } else { DiskFailure::Io };
                match once {
                    true => self.nodes[node].disk.fail_once(write.into(), failure),
                    false => self.nodes[node].disk.fail_from(write.into(), failure),
                }
                self.troubled(node, moves)?;
                self.nodes[node].disk.heal();
                self.engine(node, false, |engine, _| engine.turn(Vec::new()))?;
            }
            Step::Clock { node, by } => self.nodes[node].spec.clock += by,
            Step::Copy { node, how } => self.copy(node, how)?,
            Step::Save { node } => {
                // As for a copy: what no engine has captured yet would be captured twice.
                self.look_at(node)?;
                self.nodes[node].save();
                if let Some(model) = &mut self.always.model {
                    model.saved(node);
                }
            }
            Step::Restore { node, same_inode } => {
                if self.nodes[node].saved.is_some() {
                    self.stop_all(node);
                    self.misnamed |= !self.nodes[node].half.is_empty();
                    self.nodes[node].half.clear();
                    self.nodes[node].restore(same_inode);
                    self.always.restored(node, same_inode);
                    self.open(node)?;
                }
            }
            Step::RestoreUnder { node, how } => self.restore_under(node, how)?,
            Step::Join { relay } => self.join_at(relay)?,
            Step::RelayKill { relay } => self.kill_relay(relay, Relay::kill),
            Step::RelaySave { relay } => self.relays[relay].save(),
            Step::RelayRestore { relay } => self.kill_relay(relay, Relay::restore),
        }
        Ok(())
    }

    fn write(&mut self, n: usize, sql: &[String]) -> Checked {
        if !self.is_at_work(n)? {
            return Ok(());
        }
        self.set_clock(n);
        let Some(app) = &self.nodes[n].app else { return Ok(()) };
        self.always.writes(app)?;
        self.run_statements(n, sql)?;
        self.wrote(n)
    }

    /// Whether the app of a node has begun to work and can go on.
    pub(super) fn is_at_work(&mut self, n: usize) -> Checked<bool> {
        if self.always.lacks_witnesses(n) {
            // What is written into a table that was made again empty makes the rest of it deleted.
            self.look_at(n)?;
        }
        if self.nodes[n].half.front().is_some() && self.always.misses_witnesses(n) {
            // A transaction would write one of them and not the other.
            self.migrate_all(n)?;
        }
        let Some(app) = &self.nodes[n].app else { return Ok(false) };
        // Nobody begins to work on half a copy.
        Ok(!self.nodes[n].joined || self.always.is_complete(app)?)
    }

    /// Runs statements one after the other; each may fail.
    pub(super) fn run_statements(&mut self, n: usize, sql: &[String]) -> Checked {
        let now = self.time_at(n);
        let Some(app) = &self.nodes[n].app else { return Ok(()) };
        let mut undone = false;
        for statement in sql {
            // A transaction that a conflict has rolled back is over: what was meant to be in it is not done alone.
            if undone && !matches!(statement.as_str(), "COMMIT" | "ROLLBACK") {
                continue;
            }
            let inside = !app.is_autocommit();
            let done = app.execute_batch(statement);
            self.trace.line(|| format!("  {statement}; -- {done:?}"));
            if let Some(model) = &mut self.always.model
                && model.wants_statements(app)
            {
                model.wrote(n, app, now)?;
            }
            undone = inside && app.is_autocommit() && !matches!(statement.as_str(), "COMMIT" | "ROLLBACK");
            if done.is_ok() && app.is_autocommit() {
                self.tally.transactions += 1;
            }
            if statement == "COMMIT" || statement == "ROLLBACK" {
                undone = false;
            }
        }
        Ok(())
    }

    /// The app has written.
    pub(super) fn wrote(&mut self, n: usize) -> Checked {
        let now = self.time_at(n);
        let node = &self.nodes[n];
        if let Some(app) = node.app.as_ref().filter(|app| !app.is_autocommit()) {
            let _over = app.execute_batch("ROLLBACK");
        }
        self.always.wrote(n, node, now)
    }

    /// Changes the schema at a node. Returns whether that was possible.
    pub(super) fn alter(&mut self, n: usize, change: &Change) -> Checked<bool> {
        let next = self.changes.get(self.nodes[n].changed);
        if next.is_some_and(|next| next != change) {
            // All files go through the same changes in the same order. Only a scenario that was shortened says otherwise.
            return Ok(false);
        }
        let is_new = next.is_none();
        if self.always.is_unwatched(n) {
            // A table that is made anew and renamed between two looks of the engine is another one.
            self.look_at(n)?;
        }
        self.set_clock(n);
        let Some(app) = &self.nodes[n].app else { return Ok(false) };
        // A migration waits for the disk, whatever else the app does.
        app.pragma_update(None, "synchronous", "FULL").map_err(unreadable)?;
        let done = match change {
            Change::Sql(sql) => app.execute_batch(sql).map_err(|error| error.to_string()),
            Change::Rename { table, old, new } => {
                let sql =
                    format!("ALTER TABLE {} RENAME COLUMN {} TO {}", quote(table), quote(old), quote(new));
                // The engine knows what the app renames itself, so most files do not say so.
                let told = self.nodes[n].spec.turn_rows.is_multiple_of(4)
                    && driftless::rename_column(&self.nodes[n].path, table, old, new).is_ok();
                if told { Ok(()) } else { app.execute_batch(&sql).map_err(|error| error.to_string()) }
            }
        };
        self.trace.line(|| format!("  {done:?}"));
        self.nodes[n].set_durability();
        if done.is_ok() {
            if is_new {
                self.changes.push(change.clone());
            }
            self.nodes[n].changed += 1;
        }
        Ok(done.is_ok())
    }

    /// Things go on at a node whose disk does not do as it should.
    fn troubled(&mut self, n: usize, moves: u16) -> Checked {
        self.pump(n, moves.into(), true)?;
        self.engine(n, true, |engine, _| engine.turn(Vec::new()))?;
        self.pump(n, 3, true)?;
        Ok(())
    }

    /// The engine and its connection are gone without a word.
    fn stop_engine(&mut self, n: usize) {
        if self.nodes[n].unnoticed.take().is_some() {
            self.always.nobody_can_tell(n);
        }
        self.hang_up(n, Side::Both);
        self.nodes[n].engine = None;
    }

    /// So is the app.
    fn stop_all(&mut self, n: usize) {
        self.stop_engine(n);
        self.nodes[n].app = None;
    }

    /// The copy that was laid aside takes the place of what is in the file. No one is told.
    fn restore_under(&mut self, n: usize, how: Restoring) -> Checked {
        self.set_clock(n);
        let now = self.now;
        let node = &mut self.nodes[n];
        if node.saved.is_none() || node.engine.is_none() || node.app.is_none() {
            return Ok(());
        }
        self.misnamed |= !node.half.is_empty();
        node.half.clear();
        match how {
            Restoring::Backup => node.restore_by_backup(),
            Restoring::Bytes => node.restore_bytes(now),
        }
        .map_err(unreadable)?;
        // The engine finds out in the turn that captures what the app wrote since, under its new name. The model takes no turn to do
        // both.
        self.always.model = None;
        self.nodes[n].unnoticed = self.nodes[n].engine.as_ref().map(Replica::replica_id);
        self.always.restored(n, false);
        Ok(())
    }

    fn copy(&mut self, n: usize, how: Copying) -> Checked {
        // What no engine has captured yet both would capture: so say the papers, and so is this done.
        self.look_at(n)?;
        if self.nodes[n].app.is_none() {
            return Ok(());
        }
        let (spec, changed, joined) =
            (self.nodes[n].spec.clone(), self.nodes[n].changed, self.nodes[n].joined);
        let copy = self.add_node(spec);
        (self.nodes[copy].changed, self.nodes[copy].joined) = (changed, joined);
        let to = self.nodes[copy].path.clone();
        let Some(app) = &self.nodes[n].app else { return Ok(()) };
        match how {
            Copying::Files => copy_files(&self.nodes[n].path, &to),
            Copying::Vacuum => {
                if let Err(error) = app.execute("VACUUM INTO ?1", [to.to_string_lossy()]) {
                    return broken("a file can be copied", error.to_string());
                }
            }
        }
        self.always.copied(n, copy);
        self.open(copy)
    }

    pub(super) fn join_at(&mut self, relay: usize) -> Checked {
        if !self.changes.is_empty() {
            return Ok(());
        }
        let spec = NodeSpec { turn_rows: 100, changeset_bytes: 4096, clock: 0, grain: 1, durable: true };
        let n = self.add_node(spec);
        self.nodes[n].joined = true;
        crate::create_database(&self.nodes[n].path, "PRAGMA user_version = 1");
        self.open(n)?;
        if let (Some(model), Some(app)) = (&mut self.always.model, &self.nodes[n].app) {
            model.begin(n, app, &self.tables)?;
        }
        self.connect(n, relay)?;
        self.pump(n, 400, false)?;
        self.make_tables(n)
    }

    /// A node that came without tables makes those that it knows of by now.
    pub(super) fn make_tables(&mut self, n: usize) -> Checked {
        self.engine(n, false, |engine, _| engine.make_defined_tables())?;
        if let (Some(model), Some(app)) = (&mut self.always.model, &self.nodes[n].app) {
            // Everything was captured, and tables came into view.
            model.begin(n, app, &self.tables)?;
        }
        Ok(())
    }

    fn kill_relay(&mut self, relay: usize, how: fn(&mut Relay)) {
        how(&mut self.relays[relay]);
        for n in 0..self.nodes.len() {
            let Some(conversation) = &self.nodes[n].link else { continue };
            if self.wires.get(&conversation.wire).is_some_and(|wire| wire.relay == relay) {
                self.hang_up(n, Side::Both);
            }
        }
    }
}

/// Copies a database with its log, as a person would who knows of it.
pub(super) fn copy_files(from: &Path, to: &Path) {
    let wal = |path: &Path| {
        let mut name = path.as_os_str().to_owned();
        name.push("-wal");
        PathBuf::from(name)
    };
    std::fs::copy(from, to).expect("the file can be copied");
    if wal(from).exists() {
        std::fs::copy(wal(from), wal(to)).expect("the log can be copied");
    }
}

/// What it returns; a panic is a failure.
fn guarded<T>(work: impl FnOnce() -> T) -> Checked<T> {
    let outer = super::GUARDED.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    super::GUARDED.set(outer);
    done.or_else(|panic| {
        let text = super::LAST_PANIC.take().or_else(|| panic.downcast_ref::<String>().cloned());
        broken("nothing panics", text.unwrap_or_else(|| "a panic without words".to_owned()))
    })
}

/// The changeset in a frame, if it is one.
pub(super) fn changeset_in(frame: &Bytes) -> Option<driftless_protocol::Changeset> {
    match ClientMessage::decode(frame.clone()) {
        Ok(ClientMessage::Changeset(changeset)) => Some(changeset),
        _ => None,
    }
}
