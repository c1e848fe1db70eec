//! Updates of row documents: binary lanes under one root map, each lane a single line of items by its writer.
//!
//! That every key of the map has one writer is what keeps yrs out of trouble here: an item follows the last one
//! under its key, so there is never a conflict to resolve. A lane of a writer that clashed with itself, which
//! only a forger or a cloned writer id can produce, is refused where it shows within one update.

use super::{
    Deleted, InvalidUpdate, Run, advance, distinct, needs, read_clock, read_deletions, read_writer,
    writer_count,
};
use crate::canonical::Reader;
use crate::ids::WriterId;
use crate::lane::{Lane, LaneName, ROW_ROOT};

/// Info byte: content is a run of deleted values.
const DELETED: u8 = 1;
/// Info byte: content is bytes.
const BINARY: u8 = 3;
/// Info byte: has a key. On items with an origin yrs mostly sets it and nobody reads it.
const HAS_KEY: u8 = 0x20;
/// Info byte: has a left origin.
const HAS_ORIGIN: u8 = 0x80;

/// After applying, yrs joins deleted neighbours one by one, each time moving all items behind them. It writes
/// updates in which that is done already; in others, neighbours times items may come to this. Measured: 0.12 ns
/// each.
const JOIN_BUDGET: u64 = 1 << 30;

/// What [`row_update`] found in an update that it accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowUpdateFacts<'a> {
    /// Ascending by writer.
    runs: Vec<Run>,
    /// The last item of each line of items, if the line starts in this update.
    tails: Vec<Tail<'a>>,
    deleted: Vec<Deleted>,
    needs: Vec<(WriterId, u32)>,
}

/// The last item under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Tail<'a> {
    name: LaneName<'a>,
    clock: u32,
    /// `None` if it is a deleted one.
    value: Option<Content<'a>>,
}

/// A lane as it came, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Content<'a> {
    bytes: &'a [u8],
    lane: Lane<'a>,
}

impl<'a> RowUpdateFacts<'a> {
    /// The writers that have items in it, ascending.
    pub fn writers(&self) -> impl Iterator<Item = WriterId> {
        self.runs.iter().map(|run| run.writer)
    }

    /// Of each writer one past the clock of its last item, ascending by writer: the state vector, of a whole document.
    pub fn clocks(&self) -> impl Iterator<Item = (WriterId, u32)> {
        self.runs.iter().map(|run| (run.writer, run.end))
    }

    /// What is deleted, ascending: writer, first clock, one past the last.
    pub fn deletions(&self) -> impl Iterator<Item = (WriterId, u32, u32)> {
        self.deleted.iter().map(|range| (range.writer, range.start, range.end))
    }

    /// Whether an empty document would take all of it, with nothing missing: every writer's clocks start at 0,
    /// every origin is in it, and so is everything that it deletes.
    pub fn is_self_contained(&self) -> bool {
        self.needs.is_empty()
    }

    /// What a document must hold for all of this to be applied at once: of each writer every clock below the
    /// number, ascending by writer. Compare it with the document's state vector *before* applying; see
    /// [`validate`](crate::validate) on gaps.
    pub fn needs(&self) -> &[(WriterId, u32)] {
        &self.needs
    }

    /// The lanes of the document that this update makes of an empty one, ascending by name; `None` unless the
    /// update [is self-contained](Self::is_self_contained). A lane is there if the last item under its name is
    /// not deleted. The bytes decode with [`Lane::from_bytes`].
    pub fn lanes(&self) -> Option<Vec<(LaneName<'a>, &'a [u8])>> {
        if !self.is_self_contained() {
            return None;
        }
        let shown = |tail: &Tail<'a>| {
            let value = tail.value.as_ref()?;
            (!self.deletes(tail.name.writer, tail.clock)).then(|| (tail.name.clone(), value.bytes))
        };
        let mut lanes: Vec<_> = self.tails.iter().filter_map(shown).collect();
        lanes.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        Some(lanes)
    }

    /// Like [`lanes`](Self::lanes), parsed, as they were when they were checked.
    pub fn into_lanes(mut self) -> Option<Vec<(LaneName<'a>, Lane<'a>)>> {
        if !self.is_self_contained() {
            return None;
        }
        let tails = std::mem::take(&mut self.tails);
        let shown = tails.into_iter().filter_map(|tail| {
            let deleted = self.deletes(tail.name.writer, tail.clock);
            tail.value.filter(|_| !deleted).map(|value| (tail.name, value.lane))
        });
        let mut lanes: Vec<_> = shown.collect();
        lanes.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        Some(lanes)
    }

    fn deletes(&self, writer: WriterId, clock: u32) -> bool {
        let before = self.deleted.partition_point(|range| (range.writer, range.start) <= (writer, clock));
        let range = before.checked_sub(1).map(|at| self.deleted[at]);
        range.is_some_and(|range| range.writer == writer && clock < range.end)
    }
}

/// Checks an update of a row document. Accepts exactly:
///
/// - items that hold a canonical [`Lane`], or deleted values, of valid writers each listed once, with consecutive
///   clocks up to [`MAX_CLOCK`](super::MAX_CLOCK);
/// - the first item of a lane: in the root [`ROW_ROOT`] under a lane name of its own writer, no two under one
///   name;
/// - the items after it: with the one before as their left origin, of the same writer, no two with the same one;
/// - deletions in canonical form, of whatever writer.
///
/// Everything that yrs writes of such documents is among it: single transactions, differences, whole documents of
/// any age. Fails with [`InvalidUpdate`] on all else.
pub fn row_update(bytes: &[u8]) -> Result<RowUpdateFacts<'_>, InvalidUpdate> {
    let mut reader = Reader::new(bytes);
    // Of each at least the number of items, the writer and a clock.
    let count = writer_count(&mut reader, 3)?;
    let mut runs = Vec::with_capacity(count);
    let mut tails = Vec::with_capacity(count);
    let mut items = Vec::new();
    for _ in 0..count {
        runs.push(read_run(&mut reader, &mut items, &mut tails)?);
    }
    if runs.len() > 1 {
        distinct(&mut runs.iter().map(|run| run.writer).collect::<Vec<_>>())?;
        runs.sort_unstable_by_key(|run| run.writer);
    }
    let deleted = read_deletions(&mut reader)?;
    reader.finish()?;
    let needs = needs(&runs, &deleted);
    Ok(RowUpdateFacts { runs, tails, deleted, needs })
}

/// One item of the run being read.
#[derive(Debug)]
struct Item<'a> {
    /// The clock of its last value.
    last: u32,
    place: Place<'a>,
    value: Option<Content<'a>>,
    /// Whether a later item has it as its origin.
    followed: bool,
}

/// What an item is attached to.
#[derive(Debug, Clone, Copy)]
enum Place<'a> {
    /// The root, as the first under this key.
    Key(&'a str),
    /// The item with this index in the run.
    After(usize),
    /// The item with this clock, before the run.
    Before(u32),
}

/// Reads the items of one writer. `items` is scratch, emptied here.
fn read_run<'a>(
    reader: &mut Reader<'a>,
    items: &mut Vec<Item<'a>>,
    tails: &mut Vec<Tail<'a>>,
) -> Result<Run, InvalidUpdate> {
    items.clear();
    let count = reader.count(4)?;
    let writer = read_writer(reader)?;
    if count == 0 {
        return Err(InvalidUpdate::Nothing(writer));
    }
    let start = read_clock(reader, writer)?;
    let mut clock = start;
    let mut joins = 0u64;
    for _ in 0..count {
        let info = reader.byte()?;
        let place = match info & !(DELETED | BINARY) {
            HAS_KEY => read_key(reader, writer)?,
            flags if flags & !HAS_KEY == HAS_ORIGIN => {
                let place = read_origin(reader, writer, start..clock, items)?;
                joins += u64::from(matches!(place, Place::After(at) if at + 1 == items.len()));
                place
            }
            _ => return Err(InvalidUpdate::Kind(info)),
        };
        let (len, value) = match info & 0x0f {
            DELETED => (read_clock(reader, writer)?, None),
            BINARY => {
                let bytes = reader.block()?;
                let lane = Lane::from_bytes(bytes).map_err(|error| InvalidUpdate::Lane(writer, error))?;
                (1, Some(Content { bytes, lane }))
            }
            _ => return Err(InvalidUpdate::Kind(info)),
        };
        if len == 0 {
            return Err(InvalidUpdate::Empty(writer));
        }
        clock = advance(clock, len, writer)?;
        items.push(Item { last: clock - 1, place, value, followed: false });
    }
    if joins.saturating_mul(items.len() as u64) > JOIN_BUDGET {
        return Err(InvalidUpdate::TooCostly);
    }
    line_up(writer, items, tails)?;
    Ok(Run { writer, start, end: clock })
}

/// The root and key of the first item of a lane.
fn read_key<'a>(reader: &mut Reader<'a>, writer: WriterId) -> Result<Place<'a>, InvalidUpdate> {
    if reader.byte()? != 1 || reader.block()? != ROW_ROOT.as_bytes() {
        return Err(InvalidUpdate::Root(writer));
    }
    let key = std::str::from_utf8(reader.block()?).map_err(|_| InvalidUpdate::Key(writer))?;
    let name = LaneName::parse(key).map_err(|_| InvalidUpdate::Key(writer))?;
    if name.writer != writer { Err(InvalidUpdate::Foreign(writer)) } else { Ok(Place::Key(key)) }
}

/// The left origin of an item at clock `run.end`. Within the run it must be the last value of an item that
/// nothing else follows: if it pointed into a run of deleted values, the next of these would follow it too.
fn read_origin<'a>(
    reader: &mut Reader<'a>,
    writer: WriterId,
    run: std::ops::Range<u32>,
    items: &mut [Item<'a>],
) -> Result<Place<'a>, InvalidUpdate> {
    let owner = read_writer(reader)?;
    let origin = read_clock(reader, owner)?;
    if owner != writer || origin >= run.end {
        return Err(InvalidUpdate::Origin(writer));
    }
    if origin < run.start {
        return Ok(Place::Before(origin));
    }
    // Nearly always the item just before.
    let at = match items.last() {
        Some(item) if item.last == origin => items.len() - 1,
        _ => {
            items.binary_search_by_key(&origin, |item| item.last).map_err(|_| InvalidUpdate::Fork(writer))?
        }
    };
    if std::mem::replace(&mut items[at].followed, true) {
        return Err(InvalidUpdate::Fork(writer));
    }
    Ok(Place::After(at))
}

/// Checks that nothing but the order of clocks leads from item to item, and notes the last item of each lane.
fn line_up<'a>(
    writer: WriterId,
    items: &mut [Item<'a>],
    tails: &mut Vec<Tail<'a>>,
) -> Result<(), InvalidUpdate> {
    let first_tail = tails.len();
    let mut outside = Vec::new();
    for at in 0..items.len() {
        // An item takes over the place of the one that it follows, which has its own already.
        if let Place::After(before) = items[at].place {
            items[at].place = items[before].place;
        } else if let Place::Before(origin) = items[at].place {
            outside.push(origin);
        }
        let item = &mut items[at];
        if let (Place::Key(key), false) = (item.place, item.followed) {
            let name = LaneName::parse(key).map_err(|_| InvalidUpdate::Key(writer))?;
            tails.push(Tail { name, clock: item.last, value: item.value.take() });
        }
    }
    outside.sort_unstable();
    if outside.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(InvalidUpdate::Fork(writer));
    }
    let mine = &mut tails[first_tail..];
    mine.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    if mine.windows(2).any(|pair| pair[0].name == pair[1].name) {
        return Err(InvalidUpdate::Fork(writer));
    }
    Ok(())
}
