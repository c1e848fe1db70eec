//! Long chains of rows that refer to one another: the first of them goes, and each of the others after it; it comes back,
//! and they return. Both once cost the square of the chain's length, in one turn that kept every writer waiting.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use driftless::{Config, TableOptions};
use driftless_tests::{Node, Replicas, TestRelay, query, sql};

/// A turn moves so many rows of others at most, unless it is told to do less.
const MOST_IN_A_TURN: usize = 500;

const PLAIN: &str = "CREATE TABLE rev (id TEXT PRIMARY KEY, prev TEXT REFERENCES rev (id), t TEXT)";
/// The columns that refer have an index.
const INDEXED: &str = "CREATE TABLE rev (id TEXT PRIMARY KEY, prev TEXT REFERENCES rev (id), t TEXT);
                       CREATE INDEX by_prev ON rev (prev)";
/// The two sides compare values differently, so that no index of the user's serves.
const UNLIKE: &str = "CREATE TABLE rev (id TEXT PRIMARY KEY, prev INTEGER REFERENCES rev (id), t TEXT);
                      CREATE INDEX by_prev ON rev (prev)";
/// By a UNIQUE column, which the rows go on holding.
const BY_UNIQUE: &str = "CREATE TABLE rev (id TEXT PRIMARY KEY, prev TEXT REFERENCES rev (t), t TEXT UNIQUE)";
const TWO_TABLES: &str = "CREATE TABLE rev (id TEXT PRIMARY KEY, prev TEXT REFERENCES other (id), t TEXT);
                          CREATE TABLE other (id TEXT PRIMARY KEY, prev TEXT REFERENCES rev (id))";

/// Two files with the same chain, which know of each other what there is to know.
fn pair(schema: &str, length: usize, config: &Config) -> Replicas {
    let has = |table: &&str| schema.contains(&format!("TABLE {table} "));
    let tables: Vec<&str> = ["rev", "other", "note"].into_iter().filter(has).collect();
    let mut pair = Replicas::with_config(config, 2, schema, &tables, &TableOptions::default());
    write(pair.path(0), &chain(schema, length));
    pair.meet();
    pair
}

/// The rows '1' to the last, each of which refers to the one before, and of which the first refers to nothing.
fn chain(schema: &str, length: usize) -> String {
    let rows = |condition: &str, values: &str| {
        format!(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {length})
             SELECT {values} FROM n WHERE {condition}"
        )
    };
    let before = "nullif(CAST(i - 1 AS TEXT), '0')";
    if schema.contains("other") {
        format!(
            "INSERT INTO rev {}; INSERT INTO other {}",
            rows("i % 2", &format!("CAST(i AS TEXT), {before}, 'x'")),
            rows("i % 2 = 0", &format!("CAST(i AS TEXT), {before}")),
        )
    } else {
        format!("INSERT INTO rev {}", rows("1", &format!("CAST(i AS TEXT), {before}, CAST(i AS TEXT)")))
    }
}

/// Writes as an app does on whose connection SQLite enforces no foreign keys, as is its default.
fn write(file: &Path, statements: &str) {
    sql(file, &format!("PRAGMA foreign_keys = OFF; {statements}"));
}

fn count(file: &Path, table: &str) -> usize {
    query(file, &format!("SELECT count(*) FROM {table}"))[0].parse().expect("a number")
}

fn orphans(file: &Path) -> usize {
    query(file, "PRAGMA foreign_key_check").len()
}

/// Limits as narrow as tests need them.
fn rows_in_a_turn(rows: usize) -> Config {
    let mut config = Config::default();
    config.turn_rows = rows;
    config.turn_gap = Duration::ZERO;
    config
}

#[test]
fn a_chain_goes_and_returns_at_a_cost_in_proportion_to_its_length() {
    for schema in [PLAIN, INDEXED, UNLIKE, BY_UNIQUE, TWO_TABLES] {
        let steps = |length: usize| {
            let mut pair = pair(schema, length, &rows_in_a_turn(20_000));
            let steps = pair.node(1).count_steps().expect("counted");
            let counted = || steps.swap(0, Ordering::Relaxed);
            write(pair.path(0), "DELETE FROM rev WHERE id = '1'");
            pair.fetch_turn_by_turn(1, 0, |_| {});
            let gone = counted();
            assert_eq!(count(pair.path(1), "rev"), 0, "{schema}");
            write(pair.path(0), "INSERT INTO rev (id, t) VALUES ('1', '1')");
            pair.fetch_turn_by_turn(1, 0, |_| {});
            let returned = counted();
            assert_eq!(query(pair.path(1), "SELECT count(*) FROM driftless_parked"), ["0"], "{schema}");
            pair.assert_same_tables();
            [gone, returned]
        };
        let (short, long) = (steps(600), steps(2400));
        for (short, long) in short.into_iter().zip(long) {
            // Four times as long; the square would be sixteen times as much.
            assert!(long < short * 6, "{schema}: {short} thousand steps became {long}");
        }
    }
}

/// Each parked row was looked at together with all rows above it in the chain: the cost was the square of their number.
#[test]
fn a_migration_looks_at_a_parked_chain_at_a_cost_in_proportion_to_its_length() {
    for schema in [PLAIN, INDEXED] {
        let steps = |length: usize| {
            let mut pair = pair(schema, length, &rows_in_a_turn(20_000));
            write(pair.path(0), "DELETE FROM rev WHERE id = '1'");
            pair.fetch_turn_by_turn(1, 0, |_| {});
            let steps = pair.node(1).count_steps().expect("counted");
            write(pair.path(1), "ALTER TABLE rev ADD COLUMN more");
            pair.node(1).turn_by_turn(Vec::new(), |_| {}).expect("looked at");
            let parked = query(pair.path(1), "SELECT count(*) FROM driftless_parked");
            assert_eq!(parked, [(length - 1).to_string()], "{schema}");
            steps.swap(0, Ordering::Relaxed)
        };
        let (short, long) = (steps(600), steps(2400));
        assert!(long < short * 6, "{schema}: {short} thousand steps became {long}");
    }
}

#[test]
fn however_long_a_chain_is_each_turn_moves_a_few_rows_and_leaves_no_orphan() {
    for schema in [PLAIN, INDEXED, UNLIKE, BY_UNIQUE, TWO_TABLES] {
        let mut pair = pair(schema, 2000, &rows_in_a_turn(20_000));
        let rows = |file: &Path| {
            count(file, "rev") + if schema.contains("other") { count(file, "other") } else { 0 }
        };
        let mut before = rows(pair.path(1));
        let mut look = |file: &Path| {
            assert_eq!(orphans(file), 0, "{schema}");
            let now = rows(file);
            // The first, and what the turn did otherwise.
            assert!(now.abs_diff(before) <= MOST_IN_A_TURN + 2, "{schema}: {before} rows became {now}");
            before = now;
        };
        write(pair.path(0), "DELETE FROM rev WHERE id = '1'");
        pair.fetch_turn_by_turn(1, 0, &mut look);
        assert_eq!(rows(pair.path(1)), 0, "{schema}");
        assert_eq!(query(pair.path(1), "SELECT count(*) FROM driftless_parked"), ["1999"], "{schema}");
        if schema == UNLIKE {
            continue; // what waits for any row at all returns in one turn
        }
        write(pair.path(0), "INSERT INTO rev (id, t) VALUES ('1', '1')");
        pair.fetch_turn_by_turn(1, 0, &mut look);
        pair.assert_same_tables();
    }
}

#[test]
fn a_row_that_its_own_app_deletes_before_a_chain_takes_it_along_in_turns_that_leave_no_other_orphan() {
    let mut pair = pair(PLAIN, 2000, &rows_in_a_turn(20_000));
    write(pair.path(0), "DELETE FROM rev WHERE id = '1'");
    let mut turns = 0;
    pair.node(0)
        .turn_by_turn(Vec::new(), |file| {
            turns += 1;
            assert!(orphans(file) <= 1, "the one that the app left");
        })
        .expect("captured");
    assert!(turns > 2000 / MOST_IN_A_TURN, "{turns} turns");
    assert_eq!(count(pair.path(0), "rev"), 0);
    pair.meet();
    pair.assert_same_tables();
}

#[test]
fn what_an_app_writes_while_a_chain_goes_is_judged_like_everything_else() {
    let mut pair = pair(PLAIN, 60, &rows_in_a_turn(5));
    write(pair.path(0), "DELETE FROM rev WHERE id = '1'; UPDATE rev SET t = 'by a' WHERE id = '31'");
    let mut looks = 0;
    pair.fetch_turn_by_turn(1, 0, |file| {
        looks += 1;
        if looks == 3 {
            // A child of a row that is about to go, one that moves its branch away, one that goes, one that was parked.
            write(
                file,
                "INSERT INTO rev VALUES ('child', '20', 'by b'), ('root', NULL, 'by b');
                 UPDATE rev SET prev = 'root' WHERE id = '30';
                 DELETE FROM rev WHERE id = '10';
                 INSERT INTO rev VALUES ('60', 'root', 'repaired')",
            );
        }
    });
    pair.meet();
    pair.assert_same_tables();
    let ids: BTreeSet<String> = query(pair.path(1), "SELECT id FROM rev").into_iter().collect();
    let expected = (30..=60).map(|id| format!("'{id}'")).chain(["'root'".to_owned()]);
    assert_eq!(ids, expected.collect());
    assert_eq!(
        query(pair.path(1), "SELECT t FROM rev WHERE id IN ('31', '60') ORDER BY id"),
        ["'by a'", "'repaired'"]
    );
    // '1' and '10' are deleted.
    assert_eq!(query(pair.path(0), "SELECT count(*) FROM driftless_parked"), ["28"]);
}

#[test]
fn an_engine_that_stops_while_a_chain_goes_ends_it_when_it_is_opened_again() {
    let config = rows_in_a_turn(5);
    for stop_after in 1..=20 {
        let mut pair = pair(PLAIN, 40, &config);
        write(pair.path(0), "DELETE FROM rev WHERE id = '1'");
        let news = pair.news(1, 0);
        let again = news.clone();
        let (mut looks, file) = (0, pair.path(1).to_owned());
        let stopped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            pair.node(1).turn_by_turn(news, |_| {
                looks += 1;
                assert!(looks < stop_after, "stopped");
            })
        }));
        pair.close(1);
        pair.reopen(1);
        let replica = pair.node(1);
        // Either what it got before is kept, or it comes again.
        replica.turn_by_turn(again, |file| assert_eq!(orphans(file), 0)).expect("applied");
        assert!(replica.is_idle().expect("asked"), "after {stop_after}");
        assert_eq!(count(&file, "rev"), 0, "after {stop_after}");
        assert_eq!(query(&file, "SELECT count(*) FROM driftless_parked"), ["39"], "after {stop_after}");
        if stopped.is_ok() {
            return;
        }
    }
}

/// While rows are parked, the change that takes their parents away waits in the inbox. It counted as applied.
#[test]
fn two_files_agree_only_when_the_whole_chain_has_gone() {
    let (relay, folder) = (TestRelay::in_memory(), tempfile::tempdir().expect("a folder"));
    let [mut a, mut b] = ["a.db", "b.db"].map(|name| Node::create(folder.path().join(name), PLAIN));
    for node in [&mut a, &mut b] {
        node.go_online(&relay.url("chain"));
    }
    write(a.path(), &chain(PLAIN, 2000));
    a.sync_now();
    b.sync_now();
    b.go_offline();
    write(a.path(), "DELETE FROM rev WHERE id = '1'");
    a.sync_now();
    b.go_online(&relay.url("chain"));
    b.sync_now();
    assert_eq!(count(b.path(), "rev"), 0);
    assert_eq!(query(b.path(), "SELECT count(*) FROM driftless_parked"), ["1999"]);
}

#[test]
fn rows_that_were_parked_for_a_deletion_that_never_comes_return() {
    let config = rows_in_a_turn(5);
    let mut pair = pair(PLAIN, 40, &config);
    write(pair.path(0), "DELETE FROM rev WHERE id = '1'");
    let news = pair.news(1, 0);
    let (mut looks, file) = (0, pair.path(1).to_owned());
    let stopped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        pair.node(1).turn_by_turn(news, |_| {
            looks += 1;
            assert!(looks < 4, "stopped");
        })
    }));
    assert!(stopped.is_err());
    pair.close(1);
    assert!(count(&file, "rev") < 40, "some are parked ahead");
    write(&file, "DELETE FROM _driftless_inbox");
    pair.reopen(1);
    let replica = pair.node(1);
    replica.turn_by_turn(Vec::new(), |file| assert_eq!(orphans(file), 0)).expect("a turn");
    assert_eq!(count(&file, "rev"), 40);
    assert!(replica.is_idle().expect("asked"));
}

#[test]
fn rows_that_hold_one_another_go_and_return_together_however_little_a_turn_does() {
    let schema = "CREATE TABLE lead (id TEXT PRIMARY KEY);
                  CREATE TABLE rev (id TEXT PRIMARY KEY, prev TEXT REFERENCES rev (id), lead TEXT REFERENCES lead (id))";
    let options = TableOptions::default();
    let mut replicas = Replicas::with_config(&rows_in_a_turn(3), 1, schema, &["lead", "rev"], &options);
    let file = replicas.path(0).to_owned();
    let replica = replicas.node(0);
    // A ring of twenty, one of which refers to something else, and a branch on it.
    write(
        &file,
        "INSERT INTO lead VALUES ('l');
         WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 19)
         INSERT INTO rev SELECT 'r' || i, 'r' || ((i + 1) % 20), iif(i = 7, 'l', NULL) FROM n;
         INSERT INTO rev VALUES ('s', 'r3', NULL), ('t', 's', NULL), ('u', 't', NULL)",
    );
    replica.turn(Vec::new()).expect("captured");
    for _ in 0..2 {
        write(&file, "DELETE FROM lead");
        replica.turn(Vec::new()).expect("captured");
        assert_eq!((count(&file, "rev"), orphans(&file)), (0, 0));
        write(&file, "INSERT INTO lead VALUES ('l')");
        replica.turn_by_turn(Vec::new(), |file| assert_eq!(orphans(file), 0)).expect("captured");
        assert_eq!(
            count(&file, "rev"),
            23,
            "{:#?}",
            query(&file, "SELECT key, reason FROM driftless_parked")
        );
    }
}

/// Adds rows at the end of what is left of the chain, each below the one before, as an app does on whose connection SQLite
/// enforces foreign keys; none once only the first row is left.
fn lengthen(file: &Path, rows: usize, number: &mut usize) {
    let last =
        query(file, "SELECT max(CAST(id AS INTEGER)) FROM rev WHERE CAST(id AS INTEGER) BETWEEN 2 AND 40");
    let Ok(mut above) = last[0].parse::<usize>() else { return };
    let rows: Vec<String> = (0..rows)
        .map(|_| {
            *number += 1;
            let id = 1000 + *number;
            let row = format!("('{id}', '{above}', '{id}')");
            above = id;
            row
        })
        .collect();
    sql(file, &format!("PRAGMA foreign_keys = ON; INSERT INTO rev VALUES {}", rows.join(", ")));
}

/// Brings what the first file wrote to the second, where an app does something after each turn, told how many turns there were.
/// No turn may leave an orphan. Returns the number of turns.
fn deliver_beside_app(pair: &mut Replicas, about: &str, mut app: impl FnMut(&Path, usize)) -> usize {
    let mut turns = 0;
    pair.fetch_turn_by_turn(1, 0, |file| {
        assert_eq!(orphans(file), 0, "{about}: turn {turns}");
        turns += 1;
        assert!(turns < 200, "{about}: no end of it");
        app(file, turns);
    });
    turns
}

/// A turn that parked rows ahead looked only at the listed ones. A row that the app had made refer to one of them since was without
/// its parent until the cascade was over.
#[test]
fn what_an_app_adds_below_rows_that_are_about_to_go_is_never_without_its_parent() {
    for schema in [PLAIN, INDEXED, UNLIKE, BY_UNIQUE] {
        // A few rows are captured in the turn that parks; twelve take turns of their own before it.
        for (added, every) in [(1, 1), (3, 1), (12, 12)] {
            let mut pair = pair(schema, 40, &rows_in_a_turn(5));
            write(pair.path(0), "DELETE FROM rev WHERE id = '1'");
            let mut number = 0;
            deliver_beside_app(&mut pair, &format!("{schema}: {added} added"), |file, turns| {
                if turns % every == 1 % every {
                    lengthen(file, added, &mut number);
                }
            });
            assert!(number > added, "{schema}: it was over at once");
            pair.meet();
            pair.assert_same_tables();
            assert_eq!(count(pair.path(1), "rev"), 0, "{schema}: {added} added");
            let parked = query(pair.path(1), "SELECT count(*) FROM driftless_parked");
            assert_eq!(parked, [(39 + number).to_string()], "{schema}: {added} added");
        }
    }
}

/// The branch that the app moves is more than one turn parks.
#[test]
fn a_branch_that_an_app_moves_below_rows_that_are_about_to_go_is_never_without_its_parent() {
    for schema in [PLAIN, INDEXED, UNLIKE, BY_UNIQUE] {
        let mut pair = pair(schema, 40, &rows_in_a_turn(5));
        let branch = "WITH RECURSIVE n (i) AS (SELECT 101 UNION ALL SELECT i + 1 FROM n WHERE i < 130)
             INSERT INTO rev SELECT CAST(i AS TEXT), nullif(CAST(i - 1 AS TEXT), '100'), CAST(i AS TEXT) FROM n";
        write(pair.path(0), branch);
        pair.meet();
        write(pair.path(0), "DELETE FROM rev WHERE id = '1'");
        let last = "SELECT id FROM rev WHERE CAST(id AS INTEGER) < 100 ORDER BY CAST(id AS INTEGER) DESC";
        let move_branch =
            format!("PRAGMA foreign_keys = ON; UPDATE rev SET prev = ({last}) WHERE id = '101'");
        let turns = deliver_beside_app(&mut pair, schema, |file, turns| {
            if turns == 3 {
                sql(file, &move_branch);
            }
        });
        assert!(turns > 3 + 30 / 10, "{schema}: {turns} turns");
        pair.meet();
        pair.assert_same_tables();
        assert_eq!(count(pair.path(1), "rev"), 0, "{schema}");
        assert_eq!(query(pair.path(1), "SELECT count(*) FROM driftless_parked"), ["69"], "{schema}");
    }
}

/// The list of rows that go was made before the reference was declared.
#[test]
fn a_reference_that_an_app_declares_while_a_chain_goes_holds_from_then_on() {
    let schema = "CREATE TABLE rev (id TEXT PRIMARY KEY, prev TEXT REFERENCES rev (id), t TEXT);
                  CREATE TABLE note (id TEXT PRIMARY KEY, rev TEXT)";
    let mut config = rows_in_a_turn(5);
    config.rebuild_quiet = Duration::ZERO;
    let mut pair = pair(schema, 40, &config);
    write(pair.path(0), "INSERT INTO note SELECT 'n' || id, id FROM rev");
    pair.meet();
    write(pair.path(0), "DELETE FROM rev WHERE id = '1'");
    let declare = "BEGIN; DELETE FROM note WHERE rev NOT IN (SELECT id FROM rev);
                   CREATE TABLE fresh (id TEXT PRIMARY KEY, rev TEXT REFERENCES rev (id));
                   INSERT INTO fresh SELECT * FROM note; DROP TABLE note; ALTER TABLE fresh RENAME TO note; COMMIT";
    deliver_beside_app(&mut pair, schema, |file, turns| {
        if turns == 3 {
            write(file, declare);
        }
    });
    assert_eq!((count(pair.path(1), "rev"), count(pair.path(1), "note")), (0, 0));
}
