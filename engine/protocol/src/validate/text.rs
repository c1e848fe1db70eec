//! Updates of text documents: strings under one root text, and deletions.
//!
//! Unlike lanes, texts have real conflicts: items by anybody may go between any two characters. yrs then searches
//! for the place, cuts strings in two and joins them again, and each of the three can take time that grows with
//! the square of the update; one chain of origins through many writers even overflows its stack. So [`placing`]
//! goes through the same motions first, on numbers only, and gives up early.

use super::{
    Deleted, InvalidUpdate, Run, advance, distinct, needs, read_clock, read_deletions, read_writer,
    writer_count,
};
use crate::canonical::{CanonicalError, Reader};
use crate::ids::WriterId;
use crate::lane::TEXT_ROOT;

mod placing;

/// Info byte: content is deleted text.
const DELETED: u8 = 1;
/// Info byte: content is a string.
const STRING: u8 = 4;
/// Info byte: has a right origin.
const HAS_RIGHT_ORIGIN: u8 = 0x40;
/// Info byte: has a left origin.
const HAS_ORIGIN: u8 = 0x80;

/// What [`text_update`] found in an update that it accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextUpdateFacts {
    /// Ascending by writer.
    runs: Vec<Run>,
    items: usize,
    needs: Vec<(WriterId, u32)>,
}

impl TextUpdateFacts {
    /// The writers that have items in it, ascending.
    pub fn writers(&self) -> impl Iterator<Item = WriterId> {
        self.runs.iter().map(|run| run.writer)
    }

    /// How many items it has. By itself it is quick to apply; on top of a document, a hostile one can cost up
    /// to this many times the document's own number of items: [`text_update_onto`] tells.
    pub fn items(&self) -> usize {
        self.items
    }

    /// Whether an empty document would take all of it, with nothing missing: every writer's clocks start at 0,
    /// every origin is in it, and so is everything that it deletes.
    pub fn is_self_contained(&self) -> bool {
        self.needs.is_empty()
    }

    /// What a document must hold for all of this to be applied at once; see
    /// [`RowUpdateFacts::needs`](super::RowUpdateFacts::needs).
    pub fn needs(&self) -> &[(WriterId, u32)] {
        &self.needs
    }
}

/// Which character: a writer and its clock, in UTF-16 code units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Id {
    writer: WriterId,
    clock: u32,
}

/// One item as it stands in the update.
#[derive(Debug)]
struct Item<'a> {
    writer: WriterId,
    start: u32,
    /// One past its last clock.
    end: u32,
    left: Option<Id>,
    right: Option<Id>,
    /// `None` if it is deleted.
    text: Option<&'a str>,
}

/// Checks an update of a text document. Accepts exactly:
///
/// - items that hold a string of UTF-8, or deleted text, under the root [`TEXT_ROOT`] and without formatting, of valid
///   writers each listed once, with consecutive clocks (UTF-16 code units, as Yjs counts) up to
///   [`MAX_CLOCK`](super::MAX_CLOCK);
/// - origins of any valid writer; of the item's own, only an earlier clock; no item may wait for itself;
/// - deletions in canonical form, of whatever writer.
///
/// An origin or deletion between the two halves of a character outside the basic plane makes Yrs and Yjs replace
/// both halves by U+FFFD, at some replicas earlier than at others. Within one update that is refused
/// ([`InvalidUpdate::CutCharacter`]); where the character came in an earlier update it cannot be seen here, and
/// does no more harm than that.
///
/// Fails with [`InvalidUpdate`] on all else, and with [`InvalidUpdate::TooCostly`] on what would take yrs much
/// longer than reading it: many concurrent items in one place, many cuts in one long string, tens of thousands of
/// keystrokes not yet joined.
pub fn text_update(bytes: &[u8]) -> Result<TextUpdateFacts, InvalidUpdate> {
    let Parsed { runs, items, deleted } = parse(bytes)?;
    placing::check(&runs, &items, &deleted)?;
    let needs = needs(&runs, &referred(&runs, &items, deleted));
    Ok(TextUpdateFacts { items: items.len(), runs, needs })
}

/// Checks what applying an update to a document will cost: by itself it may be cheap, and yet have yrs go through the
/// whole document for each of its items, or cut up a long string that is there. Both have been accepted by
/// [`text_update`], and the document holds all that the update needs.
///
/// Fails with [`InvalidUpdate::TooCostly`], with [`InvalidUpdate::CutCharacter`] if a character of the document would
/// be cut, and with [`InvalidUpdate::Origin`] if the document does not hold what is needed after all.
pub fn text_update_onto(document: &[u8], update: &[u8]) -> Result<(), InvalidUpdate> {
    let (held, update) = (parse(document)?, parse(update)?);
    let mut items = held.items;
    let mut runs = held.runs.clone();
    for run in &update.runs {
        let known = held.runs.binary_search_by_key(&run.writer, |run| run.writer);
        let end = known.map_or(0, |at| held.runs[at].end);
        if run.start > end {
            return Err(InvalidUpdate::Origin(run.writer));
        }
        match known {
            Ok(at) => runs[at].end = run.end.max(end),
            Err(_) => runs.push(*run),
        }
        let of_writer = items_of(&update.items, run.writer).iter().filter(|item| item.end > end);
        for item in of_writer {
            items.push(item.from(end)?);
        }
    }
    runs.sort_unstable_by_key(|run| run.writer);
    // Stable: of each writer first what is held.
    items.sort_by_key(|item| item.writer);
    placing::check_onto(&held.runs, &runs, &items, &update.deleted)
}

/// What an update consists of; all ascending by writer.
struct Parsed<'a> {
    runs: Vec<Run>,
    items: Vec<Item<'a>>,
    deleted: Vec<Deleted>,
}

fn parse(bytes: &[u8]) -> Result<Parsed<'_>, InvalidUpdate> {
    let mut reader = Reader::new(bytes);
    let count = writer_count(&mut reader, 3)?;
    let mut runs = Vec::with_capacity(count);
    let mut items = Vec::new();
    for _ in 0..count {
        runs.push(read_run(&mut reader, &mut items)?);
    }
    if runs.len() > 1 {
        distinct(&mut runs.iter().map(|run| run.writer).collect::<Vec<_>>())?;
        runs.sort_unstable_by_key(|run| run.writer);
        items.sort_by_key(|item| item.writer);
    }
    let deleted = read_deletions(&mut reader)?;
    reader.finish()?;
    Ok(Parsed { runs, items, deleted })
}

/// The items of one writer among items that ascend by writer.
fn items_of<'i, 'a>(items: &'i [Item<'a>], writer: WriterId) -> &'i [Item<'a>] {
    let first = items.partition_point(|item| item.writer < writer);
    let len = items[first..].partition_point(|item| item.writer == writer);
    &items[first..first + len]
}

impl<'a> Item<'a> {
    /// What is left of it when everything before `clock` is known already.
    fn from(&self, clock: u32) -> Result<Self, InvalidUpdate> {
        let Self { writer, start, end, left, right, text } = *self;
        if clock <= start {
            return Ok(Self { writer, start, end, left, right, text });
        }
        let text =
            text.map(|text| placing::after(text, clock - start).ok_or(InvalidUpdate::CutCharacter(writer)));
        let left = Some(Id { writer, clock: clock - 1 });
        Ok(Self { writer, start: clock, end, left, right, text: text.transpose()? })
    }
}

/// Reads the items of one writer.
fn read_run<'a>(reader: &mut Reader<'a>, items: &mut Vec<Item<'a>>) -> Result<Run, InvalidUpdate> {
    let count = reader.count(3)?;
    let writer = read_writer(reader)?;
    if count == 0 {
        return Err(InvalidUpdate::Nothing(writer));
    }
    let start = read_clock(reader, writer)?;
    let mut clock = start;
    for _ in 0..count {
        let info = reader.byte()?;
        if !matches!(info & !(HAS_ORIGIN | HAS_RIGHT_ORIGIN), DELETED | STRING) {
            return Err(InvalidUpdate::Kind(info));
        }
        let own = Id { writer, clock };
        let left = if info & HAS_ORIGIN != 0 { Some(read_origin(reader, own)?) } else { None };
        let right = if info & HAS_RIGHT_ORIGIN != 0 { Some(read_origin(reader, own)?) } else { None };
        let rooted = left.is_none() && right.is_none();
        if rooted && (reader.byte()? != 1 || reader.block()? != TEXT_ROOT.as_bytes()) {
            return Err(InvalidUpdate::Root(writer));
        }
        let (len, text) = if info & 0x0f == DELETED {
            (read_clock(reader, writer)?, None)
        } else {
            let text = std::str::from_utf8(reader.block()?)
                .map_err(|_| CanonicalError::Invalid("a string is not UTF-8"))?;
            let len = utf16_len(text);
            (u32::try_from(len).map_err(|_| InvalidUpdate::Clock(writer))?, Some(text))
        };
        if len == 0 {
            return Err(InvalidUpdate::Empty(writer));
        }
        let end = advance(clock, len, writer)?;
        items.push(Item { writer, start: clock, end, left, right, text });
        clock = end;
    }
    Ok(Run { writer, start, end: clock })
}

/// The length in UTF-16 code units. (`encode_utf16().count()` takes many times as long.)
fn utf16_len(text: &str) -> usize {
    let bytes = text.as_bytes();
    let chars = bytes.iter().filter(|&&byte| byte & 0xc0 != 0x80).count();
    chars + bytes.iter().filter(|&&byte| byte >= 0xf0).count()
}

fn read_origin(reader: &mut Reader<'_>, own: Id) -> Result<Id, InvalidUpdate> {
    let writer = read_writer(reader)?;
    let clock = read_clock(reader, writer)?;
    // One more must be a clock too: that is what a document needs to hold it.
    advance(clock, 1, writer)?;
    if writer == own.writer && clock >= own.clock {
        return Err(InvalidUpdate::Origin(writer));
    }
    Ok(Id { writer, clock })
}

/// The deletions and, as ranges like these, the origins that are not in the update.
fn referred(runs: &[Run], items: &[Item<'_>], deleted: Vec<Deleted>) -> Vec<Deleted> {
    let mut referred = deleted;
    let mut added = false;
    for id in items.iter().flat_map(|item| item.left.iter().chain(&item.right)) {
        let run = runs.binary_search_by_key(&id.writer, |run| run.writer).ok().map(|at| runs[at]);
        // Before the run: the run itself needs that already.
        if run.is_none_or(|run| id.clock >= run.end) {
            referred.push(Deleted { writer: id.writer, start: id.clock, end: id.clock + 1 });
            added = true;
        }
    }
    if added {
        referred.sort_unstable();
    }
    referred
}
