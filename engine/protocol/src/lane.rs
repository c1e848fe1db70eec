//! Cells and lanes: what the binary values in a row document hold.
//!
//! A row document is a Yrs document with one root map, [`ROW_ROOT`]: *lane name* → *lane*. A writer writes only its
//! own lanes: the main one, named by the writer id in base 36 (`2gosa7pa2gv`), and one for each large value,
//! `<writer>/<column>`. What the cells mean to each other (which of them stand) is the engine's business; here
//! are the shapes and the bytes.
//!
//! | field | bytes |
//! |---|---|
//! | version | one byte, [`LANE_VERSION`] |
//! | stamps | count; each: write number (varint), time (signed varint, milliseconds since 1970) |
//! | cells | count; each: column (string), index of its stamp (varint), content, seen |
//! | content | a value; or one byte 5: the value stands in the column's text document |
//! | seen | count; each: writer (varint), write number × 2 + 1 if it was in a large value's lane (varint) |
//! | floors | count; each: writer (varint), column (string, empty for the main lane), write number (varint) |
//! | counters | count; each: column (string), what was added (signed varint of up to 97 bits, never 0) |
//!
//! Stamps ascend by write number and each is used; cells and counters ascend by column; seen and floors ascend. So
//! every lane has exactly one encoding.

use std::borrow::Cow;
use std::fmt;

use crate::canonical::{CanonicalError, Reader, Writer};
use crate::ids::WriterId;
use crate::value::Value;

/// The name of the root map of a row document.
pub const ROW_ROOT: &str = "row";
/// The name of the root text of a text document.
pub const TEXT_ROOT: &str = "text";
/// The first byte of every lane.
pub const LANE_VERSION: u8 = 1;
/// The column of the life register: alive or dead.
pub const LIFE: &str = "";
/// The longest column name, in bytes.
pub const MAX_COLUMN_BYTES: usize = 1024;
/// The most that one lane adds to a counter, in either direction: the sum of as many lanes as a row can have fits 128
/// bits with room to spare.
pub const MAX_ADDED: i128 = 1 << 96;
/// The tag of [`Content::InText`], beside those of the values.
const IN_TEXT: u8 = 5;

/// Which lane: a writer's main lane, or the one it keeps for a large value of one column.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneName<'a> {
    /// Whose lane it is.
    pub writer: WriterId,
    /// The column whose large value it holds; `None` for the main lane.
    pub column: Option<Cow<'a, str>>,
}

impl<'a> LaneName<'a> {
    /// A writer's main lane.
    pub fn main(writer: WriterId) -> Self {
        Self { writer, column: None }
    }

    /// Parses the key of the root map. Fails on anything [`LaneName`]'s `Display` does not write.
    pub fn parse(key: &'a str) -> Result<Self, CanonicalError> {
        let bad = CanonicalError::Invalid("a key of the row map is not the name of a lane");
        let (writer, column) = match key.split_once('/') {
            Some((writer, column)) => (writer, Some(column)),
            None => (key, None),
        };
        if column.is_some_and(|c| c.is_empty() || c.len() > MAX_COLUMN_BYTES) {
            return Err(bad);
        }
        let well_formed = (1..=11).contains(&writer.len())
            && !writer.starts_with('0')
            && writer.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase());
        let id = well_formed.then(|| u64::from_str_radix(writer, 36).ok()).flatten().ok_or(bad)?;
        Ok(Self { writer: WriterId::new(id).map_err(|_| bad)?, column: column.map(Cow::Borrowed) })
    }

    /// The same name, owning its column.
    pub fn into_owned(self) -> LaneName<'static> {
        LaneName { writer: self.writer, column: self.column.map(|c| Cow::Owned(c.into_owned())) }
    }
}

impl fmt::Display for LaneName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut id, mut digits, mut at) = (self.writer.get(), [0u8; 11], 11);
        while id > 0 {
            at -= 1;
            digits[at] = b"0123456789abcdefghijklmnopqrstuvwxyz"[(id % 36) as usize];
            id /= 36;
        }
        f.write_str(std::str::from_utf8(&digits[at..]).map_err(|_| fmt::Error)?)?;
        match &self.column {
            Some(column) => write!(f, "/{column}"),
            None => Ok(()),
        }
    }
}

/// A cell of another lane that was there when a cell was written. The column is the cell's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    /// Whose cell it was.
    pub writer: WriterId,
    /// Whether it was in that writer's lane for a large value of this column, rather than in the main lane.
    pub large: bool,
    /// Its write number in its lane.
    pub number: u64,
}

/// What a cell says of its column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content<'a> {
    /// The value itself.
    Value(Value<'a>),
    /// The value is what the column's text document holds. Such cells say the same, whoever wrote them.
    InText,
}

impl<'a> Content<'a> {
    /// The value, unless it stands in the text document.
    pub fn value(&self) -> Option<&Value<'a>> {
        match self {
            Content::Value(value) => Some(value),
            Content::InText => None,
        }
    }

    fn write(&self, writer: &mut Writer) {
        match self {
            Content::Value(value) => value.write(writer),
            Content::InText => writer.byte(IN_TEXT),
        }
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, CanonicalError> {
        let mut ahead = *reader;
        if ahead.byte()? == IN_TEXT {
            *reader = ahead;
            return Ok(Content::InText);
        }
        Value::read(reader).map(Content::Value)
    }
}

impl<'a> From<Value<'a>> for Content<'a> {
    fn from(value: Value<'a>) -> Self {
        Content::Value(value)
    }
}

/// One column's value in a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell<'a> {
    /// The column, folded to ASCII lower case as SQLite compares column names; [`LIFE`] for the life register.
    pub column: Cow<'a, str>,
    /// What was written. In the life register: INTEGER 1 alive, INTEGER 0 dead.
    pub content: Content<'a>,
    /// When, in milliseconds since 1970; 0 for what was there when the table was first tracked.
    pub time: i64,
    /// The how-many-eth write of its lane, from 1.
    pub number: u64,
    /// Every other lane's cell of this column that was present, superseded or not; ascending.
    pub seen: Vec<Seen>,
}

/// A note about another lane: of the writes in it that the writer of this note knew of, none up to `number` stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Floor<'a> {
    /// The lane it speaks of.
    pub lane: LaneName<'a>,
    /// The write number up to which nothing stands.
    pub number: u64,
}

/// What one writer has added to one column, all in all. Nothing supersedes it: the column shows its value and what all
/// lanes have added to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counter<'a> {
    /// The column, folded to ASCII lower case.
    pub column: Cow<'a, str>,
    /// The sum of what was added; not 0, and at most [`MAX_ADDED`] in either direction.
    pub added: i128,
}

/// What one writer wrote in one row and still stands, what it has added, and the floors it took over from lanes it
/// removed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lane<'a> {
    /// Ascending by column.
    pub cells: Vec<Cell<'a>>,
    /// Ascending by lane.
    pub floors: Vec<Floor<'a>>,
    /// Ascending by column.
    pub counters: Vec<Counter<'a>>,
}

impl<'a> Lane<'a> {
    /// This lane's cell of `column`.
    pub fn cell(&self, column: &str) -> Option<&Cell<'a>> {
        self.cells.binary_search_by(|cell| cell.column.as_ref().cmp(column)).ok().map(|at| &self.cells[at])
    }

    /// What this lane has added to `column`; 0 if nothing.
    pub fn added(&self, column: &str) -> i128 {
        let at = self.counters.binary_search_by(|counter| counter.column.as_ref().cmp(column));
        at.map_or(0, |at| self.counters[at].added)
    }

    /// The canonical bytes. Cells, floors and counters must be ascending, which is whoever makes a lane's to keep.
    pub fn to_bytes(&self) -> Vec<u8> {
        let payload_len = |cell: &Cell<'_>| cell.content.value().map_or(0, Value::payload_len);
        let payload: usize = self.cells.iter().map(|c| c.column.len() + payload_len(c) + 8).sum();
        let mut writer = Writer::with_capacity(16 + payload);
        let mut stamps: Vec<(u64, i64)> = self.cells.iter().map(|c| (c.number, c.time)).collect();
        stamps.sort_unstable();
        stamps.dedup();
        writer.byte(LANE_VERSION);
        writer.varint(stamps.len() as u64);
        for &(number, time) in &stamps {
            writer.varint(number);
            writer.signed(time);
        }
        writer.varint(self.cells.len() as u64);
        for cell in &self.cells {
            writer.block(cell.column.as_bytes());
            let stamp = stamps.partition_point(|&s| s < (cell.number, cell.time));
            writer.varint(stamp as u64);
            cell.content.write(&mut writer);
            writer.varint(cell.seen.len() as u64);
            for seen in &cell.seen {
                writer.varint(seen.writer.get());
                writer.varint(seen.number << 1 | u64::from(seen.large));
            }
        }
        writer.varint(self.floors.len() as u64);
        for floor in &self.floors {
            writer.varint(floor.lane.writer.get());
            writer.block(floor.lane.column.as_deref().unwrap_or("").as_bytes());
            writer.varint(floor.number);
        }
        writer.varint(self.counters.len() as u64);
        for counter in &self.counters {
            writer.block(counter.column.as_bytes());
            writer.wide(counter.added);
        }
        writer.finish()
    }

    /// Reads a lane, allocating no more than a small multiple of the input. Fails on every byte string that
    /// [`Lane::to_bytes`] does not write.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self, CanonicalError> {
        let mut reader = Reader::new(bytes);
        if reader.byte()? != LANE_VERSION {
            return Err(CanonicalError::Invalid("unknown version of a lane"));
        }
        let stamps = read_stamps(&mut reader)?;
        let mut used = vec![false; stamps.len()];
        let count = reader.count(4)?;
        let mut cells: Vec<Cell<'a>> = Vec::with_capacity(count);
        for _ in 0..count {
            let column = column(&mut reader)?;
            if cells.last().is_some_and(|last| last.column.as_ref() >= column) {
                return Err(CanonicalError::Invalid("the cells of a lane are not in order"));
            }
            let stamp = usize::try_from(reader.varint()?).unwrap_or(usize::MAX);
            let &(number, time) = stamps.get(stamp).ok_or(CanonicalError::Invalid("a cell has no stamp"))?;
            used[stamp] = true;
            let content = Content::read(&mut reader)?;
            let alive_or_dead = matches!(content, Content::Value(Value::Integer(0 | 1)));
            if column == LIFE && !alive_or_dead {
                return Err(CanonicalError::Invalid("a life cell is neither alive nor dead"));
            }
            let seen = read_seen(&mut reader)?;
            cells.push(Cell { column: Cow::Borrowed(column), content, time, number, seen });
        }
        if used.contains(&false) {
            return Err(CanonicalError::Invalid("a stamp of a lane is not used"));
        }
        let floors = read_floors(&mut reader)?;
        let counters = read_counters(&mut reader)?;
        reader.finish()?;
        Ok(Self { cells, floors, counters })
    }
}

/// The greatest write number; one bit is kept for [`Seen::large`].
const MAX_NUMBER: u64 = u64::MAX >> 1;

fn number(raw: u64) -> Result<u64, CanonicalError> {
    if (1..=MAX_NUMBER).contains(&raw) {
        Ok(raw)
    } else {
        Err(CanonicalError::Invalid("a write number is zero or too large"))
    }
}

fn writer_id(reader: &mut Reader<'_>) -> Result<WriterId, CanonicalError> {
    WriterId::new(reader.varint()?).map_err(|_| CanonicalError::Invalid("not a writer id"))
}

fn column<'a>(reader: &mut Reader<'a>) -> Result<&'a str, CanonicalError> {
    let column = reader.string()?;
    if column.len() > MAX_COLUMN_BYTES {
        return Err(CanonicalError::Invalid("the name of a column is too long"));
    }
    Ok(column)
}

fn read_stamps(reader: &mut Reader<'_>) -> Result<Vec<(u64, i64)>, CanonicalError> {
    let count = reader.count(2)?;
    let mut stamps: Vec<(u64, i64)> = Vec::with_capacity(count);
    for _ in 0..count {
        let stamp = (number(reader.varint()?)?, reader.signed()?);
        if stamps.last().is_some_and(|&last| last >= stamp) {
            return Err(CanonicalError::Invalid("the stamps of a lane are not in order"));
        }
        stamps.push(stamp);
    }
    Ok(stamps)
}

fn read_seen(reader: &mut Reader<'_>) -> Result<Vec<Seen>, CanonicalError> {
    let count = reader.count(2)?;
    let mut all: Vec<Seen> = Vec::with_capacity(count);
    for _ in 0..count {
        let writer = writer_id(reader)?;
        let packed = reader.varint()?;
        let seen = Seen { writer, large: packed & 1 == 1, number: number(packed >> 1)? };
        if all.last().is_some_and(|last| (last.writer, last.large) >= (seen.writer, seen.large)) {
            return Err(CanonicalError::Invalid("what a cell has seen is not in order"));
        }
        all.push(seen);
    }
    Ok(all)
}

fn read_floors<'a>(reader: &mut Reader<'a>) -> Result<Vec<Floor<'a>>, CanonicalError> {
    let count = reader.count(3)?;
    let mut floors: Vec<Floor<'a>> = Vec::with_capacity(count);
    for _ in 0..count {
        let writer = writer_id(reader)?;
        let column = column(reader)?;
        let lane = LaneName { writer, column: (!column.is_empty()).then_some(Cow::Borrowed(column)) };
        if floors.last().is_some_and(|last| last.lane >= lane) {
            return Err(CanonicalError::Invalid("the floors of a lane are not in order"));
        }
        floors.push(Floor { lane, number: number(reader.varint()?)? });
    }
    Ok(floors)
}

fn read_counters<'a>(reader: &mut Reader<'a>) -> Result<Vec<Counter<'a>>, CanonicalError> {
    let count = reader.count(3)?;
    let mut counters: Vec<Counter<'a>> = Vec::with_capacity(count);
    for _ in 0..count {
        let column = column(reader)?;
        if column == LIFE {
            return Err(CanonicalError::Invalid("something is added to the life of a row"));
        }
        if counters.last().is_some_and(|last| last.column.as_ref() >= column) {
            return Err(CanonicalError::Invalid("the counters of a lane are not in order"));
        }
        let added = reader.wide()?;
        if added == 0 || !(-MAX_ADDED..=MAX_ADDED).contains(&added) {
            return Err(CanonicalError::Invalid("what a lane adds is nothing or too much"));
        }
        counters.push(Counter { column: Cow::Borrowed(column), added });
    }
    Ok(counters)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer(id: u64) -> WriterId {
        WriterId::new(id).expect("a writer id")
    }

    fn sample() -> Lane<'static> {
        let cell = |column: &'static str, value: Value<'static>, number, seen| Cell {
            column: column.into(),
            content: value.into(),
            time: 1_700_000_000_000 + number as i64,
            number,
            seen,
        };
        Lane {
            cells: vec![
                cell(LIFE, Value::Integer(1), 2, vec![]),
                Cell { content: Content::InText, ..cell("body", Value::Null, 1, vec![]) },
                cell("done", Value::Null, 1, vec![]),
                cell(
                    "title",
                    Value::text("x"),
                    2,
                    vec![
                        Seen { writer: writer(5), large: false, number: 9 },
                        Seen { writer: writer(5), large: true, number: 1 },
                    ],
                ),
            ],
            floors: vec![
                Floor { lane: LaneName::main(writer(4)), number: 3 },
                Floor { lane: LaneName { writer: writer(4), column: Some("title".into()) }, number: 1 },
            ],
            counters: vec![
                Counter { column: "likes".into(), added: -3 },
                Counter { column: "votes".into(), added: MAX_ADDED },
            ],
        }
    }

    #[test]
    fn golden_bytes_of_a_lane() {
        let bytes = sample().to_bytes();
        assert_eq!(
            hex::encode(&bytes),
            concat!(
                "01020182a0abfef9620284a0abfef96204000101020004626f647900050004646f6e65000000057469746c650103017802",
                "051205030204000304057469746c650102056c696b65730505766f7465738080808080808080808080808040"
            )
        );
    }

    #[test]
    fn a_lane_round_trips_and_every_prefix_is_refused() {
        let bytes = sample().to_bytes();
        assert_eq!(Lane::from_bytes(&bytes), Ok(sample()));
        for end in 0..bytes.len() {
            assert!(Lane::from_bytes(&bytes[..end]).is_err(), "{end}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert_eq!(Lane::from_bytes(&longer), Err(CanonicalError::Trailing));
    }

    #[test]
    fn lane_names_round_trip_in_base_36() {
        let most = WriterId::LIMIT - 1;
        assert_eq!(LaneName::main(writer(most)).to_string(), "2gosa7pa2gv");
        for name in ["1", "z", "10", "2gosa7pa2gv", "a/title", "a/b/c"] {
            assert_eq!(LaneName::parse(name).map(|n| n.to_string()), Ok(name.to_owned()));
        }
        for bad in ["", "0", "01", "A", "a/", "2gosa7pa2gw", "zzzzzzzzzzz", "123456789012", "é", "+1", "-1"]
        {
            assert!(LaneName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_life_cell_is_alive_or_dead_and_nothing_else() {
        let mut lane = sample();
        for content in [Value::Integer(2).into(), Value::Null.into(), Content::InText] {
            lane.cells[0].content = content;
            assert!(Lane::from_bytes(&lane.to_bytes()).is_err());
        }
    }

    #[test]
    fn what_a_lane_adds_is_something_within_bounds_and_never_to_the_life_of_a_row() {
        for (column, added, fits) in [
            ("n", 1, true),
            ("n", -MAX_ADDED, true),
            ("n", 0, false),
            ("n", MAX_ADDED + 1, false),
            ("n", -MAX_ADDED - 1, false),
            ("n", i128::MIN, false),
            (LIFE, 1, false),
        ] {
            let lane = Lane { counters: vec![Counter { column: column.into(), added }], ..Lane::default() };
            let read = Lane::from_bytes(&lane.to_bytes()).is_ok_and(|read| read == lane);
            assert_eq!(read, fits, "{column:?} {added}");
        }
    }
}
