//! Changesets: frame, body and rows. Three times: the input as a frame, as a body under a right checksum, and cut into
//! the rows of a proper one.
#![no_main]

mod bounds;
mod forge;

use driftless_protocol::changeset::BodyBuilder;
use driftless_protocol::{
    Changeset, ChangesetHeader, Part, ReplicaId, RowKey, Seq, StateVector, Value, WriterId,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    bounds::within(data.len(), || {
        read(data);
        let empty = Changeset::seal(header(), &BodyBuilder::new().finish());
        read(&forge::with_body(empty.bytes(), data));
        let (rows, sealed) = proper(data);
        assert_eq!(read(&sealed), Some(rows));
    });
});

/// A changeset of pieces of the input, and how many rows it has.
fn proper(data: &[u8]) -> (usize, Vec<u8>) {
    let mut body = BodyBuilder::new();
    for (at, piece) in data.chunks(24).enumerate() {
        let mut bits = [0; 8];
        bits[..piece.len().min(8)].copy_from_slice(&piece[..piece.len().min(8)]);
        let bits = u64::from_le_bytes(bits);
        if let Ok(replica) = ReplicaId::from_slice(piece.get(8..).unwrap_or_default()) {
            body.author(WriterId::from_bits(bits), replica);
        }
        let value = if at % 2 == 0 { Value::Integer(bits as i64) } else { Value::Blob(piece.into()) };
        let key = RowKey::encode([(&value, Default::default())]).expect("neither NULL nor long");
        let table = ["notes", "tags"][at % 2];
        if at % 3 == 0 {
            body.text(table, &key, "body", piece);
        } else {
            body.row(table, &key, piece);
        }
    }
    let rows = body.rows();
    (rows, Changeset::seal(header(), &body.finish()).bytes().to_vec())
}

fn header() -> ChangesetHeader {
    ChangesetHeader {
        replica: ReplicaId::from_bytes([1; 16]).expect("not nil"),
        seq: Seq::FIRST,
        part: Part::Whole,
        after: StateVector::new(),
        time: 0,
    }
}

/// How many rows it has; `None` if it is refused.
fn read(bytes: &[u8]) -> Option<usize> {
    let changeset = Changeset::from_bytes(bytes.to_vec().into()).ok()?;
    let body = changeset.body().ok()?;
    let (_, rows) = body.open().ok()?;
    rows.collect::<Result<Vec<_>, _>>().ok().map(|rows| rows.len())
}
