//! Rows that no row of a table can be: keys of another shape, keys that another row has, values of key columns that are
//! not the key's. Nobody's engine writes them into its own table; they come from files whose table has another key, and
//! from whoever means ill.

use bytes::Bytes;
use driftless::{Config, TableOptions, VerifyOptions, sim};
use driftless_protocol::canonical::Writer;
use driftless_protocol::changeset::BodyBuilder;
use driftless_protocol::lane::{Cell, LIFE, Lane, LaneName, ROW_ROOT};
use driftless_protocol::{
    Changeset, ChangesetHeader, Collation, Part, ReplicaId, RowKey, Seq, StateVector, Value, WriterId,
};
use driftless_tests::{Courier, create_database, query, sql};
use tempfile::TempDir;

const NOTES: &str = "CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT);
                     CREATE TABLE tags (note TEXT REFERENCES notes(id), name TEXT COLLATE NOCASE, n INTEGER,
                                        PRIMARY KEY (note, name));
                     INSERT INTO notes VALUES ('a', 'one'), ('b', 'two');
                     INSERT INTO tags VALUES ('a', 'x', 1);";

/// A replica of these tables, in a folder of its own.
fn replica(schema: &str) -> (TempDir, sim::Replica) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("it.db");
    create_database(&file, schema);
    let mut replica = sim::Replica::open(&file, Config::default()).expect("opens");
    let tables = driftless_tests::tables(&file);
    replica.track(&tables.names(), TableOptions::integer_key()).expect("tracks");
    (folder, replica)
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

/// The file proves to be whole.
#[track_caller]
fn is_well(replica: &sim::Replica) {
    let found = driftless::verify(replica.path(), &VerifyOptions::default()).expect("can be verified");
    assert!(found.is_well(), "{found:#?}");
}

/// The keys and the rules of the rows that are parked.
fn parked(replica: &sim::Replica) -> Vec<String> {
    query(replica.path(), "SELECT \"table\", \"key\", rule FROM driftless_parked ORDER BY 1, 2")
}

/// The value of a key column stood in the row's document as whatever its writer said, and was written to the table: the
/// row then had another key than its document, or NULL in it, and was a second row at each write.
#[test]
fn a_row_has_the_key_under_which_it_travels_whatever_its_columns_say() {
    let (_folder, mut replica) = replica(NOTES);
    let text = Value::text;
    let rows = forge(&[
        ("notes", &[text("c")], &[("id", text("a")), ("title", text("three"))]),
        ("notes", &[text("d")], &[("id", Value::Null), ("title", text("four"))]),
        ("tags", &[text("b"), text("y")], &[("note", text("a")), ("name", Value::Null)]),
        ("tags", &[text("b"), text("z")], &[("note", text("b")), ("name", text("Z"))]),
    ]);
    for _ in 0..2 {
        replica.turn(vec![rows.clone()]).expect("the turn succeeds");
        sql(replica.path(), "UPDATE notes SET title = title || '!'");
        replica.turn(Vec::new()).expect("the turn succeeds");
    }
    let notes = query(replica.path(), "SELECT id, title FROM notes ORDER BY id");
    assert_eq!(notes, ["'a', 'one!!'", "'b', 'two!!'", "'c', 'three!!'", "'d', 'four!!'"]);
    // The spelling is the document's where it is the same key.
    let tags = query(replica.path(), "SELECT note, name FROM tags ORDER BY 1, 2");
    assert_eq!(tags, ["'a', 'x'", "'b', 'y'", "'b', 'Z'"]);
    is_well(&replica);
}

/// A key of two columns was bound to a statement that asks for one: the turn failed, and so did every turn after it.
#[test]
fn rows_whose_keys_no_row_of_the_table_can_have_are_parked() {
    let (_folder, mut replica) = replica(NOTES);
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
    replica.turn(vec![rows]).expect("the turn succeeds");
    sql(replica.path(), "DELETE FROM notes WHERE id = 'b'; UPDATE tags SET n = 9");
    replica.turn(Vec::new()).expect("the turn succeeds");
    assert_eq!(query(replica.path(), "SELECT * FROM notes ORDER BY id"), ["'7', 'fits'", "'a', 'one'"]);
    assert_eq!(query(replica.path(), "SELECT * FROM tags"), ["'a', 'x', 9"]);
    let listed = [
        "'notes', ''a', 'b'', 'PRIMARY KEY'",
        "'notes', '7', 'PRIMARY KEY'",
        "'tags', ''a', 'X'', 'PRIMARY KEY'",
        "'tags', ''b'', 'PRIMARY KEY'",
    ];
    assert_eq!(parked(&replica), listed);
    is_well(&replica);
}

/// As above, and nobody meant ill.
#[test]
fn files_whose_tables_have_different_keys_keep_each_others_rows_aside() {
    let (_one, mut one) = replica("CREATE TABLE t (id TEXT PRIMARY KEY, v); INSERT INTO t VALUES ('a', 1)");
    let (_two, mut two) = replica(
        "CREATE TABLE t (id TEXT, lang TEXT, v, PRIMARY KEY (id, lang)); INSERT INTO t VALUES ('a', 'en', 2)",
    );
    let mut courier = Courier::new();
    for round in 1..4 {
        sql(one.path(), "UPDATE t SET v = v + 10");
        sql(two.path(), "UPDATE t SET v = v + 10");
        courier.carry(&mut [&mut one, &mut two]);
        assert_eq!(query(one.path(), "SELECT * FROM t"), [format!("'a', {round}1")]);
        assert_eq!(query(two.path(), "SELECT * FROM t"), [format!("'a', 'en', {round}2")]);
    }
    assert_eq!(parked(&one), ["'t', ''a', 'en'', 'PRIMARY KEY'"]);
    assert_eq!(parked(&two), ["'t', ''a'', 'PRIMARY KEY'"]);
    is_well(&one);
    is_well(&two);
    // And gone when they are gone.
    sql(one.path(), "DELETE FROM t");
    sql(two.path(), "DELETE FROM t");
    courier.carry(&mut [&mut one, &mut two]);
    assert_eq!((parked(&one), parked(&two)), (Vec::new(), Vec::new()));
    is_well(&one);
    is_well(&two);
}
