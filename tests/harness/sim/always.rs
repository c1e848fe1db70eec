//! What must hold at every step, and what is remembered for the end.
//!
//! - Equal state vectors mean equal tables (I1), whenever and wherever they were equal; while no schema changes.
//! - A transaction is there whole or not at all (I3): the witnesses `left` and `right` have the same rows.
//! - Constraints hold in every file (I6).
//! - A changeset that has left its file never has another content under its number, and what is applied never becomes
//!   less (I7).
//! - Nothing is applied before what its author had applied.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use driftless_protocol::changeset::Checksum;
use driftless_protocol::{ReplicaId, Seq, StateVector};
use rusqlite::Connection;

use super::model::Model;
use super::node::Node;
use super::read;
use super::scenario::Scenario;
use super::schema::{LEFT, PAGE, REVIVED, REVIVED_AT, RIGHT, TALLY};
use super::trace::Trace;
use super::unwatched::{Loss, is_watched, is_witness, own_triggers};
use super::world::{Checked, broken, changeset_in};

/// How many times a file is looked at before SQLite is asked to look at all of it.
const INTEGRITY_EVERY: u32 = 16;

/// What was seen so far.
#[derive(Debug)]
pub(super) struct Always {
    /// What left under which number, and what its author had applied.
    contents: HashMap<(ReplicaId, Seq), (Checksum, StateVector)>,
    /// What tables looked like at a state vector, and where that was.
    shown: HashMap<Vec<(ReplicaId, Seq)>, (u64, usize)>,
    /// By node: who it was, and what it had applied.
    applied: BTreeMap<usize, (ReplicaId, StateVector)>,
    /// By node: what was applied when it was last looked at, and whether that was all.
    looked: BTreeMap<usize, (StateVector, bool)>,
    looks: u32,
    /// How many tables there are.
    tables: usize,
    /// Whether schemas differ at times, or numbers were given twice before anybody saw them, so that equal vectors say
    /// nothing about tables before the end.
    skewed: bool,
    /// Whether a file went back to what it was, so that its numbers may stand for something else until a relay tells it. What
    /// left before may have reached nobody.
    went_back: bool,
    /// By node, while tables may be without our triggers, or have been and are not captured: all that there should be.
    unwatched: BTreeMap<usize, Unwatched>,
    /// Nodes at which a table is half made.
    half: BTreeSet<usize>,
    /// Nodes whose witnesses were made again empty and are not filled again.
    emptied: BTreeSet<usize>,
    pub(super) witnesses: Witnesses,
    pub(super) model: Option<Model>,
}

/// Tables of a node that may be without our triggers.
#[derive(Debug, Clone, Default)]
struct Unwatched {
    triggers: BTreeSet<String>,
    tables: BTreeSet<String>,
}

/// What the witness tables must show in the end.
#[derive(Debug, Default)]
pub(super) struct Witnesses {
    /// What the app saw before it wrote.
    before: Option<Shown>,
    pub(super) tokens: BTreeSet<String>,
    /// Tokens that were written without triggers: nobody can tell which of them were one transaction.
    pub(super) loose: BTreeSet<String>,
    pub(super) typed: BTreeSet<char>,
    pub(super) deleted: BTreeSet<char>,
    pub(super) sums: BTreeMap<String, i64>,
    /// What was added to a row that comes and goes.
    pub(super) added: i64,
    /// Whether a file lost writes that it had not sent: then what is missing in the end proves nothing.
    pub(super) forgetful: bool,
}

/// The witnesses in one file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) left: BTreeSet<String>,
    pub(super) right: BTreeSet<String>,
    pub(super) sums: BTreeMap<String, i64>,
    pub(super) texts: BTreeMap<String, String>,
}

impl Shown {
    pub(super) fn read(app: &Connection) -> rusqlite::Result<Self> {
        let mut shown = Self::default();
        // A node that joined may lack some of them, or all, for a while.
        let there = read::tables(app)?;
        let there = |table: &str| there.iter().any(|known| known == table);
        let tokens = |table: &str| match there(table) {
            true => read::pairs::<String, i64>(app, &format!("SELECT token, 0 FROM \"{table}\"")),
            false => Ok(BTreeMap::new()),
        };
        shown.left = tokens(LEFT)?.into_keys().collect();
        shown.right = tokens(RIGHT)?.into_keys().collect();
        if there(TALLY) {
            shown.sums = read::pairs(app, &format!("SELECT id, n FROM {TALLY}"))?;
        }
        if there(PAGE) {
            shown.texts = read::pairs(app, &format!("SELECT id, coalesce(body, '') FROM {PAGE}"))?;
        }
        Ok(shown)
    }

    pub(super) fn letters(&self) -> Vec<char> {
        self.texts.values().flat_map(|text| text.chars()).collect()
    }
}

impl Always {
    pub(super) fn new(scenario: &Scenario) -> Self {
        Self {
            contents: HashMap::new(),
            shown: HashMap::new(),
            applied: BTreeMap::new(),
            looked: BTreeMap::new(),
            looks: 0,
            tables: scenario.tables.len(),
            skewed: false,
            went_back: false,
            unwatched: BTreeMap::new(),
            half: BTreeSet::new(),
            emptied: BTreeSet::new(),
            witnesses: Witnesses::default(),
            model: Model::new(scenario),
        }
    }

    /// All files begin with what this one shows.
    pub(super) fn begins(&mut self, app: &Connection) -> Checked {
        let shown = Shown::read(app).map_err(unreadable)?;
        self.witnesses.typed.extend(shown.letters());
        self.witnesses.sums = shown.sums.into_iter().filter(|(id, _)| *id != REVIVED).collect();
        Ok(())
    }

    /// From here on schemas differ at times.
    pub(super) fn skew(&mut self) {
        self.skewed = true;
        self.model = None;
        self.shown.clear();
    }

    /// A frame leaves a node.
    pub(super) fn sends(&mut self, frame: &Bytes) -> Checked {
        let Some(changeset) = changeset_in(frame) else { return Ok(()) };
        let number = (changeset.header.replica, changeset.header.seq);
        let (checksum, after) = (changeset.checksum(), changeset.header.after);
        let (known, _) = self.contents.entry(number).or_insert((checksum, after));
        if *known != checksum && !self.went_back {
            return broken("a number has one content (I7)", format!("{number:?} left with another content"));
        }
        Ok(())
    }

    /// The engine has opened a file.
    pub(super) fn opened(&mut self, n: usize, node: &mut Node) -> Checked {
        let (Some(engine), Some(app)) = (&node.engine, &node.app) else { return Ok(()) };
        let vector = engine.vector().map_err(unreadable)?;
        self.goes_on(n, engine.replica_id(), vector)?;
        if let Some(model) = &mut self.model {
            model.settle(n, app)?;
        }
        Ok(())
    }

    /// What is applied never becomes less, as long as the file has its name.
    fn goes_on(&mut self, n: usize, name: ReplicaId, vector: StateVector) -> Checked {
        if let Some((known, before)) = self.applied.get(&n)
            && *known == name
            && !vector.covers(before)
        {
            return broken(
                "what is applied never becomes less (I7)",
                format!("{n}: {before:?} became {vector:?}"),
            );
        }
        self.applied.insert(n, (name, vector));
        Ok(())
    }

    /// Whatever is applied, what its author had applied is too.
    fn follows(&self, n: usize, vector: &StateVector) -> Checked {
        for (replica, seq) in vector.iter().filter(|_| !self.went_back) {
            if let Some((_, after)) = self.contents.get(&(replica, seq))
                && !vector.covers(after)
            {
                return broken(
                    "nothing is applied before what its author had seen",
                    format!("{n} has {replica} {seq:?}, which had seen {after:?}, and is at {vector:?}"),
                );
            }
        }
        Ok(())
    }

    /// The engine is about to do something.
    pub(super) fn before(&mut self, n: usize, app: Option<&Connection>, now: i64) -> Checked {
        if let (Some(model), Some(app)) = (&mut self.model, app) {
            model.before(n, app, now)?;
        }
        Ok(())
    }

    /// A table is about to be made anew, step by step.
    pub(super) fn begins_half(&mut self, n: usize, app: &Connection, table: &str) -> Checked {
        self.half.insert(n);
        let unwatched = self.unwatched.entry(n).or_default();
        unwatched.triggers.extend(own_triggers(app).map_err(unreadable)?);
        unwatched.tables.insert(table.to_owned());
        Ok(())
    }

    /// All steps are taken.
    pub(super) fn ends_half(&mut self, n: usize) {
        self.half.remove(&n);
    }

    /// A table is about to lose these triggers, or all of its own.
    pub(super) fn unwatch(&mut self, n: usize, app: &Connection, table: &str, loss: Loss) -> Checked {
        let triggers = own_triggers(app).map_err(unreadable)?;
        let unwatched = self.unwatched.entry(n).or_default();
        unwatched.triggers.extend(triggers.clone());
        unwatched.tables.insert(table.to_owned());
        if loss == Loss::Rows && is_witness(table) {
            self.emptied.insert(n);
        }
        if let Some(model) = &mut self.model {
            model.unwatch(n, app, table, triggers, loss != Loss::SomeTriggers)?;
        }
        Ok(())
    }

    /// A table is about to be dropped, to be made again in a later step. Rows that were written into it and are not captured yet arrive
    /// only then, after the rest of their transactions.
    pub(super) fn drops(&mut self, app: &Connection, table: &str) -> Checked {
        if is_witness(table) {
            let sql = format!(
                "SELECT k0 FROM _driftless_dirty WHERE tbl = (SELECT id FROM _driftless_tables WHERE name = '{table}')"
            );
            let tokens = |app: &Connection| -> rusqlite::Result<Vec<String>> {
                app.prepare(&sql)?.query_map([], |row| row.get(0))?.collect()
            };
            self.witnesses.loose.extend(tokens(app).map_err(unreadable)?);
        }
        Ok(())
    }

    /// Whether tables of a node may be without triggers.
    pub(super) fn is_unwatched(&self, n: usize) -> bool {
        self.unwatched.contains_key(&n)
    }

    /// Why a node is not watched yet, in words.
    pub(super) fn why_unwatched(&self, n: usize, app: &Connection) -> String {
        let present = own_triggers(app).unwrap_or_default();
        let expected = self.unwatched.get(&n).map(|unwatched| unwatched.triggers.clone()).unwrap_or_default();
        let lacking: Vec<_> = expected.difference(&present).collect();
        let rebuilt = read::lines(
            app,
            "SELECT spelled, state, rebuilt FROM _driftless_tables WHERE rebuilt IS NOT NULL",
        );
        let backlog = read::lines(app, "SELECT * FROM _driftless_backlog");
        format!("lacks {lacking:?}, half {:?}, undecided {rebuilt:?}, left {backlog:?}", self.half)
    }

    /// Whether witnesses of a node are empty that are to be filled again.
    pub(super) fn lacks_witnesses(&self, n: usize) -> bool {
        self.emptied.contains(&n)
    }

    /// Whether witnesses of a node need not be whole: the engine writes nothing into a table in the making.
    pub(super) fn misses_witnesses(&self, n: usize) -> bool {
        let of_witness = |unwatched: &Unwatched| unwatched.tables.iter().any(|table| is_witness(table));
        self.unwatched.get(&n).is_some_and(of_witness)
    }

    /// Whether the engine knows of all that was written without triggers.
    fn is_watched(&mut self, n: usize, app: &Connection) -> Checked<bool> {
        let Some(unwatched) = self.unwatched.get(&n) else { return Ok(true) };
        let watched = !self.half.contains(&n) && is_watched(app, &unwatched.triggers).map_err(unreadable)?;
        if watched {
            self.unwatched.remove(&n);
        }
        Ok(watched)
    }

    /// The engine has done something.
    pub(super) fn after(&mut self, n: usize, node: &mut Node, trace: &mut Trace) -> Checked {
        let (Some(engine), Some(app)) = (&node.engine, &node.app) else { return Ok(()) };
        let (name, vector) = (engine.replica_id(), engine.vector().map_err(unreadable)?);
        self.goes_on(n, name, vector.clone())?;
        if let Some(model) = &mut self.model {
            model.after(n, app)?;
        }
        self.follows(n, &vector)?;
        let idle = self.is_watched(n, app)? && engine.is_idle().map_err(unreadable)?;
        if idle {
            self.emptied.remove(&n);
        }
        // Most of what an engine does changes nothing that anybody sees.
        if self
            .looked
            .insert(n, (vector.clone(), idle))
            .is_some_and(|before| before == (vector.clone(), idle))
            || node.joined && !self.is_complete(app)?
        {
            return Ok(());
        }
        let shown = Shown::read(app).map_err(unreadable)?;
        if !self.misses_witnesses(n) {
            whole(n, &shown, &self.witnesses.loose)?;
        }
        if !idle {
            return Ok(());
        }
        self.looks += 1;
        sound(n, app, self.looks.is_multiple_of(INTEGRITY_EVERY))?;
        if self.skewed || node.joined {
            return Ok(());
        }
        let digest = read::digest(app).map_err(unreadable)?;
        trace.line(|| format!("  {n} shows {digest:x}"));
        let at: Vec<_> = vector.iter().collect();
        let (known, there) = self.shown.entry(at).or_insert((digest, n));
        if *known != digest {
            return broken(
                "equal vectors mean equal tables (I1)",
                format!("{n} shows something else than {there} did, at {vector:?}"),
            );
        }
        Ok(())
    }

    /// Whether a node that joined has all tables by now.
    pub(super) fn is_complete(&self, app: &Connection) -> Checked<bool> {
        Ok(read::tables(app).map_err(unreadable)?.len() >= self.tables)
    }

    /// The app is about to write.
    pub(super) fn writes(&mut self, app: &Connection) -> Checked {
        self.witnesses.before = Some(Shown::read(app).map_err(unreadable)?);
        Ok(())
    }

    /// The app has written.
    pub(super) fn wrote(&mut self, n: usize, node: &Node, now: i64) -> Checked {
        let Some(app) = &node.app else { return Ok(()) };
        self.looked.remove(&n);
        if let Some(model) = &mut self.model {
            model.wrote(n, app, now)?;
        }
        let Some(before) = self.witnesses.before.take() else { return Ok(()) };
        let shown = Shown::read(app).map_err(unreadable)?;
        let may_be_half = self.misses_witnesses(n);
        let now = &mut self.witnesses;
        let tokens: Vec<String> = shown.left.difference(&before.left).cloned().collect();
        let is_seen =
            |unwatched: &Unwatched| [LEFT, RIGHT].iter().all(|table| !unwatched.tables.contains(*table));
        if !self.unwatched.get(&n).is_none_or(is_seen) {
            now.loose.extend(tokens.iter().cloned());
        }
        now.tokens.extend(tokens);
        // A loose token may have arrived from another replica without its partner.
        let mut half = shown.left.symmetric_difference(&shown.right);
        if !may_be_half && half.any(|token| !now.loose.contains(token)) {
            return broken("an app writes both witnesses or neither", format!("{n}: {shown:?}"));
        }
        let revived = |shown: &Shown| shown.sums.get(REVIVED).copied();
        if let Some(sum) = revived(&shown) {
            now.added += (sum - revived(&before).unwrap_or(REVIVED_AT)).max(0);
        }
        for (id, sum) in shown.sums.iter().filter(|(id, _)| *id != REVIVED) {
            *now.sums.entry(id.clone()).or_default() +=
                sum - before.sums.get(id).copied().unwrap_or_default();
        }
        let (old, new): (BTreeSet<char>, BTreeSet<char>) =
            (before.letters().into_iter().collect(), shown.letters().into_iter().collect());
        now.typed.extend(new.difference(&old));
        now.deleted.extend(old.difference(&new));
        Ok(())
    }

    /// A file was replaced by what it was earlier.
    pub(super) fn restored(&mut self, n: usize, same_inode: bool) {
        self.applied.remove(&n);
        self.looked.remove(&n);
        self.unwatched.remove(&n);
        self.half.remove(&n);
        self.emptied.remove(&n);
        self.witnesses.forgetful = true;
        if same_inode {
            self.nobody_can_tell(n);
        } else if let Some(model) = &mut self.model {
            model.restored(n);
        }
    }

    /// A file was replaced by what it was earlier, and its engine has not noticed: its next writes may take numbers that were taken
    /// before, until a relay tells it.
    pub(super) fn nobody_can_tell(&mut self, n: usize) {
        self.applied.remove(&n);
        self.looked.remove(&n);
        self.model = None;
        (self.skewed, self.went_back) = (true, true);
    }

    /// The power of a node is about to fail.
    pub(super) fn power_fails(&mut self) {
        if let Some(model) = &mut self.model {
            model.power_fails();
        }
    }

    /// A file lost what had not reached the disk.
    pub(super) fn lost_power(&mut self, n: usize, node: &Node) -> Checked {
        self.witnesses.forgetful |= !node.spec.durable;
        match (&mut self.model, &node.app) {
            (Some(model), Some(app)) => model.lost_power(n, app),
            _ => Ok(()),
        }
    }

    /// A node works on a copy of another's file.
    pub(super) fn copied(&mut self, from: usize, to: usize) {
        if let Some(unwatched) = self.unwatched.get(&from) {
            self.unwatched.insert(to, unwatched.clone());
        }
        if let Some(model) = &mut self.model {
            model.copied(from, to);
        }
    }
}

fn whole(n: usize, shown: &Shown, loose: &BTreeSet<String>) -> Checked {
    let half = shown.left.symmetric_difference(&shown.right).filter(|token| !loose.contains(*token));
    let half: Vec<_> = half.collect();
    if half.is_empty() {
        return Ok(());
    }
    broken("a transaction is there whole or not at all (I3)", format!("{n} shows half of {half:?}"))
}

fn sound(n: usize, app: &Connection, thoroughly: bool) -> Checked {
    let orphans = read::lines(app, "PRAGMA foreign_key_check").map_err(unreadable)?;
    if !orphans.is_empty() {
        return broken("constraints hold everywhere (I6)", format!("{n} has orphans: {orphans:?}"));
    }
    if thoroughly {
        let found = read::lines(app, "PRAGMA integrity_check").map_err(unreadable)?;
        if found != ["'ok'"] {
            return broken("constraints hold everywhere (I6)", format!("{n}: {found:?}"));
        }
    }
    Ok(())
}

pub(super) fn unreadable(error: impl std::fmt::Display) -> super::world::Failure {
    super::world::Failure { rule: "the file can be read", found: error.to_string() }
}
