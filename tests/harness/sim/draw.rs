//! What happens next, drawn from a seed. Each seed picks what its cluster is made of and which faults there are at all: a
//! few kinds at a time go deeper than all at once.

use fastrand::Rng;

use super::scenario::{Copying, Mangle, Migrating, NodeSpec, Rebuilding, Restoring, Scenario, Side, Step};
use super::schema::{one_in, schema};
use super::sql;
use super::unwatched::{self, is_witness};
use super::world::World;

/// Only seeds below this one draw tables that are made anew, triggers that are dropped and files that are restored under an
/// engine. The last one known to break a rule, the oracle's, was one of some thousands (69178223742684 with all seeds let in). Until
/// more have held, every change must stand seeds from beyond, and campaigns from 1 on look for these.
const UNWATCHED_BELOW: u64 = 1_000_000;
/// For how long tables must be left alone, in milliseconds: longer than a run without waits.
const QUIET: i64 = 10_000_000;

/// What a seed has picked.
#[derive(Debug)]
pub(super) struct Dice {
    rng: Rng,
    /// How many steps are left.
    left: u32,
    /// The kinds of steps and how often each comes up.
    weights: Vec<(u32, Kind)>,
    most_nodes: usize,
    /// Whether there is a form, and apps mostly write into it.
    form: bool,
    number: u32,
    /// The step that must follow the last one.
    then: Option<Step>,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Write,
    Alter,
    Rebuild,
    DropTriggers,
    Migrate,
    MigrateOn,
    Wait,
    RestoreUnder,
    Close,
    Turn,
    Connect,
    Cut,
    Pump,
    PumpOld,
    Mangle,
    Block,
    Tick,
    Kill,
    KillAt,
    PowerLoss,
    DiskFails,
    Clock,
    Copy,
    Save,
    Restore,
    Join,
    RelayKill,
    RelaySave,
    RelayRestore,
}

impl Dice {
    /// A cluster without steps, and what to draw them with.
    pub(super) fn new(seed: u64) -> (Scenario, Self) {
        let mut rng = Rng::with_seed(seed);
        let nodes = match rng.u8(..16) {
            0 => rng.usize(4..=9),
            1..7 => 3,
            _ => 2,
        };
        let relays = [1, 1, 1, 1, 2, 3][rng.usize(..6)];
        let simple = rng.bool();
        let mut made = schema(&mut rng, simple);
        let form = one_in(&mut Rng::with_seed(seed ^ 0xf02), 6);
        if form {
            let (sql, spec) = super::schema::form();
            made.sql.push_str(sql);
            made.tables.push(spec);
        }
        let wild = one_in(&mut rng, 3);
        let grain = [1, 1, 1, 2000][rng.usize(..4)];
        let spec = |rng: &mut Rng| NodeSpec {
            grain,
            turn_rows: [1, 2, 5, 64][rng.usize(..4)],
            changeset_bytes: [64, 700, 16 << 10][rng.usize(..3)],
            clock: if wild { rng.i64(-400_000_000_000..400_000_000_000) } else { rng.i64(-1000..1000) },
            durable: !one_in(rng, 4),
        };
        // What is special about a form takes three.
        let nodes = if form { nodes.max(3) } else { nodes };
        let nodes: Vec<NodeSpec> = (0..nodes).map(|_| spec(&mut rng)).collect();
        let mut weights =
            vec![(30, Kind::Write), (8, Kind::Turn), (10, Kind::Connect), (40, Kind::Pump), (3, Kind::Tick)];
        // Losing what a file knows and what relays know at once cannot be told from never having known it.
        let relay_forgets = one_in(&mut rng, 3);
        let mangling = if one_in(&mut rng, 3) { 25 } else { 8 };
        let mut may = |one_of: u8, weight: u32, kinds: &[Kind]| {
            if one_in(&mut rng, one_of) {
                weights.extend(kinds.iter().map(|kind| (weight, *kind)));
            }
        };
        may(4, 3, &[Kind::Alter]);
        may(2, 6, &[Kind::Cut, Kind::PumpOld]);
        may(3, mangling, &[Kind::Mangle]);
        may(3, 3, &[Kind::Block]);
        may(3, 4, &[Kind::Kill]);
        may(3, 4, &[Kind::KillAt]);
        may(3, 4, &[Kind::PowerLoss]);
        may(3, 4, &[Kind::DiskFails]);
        may(4, 2, &[Kind::Clock]);
        may(4, 2, &[Kind::Copy]);
        may(4, 3, &[Kind::Save, Kind::Restore]);
        may(4, 1, &[Kind::Join]);
        may(3, 3, &[Kind::RelayKill]);
        if relay_forgets {
            let often = if rng.bool() { 2 } else { 8 };
            weights.extend([(2, Kind::RelaySave), (often, Kind::RelayRestore)]);
        }
        // By dice of their own, so that other seeds stay what they are.
        let mut unwatched = Rng::with_seed(seed ^ 0x4eb);
        let mut quiet = 0;
        if seed < UNWATCHED_BELOW && one_in(&mut unwatched, 3) {
            let mut may = |one_of: u8, weight: u32, kind: Kind| {
                if one_in(&mut unwatched, one_of) {
                    weights.push((weight, kind));
                }
            };
            may(2, 6, Kind::Rebuild);
            may(2, 6, Kind::DropTriggers);
            may(2, 5, Kind::Close);
            if !relay_forgets && relays == 1 && one_in(&mut unwatched, 4) {
                weights.extend([(3, Kind::RestoreUnder), (4, Kind::Save)]);
            }
            if one_in(&mut unwatched, 3) {
                // A clock that jumps makes an engine decide half way; who joins half way calls the table as it was called then; and
                // what other changes of the schema do to a table in the making is not told apart yet.
                weights.retain(|(_, kind)| !matches!(kind, Kind::Clock | Kind::Join | Kind::Alter));
                weights.extend([(6, Kind::Migrate), (14, Kind::MigrateOn), (5, Kind::Wait)]);
                quiet = QUIET;
            }
        }
        let most_nodes = nodes.len() + 3;
        // Most runs are short: what goes wrong mostly goes wrong soon, and short ones are easier to understand.
        let left = match rng.u8(..20) {
            0 => rng.u32(150..400),
            1..6 => rng.u32(40..120),
            _ => rng.u32(8..40),
        };
        let left = if form { left + 30 } else { left };
        let scenario =
            Scenario { seed, schema: made.sql, tables: made.tables, nodes, quiet, relays, steps: Vec::new() };
        (scenario, Self { rng, left, weights, most_nodes, form, number: 0, then: None })
    }

    /// The next step, unless it was the last.
    pub(super) fn next(&mut self, world: &World) -> Option<Step> {
        self.left = self.left.checked_sub(1)?;
        self.number += 1;
        if let Some(step) = self.then.take() {
            return Some(step);
        }
        let rng = &mut self.rng;
        let all: u32 = self.weights.iter().map(|(weight, _)| weight).sum();
        let mut at = rng.u32(..all);
        let (_, kind) = *self.weights.iter().find(|(weight, _)| match at.checked_sub(*weight) {
            Some(rest) => {
                at = rest;
                false
            }
            None => true,
        })?;
        let node = rng.usize(..world.nodes.len());
        let relay = rng.usize(..world.relays.len());
        let side = |rng: &mut Rng| [Side::Node, Side::Relay, Side::Both][rng.usize(..3)];
        let moves = rng.u16(1..30);
        Some(match kind {
            Kind::Write => match &world.nodes[node].app {
                Some(app) => match &sql::look(app)[..] {
                    [] => Step::Turn { node },
                    _ if self.form && !one_in(rng, 3) => {
                        Step::Write { node, sql: vec![sql::form(rng, self.number)] }
                    }
                    tables => Step::Write {
                        node,
                        sql: sql::transaction(rng, tables, self.number, sql::is_revived(app)),
                    },
                },
                None => Step::Turn { node },
            },
            Kind::Alter => {
                let known = world.changes.get(world.nodes[node].changed).cloned();
                match (known, &world.nodes[node].app) {
                    (Some(change), _) => Step::Alter { node, change },
                    (None, Some(app)) if !world.nodes[node].joined => {
                        let change = sql::change(rng, &sql::look(app), world.changes.len());
                        Step::Alter { node, change }
                    }
                    _ => Step::Turn { node },
                }
            }
            Kind::Migrate => {
                let tables = world.nodes[node].app.as_ref().map(unwatched::tables).unwrap_or_default();
                let how = if rng.bool() { Migrating::Beside } else { Migrating::Aside };
                match tables.get(rng.usize(..tables.len().max(1))) {
                    Some(table) => Step::Migrate { node, table: table.clone(), how },
                    None => Step::Turn { node },
                }
            }
            Kind::MigrateOn => Step::MigrateOn { node },
            Kind::Wait => Step::Wait { by: QUIET },
            Kind::RestoreUnder => Step::RestoreUnder {
                node,
                how: if rng.bool() { Restoring::Backup } else { Restoring::Bytes },
            },
            Kind::Rebuild | Kind::DropTriggers => {
                let Some(app) = &world.nodes[node].app else { return Some(Step::Turn { node }) };
                let tables = unwatched::tables(app);
                let Some(table) = tables.get(rng.usize(..tables.len().max(1))).cloned() else {
                    return Some(Step::Turn { node });
                };
                let written = sql::look(app);
                match kind {
                    _ if written.is_empty() => Step::Turn { node },
                    Kind::Rebuild => {
                        let how = if one_in(rng, 3) { Rebuilding::Empty } else { Rebuilding::Copied };
                        // A witness that is written while it is empty loses the rest.
                        let sql = match how {
                            Rebuilding::Empty if is_witness(&table) || !one_in(rng, 4) => Vec::new(),
                            _ => sql::on_the_way(rng, &written, &table, self.number),
                        };
                        let step = Step::Rebuild { node, table, how, sql };
                        if how == Rebuilding::Empty && rng.bool() {
                            // Uncaptured writes are then lost with the table.
                            let sql = sql::transaction(rng, &written, self.number, false);
                            self.then = Some(step);
                            return Some(Step::Write { node, sql });
                        }
                        step
                    }
                    _ => {
                        let sql = sql::transaction(rng, &written, self.number, false);
                        Step::DropTriggers { node, table, only: sql::some_triggers(rng), sql }
                    }
                }
            }
            // Mostly for a while.
            Kind::Close if world.nodes[node].engine.is_none() => Step::Open { node },
            Kind::Close => Step::Close { node },
            Kind::Turn | Kind::Connect | Kind::Pump
                if world.nodes[node].engine.is_none() && one_in(rng, 4) =>
            {
                Step::Open { node }
            }
            Kind::Turn => Step::Turn { node },
            // Mostly who has none.
            Kind::Connect if world.nodes[node].link.is_some() && !one_in(rng, 4) => {
                Step::Pump { node, moves }
            }
            Kind::Connect => Step::Connect { node, relay },
            Kind::Cut => Step::Cut { node, known_to: side(rng) },
            Kind::Pump => Step::Pump { node, moves: if one_in(rng, 3) { 4 * moves } else { moves } },
            Kind::PumpOld => Step::PumpOld { node, moves },
            Kind::Mangle => Step::Mangle {
                node,
                to: if rng.bool() { Side::Node } else { Side::Relay },
                how: match rng.u8(..8) {
                    0 | 1 => Mangle::Lose,
                    2 | 3 => Mangle::Twice,
                    4 => Mangle::Swap,
                    5 => Mangle::Cut(rng.u16(..400)),
                    6 => Mangle::Flip(rng.u16(..)),
                    _ => Mangle::Version(rng.u8(..4)),
                },
            },
            Kind::Block => Step::Block { node, to: side(rng) },
            Kind::Tick => Step::Tick { node },
            Kind::Kill => Step::Kill { node },
            Kind::KillAt => Step::KillAt { node, write: rng.u32(1..60), torn: rng.bool(), moves },
            Kind::PowerLoss => Step::PowerLoss {
                node,
                write: rng.bool().then(|| rng.u32(1..60)),
                moves,
                chance: rng.u64(..1 << 32),
            },
            Kind::DiskFails => {
                Step::DiskFails { node, write: rng.u32(1..40), full: rng.bool(), once: rng.bool(), moves }
            }
            Kind::Clock => Step::Clock { node, by: rng.i64(-100_000_000_000..100_000_000_000) },
            Kind::Copy if world.nodes.len() < self.most_nodes => {
                Step::Copy { node, how: if rng.bool() { Copying::Files } else { Copying::Vacuum } }
            }
            Kind::Join if world.nodes.len() < self.most_nodes => Step::Join { relay },
            Kind::Copy | Kind::Join => Step::Turn { node },
            Kind::Save => Step::Save { node },
            Kind::Restore => Step::Restore { node, same_inode: rng.bool() },
            Kind::RelayKill => Step::RelayKill { relay },
            Kind::RelaySave => Step::RelaySave { relay },
            Kind::RelayRestore => Step::RelayRestore { relay },
        })
    }
}
