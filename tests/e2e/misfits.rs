//! Rows that no row of a table can be: keys of another shape, keys that another row has, values of key columns that are
//! not the key's. Nobody's engine writes them into its own table; they come from files whose table has another key
//! (`what_happens/keys.rs`), and from whoever means ill.

use bytes::Bytes;
use driftless::TableOptions;
use driftless_protocol::canonical::Writer;
use driftless_protocol::changeset::BodyBuilder;
use driftless_protocol::lane::{Cell, LIFE, Lane, LaneName, ROW_ROOT};
use driftless_protocol::{
    Changeset, ChangesetHeader, Collation, Part, ReplicaId, RowKey, Seq, StateVector, Value, WriterId,
};
use driftless_tests::Replicas;

const NOTES: &str = "CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT);
                     CREATE TABLE tags (note TEXT REFERENCES notes(id), name TEXT COLLATE NOCASE, n INTEGER,
                                        PRIMARY KEY (note, name));
                     INSERT INTO notes VALUES ('a', 'one'), ('b', 'two');
                     INSERT INTO tags VALUES ('a', 'x', 1);";

/// One file of these tables.
fn replicas() -> Replicas {
    Replicas::new(1, NOTES, &["notes", "tags"], &TableOptions::default())
}

/// A new row: table, key, columns.
type Row<'a> = (&'a str, &'a [Value<'a>], &'a [(&'a str, Value<'a>)]);

/// A changeset by a stranger with new rows.
fn forge(rows: &[Row<'_>]) -> Bytes {
    let writer = WriterId::from_bits(7);
    let mut body = BodyBuilder::new();
    for (table, key, columns) in rows {
        let life = (LIFE, Value::Integer(1));
        let cells = std::iter::once(&life).chain(*columns).map(|(column, value)| Cell {
            column: (*column).into(),
            content: value.clone().into(),
            time: 1,
            number: 1,
            seen: Vec::new(),
        });
        let mut lane = Lane { cells: cells.collect(), ..Lane::default() };
        lane.cells.sort_by(|a, b| a.column.cmp(&b.column));
        let mut update = Writer::new();
        // One writer, one item, from clock 0 on: bytes under a key in the root.
        [1, 1, writer.get(), 0].into_iter().for_each(|number| update.varint(number));
        update.byte(0x23);
        update.varint(1);
        update.block(ROW_ROOT.as_bytes());
        update.block(LaneName::main(writer).to_string().as_bytes());
        update.block(&lane.to_bytes());
        update.varint(0);
        let key = RowKey::encode(key.iter().map(|value| (value, Collation::Binary))).expect("a key");
        body.row(table, &key, &update.finish());
    }
    let header = ChangesetHeader {
        replica: ReplicaId::random(),
        seq: Seq::FIRST,
        part: Part::Whole,
        after: StateVector::new(),
        time: 0,
    };
    Changeset::seal(header, &body.finish()).bytes().clone()
}

/// The value of a key column stood in the row's document as whatever its writer said, and was written to the table: the
/// row then had another key than its document, or NULL in it, and was a second row at each write.
#[test]
fn a_row_has_the_key_under_which_it_travels_whatever_its_columns_say() {
    let mut replicas = replicas();
    let text = Value::text;
    let rows = forge(&[
        ("notes", &[text("c")], &[("id", text("a")), ("title", text("three"))]),
        ("notes", &[text("d")], &[("id", Value::Null), ("title", text("four"))]),
        ("tags", &[text("b"), text("y")], &[("note", text("a")), ("name", Value::Null)]),
        ("tags", &[text("b"), text("z")], &[("note", text("b")), ("name", text("Z"))]),
    ]);
    for _ in 0..2 {
        replicas.node(0).turn(vec![rows.clone()]).expect("the turn succeeds");
        replicas.sql(0, "UPDATE notes SET title = title || '!'");
        replicas.capture(0);
    }
    let notes = replicas.query(0, "SELECT id, title FROM notes ORDER BY id");
    assert_eq!(notes, ["'a', 'one!!'", "'b', 'two!!'", "'c', 'three!!'", "'d', 'four!!'"]);
    // The spelling is the document's where it is the same key.
    let tags = replicas.query(0, "SELECT note, name FROM tags ORDER BY 1, 2");
    assert_eq!(tags, ["'a', 'x'", "'b', 'y'", "'b', 'Z'"]);
    replicas.assert_well(0);
}

/// A key of two columns was bound to a statement that asks for one: the turn failed, and so did every turn after it.
#[test]
fn rows_whose_keys_no_row_of_the_table_can_have_are_parked() {
    let mut replicas = replicas();
    let text = Value::text;
    let rows = forge(&[
        ("notes", &[text("a"), text("b")], &[("title", text("two columns"))]),
        // TEXT columns hold no numbers: it would be written as '7'.
        ("notes", &[Value::Integer(7)], &[("title", text("a number"))]),
        ("tags", &[text("b")], &[("n", Value::Integer(2))]),
        // Folded it is another row's.
        ("tags", &[text("a"), text("X")], &[("n", Value::Integer(3))]),
        ("notes", &[text("7")], &[("title", text("fits"))]),
    ]);
    replicas.node(0).turn(vec![rows]).expect("the turn succeeds");
    replicas.sql(0, "DELETE FROM notes WHERE id = 'b'; UPDATE tags SET n = 9");
    replicas.capture(0);
    assert_eq!(replicas.query(0, "SELECT * FROM notes ORDER BY id"), ["'7', 'fits'", "'a', 'one'"]);
    assert_eq!(replicas.query(0, "SELECT * FROM tags"), ["'a', 'x', 9"]);
    let listed = [
        "'notes', ''a', 'b'', 'PRIMARY KEY'",
        "'notes', '7', 'PRIMARY KEY'",
        "'tags', ''a', 'X'', 'PRIMARY KEY'",
        "'tags', ''b'', 'PRIMARY KEY'",
    ];
    let parked = replicas.query(0, "SELECT \"table\", \"key\", rule FROM driftless_parked ORDER BY 1, 2");
    assert_eq!(parked, listed);
    replicas.assert_well(0);
}
