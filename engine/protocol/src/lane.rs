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
//! | cells | count; each: column (string), index of its stamp (varint), value, seen |
//! | seen | count; each: writer (varint), write number × 2 + 1 if it was in a large value's lane (varint) |
//! | floors | count; each: writer (varint), column (string, empty for the main lane), write number (varint) |
//!
//! Stamps ascend by write number and each is used; cells ascend by column; seen and floors ascend. So every lane
//! has exactly one encoding.

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

/// One column's value in a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell<'a> {
    /// The column, folded to ASCII lower case as SQLite compares column names; [`LIFE`] for the life register.
    pub column: Cow<'a, str>,
    /// What was written. In the life register: INTEGER 1 alive, INTEGER 0 dead.
    pub value: Value<'a>,
    /// When, in milliseconds since 1970; 0 for what was there when the table was first tracked.
    pub time: i64,
    /// The how-many-eth write of its lane, from 1.
    pub number: u64,
    /// Every other lane's cell of this column that was present, superseded or not; ascending.
    pub seen: Vec<Seen>,
}

/// Nothing that this lane's owner knew of in lane `writer`/`column` stands, up to write `number`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Floor<'a> {
    /// The lane it speaks of.
    pub lane: LaneName<'a>,
    /// The write number up to which nothing stands.
    pub number: u64,
}

/// What one writer wrote in one row and still stands, and the floors it took over from lanes it removed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lane<'a> {
    /// Ascending by column.
    pub cells: Vec<Cell<'a>>,
    /// Ascending by lane.
    pub floors: Vec<Floor<'a>>,
}

impl<'a> Lane<'a> {
    /// This lane's cell of `column`.
    pub fn cell(&self, column: &str) -> Option<&Cell<'a>> {
        self.cells.binary_search_by(|cell| cell.column.as_ref().cmp(column)).ok().map(|at| &self.cells[at])
    }

    /// The canonical bytes. Cells and floors must be ascending, which is whoever makes a lane's to keep.
    pub fn to_bytes(&self) -> Vec<u8> {
        let payload: usize = self.cells.iter().map(|c| c.column.len() + c.value.payload_len() + 8).sum();
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
            cell.value.write(&mut writer);
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
            let column = reader.string()?;
            if column.len() > MAX_COLUMN_BYTES {
                return Err(CanonicalError::Invalid("the name of a column is too long"));
            }
            if cells.last().is_some_and(|last| last.column.as_ref() >= column) {
                return Err(CanonicalError::Invalid("the cells of a lane are not in order"));
            }
            let stamp = usize::try_from(reader.varint()?).unwrap_or(usize::MAX);
            let &(number, time) = stamps.get(stamp).ok_or(CanonicalError::Invalid("a cell has no stamp"))?;
            used[stamp] = true;
            let value = Value::read(&mut reader)?;
            let alive_or_dead = matches!(value, Value::Integer(0 | 1));
            if column == LIFE && !alive_or_dead {
                return Err(CanonicalError::Invalid("a life cell is neither alive nor dead"));
            }
            let seen = read_seen(&mut reader)?;
            cells.push(Cell { column: Cow::Borrowed(column), value, time, number, seen });
        }
        if used.contains(&false) {
            return Err(CanonicalError::Invalid("a stamp of a lane is not used"));
        }
        let floors = read_floors(&mut reader)?;
        reader.finish()?;
        Ok(Self { cells, floors })
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
        let column = reader.string()?;
        if column.len() > MAX_COLUMN_BYTES {
            return Err(CanonicalError::Invalid("the name of a column is too long"));
        }
        let lane = LaneName { writer, column: (!column.is_empty()).then_some(Cow::Borrowed(column)) };
        if floors.last().is_some_and(|last| last.lane >= lane) {
            return Err(CanonicalError::Invalid("the floors of a lane are not in order"));
        }
        floors.push(Floor { lane, number: number(reader.varint()?)? });
    }
    Ok(floors)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer(id: u64) -> WriterId {
        WriterId::new(id).expect("a writer id")
    }

    fn sample() -> Lane<'static> {
        let cell = |column: &'static str, value, number, seen| Cell {
            column: column.into(),
            value,
            time: 1_700_000_000_000 + number as i64,
            number,
            seen,
        };
        Lane {
            cells: vec![
                cell(LIFE, Value::Integer(1), 2, vec![]),
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
        }
    }

    #[test]
    fn golden_bytes_of_a_lane() {
        let bytes = sample().to_bytes();
        assert_eq!(
            hex::encode(&bytes),
            "01020182a0abfef9620284a0abfef96203000101020004646f6e65000000057469746c650103017802051205030204000304057469746c6501"
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
        lane.cells[0].value = Value::Integer(2);
        assert!(Lane::from_bytes(&lane.to_bytes()).is_err());
    }
}
