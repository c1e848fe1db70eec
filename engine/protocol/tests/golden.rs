//! The exact bytes of everything that travels or is stored. If one of these fails, a format has changed: raise its
//! version, keep the old bytes as a file that must still be refused or read, and say so in the changelog.

use std::borrow::Cow;

use bytes::Bytes;
use driftless_protocol::changeset::BodyBuilder;
use driftless_protocol::lane::{Cell, Content, Counter, Floor, Lane, LaneName, Seen};
use driftless_protocol::message::{Head, Hello, Welcome};
use driftless_protocol::{
    Changeset, ChangesetHeader, ClientMessage, CloseCode, Collation, Part, Presence, RelayMessage, ReplicaId,
    RowKey, Seq, SnapshotHeader, SnapshotPart, SpaceId, StateVector, Value, WriterId,
};

fn replica(n: u8) -> ReplicaId {
    ReplicaId::from_bytes([n; 16]).expect("not nil")
}

fn space(n: u8) -> SpaceId {
    SpaceId::from_bytes([n; 16]).expect("not nil")
}

fn seq(n: u64) -> Seq {
    Seq::new(n).expect("a seq")
}

fn presence(bytes: &'static [u8]) -> Presence {
    Presence::new(bytes).expect("short")
}

fn vector() -> StateVector {
    [(replica(2), seq(300)), (replica(1), seq(5))].into_iter().collect()
}

fn writer(id: u64) -> WriterId {
    WriterId::new(id).expect("a writer")
}

/// A body of one author and one row, and its bytes before compression.
fn body() -> (BodyBuilder, &'static str) {
    let mut body = BodyBuilder::new();
    body.author(writer(77), replica(1));
    let key = RowKey::encode([(&Value::Integer(7), Collation::Binary)]).expect("a key");
    body.row("notes", &key, &[0, 0]);
    let bytes = concat!(
        "01",                               // version
        "01",                               // one author
        "4d",                               // writer 77
        "01010101010101010101010101010101", // replica
        "01",                               // one table
        "056e6f746573",                     // notes
        "00",                               // table 0
        "00",                               // a row document
        "0b",                               // 11 bytes of key
        "10c01c0000000000008000",           // 7
        "02",                               // 2 bytes of update
        "0000"                              // the empty update
    );
    (body, bytes)
}

fn header() -> ChangesetHeader {
    ChangesetHeader {
        replica: replica(1),
        seq: seq(9),
        part: Part::Last,
        after: vector(),
        time: 1_700_000_000_000,
    }
}

/// The fields of [`header`], before checksum and length of the body.
const HEADER: &str = concat!(
    "01010101010101010101010101010101", // replica
    "09",                               // seq
    "02",                               // the last part
    "02",                               // two entries
    "01010101010101010101010101010101",
    "05", // of the lesser replica first
    "02020202020202020202020202020202",
    "fb2c01",
    "fd00d0ca9f17030000", // time
);

fn snapshot_header() -> SnapshotHeader {
    SnapshotHeader { snapshot: [3; 16], index: 1, last: true, vector: vector() }
}

#[test]
fn state_vector() {
    let frame = RelayMessage::Heads { nonce: 1, heads: vector() }.encode();
    let expected = concat!(
        "0113", // version, tag
        "01",   // nonce
        "02",
        "01010101010101010101010101010101",
        "05",
        "02020202020202020202020202020202",
        "fb2c01",
        "9a9daf502ad5c687" // checksum
    );
    assert_eq!(hex::encode(frame), expected);
}

#[test]
fn messages_of_the_engine() {
    let hello = Hello {
        space: Some(space(9)),
        propose: None,
        replica: replica(1),
        vector: StateVector::new(),
        token: Some("t".into()),
    };
    let nobody =
        Hello { space: None, propose: Some(space(8)), token: None, vector: vector(), ..hello.clone() };
    let frames = [
        ClientMessage::Hello(hello),
        ClientMessage::Hello(nobody),
        ClientMessage::AskHeads(0),
        ClientMessage::AskHeads(u64::MAX),
        ClientMessage::Presence(presence(b"n1")),
        ClientMessage::Presence(Presence::none()),
    ];
    let expected = HELLO_HEX;
    for (frame, expected) in frames.iter().zip(expected) {
        assert_eq!(hex::encode(frame.encode()), expected);
        let again = ClientMessage::decode(frame.encode()).expect("decodes");
        assert_eq!(again.encode(), frame.encode());
    }
}

const HELLO_HEX: [&str; 6] = [
    "01010109090909090909090909090909090909000101010101010101010101010101010100010174ea2917f735d9d8b1",
    "01010001080808080808080808080808080808080101010101010101010101010101010102010101010101010101010101010101010502020202020202020202020202020202fb2c0100e40292e905d6489a",
    "0102005fc2c0e1bfeea550",
    "0102fdffffffffffffffff4a849dd7b9a9c082",
    "01036e317fe8950e93967fbc",
    "0103d2ad1a0bb9fdf445",
];

#[test]
fn messages_of_the_relay() {
    let welcome = Welcome { space: space(9), heads: vector(), own: None };
    let head = Head { seq: seq(2), checksum: Some([7; 16]) };
    let frames = [
        RelayMessage::Welcome(welcome.clone()),
        RelayMessage::Welcome(Welcome { own: Some(head), heads: StateVector::new(), ..welcome }),
        RelayMessage::Stored(seq(1)),
        RelayMessage::Stored(seq(Seq::MAX)),
        RelayMessage::SnapshotStored([3; 16]),
        RelayMessage::Presence { replica: replica(1), presence: presence(b"n1") },
        RelayMessage::Presence { replica: replica(1), presence: Presence::none() },
    ];
    for (frame, expected) in frames.iter().zip(RELAY_HEX) {
        assert_eq!(hex::encode(frame.encode()), expected);
        let again = RelayMessage::decode(frame.encode()).expect("decodes");
        assert_eq!(again.encode(), frame.encode());
    }
}

const RELAY_HEX: [&str; 7] = [
    "01100909090909090909090909090909090902010101010101010101010101010101010502020202020202020202020202020202fb2c010008b68e949cfcd945",
    "0110090909090909090909090909090909090001020107070707070707070707070707070707b5e5c5fa98ed04e0",
    "0111016d36575c6a26257a",
    "0111fdfeffffffffffff7f4482bdce33a0d59a",
    "011203030303030303030303030303030303ad8dc6965c142485",
    "0114010101010101010101010101010101016e311ddd7b119b88a80f",
    "0114010101010101010101010101010101014930b79ff4c0fc5a",
];

/// Version 1 could write a seq of 2^64 - 1 and read it again; no engine ever made so many changesets.
#[test]
fn an_acknowledgement_of_more_than_there_can_be_is_refused() {
    let frame = hex::decode("0111fdffffffffffffffff7bbc45c5aa667ab1").expect("hex");
    let error = RelayMessage::decode(frame.into()).expect_err("no seq");
    assert_eq!(error.close_code(), CloseCode::Malformed, "{error}");
}

#[test]
fn close_codes() {
    let codes = [
        (CloseCode::Normal, 1000),
        (CloseCode::GoingAway, 1001),
        (CloseCode::Malformed, 4400),
        (CloseCode::Unauthorized, 4401),
        (CloseCode::NoSuchSpace, 4404),
        (CloseCode::WrongSpace, 4409),
        (CloseCode::UnsupportedVersion, 4410),
        (CloseCode::TooLarge, 4413),
        (CloseCode::Internal, 4500),
        (CloseCode::Gap, 4502),
        (CloseCode::SlowReader, 4503),
        (CloseCode::Silent, 4504),
        (CloseCode::Damaged, 4505),
        (CloseCode::Busy, 4508),
        (CloseCode::Forked, 4509),
        (CloseCode::Other(1011), 1011),
    ];
    for (code, number) in codes {
        assert_eq!((code.number(), CloseCode::from_number(number)), (number, code));
    }
}

/// The length and the bytes of a frame's header.
fn split(frame: &Bytes) -> (String, String) {
    let (length, rest) = frame.split_first_chunk::<4>().expect("a length");
    let (header, body) = rest.split_at(u32::from_le_bytes(*length) as usize);
    (hex::encode(header), hex::encode(body))
}

/// Compression may come out differently with another version of zstd, and then so does the checksum over it; all
/// else is fixed.
#[test]
fn changeset() {
    let (body, expected) = body();
    let sealed = Changeset::seal(header(), &body.finish());
    let (header_hex, _) = split(sealed.bytes());
    let expected_header = format!("{HEADER}{}{:02x}", hex::encode(sealed.checksum()), expected.len() / 2);
    assert_eq!(header_hex, expected_header);

    let stored = Changeset::from_bytes(hex::decode(CHANGESET).expect("hex").into()).expect("still decodes");
    assert_eq!(stored.header, header());
    assert_eq!(stored.body().expect("still decompresses"), self::body().0.finish());
    assert_eq!(&split(stored.bytes()).0[..HEADER.len()], HEADER);
    let frame = ClientMessage::Changeset(stored).encode();
    assert_eq!(hex::encode(frame), format!("0120{CHANGESET}"));
}

/// A changeset as the first version wrote it, compressed with zstd 1.5.7.
const CHANGESET: &str = "5100000001010101010101010101010101010101090202010101010101010101010101010101010502020202020202020202020202020202fb2c01fd00d0ca9f170300002b69b1e6cb94988586c0566f5876437e2b28b52ffd202b0d0100d801014d01056e6f74657300000b10c01c00000000000080000200000100082002";

#[test]
fn body_before_compression() {
    // Under a byte that does not compress at all, zstd keeps the body as it is.
    let (body, expected) = body();
    let body = body.finish();
    assert_eq!(body.len(), expected.len() / 2);
    let (_, compressed) = split(Changeset::seal(header(), &body).bytes());
    let compressed = hex::decode(compressed).expect("hex");
    let plain = zstd::bulk::decompress(&compressed, 1 << 10).expect("decompresses");
    assert_eq!(hex::encode(plain), expected);
}

#[test]
fn text_document_in_a_body() {
    let mut body = BodyBuilder::new();
    let key = RowKey::encode([(&Value::Integer(7), Collation::Binary)]).expect("a key");
    body.text("notes", &key, "body", &[0, 0]);
    let expected = concat!(
        "01",                     // version
        "00",                     // no author
        "01",                     // one table
        "056e6f746573",           // notes
        "00",                     // table 0
        "01",                     // a text document
        "0b",                     // 11 bytes of key
        "10c01c0000000000008000", // 7
        "04626f6479",             // column body
        "02",                     // 2 bytes of update
        "0000"                    // the empty update
    );
    let (_, compressed) = split(Changeset::seal(header(), &body.finish()).bytes());
    let compressed = hex::decode(compressed).expect("hex");
    let plain = zstd::bulk::decompress(&compressed, 1 << 10).expect("decompresses");
    assert_eq!(hex::encode(plain), expected);
}

#[test]
fn snapshot_part() {
    let (body, expected) = body();
    let sealed = SnapshotPart::seal(snapshot_header(), &body.finish());
    let (header_hex, _) = split(sealed.bytes());
    assert_eq!(&header_hex[..SNAPSHOT_HEADER.len()], SNAPSHOT_HEADER);
    assert_eq!(header_hex.len(), SNAPSHOT_HEADER.len() + 32 + 2);
    assert_eq!(&header_hex[header_hex.len() - 2..], format!("{:02x}", expected.len() / 2));

    let stored = SnapshotPart::from_bytes(hex::decode(SNAPSHOT).expect("hex").into()).expect("still decodes");
    assert_eq!(stored.header, snapshot_header());
    assert_eq!(stored.body().expect("still decompresses"), self::body().0.finish());
    let frame = RelayMessage::SnapshotPart(stored).encode();
    assert_eq!(hex::encode(frame), format!("0121{SNAPSHOT}"));
}

/// The fields of [`snapshot_header`], before checksum and length of the body.
const SNAPSHOT_HEADER: &str = concat!(
    "03030303030303030303030303030303", // the snapshot
    "01",                               // its second part
    "01",                               // which is the last
    "02",
    "01010101010101010101010101010101",
    "05",
    "02020202020202020202020202020202",
    "fb2c01",
);

/// A part of a snapshot as the first version wrote it, compressed with zstd 1.5.7.
const SNAPSHOT: &str = "4800000003030303030303030303030303030303010102010101010101010101010101010101010502020202020202020202020202020202fb2c01138c1c235b8500f91f95f505e88ec5af2b28b52ffd202b0d0100d801014d01056e6f74657300000b10c01c00000000000080000200000100082002";

#[test]
fn values_of_every_type() {
    let golden: [(Value<'_>, &str); 14] = [
        (Value::Null, "00"),
        (Value::Integer(0), "0100"),
        (Value::Integer(-1), "0101"),
        (Value::Integer(64), "018001"),
        (Value::Integer(i64::MAX), "01feffffffffffffffff01"),
        (Value::Integer(i64::MIN), "01ffffffffffffffffff01"),
        (Value::Real(1.5), "023ff8000000000000"),
        (Value::Real(-0.0), "028000000000000000"),
        (Value::Real(f64::INFINITY), "027ff0000000000000"),
        (Value::Real(f64::NEG_INFINITY), "02fff0000000000000"),
        (Value::text("a\0é"), "03046100c3a9"),
        (Value::Text(Cow::Borrowed(&[0xff])), "0301ff"),
        (Value::Blob(Cow::Borrowed(&[])), "0400"),
        (Value::Blob(Cow::Borrowed(&[0, 0xff])), "040200ff"),
    ];
    for (value, expected) in golden {
        assert_eq!(hex::encode(value.to_bytes()), expected, "{value}");
        assert_eq!(Value::from_bytes(&hex::decode(expected).expect("hex")), Ok(value));
    }
}

#[test]
fn lane() {
    let cell = |column: &'static str, content, number, seen| Cell {
        column: column.into(),
        content,
        time: -1,
        number,
        seen,
    };
    let lane = Lane {
        cells: vec![
            cell("", Value::Integer(1).into(), 2, Vec::new()),
            cell(
                "a",
                Value::Null.into(),
                1,
                vec![
                    Seen { writer: writer(2), large: false, number: 1 },
                    Seen { writer: writer(2), large: true, number: 3 },
                ],
            ),
            cell("b", Content::InText, 1, Vec::new()),
        ],
        floors: vec![
            Floor { lane: LaneName::main(writer(3)), number: 4 },
            Floor { lane: LaneName { writer: writer(3), column: Some("a".into()) }, number: 1 },
        ],
        counters: vec![
            Counter { column: "n".into(), added: -1 },
            Counter { column: "o".into(), added: 1 << 64 },
        ],
    };
    let expected = concat!(
        "01",                   // version
        "02",                   // two stamps
        "0101",                 // write 1 at -1
        "0201",                 // write 2 at -1
        "03",                   // three cells
        "00",                   // the life register
        "01",                   // its stamp
        "0102",                 // alive
        "00",                   // saw nothing
        "0161",                 // column a
        "00",                   // its stamp
        "00",                   // NULL
        "02020202",             // saw two: writer 2's write 1 …
        "07",                   // … and the third write of its large value
        "0162",                 // column b
        "00",                   // its stamp
        "05",                   // in the text document
        "00",                   // saw nothing
        "02",                   // two floors
        "030004",               // writer 3's main lane, 4
        "03016101",             // its lane for a, 1
        "02",                   // two counters
        "016e01",               // n, -1
        "016f",                 // o,
        "80808080808080808004"  // 2^64
    );
    assert_eq!(hex::encode(lane.to_bytes()), expected);
    assert_eq!(Lane::from_bytes(&hex::decode(expected).expect("hex")), Ok(lane));
}

#[test]
fn row_keys() {
    let golden = [
        (Value::Integer(7), Collation::Binary, "10c01c0000000000008000"),
        (Value::Real(7.0), Collation::Binary, "10c01c0000000000008000"),
        (Value::Integer(-7), Collation::Binary, "103fe3ffffffffffff8000"),
        (Value::Integer(i64::MAX), Collation::Binary, "10c3e00000000000007fff"),
        (Value::Integer(i64::MIN), Collation::Binary, "103c1fffffffffffff8000"),
        (Value::Real(0.5), Collation::Binary, "10bfe00000000000008000"),
        (Value::text("aB\0"), Collation::NoCase, "20616200ff0000"),
        (Value::text("aB  "), Collation::RTrim, "2061420000"),
        (Value::text(""), Collation::Binary, "200000"),
        (Value::Blob(Cow::Borrowed(&[0, 1])), Collation::Binary, "3000ff010000"),
    ];
    for (value, collation, expected) in golden {
        let key = RowKey::encode([(&value, collation)]).expect("a key");
        assert_eq!(hex::encode(key.as_bytes()), expected, "{value}");
    }
    let pair = [(&Value::text("a"), Collation::Binary), (&Value::Integer(0), Collation::Binary)];
    let key = RowKey::encode(pair).expect("a key");
    assert_eq!(hex::encode(key.as_bytes()), "206100001080000000000000008000");
}
