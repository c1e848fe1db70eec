//! Whatever SQLite stores is captured bit for bit: as a value and as a key, in tables of every kind.

use driftless::Value;

use crate::support::{File, execute};

/// Values at the edges of their types.
fn edges() -> Vec<Value<'static>> {
    let text = |bytes: &[u8]| Value::Text(bytes.to_vec().into());
    let blob = |bytes: &[u8]| Value::Blob(bytes.to_vec().into());
    let integers = [
        0,
        1,
        -1,
        i64::MAX,
        i64::MIN,
        i64::MAX - 1,
        1 << 31,
        -(1 << 31) - 1,
        1 << 53,
        (1 << 53) + 1,
        1_700_000_000_000,
    ];
    let reals = [
        0.0,
        -0.0,
        1.0,
        0.1,
        -1.5,
        f64::MIN_POSITIVE,
        5e-324,
        -5e-324,
        f64::MAX,
        f64::MIN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::EPSILON,
        9_007_199_254_740_993.0,
        9.223_372_036_854_776e18,
        1e15,
        1e300,
    ];
    let texts: [&[u8]; 16] = [
        b"",
        b"a",
        b"A",
        b"1",
        b"1.0",
        b"-0",
        b"1e3",
        b" 7 ",
        b"0x10",
        b"\0",
        b"a\0b",
        b"\xff\xfe",
        b"\xc0\x80",
        b"\xed\xa0\x80",
        "日本語 🎉 e\u{301}".as_bytes(),
        b"'; DROP TABLE t; --",
    ];
    let blobs: [&[u8]; 5] = [b"", b"\0", b"abc", b"\xff\xff", b"\0\xff\0\0"];
    let mut edges = vec![Value::Null];
    edges.extend(integers.map(Value::Integer));
    edges.extend(reals.map(Value::Real));
    edges.extend(texts.map(text));
    edges.extend(blobs.map(blob));
    // About where a value takes a lane of its own, and well above.
    for length in [511, 512, 513, 70_000] {
        edges.push(Value::Text(vec![b'x'; length].into()));
        edges.push(Value::Blob(vec![0xff; length].into()));
    }
    edges
}

/// Every way to declare a column and a table.
fn declarations() -> Vec<(&'static str, &'static str)> {
    let loose = ["", "INTEGER", "INT", "REAL", "TEXT", "BLOB", "NUMERIC", "VARCHAR(3)", "DOUBLE", "BOOLEAN"];
    let strict = ["INT", "INTEGER", "REAL", "TEXT", "BLOB", "ANY"];
    let both = |types: &'static [&'static str], ends: [&'static str; 2]| {
        types.iter().flat_map(move |&column| ends.map(|end| (column, end))).collect::<Vec<_>>()
    };
    let mut all = both(loose.to_vec().leak(), ["", "WITHOUT ROWID"]);
    all.extend(both(strict.to_vec().leak(), ["STRICT", "STRICT, WITHOUT ROWID"]));
    all
}

#[test]
fn as_a_value_in_a_column_of_any_type() {
    let declarations = declarations();
    let tables: Vec<String> = (0..declarations.len()).map(|n| format!("t{n}")).collect();
    let schema: String = tables
        .iter()
        .zip(&declarations)
        .map(|(table, (column, end))| {
            format!("CREATE TABLE {table} (k TEXT PRIMARY KEY NOT NULL, v {column}) {end};")
        })
        .collect();
    let file = File::new(&schema);
    let user = file.user();
    let fill = |prefix: &str| {
        user.execute_batch("BEGIN").expect("begun");
        for table in &tables {
            for (n, value) in edges().iter().enumerate() {
                let key = Value::Text(format!("{prefix}{n}").into_bytes().into());
                // STRICT tables refuse what is not of their type.
                let _ = execute(&user, &format!("INSERT INTO {table} VALUES (?1, ?2)"), &[&key, value]);
            }
        }
        user.execute_batch("COMMIT").expect("committed");
    };
    fill("found ");
    file.track(&tables.iter().map(String::as_str).collect::<Vec<_>>());
    fill("written ");
    file.capture();
    for (table, declaration) in tables.iter().zip(&declarations) {
        assert!(file.rows(table).len() >= 10, "{declaration:?} takes some of the values");
        file.assert_captured(table);
    }
    // Each value becomes each other's, and is captured as a change.
    for table in &tables {
        user.execute_batch(&format!("UPDATE OR IGNORE {table} SET v = (SELECT o.v FROM {table} o WHERE o.k < {table}.k ORDER BY o.k DESC LIMIT 1)"))
            .expect("updated");
    }
    file.capture();
    tables.iter().for_each(|table| file.assert_captured(table));
}

#[test]
fn as_a_key_of_any_type() {
    let declarations = declarations();
    let tables: Vec<String> = (0..declarations.len()).map(|n| format!("t{n}")).collect();
    let schema: String = tables
        .iter()
        .zip(&declarations)
        .map(|(table, (column, end))| {
            format!("CREATE TABLE {table} (k {column} NOT NULL, v, PRIMARY KEY (k)) {};", {
                // STRICT tables want a type for every column.
                end
            })
            .replace("v,", if end.contains("STRICT") { "v ANY," } else { "v," })
        })
        .collect();
    let file = File::new(&schema);
    file.track(&tables.iter().map(String::as_str).collect::<Vec<_>>());
    let user = file.user();
    user.execute_batch("BEGIN").expect("begun");
    for table in &tables {
        for (n, value) in edges().iter().enumerate() {
            // Equal keys are one row, and STRICT tables refuse what is not of their type.
            let _ = execute(
                &user,
                &format!("INSERT OR IGNORE INTO {table} VALUES (?1, ?2)"),
                &[value, &Value::Integer(n as i64)],
            );
        }
    }
    user.execute_batch("COMMIT").expect("committed");
    file.capture();
    for (table, declaration) in tables.iter().zip(&declarations) {
        assert!(file.rows(table).len() >= 5, "{declaration:?} takes some of the keys");
        file.assert_captured(table);
    }
    // Every row is found again by its key.
    for table in &tables {
        user.execute_batch(&format!("UPDATE {table} SET v = 'again'")).expect("updated");
    }
    file.capture();
    tables.iter().for_each(|table| file.assert_captured(table));
    for table in &tables {
        user.execute_batch(&format!("DELETE FROM {table}")).expect("deleted");
    }
    file.capture();
    tables.iter().for_each(|table| file.assert_captured(table));
}

/// SQLite itself keeps the sign of zero in columns without REAL affinity, and there only: REAL columns store whole numbers
/// as integers, and an integer zero has no sign. We keep whatever it kept.
#[test]
fn the_sign_of_zero_as_far_as_sqlite_keeps_it() {
    let file =
        File::tracked("CREATE TABLE t (k TEXT PRIMARY KEY, untyped, r REAL, i INTEGER, n NUMERIC)", &["t"]);
    let (key, zero) = (Value::text("a"), Value::Real(-0.0));
    execute(&file.user(), "INSERT INTO t VALUES (?1, ?2, ?2, ?2, ?2)", &[&key, &zero]).expect("inserted");
    let row = &file.rows("t")[0];
    assert_eq!(row["untyped"], Value::Real(-0.0));
    assert_eq!(row["r"], Value::Real(0.0));
    assert_eq!(row["i"], Value::Integer(0));
    assert_eq!(row["n"], Value::Integer(0));
    file.capture();
    file.assert_captured("t");
    // Zeros of either sign are equal, but not the same.
    execute(&file.user(), "UPDATE t SET untyped = ?1", &[&Value::Real(0.0)]).expect("updated");
    assert_eq!(file.capture(), ["t['a']"]);
    file.assert_captured("t");
}

#[test]
fn zeros_of_either_sign_are_one_key() {
    let file = File::tracked("CREATE TABLE t (k PRIMARY KEY, v)", &["t"]);
    let user = file.user();
    for zero in [Value::Real(-0.0), Value::Real(0.0), Value::Integer(0)] {
        execute(&user, "REPLACE INTO t VALUES (?1, 'v')", &[&zero]).expect("replaced");
        assert_eq!(file.capture(), ["t[0]"], "{zero:?}");
        file.assert_captured("t");
    }
}

#[test]
fn not_a_number_is_null_as_sqlite_has_it() {
    let file = File::tracked("CREATE TABLE t (k TEXT PRIMARY KEY, v)", &["t"]);
    execute(&file.user(), "INSERT INTO t VALUES ('a', ?1)", &[&Value::Real(f64::NAN)]).expect("inserted");
    file.capture();
    file.assert_captured("t");
    assert_eq!(file.documents("t")[0]["v"], Value::Null);
}

#[test]
fn ten_megabytes() {
    let file = File::tracked("CREATE TABLE t (k TEXT PRIMARY KEY, v, w, n)", &["t"]);
    let large = Value::Blob(
        (0..10 << 20).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect::<Vec<_>>().into(),
    );
    let text = Value::Text(vec![b'z'; 10 << 20].into());
    execute(&file.user(), "INSERT INTO t VALUES ('a', ?1, ?2, 1)", &[&large, &text]).expect("inserted");
    assert_eq!(file.capture(), ["t['a']"]);
    file.assert_captured("t");
    let before = file.number("SELECT max(seq) FROM _driftless_outbox");
    file.run("UPDATE t SET n = 2");
    assert_eq!(file.capture(), ["t['a']"]);
    file.assert_captured("t");
    let bytes =
        file.number(&format!("SELECT sum(length(changeset)) FROM _driftless_outbox WHERE seq > {before}"));
    assert!(bytes < 1000, "a small change does not send large values again: {bytes} bytes");
}

#[test]
fn a_row_too_large_to_travel_stays_here_and_is_counted() {
    let file = File::tracked("CREATE TABLE t (k TEXT PRIMARY KEY, v)", &["t"]);
    file.run("INSERT INTO t VALUES ('large', zeroblob(64 << 20)), ('small', 1)");
    assert_eq!(file.capture(), ["t['small']"]);
    assert_eq!(file.table_status("t").parked, 1);
    file.run("UPDATE t SET v = 2 WHERE k = 'large'");
    assert_eq!(file.capture(), ["t['large']"]);
    assert_eq!(file.table_status("t").parked, 0);
    file.assert_captured("t");
}

#[test]
fn a_key_too_long_to_travel_stays_here_and_is_counted() {
    let file = File::tracked("CREATE TABLE t (k PRIMARY KEY, v)", &["t"]);
    file.run("INSERT INTO t VALUES (zeroblob(2 << 20), 1), (x'01', 2)");
    assert_eq!(file.capture(), ["t[x'01']"]);
    let status = file.table_status("t");
    assert_eq!(status.local_only + status.parked, 1, "status says that a row stays here");
}

#[test]
fn dates_json_and_other_texts_are_texts() {
    let file = File::tracked("CREATE TABLE t (k TEXT PRIMARY KEY, at DATETIME, j JSON)", &["t"]);
    file.run(
        "INSERT INTO t VALUES ('a', '2024-02-30', '{\"a\": [1, 2.50]}'), ('b', 1700000000000, jsonb('[1]'))",
    );
    file.capture();
    file.assert_captured("t");
}
