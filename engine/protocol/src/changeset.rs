//! Changesets: what one replica captured, and the only thing that travels. Snapshots, which are merged rows in
//! the same form.
//!
//! Both are a *frame*: header length (4 bytes, little end first), header, body. The body is compressed by its
//! author, once, and stored and forwarded as it is; whoever only passes a frame on reads the header.
//!
//! A body, before compression:
//!
//! | field | bytes |
//! |---|---|
//! | version | one byte, [`BODY_VERSION`] |
//! | authors | count; each: writer (varint), replica (16 bytes): who the writers in the rows were |
//! | tables | count; each: name (string), folded to ASCII lower case |
//! | rows | until the end; each: index of its table (varint), kind (0: row document, 1: text document), key (block), |
//! | | for a text document its column (string, folded to ASCII lower case), Yrs update (block, v1) |

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::canonical::{CanonicalError, Reader, Writer};
use crate::codec::{self, CodecError};
use crate::ids::{ReplicaId, Seq, WriterId};
use crate::lane::MAX_COLUMN_BYTES;
use crate::row_key::{KeyError, RowKey};
use crate::state_vector::StateVector;

/// The first byte of every body.
pub const BODY_VERSION: u8 = 1;
/// The largest body before compression, in bytes. A row that does not fit stays local.
pub const MAX_BODY_BYTES: usize = 64 << 20;
/// The longest table name, in bytes.
pub const MAX_TABLE_BYTES: usize = 1024;

/// Which part of a transaction a changeset carries. A receiver holds the parts back until the last is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// All of one or several transactions.
    Whole,
    /// The beginning or middle: the next seq of the same replica goes on.
    More,
    /// The end of what earlier parts began.
    Last,
}

/// 16 bytes of BLAKE3 over header and body.
pub type Checksum = [u8; 16];

/// Why bytes are not a changeset or a part of a snapshot.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The frame is shorter than its header says.
    #[error("the changeset ends inside its header")]
    Truncated,
    /// The header does not decode.
    #[error("the header of the changeset is malformed")]
    Header(#[from] CodecError),
    /// The header is not in its one encoding.
    #[error("the header of the changeset is not in its one encoding")]
    NotCanonical,
    /// Header and body are not what their author hashed.
    #[error("the checksum does not fit: the bytes were damaged on their way or on disk")]
    Checksum,
    /// The header claims a body larger than [`MAX_BODY_BYTES`].
    #[error("the body would be {0} bytes, more than the {MAX_BODY_BYTES} allowed")]
    TooLarge(u64),
    /// The body does not decompress to the length that the header names.
    #[error("the body does not decompress to the length that its header names")]
    Compression,
    /// The decompressed body is malformed.
    #[error("the body is malformed: {0}")]
    Body(#[from] CanonicalError),
    /// A key in the body is malformed.
    #[error("a row key in the body is malformed")]
    Key(#[from] KeyError),
}

/// What everybody may read of a changeset without opening its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangesetHeader {
    /// Whose changeset.
    pub replica: ReplicaId,
    /// Its number.
    pub seq: Seq,
    /// Whether it is whole.
    pub part: Part,
    /// What its author had applied since its changeset before this one. A receiver applies that first.
    pub after: StateVector,
    /// When it was captured, in milliseconds since 1970 by its author's clock. For people; nothing depends on it.
    pub time: i64,
}

/// What everybody may read of a part of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotHeader {
    /// Which snapshot: a random number of its own.
    pub snapshot: [u8; 16],
    /// The part's index, from 0.
    pub index: u32,
    /// Whether this is the last part.
    pub last: bool,
    /// Everything that the rows of the whole snapshot contain.
    pub vector: StateVector,
}

#[derive(Serialize, Deserialize)]
struct WireHeader<H> {
    header: H,
    checksum: Checksum,
    body_len: u64,
}

#[derive(Serialize, Deserialize)]
struct WireChangeset {
    replica: ReplicaId,
    seq: Seq,
    part: Part,
    after: StateVector,
    time: i64,
}

#[derive(Serialize, Deserialize)]
struct WireSnapshot {
    snapshot: [u8; 16],
    index: u32,
    last: bool,
    vector: StateVector,
}

/// A changeset as it is stored and sent: a parsed header and the frame's bytes, shared by reference count.
#[derive(Debug, Clone)]
pub struct Changeset {
    /// The header.
    pub header: ChangesetHeader,
    checksum: Checksum,
    frame: Frame,
}

/// A part of a snapshot as it is stored and sent.
#[derive(Debug, Clone)]
pub struct SnapshotPart {
    /// The header.
    pub header: SnapshotHeader,
    frame: Frame,
}

#[derive(Debug, Clone)]
struct Frame {
    bytes: Bytes,
    body_at: usize,
    body_len: u64,
}

impl Changeset {
    /// Seals a body under a header.
    pub fn seal(header: ChangesetHeader, body: &Body) -> Self {
        let compressed = body.compress();
        Self::assemble(header, &compressed, body.len() as u64)
    }

    fn assemble(header: ChangesetHeader, compressed: &[u8], body_len: u64) -> Self {
        let wire = WireChangeset {
            replica: header.replica,
            seq: header.seq,
            part: header.part,
            after: header.after.clone(),
            time: header.time,
        };
        let (frame, checksum) = Frame::assemble(wire, compressed, body_len);
        Self { header, checksum, frame }
    }

    /// The same body under another name: for a file that finds out that it is a copy of another.
    pub fn reissue(&self, header: ChangesetHeader) -> Self {
        Self::assemble(header, self.frame.compressed(), self.frame.body_len)
    }

    /// Parses a frame and checks its checksum; the body stays closed. Fails with [`FrameError`].
    pub fn from_bytes(bytes: Bytes) -> Result<Self, FrameError> {
        let (wire, checksum, frame) = Frame::parse::<WireChangeset>(bytes)?;
        let WireChangeset { replica, seq, part, after, time } = wire;
        Ok(Self { header: ChangesetHeader { replica, seq, part, after, time }, checksum, frame })
    }

    /// The bytes as stored and sent.
    pub fn bytes(&self) -> &Bytes {
        &self.frame.bytes
    }

    /// What tells this changeset from another under the same replica and seq.
    pub fn checksum(&self) -> Checksum {
        self.checksum
    }

    /// Decompresses the body. Fails with [`FrameError`] if it is not what the header says.
    pub fn body(&self) -> Result<Body, FrameError> {
        self.frame.body()
    }
}

impl SnapshotPart {
    /// Seals a body under a header.
    pub fn seal(header: SnapshotHeader, body: &Body) -> Self {
        let wire = WireSnapshot {
            snapshot: header.snapshot,
            index: header.index,
            last: header.last,
            vector: header.vector.clone(),
        };
        let (frame, _) = Frame::assemble(wire, &body.compress(), body.len() as u64);
        Self { header, frame }
    }

    /// Parses a frame and checks its checksum; the body stays closed. Fails with [`FrameError`].
    pub fn from_bytes(bytes: Bytes) -> Result<Self, FrameError> {
        let (wire, _, frame) = Frame::parse::<WireSnapshot>(bytes)?;
        let WireSnapshot { snapshot, index, last, vector } = wire;
        Ok(Self { header: SnapshotHeader { snapshot, index, last, vector }, frame })
    }

    /// The bytes as stored and sent.
    pub fn bytes(&self) -> &Bytes {
        &self.frame.bytes
    }

    /// Decompresses the body. Fails with [`FrameError`] if it is not what the header says.
    pub fn body(&self) -> Result<Body, FrameError> {
        self.frame.body()
    }
}

impl Frame {
    fn assemble<H: Serialize>(header: H, compressed: &[u8], body_len: u64) -> (Self, Checksum) {
        let mut wire = WireHeader { header, checksum: [0; 16], body_len };
        let checksum = digest(&codec::encode(&wire), compressed);
        wire.checksum = checksum;
        let header = codec::encode(&wire);
        let body_at = 4 + header.len();
        let mut bytes = Vec::with_capacity(body_at + compressed.len());
        bytes.extend_from_slice(&(header.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(compressed);
        (Self { bytes: bytes.into(), body_at, body_len }, checksum)
    }

    fn parse<H: Serialize + serde::de::DeserializeOwned>(
        bytes: Bytes,
    ) -> Result<(H, Checksum, Self), FrameError> {
        let (length, rest) = bytes.split_first_chunk::<4>().ok_or(FrameError::Truncated)?;
        let length = u32::from_le_bytes(*length) as usize;
        let (header, compressed) = rest.split_at_checked(length).ok_or(FrameError::Truncated)?;
        let mut wire: WireHeader<H> = codec::decode(header)?;
        if wire.body_len > MAX_BODY_BYTES as u64 {
            return Err(FrameError::TooLarge(wire.body_len));
        }
        // bincode also reads integers in longer forms: one changeset would have several byte forms.
        if codec::encode(&wire) != header {
            return Err(FrameError::NotCanonical);
        }
        let checksum = std::mem::take(&mut wire.checksum);
        if digest(&codec::encode(&wire), compressed) != checksum {
            return Err(FrameError::Checksum);
        }
        let frame = Self { body_at: 4 + length, body_len: wire.body_len, bytes };
        Ok((wire.header, checksum, frame))
    }

    fn compressed(&self) -> &[u8] {
        &self.bytes[self.body_at..]
    }

    fn body(&self) -> Result<Body, FrameError> {
        let expected = self.body_len as usize;
        // A fixed capacity: a bomb fails instead of growing.
        let bytes =
            zstd::bulk::decompress(self.compressed(), expected).map_err(|_| FrameError::Compression)?;
        if bytes.len() == expected { Ok(Body { bytes }) } else { Err(FrameError::Compression) }
    }
}

/// Over the header with an empty checksum, then the body as it travels.
fn digest(header: &[u8], compressed: &[u8]) -> Checksum {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(header.len() as u64).to_le_bytes());
    hasher.update(header);
    hasher.update(compressed);
    let mut checksum = [0; 16];
    checksum.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    checksum
}

/// A decompressed body: row updates and who wrote them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    bytes: Vec<u8>,
}

/// Which of a row's documents an update is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Document<'a> {
    /// The row document.
    Row,
    /// The text document of this column, which is folded to ASCII lower case.
    Text(&'a str),
}

impl Document<'_> {
    const ROW: u8 = 0;
    const TEXT: u8 = 1;
}

/// One row's update in a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowUpdate<'a> {
    /// The table, folded to ASCII lower case.
    pub table: &'a str,
    /// The row's key.
    pub key: RowKey,
    /// Which of the row's documents it is for.
    pub document: Document<'a>,
    /// The Yrs update, v1, not yet validated.
    pub update: &'a [u8],
}

impl Body {
    /// How long it is before compression, in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is not even a version. Never true of a body that a builder made.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn compress(&self) -> Vec<u8> {
        zstd::bulk::compress(&self.bytes, 1).expect("compressing into memory fails only without memory")
    }

    /// Opens the body: who wrote, and the rows one by one.
    /// Fails with [`FrameError`] when the part before the rows is malformed.
    pub fn open(&self) -> Result<(Vec<(WriterId, ReplicaId)>, RowUpdates<'_>), FrameError> {
        let mut reader = Reader::new(&self.bytes);
        if reader.byte()? != BODY_VERSION {
            return Err(CanonicalError::Invalid("unknown version of a body").into());
        }
        let count = reader.count(17)?;
        let mut authors = Vec::with_capacity(count);
        for _ in 0..count {
            let writer =
                WriterId::new(reader.varint()?).map_err(|_| CanonicalError::Invalid("not a writer id"))?;
            let replica = ReplicaId::from_slice(reader.raw(16)?)
                .map_err(|_| CanonicalError::Invalid("not a replica id"))?;
            authors.push((writer, replica));
        }
        let count = reader.count(2)?;
        let mut tables = Vec::with_capacity(count);
        for _ in 0..count {
            let table = reader.string()?;
            if table.is_empty()
                || table.len() > MAX_TABLE_BYTES
                || table.bytes().any(|b| b.is_ascii_uppercase())
            {
                return Err(CanonicalError::Invalid("not a folded table name").into());
            }
            tables.push(table);
        }
        Ok((authors, RowUpdates { tables, reader }))
    }
}

/// The rows of a body, one after the other. Ends at the end or at the first error.
#[derive(Debug)]
pub struct RowUpdates<'a> {
    tables: Vec<&'a str>,
    reader: Reader<'a>,
}

impl<'a> RowUpdates<'a> {
    fn row(&mut self) -> Result<RowUpdate<'a>, FrameError> {
        let table = usize::try_from(self.reader.varint()?).unwrap_or(usize::MAX);
        let table = *self
            .tables
            .get(table)
            .ok_or(CanonicalError::Invalid("a row names a table that is not listed"))?;
        let kind = self.reader.byte()?;
        if !matches!(kind, Document::ROW | Document::TEXT) {
            return Err(
                CanonicalError::Invalid("a document of a kind that this version does not know").into()
            );
        }
        let key = RowKey::from_bytes(self.reader.block()?)?;
        let document = if kind == Document::ROW { Document::Row } else { Document::Text(self.column()?) };
        Ok(RowUpdate { table, key, document, update: self.reader.block()? })
    }

    fn column(&mut self) -> Result<&'a str, CanonicalError> {
        let column = self.reader.string()?;
        if column.is_empty()
            || column.len() > MAX_COLUMN_BYTES
            || column.bytes().any(|b| b.is_ascii_uppercase())
        {
            return Err(CanonicalError::Invalid("not a folded column name"));
        }
        Ok(column)
    }
}

impl<'a> Iterator for RowUpdates<'a> {
    type Item = Result<RowUpdate<'a>, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.remaining() == 0 {
            return None;
        }
        let row = self.row();
        if row.is_err() {
            self.reader = Reader::new(&[]);
        }
        Some(row)
    }
}

/// Collects row updates into a body.
#[derive(Debug, Default)]
pub struct BodyBuilder {
    authors: Vec<(WriterId, ReplicaId)>,
    tables: Vec<String>,
    rows: Writer,
    count: usize,
}

impl BodyBuilder {
    /// An empty body.
    pub fn new() -> Self {
        Self::default()
    }

    /// Names the replica that opened as `writer`. Naming a writer twice changes nothing.
    pub fn author(&mut self, writer: WriterId, replica: ReplicaId) {
        if !self.authors.iter().any(|&(known, _)| known == writer) {
            self.authors.push((writer, replica));
        }
    }

    /// Adds an update of a row's document. `table` must be folded to ASCII lower case.
    pub fn row(&mut self, table: &str, key: &RowKey, update: &[u8]) {
        self.document(table, key, Document::Row, update);
    }

    /// Adds an update of the text document of a row's `column`. `table` and `column` must be folded to ASCII lower
    /// case; `column` has 1 to [`MAX_COLUMN_BYTES`] bytes.
    pub fn text(&mut self, table: &str, key: &RowKey, column: &str, update: &[u8]) {
        self.document(table, key, Document::Text(column), update);
    }

    fn document(&mut self, table: &str, key: &RowKey, document: Document<'_>, update: &[u8]) {
        // Rows come table by table: the last one is nearly always the one.
        let index = self.tables.iter().rposition(|known| known == table).unwrap_or_else(|| {
            self.tables.push(table.to_owned());
            self.tables.len() - 1
        });
        self.rows.varint(index as u64);
        match document {
            Document::Row => {
                self.rows.byte(Document::ROW);
                self.rows.block(key.as_bytes());
            }
            Document::Text(column) => {
                self.rows.byte(Document::TEXT);
                self.rows.block(key.as_bytes());
                self.rows.block(column.as_bytes());
            }
        }
        self.rows.block(update);
        self.count += 1;
    }

    /// About how long the body is so far, in bytes.
    pub fn size(&self) -> usize {
        self.rows.len() + self.authors.len() * 24 + self.tables.iter().map(|t| t.len() + 2).sum::<usize>()
    }

    /// How many updates it has.
    pub fn rows(&self) -> usize {
        self.count
    }

    /// The body.
    pub fn finish(self) -> Body {
        let mut writer = Writer::with_capacity(self.size() + 16);
        writer.byte(BODY_VERSION);
        writer.varint(self.authors.len() as u64);
        for (author, replica) in &self.authors {
            writer.varint(author.get());
            writer.raw(replica.as_bytes());
        }
        writer.varint(self.tables.len() as u64);
        for table in &self.tables {
            writer.block(table.as_bytes());
        }
        let rows = self.rows.finish();
        writer.raw(&rows);
        Body { bytes: writer.finish() }
    }
}
