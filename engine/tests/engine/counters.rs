//! Kinds of columns as a caller states them, and what is captured of a counter.

use driftless::{Affinity, ColumnKind, Error, KindRefusal, Refusal, Selection, TableOptions, Value};
use driftless_protocol::lane::Lane;
use driftless_protocol::validate;

use crate::support::File;

const T: &str =
    "CREATE TABLE t (k TEXT PRIMARY KEY, n INTEGER DEFAULT 0, v); INSERT INTO t VALUES ('a', 7, 'x')";

fn track(file: &File, tables: &[&str], options: TableOptions) -> driftless::Result<()> {
    driftless::track(file.path(), Selection::Named(tables), options).map(|_| ())
}

/// A file that counts in column `n` of `t`, captured.
fn counting(sql: &str) -> File {
    let file = File::new(sql);
    track(&file, &["t"], TableOptions::default().counter("n")).expect("tracked");
    file.capture();
    file
}

/// All lanes of all documents of a table.
fn lanes(file: &File, table: &str) -> Vec<Lane<'static>> {
    let user = file.user();
    let mut statement = user
        .prepare(
            "SELECT d.body FROM _driftless_rows r JOIN _driftless_documents d ON d.id = r.doc
             JOIN _driftless_tables t ON t.id = r.tbl WHERE t.name = ?1",
        )
        .expect("the documents");
    let bodies = statement.query_map([table], |row| row.get::<_, Vec<u8>>(0)).expect("the documents");
    let mut all = Vec::new();
    for body in bodies {
        let body: &'static [u8] = body.expect("a document").leak();
        let lanes = validate::row_update(body).expect("valid").into_lanes().expect("whole");
        all.extend(lanes.into_iter().map(|(_, lane)| lane));
    }
    all
}

/// What all lanes have added to `n`.
fn added(file: &File) -> i128 {
    lanes(file, "t").iter().map(|lane| lane.added("n")).sum()
}

#[test]
fn a_row_that_is_found_is_a_value_and_what_is_written_afterwards_is_what_it_adds() {
    let file = counting(T);
    file.assert_captured("t");
    assert_eq!(added(&file), 0, "found: nothing was added");
    file.run("UPDATE t SET n = n + 1; UPDATE t SET n = n + 1; UPDATE t SET n = 3 * n");
    assert_eq!(file.capture(), ["t['a']"]);
    assert_eq!(added(&file), 20);
    file.assert_captured("t");
    file.run("UPDATE t SET n = n - 100, v = 'y'");
    file.capture();
    assert_eq!(added(&file), -80);
    file.assert_captured("t");
    file.run("UPDATE t SET n = n");
    assert!(file.capture().is_empty(), "nothing was added");
    file.run("INSERT INTO t VALUES ('b', 5, NULL)");
    file.capture();
    assert_eq!(added(&file), -75, "what a new row counts is added to nothing");
    file.assert_captured("t");
}

#[test]
fn whatever_is_written_to_a_counter_is_captured_exactly() {
    let file = counting(T);
    let user = file.user();
    for value in [
        "1",
        "4611686018427387904",
        "9223372036854775807",
        "-9223372036854775808",
        "9223372036854775807",
        "NULL",
        "-5",
        "n + 1",
        "9223372036854775807",
        "n + 1",
        "0",
        "'many'",
        "'12'",
        "2.5",
        "2.0",
        "x'00ff'",
        "-1",
        "NULL",
        "NULL",
        "-9223372036854775808",
    ] {
        user.execute_batch(&format!("UPDATE t SET n = {value}")).expect("written");
        file.capture();
        file.assert_captured("t");
    }
    user.execute_batch("DELETE FROM t").expect("deleted");
    file.capture();
    file.assert_captured("t");
    user.execute_batch("INSERT INTO t (k, n) VALUES ('a', 9223372036854775807)").expect("inserted");
    file.capture();
    file.assert_captured("t");
    user.execute_batch("REPLACE INTO t (k) VALUES ('a')").expect("replaced");
    file.capture();
    file.assert_captured("t");
}

#[test]
fn a_counter_stays_exact_when_its_kind_changes_to_and_fro() {
    let file = counting(T);
    for kind in [ColumnKind::Register, ColumnKind::Counter, ColumnKind::Register] {
        file.run("UPDATE t SET n = n + 11");
        file.capture();
        file.assert_captured("t");
        let before = added(&file);
        driftless::set_kind(file.path(), "t", "n", kind).expect("changed");
        assert!(file.capture().is_empty(), "no row changes with the kind");
        file.run("UPDATE t SET n = n + 1");
        file.capture();
        assert_eq!(added(&file) - before, i128::from(kind == ColumnKind::Counter), "{kind}");
        file.assert_captured("t");
    }
}

#[test]
fn a_renamed_counter_counts_on_under_the_name_that_it_had() {
    let file = counting(T);
    file.run("UPDATE t SET n = n + 1; ALTER TABLE t RENAME COLUMN n TO m");
    file.capture();
    file.run("UPDATE t SET m = m + 1");
    file.capture();
    assert_eq!(lanes(&file, "t").iter().map(|lane| lane.added("n")).sum::<i128>(), 2);
    assert_eq!(file.documents("t")[0]["n"], Value::Integer(9));
}

#[test]
fn kinds_that_differ_from_the_spaces_are_refused_and_unstated_ones_are_not() {
    let file = counting(T);
    let contradiction = |options| match track(&file, &["t"], options) {
        Err(Error::Contradiction { existing, asked, .. }) => format!("{existing}, {asked}"),
        other => panic!("{other:?}"),
    };
    for tracked in [true, false] {
        if !tracked {
            driftless::untrack(file.path(), &["t"]).expect("untracked");
        }
        let other = TableOptions::default().counter("n").text("v");
        assert_eq!(contradiction(other), "column 'v' as a register, a text");
        let register = TableOptions::default().kind("N", ColumnKind::Register);
        assert_eq!(contradiction(register), "column 'n' as a counter, a register");
    }
    track(&file, &["t"], TableOptions::default().kind("v", ColumnKind::Register)).expect("the same");
    track(&file, &["t"], TableOptions::default()).expect("unstated");
    assert_eq!(
        file.table_status("t").kinds.get("n"),
        Some(&ColumnKind::Counter),
        "and the space's are taken"
    );
    file.run("UPDATE t SET n = n + 1");
    file.capture();
    assert_eq!(added(&file), 1);
}

#[test]
fn a_kind_that_a_column_cannot_have_is_refused_with_the_reason() {
    const SQL: &str = "
        CREATE TABLE t (k INT, l TEXT, body TEXT, words VARCHAR(9), size REAL, any, n INTEGER, d DECIMAL(9,2), b BLOB,
            g AS (n + 1), \"line\nbreak\", PRIMARY KEY (k, l));
        CREATE TABLE s (k TEXT PRIMARY KEY, a ANY) STRICT";
    let why = |table: &str, column: &str, kind| match track(
        &File::new(SQL),
        &[table],
        TableOptions::default().kind(column, kind),
    ) {
        Ok(()) => None,
        Err(Error::NotTrackable { refusal: Refusal::Kind { why, .. }, .. }) => Some(why),
        Err(other) => panic!("{other}"),
    };
    let affinity = |affinity| Some(KindRefusal::Affinity(affinity));
    use ColumnKind::{Counter, Text};
    for (column, counter, text) in [
        ("nothing", Some(KindRefusal::NoSuchColumn), Some(KindRefusal::NoSuchColumn)),
        ("k", Some(KindRefusal::Key), Some(KindRefusal::Key)),
        ("L", Some(KindRefusal::Key), Some(KindRefusal::Key)),
        ("g", Some(KindRefusal::Generated), Some(KindRefusal::Generated)),
        ("line\nbreak", Some(KindRefusal::Newline), Some(KindRefusal::Newline)),
        ("body", affinity(Affinity::Text), None),
        ("words", affinity(Affinity::Text), None),
        ("size", affinity(Affinity::Real), affinity(Affinity::Real)),
        ("any", None, None),
        ("b", None, None),
        ("N", None, affinity(Affinity::Integer)),
        ("d", None, affinity(Affinity::Numeric)),
    ] {
        assert_eq!(why("t", column, Counter), counter, "{column} as a counter");
        assert_eq!(why("t", column, Text), text, "{column} as a text");
    }
    assert_eq!((why("s", "a", Counter), why("s", "a", Text)), (None, None), "ANY in a STRICT table");
    let refused = track(&File::new(SQL), &["t"], TableOptions::default().counter("body"));
    let expected = "table 't' cannot be tracked: column 'body' cannot be a counter: its declared type gives it TEXT \
                    affinity; a counter is declared INTEGER, or without a type";
    assert_eq!(refused.map_err(|error| error.to_string()), Err(expected.to_owned()));
}

#[test]
fn a_kind_is_changed_only_where_it_fits_and_where_the_table_is_tracked() {
    let file = counting(T);
    let set = |table, column, kind| driftless::set_kind(file.path(), table, column, kind);
    assert!(
        matches!(set("nothing", "n", ColumnKind::Counter), Err(Error::NotTracked(name)) if name == "nothing")
    );
    for kind in [ColumnKind::Counter, ColumnKind::Register] {
        let refused = set("t", "nothing", kind);
        assert!(
            matches!(
                refused,
                Err(Error::KindRefused { refusal: Refusal::Kind { why: KindRefusal::NoSuchColumn, .. }, .. })
            ),
            "{refused:?}"
        );
    }
    let key = set("t", "k", ColumnKind::Counter).map_err(|error| error.to_string());
    assert!(key.is_err_and(|text| text.contains("table 't' stays as it is: column 'k' cannot be a counter")));
    driftless::untrack(file.path(), &["t"]).expect("untracked");
    assert!(matches!(set("t", "n", ColumnKind::Counter), Err(Error::NotTracked(_))));
    let untouched = File::new(T);
    let refused = driftless::set_kind(untouched.path(), "t", "n", ColumnKind::Counter);
    assert!(matches!(refused, Err(Error::NotInitialized(_))));
}

#[test]
fn of_several_tables_a_column_is_named_with_its_table() {
    let sql = "CREATE TABLE t (k TEXT PRIMARY KEY, n INTEGER); CREATE TABLE \"t.x\" (k TEXT PRIMARY KEY, n INTEGER);
               CREATE TABLE u (k TEXT PRIMARY KEY, n INTEGER)";
    let file = File::new(sql);
    let options = TableOptions::default().counter("T.n").counter("t.x.n");
    driftless::track(file.path(), Selection::All, options).expect("tracked");
    let counts = |table| file.table_status(table).kinds.contains_key("n");
    assert_eq!((counts("t"), counts("t.x"), counts("u")), (true, true, false));
    let file = File::new(sql);
    for column in ["n", "v.n", "t."] {
        let refused = driftless::track(file.path(), Selection::All, TableOptions::default().counter(column));
        assert!(
            matches!(&refused, Err(Error::NoSuchColumn(_) | Error::NotTrackable { .. })),
            "{column}: {refused:?}"
        );
        assert_eq!(file.number("SELECT count(*) FROM sqlite_master WHERE name LIKE '%driftless%'"), 0);
    }
    // One table by name, or all where there is but one: with or without.
    for (name, column) in [(Some("u"), "n"), (Some("u"), "u.n"), (None, "only.n")] {
        let file = File::new(if name.is_some() { sql } else { "CREATE TABLE only (k TEXT PRIMARY KEY, n)" });
        let names: Vec<&str> = name.into_iter().collect();
        let selection = if names.is_empty() { Selection::All } else { Selection::Named(&names) };
        driftless::track(file.path(), selection, TableOptions::default().counter(column)).expect("tracked");
        assert!(file.table_status(name.unwrap_or("only")).kinds.contains_key("n"), "{column}");
    }
}

/// Two files that are tracked apart write their definitions at no time, so that one that says "no kinds" could win over
/// one that states some.
#[test]
fn a_definition_says_nothing_of_kinds_that_nobody_stated() {
    let says = |file: &File| {
        let lanes = lanes(file, "_driftless_definitions");
        assert_eq!(lanes.len(), 1);
        lanes[0].cell("kinds").map(|cell| cell.content.value().expect("a value").to_string())
    };
    assert_eq!(says(&File::tracked(T, &["t"])), None);
    assert_eq!(says(&counting(T)).as_deref(), Some("'{\"n\":\"counter\"}'"));
    let file = File::new(T);
    track(&file, &["t"], TableOptions::default().kind("n", ColumnKind::Register)).expect("tracked");
    file.capture();
    assert_eq!(says(&file).as_deref(), Some("'{}'"), "stated, and none");
    // A change of the table leaves what was stated.
    let file = counting(T);
    file.run("ALTER TABLE t ADD COLUMN w");
    file.capture();
    let kinds: Vec<_> = lanes(&file, "_driftless_definitions")
        .iter()
        .filter_map(|lane| Some(lane.cell("kinds")?.content.value()?.to_string()))
        .collect();
    assert_eq!(kinds, ["'{\"n\":\"counter\"}'"]);
}
