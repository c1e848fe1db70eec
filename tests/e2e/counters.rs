//! Columns of which everything that is added anywhere counts.

use std::path::Path;

use driftless::{ColumnKind, Config, Error, SyncConfig, TableOptions, Value};
use driftless_tests::{
    Circle, Node, PATIENCE, TestRelay, agree, connect, create_database, eventually, query,
};
use tempfile::TempDir;

const PAGES: &str = "CREATE TABLE pages (id TEXT PRIMARY KEY, title TEXT, hits INTEGER DEFAULT 0);
    INSERT INTO pages VALUES ('p', 'page', 0)";

fn counting() -> TableOptions {
    TableOptions::default().counter("hits")
}

/// Some replicas in agreement about some statements' tables, and cut off from each other.
struct Apart {
    nodes: Vec<Node>,
    relay: TestRelay,
    folder: TempDir,
}

impl Apart {
    fn new(count: usize, statements: &str, options: &TableOptions) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let relay = TestRelay::in_memory();
        let nodes = (0..count).map(|n| {
            let path = folder.path().join(format!("{n}.db"));
            create_database(&path, statements);
            let node = Node::open(&path);
            node.track_all(options.clone());
            node
        });
        let mut apart = Self { nodes: nodes.collect(), relay, folder };
        apart.meet();
        apart.part();
        apart
    }

    fn part(&mut self) {
        self.nodes.iter_mut().for_each(Node::go_offline);
    }

    #[track_caller]
    fn meet(&mut self) {
        let url = self.relay.url("counters");
        self.nodes.iter_mut().for_each(|node| node.go_online(&url));
        agree(&self.nodes.iter().collect::<Vec<_>>());
    }

    /// What every node shows, and that none has a conflict.
    #[track_caller]
    fn assert_hits(&self, expected: &str) {
        for node in &self.nodes {
            assert_eq!(hits(node.path()), expected, "{}", node.path().display());
            assert_eq!(node.conflicts(), []);
        }
    }
}

fn hits(path: &Path) -> String {
    query(path, "SELECT hits FROM pages WHERE id = 'p'").concat()
}

/// One write, captured by itself.
fn write(node: &Node, statements: &str) {
    node.sql(statements);
    node.engine().capture().expect("captured");
}

#[test]
fn ten_replicas_that_add_a_thousand_times_each_while_apart_come_to_ten_thousand() {
    let mut apart = Apart::new(10, PAGES, &counting());
    for (n, node) in apart.nodes.iter().enumerate() {
        let user = connect(node.path());
        // As many transactions as 1,000, 100, 10 and 1.
        let each = [1, 10, 100, 1000][n % 4];
        for _ in 0..1000 / each {
            let adds = "UPDATE pages SET hits = hits + 1 WHERE id = 'p';".repeat(each);
            user.execute_batch(&format!("BEGIN IMMEDIATE; {adds} COMMIT")).expect("added");
        }
    }
    apart.meet();
    apart.assert_hits("10000");
}

#[test]
fn what_is_taken_away_counts_too_and_numbers_past_half_of_64_bits_are_exact() {
    let mut apart = Apart::new(3, PAGES, &counting());
    let start = (1i64 << 62) + 12_345;
    write(&apart.nodes[0], &format!("UPDATE pages SET hits = {start}"));
    apart.meet();
    apart.part();
    for (node, by) in apart.nodes.iter().zip([1_i64 << 61, -1000, 7]) {
        write(node, &format!("UPDATE pages SET hits = hits + {by}"));
        write(node, "UPDATE pages SET hits = hits - 1");
    }
    apart.meet();
    let expected = start + (1 << 61) - 1000 + 7 - 3;
    apart.assert_hits(&expected.to_string());
    apart.part();
    for node in &apart.nodes {
        write(node, "UPDATE pages SET hits = hits - 4000000000000000000");
    }
    apart.meet();
    apart.assert_hits(&(i128::from(expected) - 12_000_000_000_000_000_000).to_string());
}

#[test]
fn additions_count_through_new_openings_and_beside_edits_of_other_columns() {
    let mut apart = Apart::new(3, PAGES, &counting());
    for round in 0..4 {
        for (n, node) in apart.nodes.iter_mut().enumerate() {
            node.reopen();
            node.sql(&format!("UPDATE pages SET hits = hits + 1, title = '{round} {n}'"));
            node.engine().capture().expect("captured");
            node.sql("UPDATE pages SET hits = hits + 1");
        }
        let url = apart.relay.url("counters");
        apart.nodes.iter_mut().for_each(|node| node.go_online(&url));
        agree(&apart.nodes.iter().collect::<Vec<_>>());
        for node in &apart.nodes {
            assert_eq!(hits(node.path()), (6 * (round + 1)).to_string());
        }
        apart.part();
    }
}

#[test]
fn what_is_added_while_another_deletes_the_row_brings_it_back_with_all_that_was_added() {
    let mut apart = Apart::new(2, PAGES, &counting());
    write(&apart.nodes[1], "UPDATE pages SET hits = hits + 5");
    write(&apart.nodes[0], "BEGIN; UPDATE pages SET hits = hits + 2; DELETE FROM pages; COMMIT");
    write(&apart.nodes[1], "UPDATE pages SET hits = hits + 5");
    apart.meet();
    // The 2 were never there by themselves: a row is captured as a transaction leaves it.
    apart.assert_hits("10");
}

#[test]
fn a_value_that_is_set_apart_is_the_base_of_what_others_add() {
    let mut apart = Apart::new(3, PAGES, &counting());
    for node in &apart.nodes {
        write(node, "UPDATE pages SET hits = hits + 10");
    }
    apart.meet();
    apart.assert_hits("30");
    apart.part();
    // From NULL a number is set and nothing is added.
    write(&apart.nodes[0], "UPDATE pages SET hits = NULL");
    write(&apart.nodes[0], "UPDATE pages SET hits = 1000");
    write(&apart.nodes[1], "UPDATE pages SET hits = hits + 3");
    write(&apart.nodes[2], "UPDATE pages SET hits = hits - 4");
    apart.meet();
    apart.assert_hits("999");
}

#[test]
fn null_shows_until_a_number_is_written_and_what_others_add_meanwhile_counts() {
    let mut apart = Apart::new(2, PAGES, &counting());
    write(&apart.nodes[0], "UPDATE pages SET hits = NULL");
    write(&apart.nodes[1], "UPDATE pages SET hits = hits + 3");
    apart.meet();
    apart.assert_hits("NULL");
    apart.part();
    // What was hidden is not added to what somebody writes who saw NULL.
    write(&apart.nodes[0], "UPDATE pages SET hits = 50");
    apart.meet();
    apart.assert_hits("50");
    apart.part();
    // Nor is adding to NULL anything to SQLite.
    write(&apart.nodes[0], "UPDATE pages SET hits = hits + NULL");
    write(&apart.nodes[1], "UPDATE pages SET hits = hits + 1");
    apart.meet();
    apart.assert_hits("NULL");
}

#[test]
fn two_numbers_that_are_set_apart_are_a_conflict_and_both_count_what_is_added() {
    let mut apart =
        Apart::new(3, "CREATE TABLE pages (id TEXT PRIMARY KEY, title TEXT, hits INTEGER)", &counting());
    write(&apart.nodes[0], "INSERT INTO pages VALUES ('p', 'page', NULL)");
    apart.meet();
    apart.part();
    write(&apart.nodes[0], "UPDATE pages SET hits = 100");
    write(&apart.nodes[1], "UPDATE pages SET hits = 200");
    write(&apart.nodes[1], "UPDATE pages SET hits = hits + 7");
    apart.meet();
    let conflicts = apart.nodes[2].conflicts();
    let mut values: Vec<_> =
        conflicts[0].kept.iter().chain([&conflicts[0].shown]).map(|w| w.value.clone()).collect();
    values.sort_by_key(Value::to_string);
    assert_eq!(values, [Value::Integer(107), Value::Integer(207)]);
    write(&apart.nodes[2], "UPDATE pages SET hits = NULL");
    write(&apart.nodes[2], "UPDATE pages SET hits = 5");
    apart.meet();
    apart.assert_hits("5");
}

#[test]
fn what_sqlite_makes_of_more_than_64_bits_is_shown_as_it_is() {
    let mut apart = Apart::new(2, PAGES, &counting());
    write(&apart.nodes[0], &format!("UPDATE pages SET hits = {}", i64::MAX));
    apart.meet();
    apart.part();
    write(&apart.nodes[0], "UPDATE pages SET hits = hits + 1");
    write(&apart.nodes[1], "UPDATE pages SET title = 'other'");
    apart.meet();
    apart.assert_hits("9.223372036854776e18");
    write(&apart.nodes[1], "UPDATE pages SET hits = 3");
    apart.meet();
    apart.assert_hits("3");
}

#[test]
fn a_row_whose_sum_no_integer_holds_is_parked_and_returns_when_somebody_writes_a_smaller_number() {
    let mut apart = Apart::new(2, PAGES, &counting());
    for step in [1, -1] {
        let nearly = if step == 1 { i64::MAX - 1 } else { i64::MIN + 1 };
        write(&apart.nodes[0], &format!("REPLACE INTO pages VALUES ('p', 'page', {nearly})"));
        apart.meet();
        apart.assert_hits(&nearly.to_string());
        apart.part();
        for node in &apart.nodes {
            write(node, &format!("UPDATE pages SET hits = hits + {step}"));
        }
        apart.meet();
        let sum = i128::from(nearly) + 2 * step;
        for node in &apart.nodes {
            assert_eq!(node.status().tables[0].parked, 1);
            let reason = query(node.path(), "SELECT reason FROM driftless_parked").concat();
            assert!(reason.contains("counter 'hits'") && reason.contains(&sum.to_string()), "{reason}");
        }
        write(&apart.nodes[1], "REPLACE INTO pages VALUES ('p', 'again', 5)");
        apart.meet();
        // What the parked row had is kept until somebody says that the new values are to stand.
        assert_eq!(query(apart.nodes[0].path(), "SELECT hits FROM pages"), ["5"]);
        write(&apart.nodes[0], "DELETE FROM driftless_conflicts");
        apart.meet();
        apart.assert_hits("5");
        assert!(apart.nodes.iter().all(|node| node.status().tables[0].parked == 0));
        apart.part();
        for node in &apart.nodes {
            write(node, "UPDATE pages SET hits = hits + 1");
        }
        apart.meet();
        apart.assert_hits("7");
    }
}

#[test]
fn a_counter_that_the_app_adds_to_its_table_later_counts_from_its_default() {
    let mut apart = Apart::new(
        2,
        "CREATE TABLE pages (id TEXT PRIMARY KEY, title TEXT); INSERT INTO pages VALUES ('p', 'page')",
        &TableOptions::default(),
    );
    for (n, node) in apart.nodes.iter().enumerate() {
        node.sql("ALTER TABLE pages ADD COLUMN hits INTEGER DEFAULT 100");
        node.engine().capture().expect("captured");
        if n == 0 {
            driftless::set_kind(node.path(), "pages", "hits", ColumnKind::Counter).expect("a counter");
        }
    }
    apart.meet();
    apart.assert_hits("100");
    apart.part();
    for node in &apart.nodes {
        write(node, "UPDATE pages SET hits = hits + 1");
    }
    apart.meet();
    apart.assert_hits("102");
}

#[test]
fn a_kind_that_is_changed_while_another_is_offline_is_taken_over_and_nothing_diverges() {
    let mut apart = Apart::new(2, PAGES, &TableOptions::default());
    write(&apart.nodes[0], "UPDATE pages SET hits = 10");
    apart.meet();
    apart.part();
    driftless::set_kind(apart.nodes[0].path(), "PAGES", "Hits", ColumnKind::Counter).expect("a counter");
    write(&apart.nodes[0], "UPDATE pages SET hits = hits + 5");
    write(&apart.nodes[1], "UPDATE pages SET hits = 20");
    apart.meet();
    // One added, the other took it for a register and set it: both count.
    apart.assert_hits("25");
    for node in &apart.nodes {
        assert_eq!(node.status().tables[0].kinds.get("hits"), Some(&ColumnKind::Counter));
    }
    apart.part();
    for node in &apart.nodes {
        write(node, "UPDATE pages SET hits = hits + 1");
    }
    apart.meet();
    apart.assert_hits("27");
    apart.part();
    driftless::set_kind(apart.nodes[1].path(), "pages", "hits", ColumnKind::Register).expect("a register");
    write(&apart.nodes[1], "UPDATE pages SET hits = 1");
    apart.meet();
    apart.assert_hits("1");
    apart.part();
    for node in &apart.nodes {
        assert_eq!(node.status().tables[0].kinds.len(), 0);
        write(node, "UPDATE pages SET hits = hits + 1");
    }
    apart.meet();
    apart.assert_hits("2");
}

#[test]
fn a_file_that_states_kinds_and_one_that_does_not_agree_on_those_that_are_stated() {
    // Both ways round: whose definition of the table wins otherwise is chance.
    for stating in 0..2 {
        let folder = tempfile::tempdir().expect("a folder");
        let relay = TestRelay::in_memory();
        let mut nodes: Vec<Node> = (0..2)
            .map(|n| {
                let path = folder.path().join(format!("{n}.db"));
                create_database(&path, PAGES);
                let node = Node::open(&path);
                node.track_all(if n == stating { counting() } else { TableOptions::default() });
                node.engine().capture().expect("captured");
                node
            })
            .collect();
        nodes.iter_mut().for_each(|node| node.go_online(&relay.url("kinds")));
        agree(&nodes.iter().collect::<Vec<_>>());
        for node in &nodes {
            assert_eq!(node.status().tables[0].kinds.get("hits"), Some(&ColumnKind::Counter));
        }
    }
}

#[test]
fn a_clone_counts_and_what_contradicts_the_space_is_refused() {
    let mut apart = Apart::new(1, PAGES, &counting());
    apart.meet();
    let url = apart.relay.url("counters");
    let path = apart.folder.path().join("clone.db");
    driftless::clone(&path, SyncConfig::new(&url), Config::default(), PATIENCE).expect("cloned");
    let mut clone = Node::open(&path);
    clone.engine().track(&["pages"], TableOptions::default()).expect("unstated kinds contradict nothing");
    let text = TableOptions::default().text("title");
    let refused = clone.engine().track(&["pages"], text).map_err(|error| error.to_string());
    assert_eq!(
        refused,
        Err("table 'pages' is tracked in this space with column 'title' as a register, which contradicts a text; \
             `driftless set-kind` changes it for the whole space"
            .to_owned())
    );
    write(&clone, "UPDATE pages SET hits = hits + 1");
    write(&apart.nodes[0], "UPDATE pages SET hits = hits + 1");
    clone.go_online(&url);
    agree(&[&apart.nodes[0], &clone]);
    assert_eq!(hits(&path), "2");
}

#[test]
fn a_file_that_joined_before_it_tracks_is_refused_another_kind() {
    let mut apart = Apart::new(1, PAGES, &counting());
    apart.meet();
    let path = apart.folder.path().join("late.db");
    create_database(&path, PAGES);
    let mut late = Node::open(&path);
    late.go_online(&apart.relay.url("counters"));
    late.sync_now();
    let register = TableOptions::default().kind("hits", ColumnKind::Register);
    let refused = late.engine().track(&["pages"], register);
    assert!(
        matches!(&refused, Err(Error::Contradiction { existing, asked, .. })
            if existing == "column 'hits' as a counter" && asked == "a register"),
        "{refused:?}"
    );
    late.track_all(counting());
    agree(&[&apart.nodes[0], &late]);
}

#[test]
fn a_kind_that_is_changed_beside_a_running_engine_takes_effect_at_once() {
    let apart = Apart::new(1, PAGES, &TableOptions::default());
    let node = &apart.nodes[0];
    driftless::set_kind(node.path(), "pages", "hits", ColumnKind::Counter).expect("a counter");
    let unsent = |node: &Node| node.status().unsent.changesets;
    eventually("the definition to be captured", || (unsent(node) == 1).then_some(()));
    assert_eq!(node.status().tables[0].kinds.get("hits"), Some(&ColumnKind::Counter));
}

/// The kinds of one file took the place of the other's, and its counter ceased to count.
#[test]
fn kinds_that_two_files_stated_apart_before_they_met_all_hold() {
    let schema = "CREATE TABLE pages (id TEXT PRIMARY KEY, body TEXT, hits INTEGER DEFAULT 0);
                  INSERT INTO pages VALUES ('x', 'A paragraph.', 100)";
    let mut circle = driftless_tests::Circle::new(0, schema, &[], &TableOptions::default());
    for options in [
        TableOptions::default().counter("hits"),
        TableOptions::default().text("body"),
        TableOptions::default(),
    ] {
        let number = circle.join(schema);
        circle.node(number).track(&["pages"], options).expect("tracked");
    }
    circle.settle();
    for number in 0..3 {
        let status = driftless::status(circle.path(number)).expect("a status");
        let kinds: Vec<String> =
            status.tables[0].kinds.iter().map(|(column, kind)| format!("{column}: {kind}")).collect();
        assert_eq!(kinds, ["body: text", "hits: counter"], "{number}");
        circle.sql(number, "UPDATE pages SET hits = hits + 10");
    }
    circle.meet();
    assert_eq!(circle.query_all("SELECT hits FROM pages"), ["130"]);
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
            let mut circle = Circle::new(3, schema, &["p"], &TableOptions::default().counter("n"));
            circle.sql(0, "UPDATE p SET n = n + 10 WHERE id = '1'");
            circle.sql(2, "UPDATE p SET n = n + 2 WHERE id = '2'");
            circle.meet();
            let migrated = if both { 2 } else { 1 };
            (0..migrated).for_each(|node| circle.sql(node, migration));
            if early {
                circle.meet();
            }
            circle.sql(2, "UPDATE p SET n = n + 100");
            if adds {
                (0..migrated).for_each(|node| circle.sql(node, "UPDATE p SET hits = hits + 1000"));
            }
            if looks {
                circle.meet();
            }
            driftless::rename_column(circle.path(0), "p", "n", "hits").expect("told");
            circle.meet();
            let all = i64::from(adds) * 1000 * migrated as i64 + 100;
            let expected = [(11 + all).to_string(), (2 + all).to_string()];
            assert_eq!(circle.query(0, "SELECT hits FROM p ORDER BY id"), expected, "{case}");
            assert_eq!(circle.query(2, "SELECT n FROM p ORDER BY id"), expected, "{case}");
            circle.sql(0, "UPDATE p SET hits = hits + 1");
            circle.sql(2, "UPDATE p SET n = n + 1");
            circle.meet();
            let expected = [(13 + all).to_string(), (4 + all).to_string()];
            assert_eq!(circle.query(0, "SELECT hits FROM p ORDER BY id"), expected, "{case}");
            assert_eq!(circle.query(2, "SELECT n FROM p ORDER BY id"), expected, "{case}");
            assert_eq!(circle.query(0, "SELECT count(*) FROM driftless_conflicts"), ["0"], "{case}");
            (0..3).for_each(|node| circle.assert_well(node));
        }
    }
}

/// Until somebody told, the later of two additions took the place of the other.
#[test]
fn a_counter_that_both_rename_and_nobody_tells_of_counts_on() {
    let schema = "CREATE TABLE p (id TEXT PRIMARY KEY, n INTEGER DEFAULT 0); INSERT INTO p VALUES ('1', 1)";
    let mut circle = Circle::new(2, schema, &["p"], &TableOptions::default().counter("n"));
    circle.sql(0, "UPDATE p SET n = n + 10");
    circle.meet();
    (0..2).for_each(|node| circle.sql(node, "ALTER TABLE p RENAME COLUMN n TO hits"));
    circle.meet();
    (0..2).for_each(|node| circle.sql(node, "UPDATE p SET hits = hits + 1"));
    circle.meet();
    assert_eq!(circle.query_all("SELECT hits FROM p"), ["13"]);
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
                let mut circle = Circle::new(2, schema, &["p"], &TableOptions::default().counter("n"));
                circle.sql(0, first);
                circle.meet();
                circle.sql(1, before);
                circle.sql(1, second);
                circle.sql(1, after);
                circle.meet();
                if told {
                    driftless::rename_column(circle.path(0), "p", "n", "hits").expect("told");
                    circle.meet();
                }
                let expected = [(10 + added).to_string(), "5".to_owned()];
                let case = format!("{first}; {second}; {after}; told {told}");
                assert_eq!(circle.query_all("SELECT hits FROM p ORDER BY id"), expected, "{case}");
            }
        }
    }
    // And on one machine alone, where the app adds before it migrates.
    for migration in [alter, rebuild] {
        let mut circle = Circle::new(2, schema, &["p"], &TableOptions::default().counter("n"));
        circle.sql(0, "UPDATE p SET n = n + 1 WHERE id = '1'; INSERT INTO p VALUES ('3', 7)");
        circle.sql(0, migration);
        circle.meet();
        assert_eq!(circle.query(0, "SELECT hits FROM p ORDER BY id"), ["11", "5", "7"], "{migration}");
        driftless::rename_column(circle.path(0), "p", "n", "hits").expect("told");
        circle.meet();
        assert_eq!(circle.query(0, "SELECT hits FROM p ORDER BY id"), ["11", "5", "7"], "{migration}");
        assert_eq!(circle.query(1, "SELECT n FROM p ORDER BY id"), ["11", "5", "7"], "{migration}");
    }
}
