//! Counters with many writers, with engines and a relay, and in every order of renames. How they add up is a matter of
//! `what_happens`.

use std::path::Path;
use std::time::Duration;

use driftless::{ColumnKind, Config, Error, TableOptions};
use driftless_tests::{Node, Nodes, Replicas, connect, create_database, eventually, query};

const PAGES: &str = "CREATE TABLE pages (id TEXT PRIMARY KEY, title TEXT, hits INTEGER DEFAULT 0);
    INSERT INTO pages VALUES ('p', 'page', 0)";

fn counting() -> TableOptions {
    TableOptions::default().counter("hits")
}

fn hits(path: &Path) -> Vec<String> {
    query(path, "SELECT hits FROM pages WHERE id = 'p'")
}

#[test]
fn ten_replicas_that_add_a_thousand_times_each_while_apart_come_to_ten_thousand() {
    let mut nodes = Nodes::new(10, PAGES, &counting());
    nodes.part();
    for (n, node) in nodes.iter().enumerate() {
        let user = connect(node.path());
        // As many transactions as 1,000, 100, 10 and 1.
        let each = [1, 10, 100, 1000][n % 4];
        for _ in 0..1000 / each {
            let adds = "UPDATE pages SET hits = hits + 1 WHERE id = 'p';".repeat(each);
            user.execute_batch(&format!("BEGIN IMMEDIATE; {adds} COMMIT")).expect("added");
        }
    }
    nodes.meet();
    for node in nodes.iter() {
        assert_eq!(hits(node.path()), ["10000"]);
        assert_eq!(node.conflicts(), []);
    }
}

#[test]
fn a_clone_counts_and_what_contradicts_the_space_is_refused() {
    let mut nodes = Nodes::new(1, PAGES, &counting());
    let path = nodes.file("clone.db");
    nodes.clone_into(&path);
    nodes.join(&path);
    let clone = &nodes[1];
    clone.engine().track(&["pages"], TableOptions::default()).expect("unstated kinds contradict nothing");
    let text = TableOptions::default().text("title");
    let refused = clone.engine().track(&["pages"], text).map_err(|error| error.to_string());
    assert_eq!(
        refused,
        Err("table 'pages' is tracked in this space with column 'title' as a register, which contradicts a text; \
             `driftless set-kind` changes it for the whole space"
            .to_owned())
    );
    nodes.write(1, "UPDATE pages SET hits = hits + 1");
    nodes.write(0, "UPDATE pages SET hits = hits + 1");
    nodes.meet();
    assert_eq!(hits(&path), ["2"]);
}

#[test]
fn a_file_that_joined_before_it_tracks_is_refused_another_kind() {
    let mut nodes = Nodes::new(1, PAGES, &counting());
    let path = nodes.file("late.db");
    create_database(&path, PAGES);
    nodes.join(&path);
    nodes.go_online();
    let late = &nodes[1];
    late.sync_now();
    let register = TableOptions::default().kind("hits", ColumnKind::Register);
    let refused = late.engine().track(&["pages"], register);
    assert!(
        matches!(&refused, Err(Error::Contradiction { existing, asked, .. })
            if existing == "column 'hits' as a counter" && asked == "a register"),
        "{refused:?}"
    );
    late.track_all(counting());
    nodes.agree();
}

#[test]
fn a_kind_that_is_changed_beside_a_running_engine_takes_effect_at_once() {
    let mut nodes = Nodes::new(1, PAGES, &TableOptions::default());
    nodes.part();
    let node = &nodes[0];
    driftless::set_kind(node.path(), "pages", "hits", ColumnKind::Counter).expect("a counter");
    let unsent = |node: &Node| node.status().unsent.changesets;
    eventually("the definition to be captured", || (unsent(node) == 1).then_some(()));
    assert_eq!(node.status().tables[0].kinds.get("hits"), Some(&ColumnKind::Counter));
}

/// What stood in the renamed column was found there, and counted beside what had been added: 21 for 11.
#[test]
fn a_counter_that_is_renamed_by_the_app_counts_on_whenever_that_is_told() {
    let schema = "CREATE TABLE p (id TEXT PRIMARY KEY, n INTEGER DEFAULT 0, v); INSERT INTO p VALUES ('1', 1, ''), ('2', 0, '')";
    let rebuild = "BEGIN; CREATE TABLE q (id TEXT PRIMARY KEY, hits INTEGER DEFAULT 0, v); INSERT INTO q SELECT * FROM p;
        DROP TABLE p; ALTER TABLE q RENAME TO p; COMMIT";
    for migration in ["ALTER TABLE p RENAME COLUMN n TO hits", rebuild] {
        for (early, looks, adds, both) in [
            (false, false, false, false),
            (false, false, true, false),
            (true, true, false, false),
            (true, true, true, false),
            (false, true, true, false),
            (true, true, true, true),
            (false, true, true, true),
        ] {
            let case = format!("{migration}, early {early}, looks {looks}, adds {adds}, both {both}");
            let mut replicas = Replicas::new(3, schema, &["p"], &TableOptions::default().counter("n"));
            replicas.sql(0, "UPDATE p SET n = n + 10 WHERE id = '1'");
            replicas.sql(2, "UPDATE p SET n = n + 2 WHERE id = '2'");
            replicas.meet();
            let migrated = if both { 2 } else { 1 };
            (0..migrated).for_each(|node| replicas.sql(node, migration));
            if early {
                replicas.meet();
            }
            replicas.sql(2, "UPDATE p SET n = n + 100");
            if adds {
                (0..migrated).for_each(|node| replicas.sql(node, "UPDATE p SET hits = hits + 1000"));
            }
            if looks {
                replicas.meet();
            }
            driftless::rename_column(replicas.path(0), "p", "n", "hits").expect("told");
            replicas.meet();
            let all = i64::from(adds) * 1000 * migrated as i64 + 100;
            let expected = [(11 + all).to_string(), (2 + all).to_string()];
            assert_eq!(replicas.query(0, "SELECT hits FROM p ORDER BY id"), expected, "{case}");
            assert_eq!(replicas.query(2, "SELECT n FROM p ORDER BY id"), expected, "{case}");
            replicas.sql(0, "UPDATE p SET hits = hits + 1");
            replicas.sql(2, "UPDATE p SET n = n + 1");
            replicas.meet();
            let expected = [(13 + all).to_string(), (4 + all).to_string()];
            assert_eq!(replicas.query(0, "SELECT hits FROM p ORDER BY id"), expected, "{case}");
            assert_eq!(replicas.query(2, "SELECT n FROM p ORDER BY id"), expected, "{case}");
            assert_eq!(replicas.query(0, "SELECT count(*) FROM driftless_conflicts"), ["0"], "{case}");
            (0..3).for_each(|node| replicas.assert_well(node));
        }
    }
}

/// What the second machine found in its renamed column was added to what the first had found there: 20 for 10.
#[test]
fn a_counter_that_one_renames_after_it_heard_of_the_others_rename_counts_on() {
    let schema =
        "CREATE TABLE p (id TEXT PRIMARY KEY, n INTEGER DEFAULT 0); INSERT INTO p VALUES ('1', 10), ('2', 5)";
    let alter = "ALTER TABLE p RENAME COLUMN n TO hits";
    let rebuild =
        "BEGIN; CREATE TABLE q (id TEXT PRIMARY KEY, hits INTEGER DEFAULT 0); INSERT INTO q SELECT * FROM p;
        DROP TABLE p; ALTER TABLE q RENAME TO p; COMMIT";
    for (first, second) in [(rebuild, rebuild), (alter, rebuild), (rebuild, alter), (alter, alter)] {
        for (before, after, added) in [("", "", 0), ("", "UPDATE p SET hits = hits + 1 WHERE id = '1'", 1)] {
            for told in [false, true] {
                let mut replicas = Replicas::new(2, schema, &["p"], &TableOptions::default().counter("n"));
                replicas.sql(0, first);
                replicas.meet();
                replicas.sql(1, before);
                replicas.sql(1, second);
                replicas.sql(1, after);
                replicas.meet();
                if told {
                    driftless::rename_column(replicas.path(0), "p", "n", "hits").expect("told");
                    replicas.meet();
                }
                let expected = [(10 + added).to_string(), "5".to_owned()];
                let case = format!("{first}; {second}; {after}; told {told}");
                assert_eq!(replicas.query_all("SELECT hits FROM p ORDER BY id"), expected, "{case}");
            }
        }
    }
    // And on one machine alone, where the app adds before it migrates.
    for migration in [alter, rebuild] {
        let mut replicas = Replicas::new(2, schema, &["p"], &TableOptions::default().counter("n"));
        replicas.sql(0, "UPDATE p SET n = n + 1 WHERE id = '1'; INSERT INTO p VALUES ('3', 7)");
        replicas.sql(0, migration);
        replicas.meet();
        assert_eq!(replicas.query(0, "SELECT hits FROM p ORDER BY id"), ["11", "5", "7"], "{migration}");
        driftless::rename_column(replicas.path(0), "p", "n", "hits").expect("told");
        replicas.meet();
        assert_eq!(replicas.query(0, "SELECT hits FROM p ORDER BY id"), ["11", "5", "7"], "{migration}");
        assert_eq!(replicas.query(1, "SELECT n FROM p ORDER BY id"), ["11", "5", "7"], "{migration}");
    }
}

/// Each further addition counted what the row had added before once more.
#[test]
fn what_is_added_to_a_new_counter_turn_after_turn_while_its_rows_wait_to_be_shown_counts_once() {
    let rows: Vec<String> = (0..20).map(|n| format!("('{n:02}', '')")).collect();
    let schema = format!("CREATE TABLE p (id TEXT PRIMARY KEY, v); INSERT INTO p VALUES {}", rows.join(", "));
    const ADD_COLUMN: &str = "ALTER TABLE p ADD COLUMN hits INTEGER DEFAULT 5";
    for others in [0, 1] {
        let mut config = Config::default();
        (config.rebuild_quiet, config.turn_rows) = (Duration::ZERO, 1);
        let mut replicas = Replicas::with_config(&config, 2, &schema, &["p"], &TableOptions::default());
        replicas.sql(0, ADD_COLUMN);
        replicas.capture(0);
        driftless::set_kind(replicas.path(0), "p", "hits", ColumnKind::Counter).expect("a counter");
        replicas.sql(0, &format!("UPDATE p SET hits = hits + {others}"));
        replicas.meet();
        replicas.sql(1, ADD_COLUMN);
        for _ in 0..3 {
            replicas.sql(1, "UPDATE p SET hits = hits + 1 WHERE id = '19'");
            for _ in 0..2 {
                replicas.node(1).one_turn().expect("a turn");
            }
        }
        replicas.meet();
        let expected: Vec<String> =
            (0..20).map(|n| (5 + others + 3 * i32::from(n == 19)).to_string()).collect();
        assert_eq!(replicas.query_all("SELECT hits FROM p ORDER BY id"), expected, "others {others}");
        (0..2).for_each(|replica| replicas.assert_well(replica));
    }
}
