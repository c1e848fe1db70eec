//! Every format, there and back: what is written is read as it was, and whatever else comes is refused, without a
//! panic and without much memory or time.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use driftless_protocol::canonical::Writer;
use driftless_protocol::changeset::{Body, BodyBuilder, Document, MAX_BODY_BYTES};
use driftless_protocol::lane::{
    Cell, Content, Counter, Floor, LIFE, Lane, LaneName, MAX_ADDED, MAX_COLUMN_BYTES, Seen,
};
use driftless_protocol::message::{Head, Hello, Welcome};
use driftless_protocol::{
    Changeset, ChangesetHeader, ClientMessage, CloseCode, Collation, FrameError, KeyError,
    MAX_PRESENCE_BYTES, MessageError, Part, Presence, PresenceTooLong, RelayMessage, ReplicaId, RowKey, Seq,
    SnapshotHeader, SnapshotPart, SpaceId, StateVector, Value, WriterId, validate,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use yrs::ReadTxn as _;

// --- things that travel -------------------------------------------------------------------------------------

/// Few different bytes, so that prefixes, folding and escapes meet.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![Just(0), Just(b' '), Just(b'a'), Just(b'A'), Just(b'_'), Just(0xff), any::<u8>()], 0..9)
}

fn integer() -> impl Strategy<Value = i64> {
    prop_oneof![
        -3..3i64,
        any::<i64>(),
        (0..63u32, -2..3i64).prop_map(|(bit, off)| (1i64 << bit).wrapping_add(off)),
        Just(i64::MIN),
        Just(i64::MAX)
    ]
}

fn real() -> impl Strategy<Value = f64> {
    let any = any::<f64>().prop_filter("SQLite has no NaN", |r| !r.is_nan());
    prop_oneof![any, integer().prop_map(|i| i as f64), integer().prop_map(|i| i as f64 / 4.0), Just(-0.0)]
}

fn value() -> impl Strategy<Value = Value<'static>> {
    prop_oneof![
        Just(Value::Null),
        integer().prop_map(Value::Integer),
        real().prop_map(Value::Real),
        bytes().prop_map(|b| Value::Text(Cow::Owned(b))),
        bytes().prop_map(|b| Value::Blob(Cow::Owned(b))),
    ]
}

fn collation() -> impl Strategy<Value = Collation> {
    prop_oneof![Just(Collation::Binary), Just(Collation::NoCase), Just(Collation::RTrim)]
}

fn writer() -> impl Strategy<Value = WriterId> {
    prop_oneof![1..5u64, 1..WriterId::LIMIT, Just(WriterId::LIMIT - 1)]
        .prop_map(|id| WriterId::new(id).expect("in range"))
}

fn name() -> impl Strategy<Value = String> {
    vec(prop_oneof![Just('a'), Just('b'), Just('/'), Just('é'), any::<char>()], 1..5)
        .prop_map(|chars| chars.into_iter().collect())
}

fn write_number() -> impl Strategy<Value = u64> {
    prop_oneof![1..9u64, 1..=u64::MAX >> 1, Just(u64::MAX >> 1)]
}

fn lane() -> impl Strategy<Value = Lane<'static>> {
    let seen = btree_map((writer(), any::<bool>()), write_number(), 0..4);
    let content = prop_oneof![4 => value().prop_map(Content::Value), 1 => Just(Content::InText)];
    let cells = btree_map(name(), (content, prop_oneof![-2..3i64, any::<i64>()], write_number(), seen), 0..5);
    let life = option::of((any::<bool>(), any::<i64>(), write_number()));
    let floors = btree_map((writer(), option::of(name())), write_number(), 0..4);
    let added = prop_oneof![-2..3i128, -MAX_ADDED..=MAX_ADDED, Just(MAX_ADDED), Just(-MAX_ADDED)];
    let counters = btree_map(name(), added.prop_filter("not 0", |added| *added != 0), 0..3);
    (cells, life, floors, counters).prop_map(|(cells, life, floors, counters)| {
        let life = life.map(|(alive, time, number)| Cell {
            column: LIFE.into(),
            content: Value::Integer(i64::from(alive)).into(),
            time,
            number,
            seen: Vec::new(),
        });
        let cell = |(column, (content, time, number, seen)): (String, (_, _, _, BTreeMap<_, _>))| Cell {
            column: column.into(),
            content,
            time,
            number,
            seen: seen.into_iter().map(|((writer, large), number)| Seen { writer, large, number }).collect(),
        };
        let floor = |((writer, column), number): ((_, Option<String>), _)| Floor {
            lane: LaneName { writer, column: column.map(Cow::Owned) },
            number,
        };
        Lane {
            cells: life.into_iter().chain(cells.into_iter().map(cell)).collect(),
            floors: floors.into_iter().map(floor).collect(),
            counters: counters
                .into_iter()
                .map(|(column, added)| Counter { column: column.into(), added })
                .collect(),
        }
    })
}

fn replica() -> impl Strategy<Value = ReplicaId> {
    any::<[u8; 16]>().prop_filter_map("not nil", |bytes| ReplicaId::from_bytes(bytes).ok())
}

fn space() -> impl Strategy<Value = SpaceId> {
    any::<[u8; 16]>().prop_filter_map("not nil", |bytes| SpaceId::from_bytes(bytes).ok())
}

fn seq() -> impl Strategy<Value = Seq> {
    prop_oneof![1..300u64, 1..=u64::MAX, Just(u64::MAX)].prop_filter_map("not zero", Seq::new)
}

fn vector() -> impl Strategy<Value = StateVector> {
    vec((replica(), seq()), 0..6).prop_map(|entries| entries.into_iter().collect())
}

fn header() -> impl Strategy<Value = ChangesetHeader> {
    let part = prop_oneof![Just(Part::Whole), Just(Part::More), Just(Part::Last)];
    (replica(), seq(), part, vector(), any::<i64>())
        .prop_map(|(replica, seq, part, after, time)| ChangesetHeader { replica, seq, part, after, time })
}

fn key() -> impl Strategy<Value = RowKey> {
    vec((value(), collation()), 1..4)
        .prop_filter_map("a key", |columns| RowKey::encode(columns.iter().map(|(v, c)| (v, *c))).ok())
}

/// Table, key, column if it is a text document's, update.
type Rows = Vec<(String, RowKey, Option<String>, Vec<u8>)>;

fn rows() -> impl Strategy<Value = (BTreeMap<WriterId, ReplicaId>, Rows)> {
    let table = prop_oneof![Just("notes".to_owned()), Just("tags".to_owned()), Just("é\"".to_owned())];
    let column = option::of(prop_oneof![Just("body".to_owned()), Just("é\"".to_owned())]);
    (btree_map(writer(), replica(), 0..4), vec((table, key(), column, vec(any::<u8>(), 0..30)), 0..6))
}

fn build(authors: &BTreeMap<WriterId, ReplicaId>, rows: &Rows) -> Body {
    let mut body = BodyBuilder::new();
    for (&writer, &replica) in authors {
        body.author(writer, replica);
    }
    for (table, key, column, update) in rows {
        match column {
            Some(column) => body.text(table, key, column, update),
            None => body.row(table, key, update),
        }
    }
    body.finish()
}

fn client_message() -> impl Strategy<Value = ClientMessage> {
    let hello = (option::of(space()), option::of(space()), replica(), vector(), option::of(name()));
    let body = (header(), rows());
    prop_oneof![
        hello.prop_map(|(space, propose, replica, vector, token)| {
            ClientMessage::Hello(Hello { space, propose, replica, vector, token })
        }),
        any::<u64>().prop_map(ClientMessage::AskHeads),
        body.prop_map(|(header, (authors, rows))| {
            ClientMessage::Changeset(Changeset::seal(header, &build(&authors, &rows)))
        }),
        snapshot().prop_map(ClientMessage::SnapshotPart),
        presence().prop_map(ClientMessage::Presence),
    ]
}

fn presence() -> impl Strategy<Value = Presence> {
    let length = prop_oneof![0..9usize, 0..=MAX_PRESENCE_BYTES, Just(MAX_PRESENCE_BYTES)];
    (length, any::<u8>()).prop_map(|(length, byte)| Presence::new(vec![byte; length]).expect("short enough"))
}

fn snapshot() -> impl Strategy<Value = SnapshotPart> {
    (any::<[u8; 16]>(), any::<u32>(), any::<bool>(), vector(), rows()).prop_map(
        |(snapshot, index, last, vector, (authors, rows))| {
            SnapshotPart::seal(SnapshotHeader { snapshot, index, last, vector }, &build(&authors, &rows))
        },
    )
}

fn relay_message() -> impl Strategy<Value = RelayMessage> {
    let own =
        option::of((seq(), option::of(any::<[u8; 16]>())).prop_map(|(seq, checksum)| Head { seq, checksum }));
    prop_oneof![
        (space(), vector(), own).prop_map(|(space, heads, own)| RelayMessage::Welcome(Welcome {
            space,
            heads,
            own
        })),
        seq().prop_map(RelayMessage::Stored),
        any::<[u8; 16]>().prop_map(RelayMessage::SnapshotStored),
        (any::<u64>(), vector()).prop_map(|(nonce, heads)| RelayMessage::Heads { nonce, heads }),
        (header(), rows()).prop_map(|(header, (authors, rows))| {
            RelayMessage::Changeset(Changeset::seal(header, &build(&authors, &rows)))
        }),
        snapshot().prop_map(RelayMessage::SnapshotPart),
        (replica(), presence()).prop_map(|(replica, presence)| RelayMessage::Presence { replica, presence }),
    ]
}

// --- damage -------------------------------------------------------------------------------------------------

/// One way to damage bytes.
#[derive(Debug, Clone)]
enum Damage {
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Add(u8),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        3 => (any::<prop::sample::Index>(), 0..8u8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        1 => any::<prop::sample::Index>().prop_map(Damage::Cut),
        1 => any::<u8>().prop_map(Damage::Add),
    ]
}

impl Damage {
    fn to(&self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        match self {
            Damage::Add(byte) => bytes.push(*byte),
            Damage::Flip(at, bit) => {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
            }
            Damage::Cut(at) => bytes.truncate(at.index(bytes.len())),
        }
        bytes
    }
}

// --- SQLite's order -----------------------------------------------------------------------------------------

/// How SQLite compares two values of a column, after `sqlite3MemCompare`, `sqlite3IntFloatCompare`,
/// `nocaseCollatingFunc` and `rtrimCollFunc` of its sources.
fn sqlite_order(a: &Value<'_>, b: &Value<'_>, collation: Collation) -> Ordering {
    let class = |v: &Value<'_>| match v {
        Value::Null => 0,
        Value::Integer(_) | Value::Real(_) => 1,
        Value::Text(_) => 2,
        Value::Blob(_) => 3,
    };
    match (a, b) {
        (Value::Integer(a), Value::Integer(b)) => a.cmp(b),
        (Value::Real(a), Value::Real(b)) => a.partial_cmp(b).expect("no NaN"),
        (Value::Integer(i), Value::Real(r)) => integer_to_real(*i, *r),
        (Value::Real(r), Value::Integer(i)) => integer_to_real(*i, *r).reverse(),
        (Value::Text(a), Value::Text(b)) => match collation {
            Collation::Binary => a.cmp(b),
            Collation::NoCase => nocase(a, b),
            Collation::RTrim => trimmed(a).cmp(trimmed(b)),
        },
        (Value::Blob(a), Value::Blob(b)) => a.cmp(b),
        _ => class(a).cmp(&class(b)),
    }
}

fn integer_to_real(i: i64, r: f64) -> Ordering {
    if r >= 9_223_372_036_854_775_808.0 {
        return Ordering::Less;
    }
    if r < -9_223_372_036_854_775_808.0 {
        return Ordering::Greater;
    }
    // Both exact: the whole part fits.
    i.cmp(&(r.trunc() as i64)).then_with(|| 0.0f64.partial_cmp(&r.fract()).expect("no NaN"))
}

fn nocase(a: &[u8], b: &[u8]) -> Ordering {
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (a.to_ascii_lowercase(), b.to_ascii_lowercase());
        if a != b {
            return a.cmp(&b);
        }
        if a == 0 {
            break;
        }
    }
    a.len().cmp(&b.len())
}

fn trimmed(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|&b| b != b' ').map_or(0, |last| last + 1);
    &text[..end]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn row_keys_order_as_sqlite_orders_rows(
        columns in vec((value(), value(), collation()), 1..4),
    ) {
        let a = RowKey::encode(columns.iter().map(|(a, _, c)| (a, *c)));
        let b = RowKey::encode(columns.iter().map(|(_, b, c)| (b, *c)));
        if let (Ok(a), Ok(b)) = (a, b) {
            let expected = columns
                .iter()
                .map(|(a, b, c)| sqlite_order(a, b, *c))
                .find(|order| order.is_ne())
                .unwrap_or(Ordering::Equal);
            prop_assert_eq!(a.cmp(&b), expected);
        }
    }

    #[test]
    fn row_keys_give_back_the_row_that_they_name(columns in vec((value(), collation()), 1..4)) {
        if let Ok(key) = RowKey::encode(columns.iter().map(|(v, c)| (v, *c))) {
            let values = key.values();
            prop_assert_eq!(values.len(), columns.len());
            for (back, (value, collation)) in values.iter().zip(&columns) {
                prop_assert!(sqlite_order(back, value, *collation).is_eq(), "{} {}", back, value);
            }
            let again = RowKey::encode(values.iter().zip(&columns).map(|(v, (_, c))| (v, *c)));
            prop_assert_eq!(again.as_ref(), Ok(&key));
            prop_assert_eq!(RowKey::from_bytes(key.as_bytes()), Ok(key));
        } else {
            prop_assert!(columns.iter().any(|(v, _)| *v == Value::Null));
        }
    }

    #[test]
    fn bytes_are_a_row_key_only_if_encoding_writes_them(key in key(), damage in damage()) {
        let bytes = damage.to(key.as_bytes());
        if let Ok(key) = RowKey::from_bytes(&bytes) {
            let values = key.values();
            let again = RowKey::encode(values.iter().map(|v| (v, Collation::Binary)));
            prop_assert_eq!(again.as_ref(), Ok(&key));
            prop_assert_eq!(key.as_bytes(), &bytes[..]);
        }
    }

    #[test]
    fn values_round_trip_and_have_one_encoding(value in value(), damage in damage()) {
        let bytes = value.to_bytes();
        prop_assert_eq!(Value::from_bytes(&bytes), Ok(value));
        let damaged = damage.to(&bytes);
        if let Ok(other) = Value::from_bytes(&damaged) {
            prop_assert_eq!(other.to_bytes(), damaged);
        }
    }

    #[test]
    fn lanes_round_trip_and_have_one_encoding(lane in lane(), damage in damage()) {
        let bytes = lane.to_bytes();
        prop_assert_eq!(Lane::from_bytes(&bytes), Ok(lane));
        let damaged = damage.to(&bytes);
        if let Ok(other) = Lane::from_bytes(&damaged) {
            prop_assert_eq!(other.to_bytes(), damaged);
        }
    }

    #[test]
    fn lane_names_round_trip(writer in writer(), column in option::of(name())) {
        let name = LaneName { writer, column: column.map(Cow::Owned) };
        let text = name.to_string();
        prop_assert_eq!(LaneName::parse(&text), Ok(name));
    }

    #[test]
    fn bodies_round_trip_through_a_changeset((authors, rows) in rows(), header in header()) {
        let body = build(&authors, &rows);
        let sealed = Changeset::seal(header.clone(), &body);
        let parsed = Changeset::from_bytes(sealed.bytes().clone()).expect("parses");
        prop_assert_eq!(&parsed.header, &header);
        prop_assert_eq!(parsed.checksum(), sealed.checksum());
        let opened = parsed.body().expect("opens");
        prop_assert_eq!(&opened, &body);
        let (read_authors, updates) = opened.open().expect("opens");
        prop_assert_eq!(read_authors.into_iter().collect::<BTreeMap<_, _>>(), authors);
        let updates: Rows = updates
            .map(|row| {
                row.map(|row| {
                    let column = match row.document {
                        Document::Row => None,
                        Document::Text(column) => Some(column.to_owned()),
                    };
                    (row.table.to_owned(), row.key, column, row.update.to_vec())
                })
            })
            .collect::<Result<_, _>>()
            .expect("reads");
        prop_assert_eq!(updates, rows);
    }

    #[test]
    fn a_text_document_names_a_folded_column(column in "[a-zé]{0,2}[A-Z]?", long in any::<bool>()) {
        let column = if long { column.repeat(600) } else { column };
        let mut body = BodyBuilder::new();
        let key = RowKey::encode([(&Value::Integer(7), Collation::Binary)]).expect("a key");
        body.text("notes", &key, &column, &[0, 0]);
        let body = body.finish();
        let (_, mut updates) = body.open().expect("opens");
        let read = updates.next().expect("one update");
        let folded = column.bytes().all(|b| !b.is_ascii_uppercase());
        if !column.is_empty() && column.len() <= MAX_COLUMN_BYTES && folded {
            prop_assert_eq!(read.expect("reads").document, Document::Text(&column));
        } else {
            prop_assert!(matches!(read, Err(FrameError::Body(_))));
        }
    }

    #[test]
    fn a_damaged_changeset_or_snapshot_part_is_refused(
        (authors, rows) in rows(), header in header(), part in snapshot(), damage in damage(),
    ) {
        let changeset = Changeset::seal(header, &build(&authors, &rows));
        prop_assert!(Changeset::from_bytes(damage.to(changeset.bytes()).into()).is_err());
        prop_assert!(SnapshotPart::from_bytes(damage.to(part.bytes()).into()).is_err());
        // And neither is taken for the other.
        prop_assert!(SnapshotPart::from_bytes(changeset.bytes().clone()).is_err());
        prop_assert!(Changeset::from_bytes(part.bytes().clone()).is_err());
    }

    #[test]
    fn a_damaged_body_under_a_right_checksum_never_panics(
        (authors, rows) in rows(), header in header(), damages in vec(damage(), 0..4),
    ) {
        let mut plain = plain_body(&Changeset::seal(header, &build(&authors, &rows)));
        for damage in &damages {
            if !plain.is_empty() {
                plain = damage.to(&plain);
            }
        }
        let changeset = Changeset::from_bytes(forge(&plain, plain.len() as u64)).expect("a right checksum");
        if let Ok((_, updates)) = changeset.body().expect("decompresses").open() {
            // Ends at the first error.
            let errors = updates.skip_while(Result::is_ok).count();
            prop_assert!(errors <= 1);
        }
    }

    /// A bit that the network flips must not acknowledge, count or name what was not meant.
    #[test]
    fn a_message_with_a_flipped_bit_is_refused(
        ours in client_message(), theirs in relay_message(), at in any::<prop::sample::Index>(), bit in 0..8u8,
    ) {
        let flipped = |frame: Bytes| {
            let mut frame = frame.to_vec();
            let at = at.index(frame.len());
            frame[at] ^= 1 << bit;
            Bytes::from(frame)
        };
        prop_assert!(ClientMessage::decode(flipped(ours.encode())).is_err());
        prop_assert!(RelayMessage::decode(flipped(theirs.encode())).is_err());
    }

    #[test]
    fn client_messages_round_trip(message in client_message(), damage in damage()) {
        let frame = message.encode();
        let again = ClientMessage::decode(frame.clone()).expect("decodes");
        prop_assert_eq!(again.encode(), frame.clone());
        drop(RelayMessage::decode(frame.clone()));
        drop(ClientMessage::decode(damage.to(&frame).into()));
        let unsealed = damage.to(&frame[..frame.len() - 8]);
        drop(ClientMessage::decode(sealed(unsealed)));
        prop_assert!(ClientMessage::decode([&frame[..], &[0]].concat().into()).is_err(), "a byte left over");
    }

    #[test]
    fn relay_messages_round_trip(message in relay_message(), damage in damage()) {
        let frame = message.encode();
        let again = RelayMessage::decode(frame.clone()).expect("decodes");
        prop_assert_eq!(again.encode(), frame.clone());
        drop(ClientMessage::decode(frame.clone()));
        drop(RelayMessage::decode(damage.to(&frame).into()));
        let unsealed = damage.to(&frame[..frame.len() - 8]);
        drop(RelayMessage::decode(sealed(unsealed)));
        prop_assert!(RelayMessage::decode([&frame[..], &[0]].concat().into()).is_err(), "a byte left over");
    }

    #[test]
    fn every_beginning_of_a_message_is_refused(message in relay_message(), at in any::<prop::sample::Index>()) {
        let frame = message.encode();
        prop_assert!(RelayMessage::decode(frame.slice(..at.index(frame.len()))).is_err());
    }

    /// Under a right checksum, as somebody hostile would send them.
    #[test]
    fn a_presence_is_read_up_to_its_limit_and_refused_beyond(
        length in prop_oneof![0..=2 * MAX_PRESENCE_BYTES, MAX_PRESENCE_BYTES - 1..=MAX_PRESENCE_BYTES + 1],
        replica in replica(),
    ) {
        let bytes = vec![7; length];
        let ours = ClientMessage::decode(sealed([&[1, 3], &bytes[..]].concat()));
        let theirs = RelayMessage::decode(sealed([&[1, 20], &replica.as_bytes()[..], &bytes[..]].concat()));
        if length <= MAX_PRESENCE_BYTES {
            let is_it = |presence: &Presence| presence.as_bytes() == bytes;
            prop_assert!(matches!(ours, Ok(ClientMessage::Presence(presence)) if is_it(&presence)));
            let Ok(RelayMessage::Presence { replica: whose, presence }) = theirs else {
                return Err(TestCaseError::fail(format!("{theirs:?}")));
            };
            prop_assert!(whose == replica && is_it(&presence));
        } else {
            prop_assert_eq!(Presence::new(bytes), Err(PresenceTooLong(length)));
            for error in [ours.expect_err("too long"), theirs.expect_err("too long")] {
                prop_assert_eq!(error.close_code(), CloseCode::TooLarge);
                prop_assert!(matches!(error, MessageError::Presence(PresenceTooLong(l)) if l == length));
            }
        }
    }

    #[test]
    fn a_presence_of_nobody_is_refused(length in 0..=16usize) {
        prop_assert!(RelayMessage::decode(sealed([&[1, 20], &vec![0; length][..]].concat())).is_err());
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        drop(ClientMessage::decode(bytes.clone().into()));
        drop(RelayMessage::decode(bytes.clone().into()));
        drop(Changeset::from_bytes(bytes.clone().into()));
        drop(SnapshotPart::from_bytes(bytes.clone().into()));
        drop((RowKey::from_bytes(&bytes), Lane::from_bytes(&bytes).is_ok(), Value::from_bytes(&bytes).is_ok()));
        drop((validate::row_update(&bytes).is_ok(), validate::text_update(&bytes), validate::state_vector(&bytes)));
    }

    #[test]
    fn yrs_state_vectors_are_accepted_and_damage_never_hurts_yrs(
        entries in btree_map(writer(), 0..=validate::MAX_CLOCK, 0..40), damage in damage(),
    ) {
        use yrs::updates::decoder::Decode;
        use yrs::updates::encoder::Encode;
        let vector: yrs::StateVector =
            entries.iter().map(|(writer, &clock)| (yrs::ClientID::new(writer.get()), clock)).collect();
        let bytes = vector.encode_v1();
        prop_assert_eq!(validate::state_vector(&bytes), Ok(()));
        let damaged = damage.to(&bytes);
        if validate::state_vector(&damaged).is_ok() {
            let read = yrs::StateVector::decode_v1(&damaged).expect("what is accepted decodes");
            let doc = yrs::Doc::new();
            let txn = yrs::Transact::transact(&doc);
            txn.encode_diff_v1(&read);
        }
    }
}

// --- bombs and forgeries ------------------------------------------------------------------------------------

/// A header of 63 bytes at most in front of a checksum and the length of the body.
fn plain_header() -> ChangesetHeader {
    ChangesetHeader {
        replica: ReplicaId::from_bytes([1; 16]).expect("not nil"),
        seq: Seq::FIRST,
        part: Part::Whole,
        after: StateVector::new(),
        time: 0,
    }
}

fn plain_body(changeset: &Changeset) -> Vec<u8> {
    let (length, rest) = changeset.bytes().split_first_chunk::<4>().expect("a length");
    let compressed = &rest[u32::from_le_bytes(*length) as usize..];
    zstd::bulk::decompress(compressed, 1 << 20).expect("decompresses")
}

/// A changeset with a right checksum whose header claims a body of `claimed` bytes.
fn forge(body: &[u8], claimed: u64) -> Bytes {
    let compressed = zstd::bulk::compress(body, 1).expect("compresses");
    // replica, seq, part, after, time, then the checksum and the length of the body.
    let mut header = [[1; 16].as_slice(), &[1, 0, 0, 0]].concat();
    let checksum_at = header.len();
    header.extend([0; 16]);
    match claimed {
        0..=250 => header.push(claimed as u8),
        251..=0xffff => header.extend([[251].as_slice(), &(claimed as u16).to_le_bytes()].concat()),
        0x1_0000..=0xffff_ffff => header.extend([[252].as_slice(), &(claimed as u32).to_le_bytes()].concat()),
        _ => header.extend([[253].as_slice(), &claimed.to_le_bytes()].concat()),
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(header.len() as u64).to_le_bytes());
    hasher.update(&header);
    hasher.update(&compressed);
    header[checksum_at..checksum_at + 16].copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    [&(header.len() as u32).to_le_bytes()[..], &header, &compressed].concat().into()
}

/// A frame with a right checksum.
fn sealed(mut frame: Vec<u8>) -> Bytes {
    let checksum = blake3::hash(&frame);
    frame.extend(&checksum.as_bytes()[..8]);
    frame.into()
}

#[test]
fn the_forger_of_these_tests_writes_what_sealing_writes() {
    let body = BodyBuilder::new().finish();
    let sealed = Changeset::seal(plain_header(), &body);
    assert_eq!(forge(&plain_body(&sealed), body.len() as u64), sealed.bytes());
}

/// Panics if `refused` is false or takes its time.
#[track_caller]
fn cheaply(refused: impl FnOnce() -> bool) {
    let start = Instant::now();
    assert!(refused(), "should be refused");
    assert!(start.elapsed() < Duration::from_millis(200), "took {:?}", start.elapsed());
}

#[test]
fn a_decompression_bomb_is_refused_cheaply() {
    let zeros = vec![0; MAX_BODY_BYTES + 1];
    let bomb = forge(&zeros, 10);
    assert!(bomb.len() < 64 << 10, "{} bytes", bomb.len());
    let changeset = Changeset::from_bytes(bomb).expect("a right checksum");
    cheaply(|| matches!(changeset.body(), Err(FrameError::Compression)));

    let honest = forge(&zeros, zeros.len() as u64);
    cheaply(
        || matches!(Changeset::from_bytes(honest), Err(FrameError::TooLarge(n)) if n == zeros.len() as u64),
    );
    for claimed in [11, 1 << 20, MAX_BODY_BYTES as u64] {
        let changeset = Changeset::from_bytes(forge(&[0; 10], claimed)).expect("a right checksum");
        cheaply(|| matches!(changeset.body(), Err(FrameError::Compression)));
    }
    let changeset = Changeset::from_bytes(forge(&[0; 10], u64::MAX));
    assert!(matches!(changeset, Err(FrameError::TooLarge(u64::MAX))));
}

#[test]
fn length_prefix_bombs_are_refused_cheaply() {
    let hello = |tail: &[u8]| {
        let mut frame = vec![1, 1, 0, 0];
        frame.extend([1; 16]);
        frame.extend(tail);
        sealed(frame)
    };
    // A vector, then a token, of 2^64 - 1, 2^40, 2^32 - 1 and 4 million entries or bytes.
    let lengths: [Vec<u8>; 4] = [
        [[253].as_slice(), &u64::MAX.to_le_bytes()].concat(),
        [[253].as_slice(), &(1u64 << 40).to_le_bytes()].concat(),
        [[252].as_slice(), &u32::MAX.to_le_bytes()].concat(),
        [[252].as_slice(), &4_000_000u32.to_le_bytes()].concat(),
    ];
    for length in lengths {
        cheaply(|| ClientMessage::decode(hello(&length)).is_err());
        cheaply(|| ClientMessage::decode(hello(&[&[0, 1], &length[..]].concat())).is_err());
    }
    let huge = [u32::MAX.to_le_bytes().as_slice(), &[0; 100]].concat();
    cheaply(|| Changeset::from_bytes(huge.into()).is_err());

    // Counts of canonical bytes: authors, tables, rows, stamps, cells, seen, floors.
    for count in [u64::MAX, 1 << 40, 1 << 31, 1 << 20] {
        let after = |bytes: &[u8]| {
            let mut writer = Writer::new();
            writer.raw(bytes);
            writer.varint(count);
            writer.finish()
        };
        for body in [after(&[1]), after(&[1, 0]), after(&[1, 0, 0]), after(&[1, 0, 1, 1, b'a', 0, 0])] {
            let changeset = Changeset::from_bytes(forge(&body, body.len() as u64)).expect("a right checksum");
            cheaply(|| {
                let body = changeset.body().expect("decompresses");
                body.open().map_or(true, |(_, rows)| rows.last().is_some_and(|row| row.is_err()))
            });
        }
        for lane in [after(&[1]), after(&[1, 0]), after(&[1, 1, 1, 0, 1, 1, b'a', 0, 0]), after(&[1, 0, 0])] {
            cheaply(|| Lane::from_bytes(&lane).is_err());
        }
        for update in [after(&[]), after(&[1]), after(&[0]), after(&[0, 1, 1]), after(&[1, 1, 1, 0, 0x23])] {
            cheaply(|| validate::row_update(&update).is_err() && validate::text_update(&update).is_err());
        }
        cheaply(|| validate::state_vector(&after(&[])).is_err());
        cheaply(|| Value::from_bytes(&after(&[4])).is_err());
    }
}

#[test]
fn a_state_vector_out_of_order_or_with_a_repeated_or_empty_entry_is_refused() {
    let heads = |entries: &[(u8, u8)]| {
        let mut frame = vec![1, 19, 0, entries.len() as u8];
        for &(replica, seq) in entries {
            frame.extend([replica; 16]);
            frame.push(seq);
        }
        RelayMessage::decode(sealed(frame))
    };
    assert!(heads(&[(1, 5), (2, 1)]).is_ok());
    for bad in [&[(2, 5), (1, 1)][..], &[(1, 5), (1, 6)], &[(1, 5), (1, 5)], &[(1, 0)], &[(0, 1)]] {
        assert!(heads(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_yrs_state_vector_names_each_writer_once_and_clocks_within_reach() {
    let max = [0xff, 0xff, 0xff, 0xff, 0x07];
    assert_eq!(validate::state_vector(&[&[1, 5], &max[..]].concat()), Ok(()));
    for bad in [
        &[][..],
        &[1],
        &[2, 5, 1, 5, 1],
        &[1, 0, 1],
        &[0, 0],
        &[1, 5, 0x80, 0x80, 0x80, 0x80, 0x08],
        &[1, 5, 0x81, 0x00],
        &[1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10, 1],
    ] {
        assert!(validate::state_vector(bad).is_err(), "{}", hex::encode(bad));
    }
}

/// Reading a key added the two parts of a number as `i128`, which a REAL beyond 2^127 overflows.
#[test]
fn a_key_of_a_huge_number_with_something_added_is_refused_and_no_panic() {
    for real in [1e300, -1e300, f64::MAX, f64::INFINITY, f64::NEG_INFINITY] {
        let key = RowKey::encode([(&Value::Real(real), Collation::Binary)]).expect("a key");
        assert_eq!(RowKey::from_bytes(key.as_bytes()), Ok(key.clone()));
        for away in [[0x80, 0x01], [0x7f, 0xff], [0, 0], [0xff, 0xff]] {
            let mut bytes = key.as_bytes().to_vec();
            bytes[9..].copy_from_slice(&away);
            assert_eq!(RowKey::from_bytes(&bytes), Err(KeyError::Malformed), "{real} {away:?}");
        }
    }
}

#[test]
fn a_real_that_is_not_a_number_is_refused() {
    for bits in [f64::NAN.to_bits(), u64::MAX, 0x7ff0_0000_0000_0001] {
        let bytes = [&[2][..], &bits.to_be_bytes()].concat();
        assert!(Value::from_bytes(&bytes).is_err(), "{bits:x}");
    }
}

/// `Lane::to_bytes` leaves the order to whoever makes the lane, so it writes these as they are.
#[test]
fn a_lane_out_of_order_or_with_a_repeated_entry_is_refused() {
    let writer = |id| WriterId::new(id).expect("a writer");
    let seen = |id, large, number| Seen { writer: writer(id), large, number };
    let floor = |id, number| Floor { lane: LaneName::main(writer(id)), number };
    let cell = |column: &'static str, seen| Cell {
        column: column.into(),
        content: Value::Null.into(),
        time: 0,
        number: 1,
        seen,
    };
    let counter = |column: &'static str| Counter { column: column.into(), added: 1 };
    let good = Lane {
        cells: vec![cell("a", vec![seen(1, false, 9), seen(1, true, 1)]), cell("b", Vec::new())],
        floors: vec![floor(1, 2), floor(2, 1)],
        counters: vec![counter("a"), counter("b")],
    };
    assert!(Lane::from_bytes(&good.to_bytes()).is_ok());
    let bad = [
        Lane { cells: vec![cell("b", Vec::new()), cell("a", Vec::new())], ..Lane::default() },
        Lane { cells: vec![cell("a", Vec::new()), cell("a", Vec::new())], ..Lane::default() },
        Lane { cells: vec![cell("a", vec![seen(1, true, 1), seen(1, false, 2)])], ..Lane::default() },
        Lane { cells: vec![cell("a", vec![seen(1, true, 1), seen(1, true, 2)])], ..Lane::default() },
        Lane { floors: vec![floor(2, 1), floor(1, 2)], ..Lane::default() },
        Lane { floors: vec![floor(1, 1), floor(1, 2)], ..Lane::default() },
        Lane { counters: vec![counter("b"), counter("a")], ..Lane::default() },
        Lane { counters: vec![counter("a"), counter("a")], ..Lane::default() },
    ];
    for lane in bad {
        assert!(Lane::from_bytes(&lane.to_bytes()).is_err(), "{lane:?}");
    }
}
