//! What the cells of the lanes of a row mean to each other: which stand, which are superseded, when a lane goes.
//!
//! A cell is superseded when a present cell of the same column has seen it, or when a present lane has a floor at
//! or above it. Who writes a column names, in `seen`, every other present cell of it; so no clock, however wrong,
//! undoes a later write. A lane of which nothing stands any more is removed by whoever makes it so, who notes a
//! *floor*: were the lane's writer to write at the same time, its new lane survives the removal, and what it
//! carried over from before lies under the floor. Without floors one history in three brings superseded values
//! back; a property test holds this to the causal truth.

use std::borrow::Cow;

use driftless_protocol::lane::{Cell, Floor, LIFE, Lane, LaneName, Seen};
use driftless_protocol::{Value, WriterId};

/// Values above this many bytes take a lane of their own, so that a small change does not send them again.
pub(crate) const LARGE_VALUE_BYTES: usize = 512;

/// One column's new value.
#[derive(Debug, Clone)]
pub(crate) struct Change<'a> {
    /// The column, folded to ASCII lower case; [`LIFE`] for the life register.
    pub(crate) column: Cow<'a, str>,
    /// What it becomes.
    pub(crate) value: Value<'a>,
}

/// Whether a write replaces what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sight {
    /// Its author had seen the document: it supersedes what it overwrites.
    Seeing,
    /// Its author had not: it stands beside what is there, as a write of somebody far away would.
    Blind,
}

/// Which lanes a write has to put and to remove.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) written: Vec<LaneName<'a>>,
    pub(crate) removed: Vec<LaneName<'a>>,
}

/// The lanes present in one row document, ascending by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Lanes<'a> {
    present: Vec<(LaneName<'a>, Lane<'a>)>,
}

impl<'a> Lanes<'a> {
    /// From parsed lanes, which must ascend by name.
    pub(crate) fn new(present: Vec<(LaneName<'a>, Lane<'a>)>) -> Self {
        Self { present }
    }

    pub(crate) fn get(&self, name: &LaneName<'_>) -> Option<&Lane<'a>> {
        self.find(name).ok().map(|at| &self.present[at].1)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &(LaneName<'a>, Lane<'a>)> {
        self.present.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.present.len()
    }

    fn find(&self, name: &LaneName<'_>) -> Result<usize, usize> {
        self.present.binary_search_by(|(known, _)| known.cmp(name))
    }

    /// Whether a present cell has seen this one, or a floor lies over it.
    pub(crate) fn is_superseded(&self, lane: &LaneName<'_>, cell: &Cell<'_>) -> bool {
        self.present.iter().any(|(other, content)| {
            if other == lane {
                return false;
            }
            let floored = content.floors.iter().any(|f| f.lane == *lane && f.number >= cell.number);
            floored
                || content.cell(&cell.column).is_some_and(|theirs| {
                    theirs.seen.iter().any(|seen| {
                        seen.writer == lane.writer
                            && seen.large == lane.column.is_some()
                            && seen.number >= cell.number
                    })
                })
        })
    }

    /// Writes `changes` as `writer`: small values into its main lane, each large one into a lane of its own.
    pub(crate) fn write(
        &mut self,
        writer: WriterId,
        time: i64,
        changes: Vec<Change<'a>>,
        sight: Sight,
    ) -> Plan<'a> {
        let mut plan = Plan { written: Vec::with_capacity(1), removed: Vec::new() };
        let is_large =
            |change: &Change<'_>| change.column != LIFE && change.value.payload_len() > LARGE_VALUE_BYTES;
        let (mut large, small): (Vec<_>, Vec<_>) = changes.into_iter().partition(is_large);
        // By name, whatever the order of the table's columns: a row that is found in two copies of a file, whose
        // columns may be ordered otherwise, must make the same document in both.
        large.sort_by(|a, b| a.column.cmp(&b.column));
        if !small.is_empty() {
            self.write_lane(LaneName::main(writer), time, small, sight, &mut plan);
        }
        for change in large {
            let name = LaneName { writer, column: Some(change.column.clone()) };
            self.write_lane(name, time, vec![change], sight, &mut plan);
        }
        plan.removed.retain(|name| self.find(name).is_err());
        plan.written.retain(|name| self.find(name).is_ok());
        plan
    }

    fn write_lane(
        &mut self,
        name: LaneName<'a>,
        time: i64,
        changes: Vec<Change<'a>>,
        sight: Sight,
        plan: &mut Plan<'a>,
    ) {
        let number = self.last_number(&name) + 1;
        let mut lane = match self.find(&name) {
            Ok(at) => self.present.remove(at).1,
            Err(_) => Lane::default(),
        };
        for Change { column, value } in changes {
            // Every other lane's cell of this column, superseded or not.
            let present = if sight == Sight::Seeing { &self.present[..] } else { &[] };
            let mut seen: Vec<Seen> = present
                .iter()
                .filter_map(|(other, content)| {
                    let cell = content.cell(&column)?;
                    Some(Seen { writer: other.writer, large: other.column.is_some(), number: cell.number })
                })
                .collect();
            seen.sort_unstable();
            let cell = Cell { column, value, time, number, seen };
            match lane.cells.binary_search_by(|known| known.column.cmp(&cell.column)) {
                Ok(at) => lane.cells[at] = cell,
                Err(at) => lane.cells.insert(at, cell),
            }
        }
        lane.cells.retain(|cell| !self.is_superseded(&name, cell));
        let at = self.find(&name).unwrap_or_else(|at| at);
        self.present.insert(at, (name.clone(), lane));
        self.remove_fallen(&name, plan);
        plan.written.push(name);
    }

    /// The number of the last write of this lane. The lane itself may have been removed: then a floor names it.
    fn last_number(&self, name: &LaneName<'_>) -> u64 {
        let own = self.get(name).into_iter().flat_map(|lane| lane.cells.iter().map(|c| c.number));
        let floors = self.present.iter().flat_map(|(_, lane)| {
            lane.floors.iter().filter(|floor| floor.lane == *name).map(|floor| floor.number)
        });
        let seen = self
            .present
            .iter()
            .flat_map(|(_, lane)| &lane.cells)
            .filter(|cell| name.column.as_ref().is_none_or(|column| *column == cell.column))
            .flat_map(|cell| &cell.seen)
            .filter(|seen| seen.writer == name.writer && seen.large == name.column.is_some())
            .map(|seen| seen.number);
        own.chain(floors).chain(seen).max().unwrap_or(0)
    }

    /// Removes the other lanes of which nothing stands, and takes over into lane `name` what they knew.
    fn remove_fallen(&mut self, name: &LaneName<'a>, plan: &mut Plan<'a>) {
        let fallen = |lanes: &Self| {
            lanes.present.iter().position(|(other, content)| {
                other != name && content.cells.iter().all(|cell| lanes.is_superseded(other, cell))
            })
        };
        while let Some(at) = fallen(self) {
            let (other, content) = self.present.remove(at);
            let last = content.cells.iter().map(|cell| cell.number).max();
            let own = self.find(name).expect("the lane just written is present");
            let floors = &mut self.present[own].1.floors;
            if let Some(number) = last {
                raise(floors, Floor { lane: other.clone(), number });
            }
            for floor in content.floors.into_iter().filter(|floor| floor.lane != *name) {
                raise(floors, floor);
            }
            plan.removed.push(other);
        }
    }
}

fn raise<'a>(floors: &mut Vec<Floor<'a>>, floor: Floor<'a>) {
    match floors.binary_search_by(|known| known.lane.cmp(&floor.lane)) {
        Ok(at) => floors[at].number = floors[at].number.max(floor.number),
        Err(at) => floors.insert(at, floor),
    }
}
