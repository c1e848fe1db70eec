//! What the cells of the lanes of a row mean to each other: which stand, which are superseded, when a lane goes.
//!
//! A cell is superseded when a present cell of the same column has seen it, or when a present lane has a floor at or
//! above it. A writer that writes a column names every other present cell of it in `seen`, so no clock, however
//! wrong, undoes a later write. The writer whose write leaves nothing standing in a lane removes that lane and notes
//! a *floor*. If the lane's own writer writes at the same time, its new lane survives the removal, and the older
//! cells in it lie under the floor. Without floors, superseded values came back in one history in three. A property
//! test compares all this with a model that knows what each writer had seen.
//!
//! What a lane has *added* to a counter is never superseded, so a lane that has added something stays. It gets its
//! floor all the same once nothing else of it stands, and what lies under a floor need not be named in `seen` again:
//! otherwise each of the lanes that stay would go on naming all the others.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;

use driftless_protocol::lane::{Cell, Content, Counter, Floor, LIFE, Lane, LaneName, MAX_ADDED, Seen};
use driftless_protocol::{Value, WriterId};

/// Values above this many bytes take a lane of their own, so that a small change does not send them again.
pub(crate) const LARGE_VALUE_BYTES: usize = 512;

/// A change of one column. The column is folded to ASCII lower case; [`LIFE`] for the life register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change<'a> {
    /// It becomes a value, beside whatever was added to it.
    Set { column: Cow<'a, str>, value: Value<'a> },
    /// Something is added to it.
    Add { column: Cow<'a, str>, by: i128 },
    /// From now on its value stands in its text document.
    SetText { column: Cow<'a, str> },
}

impl<'a> Change<'a> {
    pub(crate) fn set(column: impl Into<Cow<'a, str>>, value: Value<'a>) -> Self {
        Self::Set { column: column.into(), value }
    }

    pub(crate) fn column(&self) -> &Cow<'a, str> {
        match self {
            Self::Set { column, .. } | Self::Add { column, .. } | Self::SetText { column } => column,
        }
    }

    pub(crate) fn is_addition(&self) -> bool {
        matches!(self, Self::Add { .. })
    }

    /// Whether it takes a lane of its own.
    fn is_large(&self) -> bool {
        matches!(self, Self::Set { column, value } if column != LIFE && value.payload_len() > LARGE_VALUE_BYTES)
    }
}

/// Whether a write replaces what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sight<'s> {
    /// The author had seen the document, except what these writers wrote. The write supersedes what it overwrites of
    /// all others.
    AllBut(&'s [WriterId]),
    /// The author had not seen it. The write stands beside what is there, as a concurrent write would.
    Blind,
}

impl Sight<'_> {
    fn sees(self, writer: WriterId) -> bool {
        match self {
            Self::AllBut(unseen) => !unseen.contains(&writer),
            Self::Blind => false,
        }
    }
}

/// Which lanes a write has to put and to remove.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) written: Vec<LaneName<'a>>,
    pub(crate) removed: Vec<LaneName<'a>>,
}

/// What all the floors of a row say.
#[derive(Debug, Default)]
pub(crate) struct Floors<'a> {
    numbers: BTreeMap<(WriterId, Option<&'a str>), u64>,
}

impl Floors<'_> {
    fn cover(&self, lane: &LaneName<'_>, number: u64) -> bool {
        self.numbers.get(&(lane.writer, lane.column.as_deref())).is_some_and(|&floor| floor >= number)
    }
}

/// The lanes present in one row document, ascending by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Lanes<'a> {
    present: Vec<(LaneName<'a>, Lane<'a>)>,
    /// Columns that may be other columns under new names: (column, the other one).
    asked: Vec<(String, String)>,
}

impl<'a> Lanes<'a> {
    /// From parsed lanes, which must ascend by name.
    pub(crate) fn new(present: Vec<(LaneName<'a>, Lane<'a>)>) -> Self {
        Self { present, asked: Vec::new() }
    }

    /// The same lanes, with renamed columns (name now, name under which the column travels) under the names by which
    /// they travel: somebody may have written them under the new names before the rename was told. If a writer then
    /// has two cells in one column, the later one stays, and counts as having seen what the other had seen: a writer
    /// does not write beside itself. A cell that was found under a new name, and names as seen what it is a copy of,
    /// is nobody's write: it is dropped if there are cells under the first name.
    pub(crate) fn renamed(mut self, renames: &[(String, String)]) -> Self {
        let travels =
            |name: &str| renames.iter().find(|(now, _)| now == name).map(|(_, travels)| travels.clone());
        let first: Vec<String> = renames
            .iter()
            .map(|(_, travels)| travels.clone())
            .filter(|travels| self.present.iter().any(|(_, lane)| lane.cell(travels).is_some()))
            .collect();
        let is_copy = |cell: &Cell<'_>| {
            cell.time <= 0
                && !cell.seen.is_empty()
                && travels(&cell.column).is_some_and(|travels| first.contains(&travels))
        };
        for (_, lane) in &mut self.present {
            lane.cells.retain(|cell| !is_copy(cell));
            if !lane.cells.iter().any(|cell| travels(&cell.column).is_some())
                && !lane.counters.iter().any(|counter| travels(&counter.column).is_some())
            {
                continue;
            }
            for cell in &mut lane.cells {
                if let Some(name) = travels(&cell.column) {
                    cell.column = name.into();
                }
            }
            lane.cells.sort_by(|a, b| (&a.column, b.number).cmp(&(&b.column, a.number)));
            lane.cells.dedup_by(|earlier, last| {
                let same = earlier.column == last.column;
                if same {
                    last.seen.append(&mut earlier.seen);
                    in_order(&mut last.seen);
                }
                same
            });
            for counter in &mut lane.counters {
                if let Some(name) = travels(&counter.column) {
                    counter.column = name.into();
                }
            }
            lane.counters.sort_by(|a, b| a.column.cmp(&b.column));
            lane.counters.dedup_by(|next, first| {
                let same = next.column == first.column;
                if same {
                    first.added = first.added.saturating_add(next.added);
                }
                same
            });
        }
        self
    }

    /// The same lanes, for a table with columns that may be other columns under new names: (column, the other one).
    /// A write in such a column names as seen the cells that the other column had when the name was new. So it
    /// replaces them once somebody says that the two are one column.
    pub(crate) fn asking(mut self, asked: &[(String, String)]) -> Self {
        self.asked = asked.to_vec();
        self
    }

    /// If `column` may be another column under a new name: the cells of the other one that a cell of `column` with
    /// this content names as seen. These are the cells that have the value of the new cell, or the value of a cell
    /// that it replaces, since its author saw that value; and the cells that the replaced cells named. Later writes
    /// in the other column never showed in `column`, so they are not named. `own`: the lane that is written.
    /// `replaces`: whether the new cell replaces cells of that writer; a cell written beside those of others replaces
    /// none of them.
    pub(crate) fn seen_elsewhere(
        &self,
        own: &Lane<'_>,
        column: &str,
        content: &Content<'_>,
        replaces: impl Fn(WriterId) -> bool,
    ) -> Vec<Seen> {
        let Some((_, other)) = self.asked.iter().find(|(asked, _)| asked == column) else {
            return Vec::new();
        };
        let present = self.present.iter().filter(|(name, _)| replaces(name.writer));
        let present = present.filter_map(|(_, lane)| lane.cell(column));
        let replaced: Vec<&Cell<'_>> = present.chain(own.cell(column)).collect();
        // A counter shows what was added to it, too.
        let added = self.added(other).saturating_add(own.added(other));
        let shows = |cell: &Cell<'_>, content: &Content<'_>| match (&cell.content, content) {
            (Content::Value(Value::Integer(base)), Content::Value(Value::Integer(shown))) => {
                i128::from(*base) + added == i128::from(*shown) || base == shown
            }
            (known, content) => known == content,
        };
        let is_copied = |cell: &Cell<'_>| {
            matches!(cell.content, Content::Value(_))
                && (shows(cell, content) || replaced.iter().any(|known| shows(cell, &known.content)))
        };
        let is_seen = |name: &LaneName<'_>, number: u64| {
            replaced.iter().flat_map(|cell| &cell.seen).any(|seen| {
                seen.writer == name.writer && seen.large == name.column.is_some() && seen.number >= number
            })
        };
        let cells = self.present.iter().filter_map(|(name, lane)| Some((name, lane.cell(other)?)));
        let seen = cells.filter(|(name, cell)| is_copied(cell) || is_seen(name, cell.number));
        seen.map(|(name, cell)| Seen {
            writer: name.writer,
            large: name.column.is_some(),
            number: cell.number,
        })
        .collect()
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

    /// The cells of a column that stand: who wrote each, and what. Equal values are all listed.
    pub(crate) fn standing(&self, column: &str) -> Vec<(WriterId, &Content<'a>)> {
        let floors = self.floors();
        let stands = |(name, lane): &'_ (LaneName<'a>, Lane<'a>)| {
            lane.cell(column).is_some_and(|cell| !self.is_superseded(&floors, name, cell))
        };
        let standing = self.present.iter().filter(|lane| stands(lane));
        standing.filter_map(|(name, lane)| Some((name.writer, &lane.cell(column)?.content))).collect()
    }

    /// For each lane, the number of the last write that does not stand any more, as the floors in other lanes say.
    pub(crate) fn floors(&self) -> Floors<'_> {
        let mut floors = Floors::default();
        for (name, lane) in &self.present {
            for floor in lane.floors.iter().filter(|floor| floor.lane != *name) {
                let number =
                    floors.numbers.entry((floor.lane.writer, floor.lane.column.as_deref())).or_insert(0);
                *number = floor.number.max(*number);
            }
        }
        floors
    }

    /// Whether a present cell has seen this one, or a floor lies over it.
    pub(crate) fn is_superseded(&self, floors: &Floors<'_>, lane: &LaneName<'_>, cell: &Cell<'_>) -> bool {
        floors.cover(lane, cell.number)
            || self.present.iter().filter(|(other, _)| other != lane).any(|(_, content)| {
                content.cell(&cell.column).is_some_and(|theirs| {
                    theirs.seen.iter().any(|seen| {
                        seen.writer == lane.writer
                            && seen.large == lane.column.is_some()
                            && seen.number >= cell.number
                    })
                })
            })
    }

    /// What all lanes together have added to a column.
    pub(crate) fn added(&self, column: &str) -> i128 {
        // There could be more lanes from outside than any engine makes, but not so many that this overflows.
        self.present.iter().map(|(_, lane)| lane.added(column)).fold(0, i128::saturating_add)
    }

    /// Writes `changes` as `writer`: small values and what is added into its main lane, each large value into a lane
    /// of its own.
    pub(crate) fn write(
        &mut self,
        writer: WriterId,
        time: i64,
        changes: Vec<Change<'a>>,
        sight: Sight<'_>,
    ) -> Plan<'a> {
        let mut plan = Plan { written: Vec::with_capacity(1), removed: Vec::new() };
        let (mut large, small): (Vec<_>, Vec<_>) = changes.into_iter().partition(Change::is_large);
        // Sorted by name, not by the order of the table's columns: two copies of a file may order their columns
        // differently, and a row that is found in both must make the same document.
        large.sort_by(|a, b| a.column().cmp(b.column()));
        if !small.is_empty() {
            self.write_lane(LaneName::main(writer), time, small, sight, &mut plan);
        }
        for change in large {
            let name = LaneName { writer, column: Some(change.column().clone()) };
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
        sight: Sight<'_>,
        plan: &mut Plan<'a>,
    ) {
        let number = self.last_number(&name) + 1;
        let mut lane = match self.find(&name) {
            Ok(at) => self.present.remove(at).1,
            Err(_) => Lane::default(),
        };
        let floors = self.floors();
        for change in changes {
            let (column, content) = match change {
                Change::Set { column, value } => (column, Content::Value(value)),
                Change::SetText { column } => (column, Content::InText),
                Change::Add { column, by } => {
                    add(&mut lane.counters, column, by);
                    continue;
                }
            };
            // Every other lane's cell of this column, superseded or not, unless a floor lies over it: a floor is
            // never taken away.
            let mut seen: Vec<Seen> = self
                .present
                .iter()
                .filter(|(other, _)| sight.sees(other.writer))
                .filter_map(|(other, content)| {
                    let cell = content.cell(&column)?;
                    if floors.cover(other, cell.number) || lies_under(&lane.floors, other, cell.number) {
                        return None;
                    }
                    Some(Seen { writer: other.writer, large: other.column.is_some(), number: cell.number })
                })
                .collect();
            seen.extend(self.seen_elsewhere(&lane, &column, &content, |writer| sight.sees(writer)));
            in_order(&mut seen);
            let cell = Cell { column, content, time, number, seen };
            match lane.cells.binary_search_by(|known| known.column.cmp(&cell.column)) {
                Ok(at) => lane.cells[at] = cell,
                Err(at) => lane.cells.insert(at, cell),
            }
        }
        lane.cells.retain(|cell| !self.is_superseded(&floors, &name, cell));
        drop(floors);
        let at = self.find(&name).unwrap_or_else(|at| at);
        self.present.insert(at, (name.clone(), lane));
        self.remove_fallen(&name, plan);
        self.floor_spent(&name);
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

    /// Removes the other lanes in which nothing stands. Lane `name` takes over their floors, and gets a floor for
    /// each of them.
    fn remove_fallen(&mut self, name: &LaneName<'a>, plan: &mut Plan<'a>) {
        let fallen = |lanes: &Self| {
            let floors = lanes.floors();
            lanes.present.iter().position(|(other, content)| {
                other != name
                    && content.counters.is_empty()
                    && content.cells.iter().all(|cell| lanes.is_superseded(&floors, other, cell))
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

    /// Notes a floor in lane `name` for every other lane that stays only because of what it has added. The cells of
    /// `name` then need not name what lies under these floors.
    fn floor_spent(&mut self, name: &LaneName<'a>) {
        let floors = self.floors();
        let mut spent: Vec<Floor<'a>> = Vec::new();
        for (other, lane) in
            self.present.iter().filter(|(other, lane)| other != name && !lane.counters.is_empty())
        {
            let Some(number) = lane.cells.iter().map(|cell| cell.number).max() else { continue };
            if !floors.cover(other, number)
                && lane.cells.iter().all(|cell| self.is_superseded(&floors, other, cell))
            {
                spent.push(Floor { lane: other.clone(), number });
            }
        }
        drop(floors);
        let own = self.find(name).expect("the lane just written is present");
        let Lane { cells, floors, .. } = &mut self.present[own].1;
        for floor in spent {
            raise(floors, floor);
        }
        for cell in cells {
            let Cell { column, seen, .. } = cell;
            seen.retain(|seen| {
                let under = |floor: &Floor<'_>| {
                    floor.lane.writer == seen.writer
                        && floor.lane.column.is_some() == seen.large
                        && floor.lane.column.as_ref().is_none_or(|of| of == column)
                        && floor.number >= seen.number
                };
                !floors.iter().any(under)
            });
        }
    }
}

/// Adds to a counter of a lane, up to the limit that others accept: only forged numbers go beyond it.
fn add<'a>(counters: &mut Vec<Counter<'a>>, column: Cow<'a, str>, by: i128) {
    let at = counters.binary_search_by(|counter| counter.column.cmp(&column));
    let before = at.map_or(0, |at| counters[at].added);
    let added = before.saturating_add(by).clamp(-MAX_ADDED, MAX_ADDED);
    match at {
        Ok(at) if added == 0 => {
            counters.remove(at);
        }
        Ok(at) => counters[at].added = added,
        Err(_) if added == 0 => {}
        Err(at) => counters.insert(at, Counter { column, added }),
    }
}

/// Sorts what a cell has seen. Of several numbers for one lane, only the highest is kept.
fn in_order(seen: &mut Vec<Seen>) {
    seen.sort_unstable_by_key(|seen| (seen.writer, seen.large, Reverse(seen.number)));
    seen.dedup_by_key(|seen| (seen.writer, seen.large));
}

fn lies_under(floors: &[Floor<'_>], lane: &LaneName<'_>, number: u64) -> bool {
    let at = floors.binary_search_by(|known| known.lane.cmp(lane));
    at.is_ok_and(|at| floors[at].number >= number)
}

fn raise<'a>(floors: &mut Vec<Floor<'a>>, floor: Floor<'a>) {
    match floors.binary_search_by(|known| known.lane.cmp(&floor.lane)) {
        Ok(at) => floors[at].number = floors[at].number.max(floor.number),
        Err(at) => floors.insert(at, floor),
    }
}
