//! Everything that travels, drawn at random.

use std::borrow::Cow;
use std::collections::BTreeMap;

use driftless_protocol::changeset::{Body, BodyBuilder};
use driftless_protocol::lane::{Cell, Content, Counter, Floor, LIFE, Lane, LaneName, MAX_ADDED, Seen};
use driftless_protocol::message::{Head, Hello, Welcome};
use driftless_protocol::{
    Changeset, ChangesetHeader, ClientMessage, Collation, MAX_PRESENCE_BYTES, Part, Presence, RelayMessage,
    ReplicaId, RowKey, Seq, SnapshotHeader, SnapshotPart, SpaceId, StateVector, Value, WriterId,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

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

pub(crate) fn value() -> impl Strategy<Value = Value<'static>> {
    prop_oneof![
        Just(Value::Null),
        integer().prop_map(Value::Integer),
        real().prop_map(Value::Real),
        bytes().prop_map(|b| Value::Text(Cow::Owned(b))),
        bytes().prop_map(|b| Value::Blob(Cow::Owned(b))),
    ]
}

pub(crate) fn collation() -> impl Strategy<Value = Collation> {
    prop_oneof![Just(Collation::Binary), Just(Collation::NoCase), Just(Collation::RTrim)]
}

pub(crate) fn writer() -> impl Strategy<Value = WriterId> {
    prop_oneof![1..5u64, 1..WriterId::LIMIT, Just(WriterId::LIMIT - 1)]
        .prop_map(|id| WriterId::new(id).expect("in range"))
}

pub(crate) fn name() -> impl Strategy<Value = String> {
    vec(prop_oneof![Just('a'), Just('b'), Just('/'), Just('é'), any::<char>()], 1..5)
        .prop_map(|chars| chars.into_iter().collect())
}

pub(crate) fn write_number() -> impl Strategy<Value = u64> {
    prop_oneof![1..9u64, 1..=u64::MAX >> 1, Just(u64::MAX >> 1)]
}

pub(crate) fn lane() -> impl Strategy<Value = Lane<'static>> {
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

pub(crate) fn replica() -> impl Strategy<Value = ReplicaId> {
    any::<[u8; 16]>().prop_filter_map("not nil", |bytes| ReplicaId::from_bytes(bytes).ok())
}

pub(crate) fn space() -> impl Strategy<Value = SpaceId> {
    any::<[u8; 16]>().prop_filter_map("not nil", |bytes| SpaceId::from_bytes(bytes).ok())
}

pub(crate) fn seq() -> impl Strategy<Value = Seq> {
    prop_oneof![1..300u64, 1..=Seq::MAX, Just(Seq::MAX)].prop_filter_map("a seq", Seq::new)
}

pub(crate) fn vector() -> impl Strategy<Value = StateVector> {
    vec((replica(), seq()), 0..6).prop_map(|entries| entries.into_iter().collect())
}

pub(crate) fn header() -> impl Strategy<Value = ChangesetHeader> {
    let part = prop_oneof![Just(Part::Whole), Just(Part::More), Just(Part::Last)];
    (replica(), seq(), part, vector(), any::<i64>())
        .prop_map(|(replica, seq, part, after, time)| ChangesetHeader { replica, seq, part, after, time })
}

pub(crate) fn key() -> impl Strategy<Value = RowKey> {
    vec((value(), collation()), 1..4)
        .prop_filter_map("a key", |columns| RowKey::encode(columns.iter().map(|(v, c)| (v, *c))).ok())
}

/// Table, key, column if it is a text document's, update.
pub(crate) type Rows = Vec<(String, RowKey, Option<String>, Vec<u8>)>;

pub(crate) fn rows() -> impl Strategy<Value = (BTreeMap<WriterId, ReplicaId>, Rows)> {
    let table = prop_oneof![Just("notes".to_owned()), Just("tags".to_owned()), Just("é\"".to_owned())];
    let column = option::of(prop_oneof![Just("body".to_owned()), Just("é\"".to_owned())]);
    (btree_map(writer(), replica(), 0..4), vec((table, key(), column, vec(any::<u8>(), 0..30)), 0..6))
}

pub(crate) fn build(authors: &BTreeMap<WriterId, ReplicaId>, rows: &Rows) -> Body {
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

pub(crate) fn client_message() -> impl Strategy<Value = ClientMessage> {
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

pub(crate) fn presence() -> impl Strategy<Value = Presence> {
    let length = prop_oneof![0..9usize, 0..=MAX_PRESENCE_BYTES, Just(MAX_PRESENCE_BYTES)];
    (length, any::<u8>()).prop_map(|(length, byte)| Presence::new(vec![byte; length]).expect("short enough"))
}

pub(crate) fn snapshot() -> impl Strategy<Value = SnapshotPart> {
    (any::<[u8; 16]>(), any::<u32>(), any::<bool>(), vector(), rows()).prop_map(
        |(snapshot, index, last, vector, (authors, rows))| {
            SnapshotPart::seal(SnapshotHeader { snapshot, index, last, vector }, &build(&authors, &rows))
        },
    )
}

pub(crate) fn relay_message() -> impl Strategy<Value = RelayMessage> {
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
