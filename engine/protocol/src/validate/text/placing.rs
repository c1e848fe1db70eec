//! What applying a text update will cost yrs, found by doing the same on a list of numbers.
//!
//! This is the integration of YATA as `Item::resolve_conflict` in yrs 0.28 does it, in the order of its
//! `BlockPicker`: writers from the highest id down, an origin that is still missing first. Strings are cut beforehand
//! wherever an origin will cut them. Origins that are not in the update count as the ends of the list: what
//! is there only the document knows.
//!
//! Sources: Nicolaescu et al., "Near Real-Time Peer-to-Peer Shared Editing on Extensible Data Types" (YATA, 2016);
//! `update.rs` and `block.rs` of yrs 0.28.1.

use super::super::{Deleted, InvalidUpdate, Run};
use super::{Id, Item};

/// Steps of looking for a place among concurrent items; measured: 150 ns each in yrs.
const SEARCH_BUDGET: u64 = 1 << 21;
/// Bytes that are looked at and moved to cut strings and join them again; measured: about 1 ns each in yrs.
const MOVE_BUDGET: u64 = 1 << 29;
/// The same where a document is cut: by edits all over a long text, which nobody should lose.
const CUT_BUDGET: u64 = 4 * MOVE_BUDGET;
/// What a byte costs that is moved to join two strings; measured: 3 ns in yrs.
const JOIN: u64 = 4;
/// Writers in a row that were used up out of turn. yrs passes over these by recursion, about 110 bytes of
/// stack each: 20,000 overflow 2 MB.
const MAX_USED_UP: usize = 8_192;

/// No piece: an end of the list, or an origin that is not in the update.
const NONE: u32 = u32::MAX;

/// A part of an item that nothing cuts any further.
#[derive(Debug, Clone, Copy)]
struct Piece {
    start: u32,
    end: u32,
    /// The item that it is of.
    item: u32,
    /// Its neighbours, once it is in the list.
    left: u32,
    right: u32,
    /// The piece that its left origin ends, which for all but the first piece of an item is the one before.
    origin: u32,
    /// Of its string; 1 if it is deleted.
    bytes: u32,
}

/// The pieces of one writer: a range of indexes.
#[derive(Debug, Clone, Copy)]
struct Line {
    first: u32,
    end: u32,
    /// The first that is not in the list yet.
    next: u32,
    /// One past the last that goes into the list now.
    stop: u32,
}

/// Refuses what would be too costly, items that wait for each other, and cuts through a character. `runs`,
/// `items` and `deleted` ascend by writer.
pub(super) fn check(runs: &[Run], items: &[Item<'_>], deleted: &[Deleted]) -> Result<(), InvalidUpdate> {
    // Most updates are a keystroke or two.
    if items.len() <= 1 && deleted.is_empty() {
        return Ok(());
    }
    let cuts = cuts(runs, items, deleted);
    let mut list = List::new(runs, items, &cuts, MOVE_BUDGET)?;
    list.place(runs)?;
    list.join(deleted)
}

/// The same for an update on top of a document: all in `held`, which ascends by writer, is there already. What of
/// `runs` and `items` is beyond that is the update's.
pub(super) fn check_onto(
    held: &[Run],
    runs: &[Run],
    items: &[Item<'_>],
    deleted: &[Deleted],
) -> Result<(), InvalidUpdate> {
    let cuts = cuts(runs, items, deleted);
    let mut list = List::new(runs, items, &cuts, CUT_BUDGET)?;
    for (line, run) in runs.iter().enumerate() {
        let held =
            held.binary_search_by_key(&run.writer, |run| run.writer).map_or(run.start, |at| held[at].end);
        let Line { first, end, .. } = list.lines[line];
        let of_line = &list.pieces[first as usize..end as usize];
        list.lines[line].stop = first + of_line.partition_point(|piece| piece.start < held) as u32;
    }
    list.place(runs)?;
    // What that took was paid when it came.
    list.steps = 0;
    list.lines.iter_mut().for_each(|line| line.stop = line.end);
    list.place(runs)?;
    list.join(deleted)
}

/// Where items are cut, each the clock of the first character after the cut; ascending, in no item twice.
fn cuts(runs: &[Run], items: &[Item<'_>], deleted: &[Deleted]) -> Vec<Id> {
    let mut cuts = Vec::new();
    for item in items {
        cuts.extend(item.left.map(|id| Id { clock: id.clock + 1, ..id }));
        cuts.extend(item.right);
    }
    for range in deleted {
        cuts.push(Id { writer: range.writer, clock: range.start });
        cuts.push(Id { writer: range.writer, clock: range.end });
    }
    let inside = |id: &Id| {
        let run = runs.binary_search_by_key(&id.writer, |run| run.writer).map(|at| runs[at]);
        run.is_ok_and(|run| run.start < id.clock && id.clock < run.end)
    };
    cuts.retain(inside);
    cuts.sort_unstable();
    cuts.dedup();
    cuts
}

/// The text as yrs will build it.
struct List<'i, 'a> {
    items: &'i [Item<'a>],
    pieces: Vec<Piece>,
    /// One for each run.
    lines: Vec<Line>,
    first: u32,
    steps: u64,
    /// Bytes moved, and how many may be.
    moved: u64,
    budget: u64,
    /// The number of the search in which a piece was last passed, and in which it was last in conflict.
    passed: Vec<u32>,
    conflicting: Vec<u32>,
}

impl<'i, 'a> List<'i, 'a> {
    /// Cuts the items into pieces.
    fn new(runs: &[Run], items: &'i [Item<'a>], cuts: &[Id], budget: u64) -> Result<Self, InvalidUpdate> {
        let mut pieces = Vec::with_capacity(items.len() + cuts.len());
        let mut lines = Vec::with_capacity(runs.len());
        let mut moved = 0;
        let mut cuts = cuts.iter().copied().peekable();
        let mut at = 0;
        for of_writer in items.chunk_by(|a, b| a.writer == b.writer) {
            let first = pieces.len() as u32;
            for item in of_writer {
                let bytes = item.text.map_or(1, str::len) as u64;
                let mut units = Units { text: item.text.unwrap_or(""), at: item.start };
                let mut start = item.start;
                while let Some(cut) = cuts.next_if(|cut| cut.writer == item.writer && cut.clock <= item.end) {
                    if cut.clock <= item.start || cut.clock == item.end {
                        continue;
                    }
                    let before = units.text.len();
                    if item.text.is_some() && !units.advance_to(cut.clock) {
                        return Err(InvalidUpdate::CutCharacter(item.writer));
                    }
                    moved += bytes;
                    pieces.push(Piece::new(start, cut.clock, at, before - units.text.len()));
                    start = cut.clock;
                }
                pieces.push(Piece::new(start, item.end, at, units.text.len()));
                at += 1;
            }
            if moved > budget {
                return Err(InvalidUpdate::TooCostly);
            }
            let end = pieces.len() as u32;
            lines.push(Line { first, end, next: first, stop: end });
        }
        let (passed, conflicting) = (vec![0; pieces.len()], vec![0; pieces.len()]);
        Ok(Self { items, pieces, lines, first: NONE, steps: 0, moved, budget, passed, conflicting })
    }

    /// The line of a writer.
    fn line(&self, runs: &[Run], id: Id) -> Option<usize> {
        let line = runs.binary_search_by_key(&id.writer, |run| run.writer).ok()?;
        (runs[line].start <= id.clock && id.clock < runs[line].end).then_some(line)
    }

    /// The piece with this character.
    fn find(&self, runs: &[Run], id: Id) -> Option<(usize, u32)> {
        let line = self.line(runs, id)?;
        let Line { first, end, .. } = self.lines[line];
        let of_line = &self.pieces[first as usize..end as usize];
        Some((line, first + of_line.partition_point(|piece| piece.end <= id.clock) as u32))
    }

    /// Puts all items up to where their lines stop into the list, in the order of yrs.
    fn place(&mut self, runs: &[Run]) -> Result<(), InvalidUpdate> {
        let mut waiting: Vec<usize> = Vec::new();
        let mut waits = vec![false; runs.len()];
        let mut used_up = 0;
        let listed: Vec<bool> = self.lines.iter().map(|line| line.next < line.stop).collect();
        for start in (0..self.lines.len()).rev().filter(|&line| listed[line]) {
            used_up = if self.lines[start].next == self.lines[start].stop { used_up + 1 } else { 0 };
            if used_up > MAX_USED_UP {
                return Err(InvalidUpdate::TooCostly);
            }
            while self.lines[start].next < self.lines[start].stop {
                let line = waiting.last().copied().unwrap_or(start);
                let item = &self.items[self.pieces[self.lines[line].next as usize].item as usize];
                let missing = [item.left, item.right].into_iter().flatten().find_map(|id| {
                    let (line, piece) = self.find(runs, id)?;
                    (piece >= self.lines[line].next).then_some(line)
                });
                match missing {
                    Some(other) => {
                        if waiting.is_empty() {
                            waiting.push(start);
                            waits[start] = true;
                        }
                        if std::mem::replace(&mut waits[other], true) {
                            return Err(InvalidUpdate::Origin(item.writer));
                        }
                        waiting.push(other);
                        // yrs looks through all that wait, which is quick but adds up.
                        self.step(waiting.len() as u64 / 32)?;
                    }
                    None => {
                        self.place_item(runs, line)?;
                        if waiting.pop().is_some() {
                            waits[line] = false;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn step(&mut self, steps: u64) -> Result<(), InvalidUpdate> {
        self.steps += steps;
        if self.steps > SEARCH_BUDGET { Err(InvalidUpdate::TooCostly) } else { Ok(()) }
    }

    /// Puts the next item of a line into the list.
    fn place_item(&mut self, runs: &[Run], line: usize) -> Result<(), InvalidUpdate> {
        let at = self.lines[line].next;
        let item = &self.items[self.pieces[at as usize].item as usize];
        let origin = item.left.and_then(|id| self.find(runs, id)).map_or(NONE, |(_, piece)| piece);
        let stop = item.right.and_then(|id| self.find(runs, id)).map_or(NONE, |(_, piece)| piece);
        self.pieces[at as usize].origin = origin;
        let left = self.search(at, origin, stop)?;
        // All pieces of the item follow one another.
        let after = if left == NONE { self.first } else { self.pieces[left as usize].right };
        let mut before = left;
        let mut now = at;
        while now < self.lines[line].end && self.pieces[now as usize].item == self.pieces[at as usize].item {
            if now > at {
                self.pieces[now as usize].origin = now - 1;
            }
            self.pieces[now as usize].left = before;
            match before {
                NONE => self.first = now,
                before => self.pieces[before as usize].right = now,
            }
            before = now;
            now += 1;
        }
        self.pieces[before as usize].right = after;
        if after != NONE {
            self.pieces[after as usize].left = before;
        }
        self.lines[line].next = now;
        Ok(())
    }

    /// Joins what yrs will join when all is in place: neighbours in the list that one writer wrote one after the other.
    /// It goes from the last to the first, and moves what it has joined so far each time.
    fn join(&mut self, deleted: &[Deleted]) -> Result<(), InvalidUpdate> {
        for line in &self.lines {
            let of_line = &self.pieces[line.first as usize..line.end as usize];
            let mut joined = 0;
            for (at, piece) in (line.first..line.end).zip(of_line).rev() {
                let item = &self.items[piece.item as usize];
                let gone = |piece: &Piece| {
                    let at = deleted
                        .partition_point(|range| (range.writer, range.start) <= (item.writer, piece.start));
                    at.checked_sub(1)
                        .map(|at| deleted[at])
                        .is_some_and(|range| range.writer == item.writer && piece.start < range.end)
                };
                let is_gone = item.text.is_none() || gone(piece);
                let joins = of_line.get((at + 1 - line.first) as usize).is_some_and(|next| {
                    let other = &self.items[next.item as usize];
                    let follows = next.item == piece.item
                        || other.right == item.right
                            && other.left == Some(Id { writer: item.writer, clock: next.start - 1 });
                    piece.right == at + 1 && follows && is_gone == (other.text.is_none() || gone(next))
                });
                if joins {
                    self.moved += JOIN * joined;
                } else {
                    joined = 0;
                }
                joined += if is_gone { 1 } else { u64::from(piece.bytes) };
            }
            if self.moved > self.budget {
                return Err(InvalidUpdate::TooCostly);
            }
        }
        Ok(())
    }

    /// The piece to the left of the place of the item that begins with piece `at`.
    fn search(&mut self, at: u32, origin: u32, stop: u32) -> Result<u32, InvalidUpdate> {
        let own = &self.items[self.pieces[at as usize].item as usize];
        let mut left = origin;
        let mut now = if origin == NONE { self.first } else { self.pieces[origin as usize].right };
        // Distinct for every search, and never 0.
        let (search, mut conflicts) = (at + 1, 0u32);
        let mut epochs = 0u32;
        while now != NONE && now != stop {
            self.step(1)?;
            let piece = self.pieces[now as usize];
            let other = &self.items[piece.item as usize];
            self.passed[now as usize] = search;
            self.conflicting[now as usize] = epochs;
            conflicts += 1;
            // An origin that is not in the update is told from another, and from none, by its id.
            let same_origin = if piece.start > other.start {
                origin != NONE && piece.origin == origin
            } else if origin == NONE && piece.origin == NONE {
                own.left == other.left
            } else {
                piece.origin == origin
            };
            if same_origin {
                if other.writer < own.writer {
                    left = now;
                    epochs = conflicts;
                } else if own.right == other.right {
                    break;
                }
            } else if piece.origin != NONE && self.passed[piece.origin as usize] == search {
                if self.conflicting[piece.origin as usize] < epochs {
                    left = now;
                    epochs = conflicts;
                }
            } else {
                break;
            }
            now = piece.right;
        }
        Ok(left)
    }
}

impl Piece {
    fn new(start: u32, end: u32, item: u32, bytes: usize) -> Self {
        let bytes = bytes.max(1) as u32;
        Self { start, end, item, left: NONE, right: NONE, origin: NONE, bytes }
    }
}

/// A string from so many UTF-16 code units on; `None` if that lies within a character.
pub(super) fn after(text: &str, units: u32) -> Option<&str> {
    let mut walk = Units { text, at: 0 };
    walk.advance_to(units).then_some(walk.text)
}

/// Walks a string by UTF-16 code units.
struct Units<'a> {
    text: &'a str,
    /// The clock of the first character of `text`.
    at: u32,
}

impl Units<'_> {
    /// Goes on to `clock`; false if that lies within a character.
    fn advance_to(&mut self, clock: u32) -> bool {
        let mut chars = self.text.chars();
        while self.at < clock {
            match chars.next() {
                Some(char) => self.at += char.len_utf16() as u32,
                None => return false,
            }
        }
        self.text = chars.as_str();
        self.at == clock
    }
}
