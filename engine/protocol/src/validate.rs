//! The only Yrs updates and state vectors that are accepted from outside.
//!
//! yrs is not safe on bytes from outside: some make it panic, loop for ever, allocate gigabytes or overflow the
//! stack. So whatever did not come from this machine passes one of the three functions here before yrs sees
//! it: [`row_update`] for row documents, [`text_update`] (and [`text_update_onto`]) for text documents, [`state_vector`] for the state vector
//! of a single document. They walk the bytes once, without recursion, allocate no more than a small multiple
//! of the input, and accept only what such documents are made of, in the v1 encoding.
//!
//! | field | bytes |
//! |---|---|
//! | writers | count; each: number of items (varint), writer (varint), clock of the first item (varint), the items |
//! | item | info (one byte: content kind, `20` has a key, `40` has a right origin, `80` has a left origin) |
//! | | left origin, right origin, where the info says so: writer (varint), clock (varint) |
//! | | without origins: `01`, name of the root (string), and the key (string) if the info says so |
//! | | content: `1` deleted: how many (varint); `3` binary: block; `4` text: string |
//! | deletions | count; each: writer (varint), count of ranges; each: first clock (varint), length (varint) |
//!
//! Source: `updates/decoder.rs` and `update.rs` of yrs 0.28.1, `UpdateDecoderV1` of Yjs 13.
//!
//! What is promised: *whatever is accepted here, decoding, applying to a whole document, reading and encoding by yrs never
//! panics, hangs or balloons*, on a stack of 2 MB. `tests/yrs_gate` and the fuzz targets hold it to that. Three rules
//! come from how yrs 0.28 works inside: clocks stay below 2^31, because it subtracts them as `i32`;
//! [`MAX_WRITERS`], because it hashes client ids with the identity; and the budgets behind
//! [`InvalidUpdate::TooCostly`], because some of its steps are quadratic.
//!
//! **Apply only what the document covers.** Every update tells what it `needs`; compare that with the document's
//! state vector *before* applying. An update that comes too early leaves traces: what lacks an origin, or the item
//! to be deleted, is *pending* (`ReadTxn::has_missing_updates`), but what only lacks the clocks before its own,
//! yrs 0.28 integrates all the same, with a *Skip* block in the gap that nothing reports. To a document with such a
//! gap not even a right update may be applied any more: where it overlaps the gap, yrs reads memory that it
//! has freed. So a document with anything missing is never stored, nor applied to; both functions refuse it when it
//! is read again.

use thiserror::Error;

use crate::canonical::{CanonicalError, Reader};
use crate::ids::WriterId;

mod row;
mod text;

pub use row::{RowUpdateFacts, row_update};
pub use text::{TextUpdateFacts, text_update, text_update_onto};

/// The greatest clock that an item may end at. yrs subtracts clocks as `i32`.
pub const MAX_CLOCK: u32 = i32::MAX as u32;
/// The most writers that one update or state vector may name.
pub const MAX_WRITERS: usize = 1 << 15;

/// Why an update or state vector is not let in. It names the first thing found wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidUpdate {
    /// The bytes end early, a varint is overlong, or a count is larger than the bytes left could hold.
    #[error("the bytes are not an update: {0}")]
    Bytes(CanonicalError),
    /// A client id that no writer can have.
    #[error("{0} is not a writer id")]
    Writer(u64),
    /// A writer is listed twice, in the items or in the deletions.
    #[error("writer {0} is listed twice")]
    RepeatedWriter(WriterId),
    /// More than [`MAX_WRITERS`], or so many with the same low bits that yrs's hash tables would degrade.
    #[error("it names too many writers, or their ids collide")]
    Writers,
    /// A writer is listed with no items, or with no deleted ranges.
    #[error("writer {0} is listed with nothing")]
    Nothing(WriterId),
    /// A clock beyond [`MAX_CLOCK`].
    #[error("a clock of writer {0} is beyond {MAX_CLOCK}")]
    Clock(WriterId),
    /// An item of a kind that such a document does not have; its info byte.
    #[error("an item has info byte {0:#04x}, which documents of this kind do not have")]
    Kind(u8),
    /// An item of no length.
    #[error("an item of writer {0} is empty")]
    Empty(WriterId),
    /// An item that does not lie in the one root that such a document has.
    #[error("an item of writer {0} lies under another root or inside another item")]
    Root(WriterId),
    /// A key that is not the name of a lane.
    #[error("writer {0} writes a key that is not the name of a lane")]
    Key(WriterId),
    /// A lane of another writer than the item's.
    #[error("writer {0} writes a lane of another writer")]
    Foreign(WriterId),
    /// The value is not a lane.
    #[error("writer {0} wrote a value that is not a lane: {1}")]
    Lane(WriterId, CanonicalError),
    /// An origin of another writer where that cannot be, or one that is not before its item.
    #[error("an item of writer {0} has an origin that it cannot have")]
    Origin(WriterId),
    /// Two items of one lane that do not follow one another: a writer's lane is a single line of items.
    #[error("writer {0} wrote two items in the same place of a lane")]
    Fork(WriterId),
    /// Ranges of deletions that are empty, out of order, overlapping or touching.
    #[error("the deletions of writer {0} are not in canonical form")]
    Deletions(WriterId),
    /// An origin or a deletion that would cut a character outside the basic plane into two halves.
    #[error("writer {0} would have a character cut in two")]
    CutCharacter(WriterId),
    /// yrs would need time that grows with the square of the update.
    #[error("applying it would take yrs too long")]
    TooCostly,
}

impl From<CanonicalError> for InvalidUpdate {
    fn from(error: CanonicalError) -> Self {
        Self::Bytes(error)
    }
}

/// Checks a state vector of yrs, v1: count; each: writer (varint), clock (varint). Fails with
/// [`InvalidUpdate`] on a bad or repeated writer, too many of them, a clock beyond [`MAX_CLOCK`], a count larger
/// than the bytes could hold, and bytes left over.
pub fn state_vector(bytes: &[u8]) -> Result<(), InvalidUpdate> {
    let mut reader = Reader::new(bytes);
    let count = writer_count(&mut reader, 2)?;
    let mut writers = Vec::with_capacity(count);
    for _ in 0..count {
        let writer = read_writer(&mut reader)?;
        read_clock(&mut reader, writer)?;
        writers.push(writer);
    }
    reader.finish()?;
    distinct(&mut writers)
}

/// The items of one writer in an update: consecutive clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    writer: WriterId,
    /// The clock of the first.
    start: u32,
    /// One past the clock of the last.
    end: u32,
}

/// Deleted clocks of one writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Deleted {
    writer: WriterId,
    start: u32,
    /// One past the last.
    end: u32,
}

/// A count of writers whose entries take at least `least` bytes each.
fn writer_count(reader: &mut Reader<'_>, least: usize) -> Result<usize, InvalidUpdate> {
    let count = reader.count(least)?;
    if count > MAX_WRITERS { Err(InvalidUpdate::Writers) } else { Ok(count) }
}

fn read_writer(reader: &mut Reader<'_>) -> Result<WriterId, InvalidUpdate> {
    let id = reader.varint()?;
    WriterId::new(id).map_err(|_| InvalidUpdate::Writer(id))
}

fn read_clock(reader: &mut Reader<'_>, writer: WriterId) -> Result<u32, InvalidUpdate> {
    match u32::try_from(reader.varint()?) {
        Ok(clock) if clock <= MAX_CLOCK => Ok(clock),
        _ => Err(InvalidUpdate::Clock(writer)),
    }
}

/// `clock + len`, unless it goes beyond [`MAX_CLOCK`].
fn advance(clock: u32, len: u32, writer: WriterId) -> Result<u32, InvalidUpdate> {
    clock.checked_add(len).filter(|&end| end <= MAX_CLOCK).ok_or(InvalidUpdate::Clock(writer))
}

/// Sorts `writers` and refuses one that is there twice, or ids chosen so that they meet in a hash table.
fn distinct(writers: &mut [WriterId]) -> Result<(), InvalidUpdate> {
    if writers.len() < 2 {
        return Ok(());
    }
    // yrs lists writers in descending or ascending order; either is quick to sort.
    writers.sort_unstable();
    if let Some(pair) = writers.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(InvalidUpdate::RepeatedWriter(pair[0]));
    }
    if spread_out(writers) { Ok(()) } else { Err(InvalidUpdate::Writers) }
}

/// Whether the low bits of the ids, by which yrs picks the place in its hash tables, are spread out as those of
/// random ids are. Openings draw random ids, and so does Yjs; of those, [`CROWD`] never share so few places.
fn spread_out(writers: &[WriterId]) -> bool {
    /// Too few to matter: even if they all collide, a look-up among them is quick.
    const CROWD: usize = 256;
    if writers.len() <= CROWD {
        return true;
    }
    let places = writers.len().next_power_of_two() as u64;
    let mut low: Vec<u64> = writers.iter().map(|w| w.get() & (places - 1)).collect();
    low.sort_unstable();
    low.windows(CROWD).all(|crowd| crowd[CROWD - 1] - crowd[0] >= CROWD as u64 / 4)
}

/// Reads the deletions, which end an update. They come back ascending by writer and clock.
fn read_deletions(reader: &mut Reader<'_>) -> Result<Vec<Deleted>, InvalidUpdate> {
    let count = writer_count(reader, 2)?;
    let mut writers = Vec::with_capacity(count);
    let mut deleted = Vec::with_capacity(count);
    for _ in 0..count {
        let writer = read_writer(reader)?;
        writers.push(writer);
        let ranges = reader.count(2)?;
        if ranges == 0 {
            return Err(InvalidUpdate::Nothing(writer));
        }
        let mut last = None;
        for _ in 0..ranges {
            let start = read_clock(reader, writer)?;
            let len = read_clock(reader, writer)?;
            let end = advance(start, len, writer)?;
            // Ranges that touch would be one range.
            if len == 0 || last.is_some_and(|last| last >= start) {
                return Err(InvalidUpdate::Deletions(writer));
            }
            last = Some(end);
            deleted.push(Deleted { writer, start, end });
        }
    }
    distinct(&mut writers)?;
    if !deleted.is_sorted() {
        deleted.sort_unstable();
    }
    Ok(deleted)
}

/// What a document must hold already, so that nothing of an update would wait: of each writer all clocks below
/// the number. `runs` and `referred` (what is deleted, and origins) ascend by writer.
fn needs(runs: &[Run], referred: &[Deleted]) -> Vec<(WriterId, u32)> {
    let mut needs = Vec::new();
    let mut runs = runs.iter().peekable();
    let mut add = |writer, clock| {
        if clock > 0 {
            needs.push((writer, clock));
        }
    };
    for of_writer in referred.chunk_by(|a, b| a.writer == b.writer) {
        let writer = of_writer[0].writer;
        let end = of_writer.iter().map(|range| range.end).max().unwrap_or(0);
        while let Some(run) = runs.next_if(|run| run.writer < writer) {
            add(run.writer, run.start);
        }
        match runs.next_if(|run| run.writer == writer) {
            Some(run) if end <= run.end => add(writer, run.start),
            _ => add(writer, end),
        }
    }
    runs.for_each(|run| add(run.writer, run.start));
    needs
}
