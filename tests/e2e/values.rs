//! Every value of SQLite arrives as it is: bit for bit, with the same `typeof`, in tables of every kind.

use driftless::Value;
use driftless_tests::{Node, TestRelay, agree, connect};
use rusqlite::params_from_iter;
use rusqlite::types::{ToSqlOutput, ValueRef};

const COLUMNS: [&str; 7] = ["", "INTEGER", "REAL", "TEXT", "BLOB", "NUMERIC", "BOOLEAN"];
const STRICT_COLUMNS: [&str; 5] = ["INTEGER", "REAL", "TEXT", "BLOB", "ANY"];

fn edges() -> Vec<Value<'static>> {
    let integers =
        [0, 1, -1, i64::MAX, i64::MIN, 1 << 31, (1 << 53) + 1, 1_700_000_000_000].map(Value::Integer);
    let reals = [
        0.0,
        -0.0,
        1.0,
        0.1,
        5e-324,
        -f64::MIN_POSITIVE,
        f64::MAX,
        f64::INFINITY,
        f64::NEG_INFINITY,
        9_007_199_254_740_993.0,
    ]
    .map(Value::Real);
    let texts: [&[u8]; 9] = [
        b"",
        b"a",
        b"1.0",
        b"\0",
        b"a\0b",
        b"\xff\xfe",
        b"\xed\xa0\x80",
        "🎉 e\u{301}".as_bytes(),
        &[b'x'; 600],
    ];
    let blobs: [&[u8]; 5] = [b"", b"\0", b"abc", b"\xff\0", &[0xff; 600]];
    let texts = texts.map(|bytes| Value::Text(bytes.to_vec().into()));
    let blobs = blobs.map(|bytes| Value::Blob(bytes.to_vec().into()));
    [Value::Null].into_iter().chain(integers).chain(reals).chain(texts).chain(blobs).collect()
}

fn bind<'a>(value: &'a Value<'a>) -> ToSqlOutput<'a> {
    ToSqlOutput::Borrowed(match value {
        Value::Null => ValueRef::Null,
        Value::Integer(integer) => ValueRef::Integer(*integer),
        Value::Real(real) => ValueRef::Real(*real),
        Value::Text(bytes) => ValueRef::Text(bytes),
        Value::Blob(bytes) => ValueRef::Blob(bytes),
    })
}

/// The tables: each kind of column, as a value and as a key, with and without rowid, strict and not.
fn schema() -> (String, Vec<String>) {
    let loose = COLUMNS.iter().flat_map(|column| [(*column, "k", ""), (*column, "k", "WITHOUT ROWID")]);
    let strict = STRICT_COLUMNS
        .iter()
        .flat_map(|column| [(*column, "k ANY", "STRICT"), (*column, "k ANY", "STRICT, WITHOUT ROWID")]);
    let (mut sql, mut tables) = (String::new(), Vec::new());
    for (n, (column, other, end)) in loose.chain(strict).enumerate() {
        sql += &format!("CREATE TABLE value{n} ({other} NOT NULL, v {column}, PRIMARY KEY (k)) {end};");
        sql += &format!("CREATE TABLE key{n} (v {column} NOT NULL, {other}, PRIMARY KEY (v)) {end};");
        tables.extend([format!("value{n}"), format!("key{n}")]);
    }
    (sql, tables)
}

/// Writes every value into every table that takes it.
fn write(node: &Node, tables: &[String], prefix: &str) {
    let connection = connect(node.path());
    connection.execute_batch("BEGIN").expect("begun");
    for table in tables {
        let sql = format!("INSERT OR IGNORE INTO {table} (k, v) VALUES (?1, ?2)");
        for (n, value) in edges().iter().enumerate() {
            let name = Value::Text(format!("{prefix} {n}").into_bytes().into());
            // STRICT tables refuse what is not of their type.
            let _ = connection.execute(&sql, params_from_iter([bind(&name), bind(value)]));
        }
    }
    connection.execute_batch("COMMIT").expect("committed");
}

/// Every value of a table as its type and its bytes, whatever they are. (Text that is not UTF-8 has no other form.)
fn stored(node: &Node, table: &str) -> Vec<Vec<u8>> {
    let connection = connect(node.path());
    let mut statement = connection
        .prepare(&format!("SELECT typeof(k), k, typeof(v), v FROM {table}"))
        .expect("the table is there");
    let mut found = statement.query([]).expect("rows");
    let mut rows = Vec::new();
    while let Some(row) = found.next().expect("a row") {
        let mut bytes = Vec::new();
        for at in 0..4 {
            match row.get_ref(at).expect("a value") {
                ValueRef::Null => bytes.push(0),
                ValueRef::Integer(integer) => bytes.extend(integer.to_be_bytes()),
                ValueRef::Real(real) => bytes.extend(real.to_bits().to_be_bytes()),
                ValueRef::Text(text) | ValueRef::Blob(text) => bytes.extend(text),
            }
            bytes.extend(b"\0|\0");
        }
        rows.push(bytes);
    }
    rows.sort();
    rows
}

#[test]
fn every_value_arrives_bit_for_bit_in_tables_of_every_kind() {
    let folder = tempfile::tempdir().expect("a folder");
    let relay = TestRelay::in_memory();
    let (sql, tables) = schema();
    let mut one = Node::create(folder.path().join("one.db"), &sql);
    let mut two = Node::create(folder.path().join("two.db"), &sql);
    write(&one, &tables, "of one");
    one.go_online(&relay.url("values"));
    one.sync_now();
    two.go_online(&relay.url("values"));
    two.sync_now();
    for table in &tables {
        let arrived = stored(&two, table);
        assert!(arrived.len() >= 4, "{table} takes some values");
        assert!(arrived == stored(&one, table), "{table} differs");
    }
    // And back: as updates of what came, beside rows of its own.
    two.sql(&tables.iter().filter(|table| table.starts_with("value")).fold(String::new(), |sql, table| {
        sql + &format!("UPDATE OR IGNORE {table} SET v = (SELECT o.v FROM {table} o WHERE o.k > {table}.k ORDER BY o.k LIMIT 1);")
    }));
    write(&two, &tables, "of two");
    agree(&[&two, &one]);
    for table in &tables {
        assert!(stored(&one, table) == stored(&two, table), "{table} differs");
    }
}

#[test]
fn ten_megabytes_arrive() {
    let folder = tempfile::tempdir().expect("a folder");
    let relay = TestRelay::in_memory();
    let sql = "CREATE TABLE t (k TEXT PRIMARY KEY, v)";
    let mut one = Node::create(folder.path().join("one.db"), sql);
    let mut two = Node::create(folder.path().join("two.db"), sql);
    // Random, so that compression does not make it small.
    one.sql("INSERT INTO t VALUES ('blob', randomblob(10 << 20)), ('text', hex(randomblob(5 << 20)))");
    one.go_online(&relay.url("large"));
    two.go_online(&relay.url("large"));
    agree(&[&one, &two]);
    let sizes = "SELECT count(*) FROM t WHERE length(v) = 10 << 20";
    let count: i64 = connect(two.path()).query_row(sizes, [], |row| row.get(0)).expect("a count");
    assert_eq!(count, 2);
}
