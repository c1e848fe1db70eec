//! `verify` with a relay: this file's documents against everything that the space holds, repaired in both directions; and
//! files that lost side tables come back to what the others have.

use std::path::Path;

use driftless::{SyncConfig, TableOptions, Verification, VerifyOptions};
use driftless_tests::{Commands, Node, Nodes, PATIENCE, TestRelay, agree, connect, query, sql};

const NOTES: &str = "
CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT);
INSERT INTO notes VALUES ('1', 'one'), ('2', 'two'), ('3', 'three');
";

fn options(url: &str) -> VerifyOptions {
    VerifyOptions::default().relay(Some(SyncConfig::new(url))).timeout(PATIENCE)
}

#[track_caller]
fn verify(path: &Path, options: &VerifyOptions) -> Verification {
    driftless::verify(path, options).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What the comparison with the space says.
fn relay_says(verification: &Verification) -> Vec<String> {
    let check = verification.checks.iter().find(|check| check.name == "relay").expect("it was made");
    check
        .shown
        .iter()
        .map(|shown| format!("{}: {}", shown.key.as_deref().unwrap_or(""), shown.what))
        .collect()
}

/// Two files that agree through a relay, closed; the first wrote most of it.
fn pair() -> Nodes {
    let mut pair = Nodes::with_relay_on_disk(2, NOTES, &TableOptions::integer_key());
    pair[0].sql("UPDATE notes SET title = 'ONE' WHERE id = '1'; INSERT INTO notes VALUES ('4', 'four')");
    pair.agree();
    pair[1].sql("DELETE FROM notes WHERE id = '2'");
    pair.agree();
    pair.close();
    pair
}

/// Both engines are opened again, and agree.
#[track_caller]
fn meet(pair: &mut Nodes) {
    pair.reopen();
    pair.meet();
}

/// Looking finds something with these words in the comparison with the space; repairing leaves nothing, and then the files
/// agree.
#[track_caller]
fn found_and_repaired(pair: &mut Nodes, words: &str) {
    let looked = verify(pair.path(1), &options(&pair.url()));
    let said = relay_says(&looked);
    assert!(said.iter().any(|line| line.contains(words)), "{words} is not in {said:#?}");
    let repaired = verify(pair.path(1), &options(&pair.url()).repair(true));
    assert!(repaired.is_well() && !repaired.repairs.is_empty(), "{repaired:#?}");
    all_is_well(pair);
}

#[track_caller]
fn all_is_well(pair: &mut Nodes) {
    meet(pair);
    pair.close();
    for at in 0..2 {
        let verified = verify(pair.path(at), &options(&pair.url()));
        assert!(verified.is_well(), "{verified:#?}");
    }
    assert_eq!(query(pair.path(1), "SELECT * FROM notes ORDER BY id"), ROWS);
}

const ROWS: [&str; 3] = ["'1', 'ONE'", "'3', 'three'", "'4', 'four'"];

/// The number of the document of a note.
fn document(id: &str) -> String {
    let key = hex::encode(id);
    format!("(SELECT doc FROM _driftless_rows WHERE tbl = 2 AND key = x'20{key}0000')")
}

#[test]
fn files_that_agree_are_well_have_one_fingerprint_and_leave_nothing_beside_them() {
    let pair = pair();
    let prints = [0, 1].map(|at| {
        let verified = verify(pair.path(at), &options(&pair.url()));
        assert!(verified.is_well(), "{verified:#?}");
        let check = verified.checks.into_iter().find(|check| check.name == "relay").expect("it was made");
        check.notes
    });
    assert!(prints[0][0].starts_with("notes: 4 documents, fingerprint "), "{prints:?}");
    assert_eq!(prints[0], prints[1]);
    let names: Vec<_> = std::fs::read_dir(pair.file("")).expect("the folder").flatten().collect();
    assert!(names.iter().all(|name| !name.file_name().to_string_lossy().contains("cloning")), "{names:?}");
}

#[test]
fn beside_a_running_sync_it_compares_without_the_lock() {
    let mut pair = pair();
    meet(&mut pair);
    let verified = verify(pair.path(1), &options(&pair.url()));
    assert!(verified.engine_running && verified.is_well(), "{verified:#?}");
    assert_eq!(relay_says(&verified), [""; 0]);
}

#[test]
fn a_document_with_a_flipped_bit_comes_back_from_the_space() {
    let mut pair = pair();
    let flip = format!(
        "UPDATE _driftless_documents SET body = x'ff' || substr(body, 2) WHERE id = {}",
        document("1")
    );
    sql(pair.path(1), &flip);
    found_and_repaired(&mut pair, "'1': the document of this file and that of the space differ");
}

#[test]
fn documents_that_were_deleted_come_back_from_the_space_with_the_deleted_rows_among_them() {
    let mut pair = pair();
    for id in ["1", "2"] {
        let path = pair.path(1);
        sql(path, &format!("DELETE FROM _driftless_documents WHERE id = {}", document(id)));
        sql(path, "DELETE FROM _driftless_rows WHERE doc NOT IN (SELECT id FROM _driftless_documents)");
    }
    found_and_repaired(&mut pair, "'2': this file lacks the document that the space has");
}

#[test]
fn an_older_document_in_the_place_of_a_newer_becomes_the_newer() {
    let mut pair = pair();
    let old: Vec<u8> = connect(pair.path(1))
        .query_row(
            &format!("SELECT body FROM _driftless_documents WHERE id = {}", document("4")),
            [],
            |row| row.get(0),
        )
        .expect("a document");
    meet(&mut pair);
    pair[0].sql("UPDATE notes SET title = 'four and more' WHERE id = '4'");
    meet(&mut pair);
    pair[0].sql("UPDATE notes SET title = 'four' WHERE id = '4'");
    meet(&mut pair);
    pair.close();
    let put = format!("UPDATE _driftless_documents SET body = ?1 WHERE id = {}", document("4"));
    connect(pair.path(1)).execute(&put, [old]).expect("damaged");
    found_and_repaired(&mut pair, "'4': the document of this file and that of the space differ");
}

/// A document that only this file has, although the relay counts everything: it goes there whole, and to the others.
#[test]
fn what_the_space_lacks_is_sent_whole() {
    let mut pair = pair();
    // Captured, and its changeset replaced by an empty one before anybody saw it.
    pair[1].reopen();
    pair[1].sql("INSERT INTO notes VALUES ('5', 'five')");
    pair[1].engine().capture().expect("captured");
    pair.close();
    let user = connect(pair.path(1));
    let (seq, frame): (i64, Vec<u8>) = user
        .query_row("SELECT seq, changeset FROM _driftless_outbox ORDER BY seq DESC LIMIT 1", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .expect("the changeset");
    let changeset = driftless_protocol::Changeset::from_bytes(frame.into()).expect("sound");
    let empty = driftless_protocol::changeset::BodyBuilder::new().finish();
    let empty = driftless_protocol::Changeset::seal(changeset.header.clone(), &empty);
    user.execute("UPDATE _driftless_outbox SET changeset = ?2 WHERE seq = ?1", (seq, &empty.bytes()[..]))
        .expect("replaced");
    drop(user);
    let looked = verify(pair.path(1), &options(&pair.url()));
    assert_eq!(relay_says(&looked), ["'5': the space lacks its document"]);
    let repaired = verify(pair.path(1), &options(&pair.url()).repair(true));
    assert!(repaired.is_well(), "{repaired:#?}");
    meet(&mut pair);
    assert_eq!(query(pair.path(0), "SELECT title FROM notes WHERE id = '5'"), ["'five'"]);
    pair.close();
    assert!(verify(pair.path(0), &options(&pair.url())).is_well());
}

#[test]
fn a_write_that_nobody_saw_reaches_the_others_after_a_repair() {
    let mut pair = pair();
    let user = connect(pair.path(1));
    let triggers: Vec<(String, String)> = user
        .prepare("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
        .and_then(|mut all| all.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect())
        .expect("the triggers");
    let drops: String = triggers.iter().map(|(name, _)| format!("DROP TRIGGER {name};")).collect();
    let makes: String = triggers.iter().map(|(_, sql)| format!("{sql};")).collect();
    user.execute_batch(&format!(
        "BEGIN; {drops} UPDATE notes SET title = 'unseen' WHERE id = '3'; {makes} COMMIT;"
    ))
    .expect("written");
    drop(user);
    assert!(!verify(pair.path(1), &options(&pair.url())).is_well());
    let repaired = verify(pair.path(1), &options(&pair.url()).repair(true));
    assert!(repaired.is_well(), "{repaired:#?}");
    meet(&mut pair);
    assert_eq!(query(pair.path(0), "SELECT title FROM notes WHERE id = '3'"), ["'unseen'"]);
}

#[test]
fn a_changeset_that_was_set_aside_is_tried_again() {
    let mut pair = pair();
    pair[0].reopen();
    pair[0].sql("UPDATE notes SET title = 'three and more' WHERE id = '3'");
    pair[0].engine().capture().expect("captured");
    pair.close();
    // As though an older version had not known what to do with it.
    let user = connect(pair.path(0));
    let (seq, frame): (i64, Vec<u8>) = user
        .query_row("SELECT seq, changeset FROM _driftless_outbox ORDER BY seq DESC LIMIT 1", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .expect("the changeset");
    drop(user);
    let replica: [u8; 16] = *driftless_protocol::Changeset::from_bytes(frame.clone().into())
        .expect("sound")
        .header
        .replica
        .as_bytes();
    let user = connect(pair.path(1));
    user.execute(
        "INSERT INTO _driftless_quarantine (replica, seq, reason, at, frame) VALUES (?1, ?2, 'not known', 0, ?3)",
        (replica, seq, frame),
    )
    .expect("set aside");
    user.execute("UPDATE _driftless_progress SET seq = ?2 WHERE replica = ?1", (replica, seq))
        .expect("counted");
    drop(user);
    let looked = verify(pair.path(1), &VerifyOptions::default());
    let aside = looked.checks.iter().find(|check| check.name == "quarantine").expect("looked at");
    assert!(aside.shown[0].what.contains("could not be applied and is set aside: not known"), "{aside:?}");
    let repaired = verify(pair.path(1), &VerifyOptions::default().repair(true));
    assert!(repaired.is_well(), "{repaired:#?}");
    assert_eq!(query(pair.path(1), "SELECT title FROM notes WHERE id = '3'"), ["'three and more'"]);
    meet(&mut pair);
}

#[test]
fn what_was_set_aside_and_cannot_be_read_is_taken_from_the_space() {
    let mut pair = pair();
    let user = connect(pair.path(1));
    let (replica, seq): (Vec<u8>, i64) = user
        .query_row(
            "SELECT replica, seq FROM _driftless_progress
             WHERE replica <> (SELECT value FROM _driftless_meta WHERE name = 'replica')",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .expect("the other");
    user.execute(
        "INSERT INTO _driftless_quarantine (replica, seq, reason, at, frame) VALUES (?1, ?2, 'damaged', 0, x'00')",
        (replica, seq),
    )
    .expect("set aside");
    user.execute(&format!("DELETE FROM _driftless_documents WHERE id = {}", document("4")), [])
        .expect("damaged");
    user.execute("DELETE FROM _driftless_rows WHERE doc NOT IN (SELECT id FROM _driftless_documents)", [])
        .expect("damaged");
    drop(user);
    let repaired = verify(pair.path(1), &options(&pair.url()).repair(true));
    assert!(repaired.is_well(), "{repaired:#?}");
    all_is_well(&mut pair);
}

/// What comes in for a row whose document is damaged here cannot be merged: it is set aside, holding nothing up, and a
/// repair brings both back.
#[test]
fn what_was_set_aside_because_of_damage_here_is_applied_after_the_repair() {
    let mut pair = pair();
    sql(
        pair.path(1),
        &format!("UPDATE _driftless_documents SET body = x'00ff' WHERE id = {}", document("3")),
    );
    pair.reopen();
    pair.go_online();
    pair[0].sql("UPDATE notes SET title = 'to damage' WHERE id = '3'");
    pair[0].engine().capture().expect("captured");
    pair[0].sql("UPDATE notes SET title = 'after it' WHERE id = '4'");
    let [one, two] = &pair[..] else { panic!("two nodes") };
    driftless_tests::settle_in(&[one, two], 3);
    assert_eq!(two.status().quarantined, 1);
    assert_eq!(
        query(two.path(), "SELECT title FROM notes WHERE id > '2' ORDER BY id"),
        ["'three'", "'after it'"]
    );
    pair.close();
    let repaired = verify(pair.path(1), &options(&pair.url()).repair(true));
    assert!(repaired.is_well(), "{repaired:#?}");
    assert_eq!(query(pair.path(1), "SELECT title FROM notes WHERE id = '3'"), ["'to damage'"]);
    meet(&mut pair);
}

#[test]
fn a_relay_restored_from_an_older_copy_is_refilled_and_all_is_well() {
    let mut pair = pair();
    pair.relay.stop();
    let (data, backup) = (pair.relay_folder(), pair.file("backup"));
    let copy = |from: &Path, to: &Path| {
        std::fs::create_dir_all(to).expect("a folder");
        for entry in std::fs::read_dir(from).expect("the folder").flatten() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
        }
    };
    copy(&data, &backup);
    pair.relay.restart();
    meet(&mut pair);
    pair[0].sql("UPDATE notes SET title = 'later' WHERE id = '3'");
    meet(&mut pair);
    pair[0].sql("UPDATE notes SET title = 'three' WHERE id = '3'");
    meet(&mut pair);
    pair.close();
    pair.relay.stop();
    std::fs::remove_dir_all(&data).expect("the data go");
    copy(&backup, &data);
    pair.relay.restart();
    let verified = verify(pair.path(1), &options(&pair.url()));
    assert!(verified.is_well(), "{verified:#?}");
    all_is_well(&mut pair);
}

#[test]
fn a_file_that_never_synced_is_not_made_to_join_by_looking() {
    let folder = tempfile::tempdir().expect("a folder");
    let relay = TestRelay::in_memory();
    let mut node = Node::create(folder.path().join("app.db"), NOTES);
    node.close();
    let verified = verify(node.path(), &options(&relay.url("notes")));
    assert!(relay_says(&verified)[0].contains("belongs to no space"), "{verified:?}");
    assert_eq!(node.status().space, None);
}

#[test]
fn counters_and_texts_come_through_lost_documents_neither_doubled_nor_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let relay = TestRelay::on_disk(&folder.path().join("relay"));
    let url = relay.url("notes");
    let mut nodes = ["one.db", "two.db"].map(|name| {
        let path = folder.path().join(name);
        driftless_tests::create_database(
            &path,
            "CREATE TABLE notes (id TEXT PRIMARY KEY, body TEXT, likes INTEGER DEFAULT 0);
             INSERT INTO notes VALUES ('a', 'found', 5)",
        );
        let mut node = Node::open(&path);
        node.track_all(driftless::TableOptions::default().text("body").counter("likes"));
        node.go_online(&url);
        node
    });
    let shown = |node: &Node| query(node.path(), "SELECT id, body, likes FROM notes ORDER BY id");
    nodes[0].sql("INSERT INTO notes VALUES ('b', 'written', 7)");
    agree(&[&nodes[0], &nodes[1]]);
    nodes[0].sql("UPDATE notes SET likes = likes + 10, body = body || ' and changed'");
    agree(&[&nodes[0], &nodes[1]]);
    // Whose value showed was up to writers that are drawn at random: of several rows some were counted twice.
    nodes[0].sql("INSERT INTO notes VALUES ('c', '', 0), ('d', '', 0), ('e', 'x', 0), ('f', 'x', 0)");
    agree(&[&nodes[0], &nodes[1]]);
    nodes[1].sql("UPDATE notes SET likes = likes + 15 WHERE id > 'b'");
    agree(&[&nodes[0], &nodes[1]]);
    let expected = [
        "'a', 'found and changed', 15",
        "'b', 'written and changed', 17",
        "'c', '', 15",
        "'d', '', 15",
        "'e', 'x', 15",
        "'f', 'x', 15",
    ];
    for lost in [
        "DROP TABLE _driftless_documents",
        "DELETE FROM _driftless_texts",
        "DROP TABLE _driftless_text_updates",
        "DELETE FROM _driftless_tables",
        "DROP TABLE _driftless_progress",
    ] {
        nodes[1].close();
        nodes[1].sql(lost);
        nodes[1].reopen();
        nodes[1].go_online(&url);
        driftless_tests::settle_in(&[&nodes[0], &nodes[1]], 8);
        assert_eq!(shown(&nodes[0]), expected, "{lost}");
        assert_eq!(shown(&nodes[1]), expected, "{lost}");
        nodes[1].close();
        let verified = verify(nodes[1].path(), &options(&url).repair(true));
        assert!(verified.is_well(), "{lost}: {verified:#?}");
        nodes[1].reopen();
        nodes[1].go_online(&url);
    }
    // And they go on from there.
    nodes[1].sql("UPDATE notes SET likes = likes + 1, body = body || '!'; DELETE FROM notes WHERE id > 'b'");
    driftless_tests::settle_in(&[&nodes[0], &nodes[1]], 8);
    assert_eq!(shown(&nodes[0]), ["'a', 'found and changed!', 16", "'b', 'written and changed!', 18"]);
}

#[test]
fn side_tables_dropped_or_emptied_during_a_sync_are_filled_again_and_the_files_agree() {
    const SIDE_TABLES: [&str; 22] = [
        "meta",
        "tables",
        "dirty",
        "backlog",
        "refresh",
        "applying",
        "rows",
        "documents",
        "bases",
        "texts",
        "text_updates",
        "text_bases",
        "outbox",
        "inbox",
        "snapshot",
        "progress",
        "writers",
        "conflicts",
        "parked",
        "claims",
        "quarantine",
        "definitions",
    ];
    let mut pair = pair();
    for statement in ["DROP TABLE", "DELETE FROM"] {
        for table in SIDE_TABLES {
            eprintln!("{statement} {table}");
            meet(&mut pair);
            // Under the very writer id that goes on writing after the damage.
            pair[1].sql(&format!("UPDATE notes SET title = 'before {statement} {table}' WHERE id = '4'"));
            let [one, two] = &pair[..] else { panic!("two nodes") };
            driftless_tests::settle_in(&[one, two], 8);
            pair[1].sql(&format!("{statement} _driftless_{table}"));
            let title = format!("after {statement} {table}");
            driftless_tests::eventually("the engine to repair it", || {
                let written =
                    connect(pair.path(1)).execute("UPDATE notes SET title = ?1 WHERE id = '4'", [&title]);
                written.ok().filter(|changed| *changed == 1)
            });
            pair[0].sql(&format!("UPDATE notes SET title = '{title}' WHERE id = '3'"));
            let [one, two] = &pair[..] else { panic!("two nodes") };
            driftless_tests::settle_in(&[one, two], 8);
            for node in pair.iter() {
                let found = query(node.path(), "SELECT id, title FROM notes ORDER BY id");
                let expected =
                    ["'1', 'ONE'".to_owned(), format!("'3', '{title}'"), format!("'4', '{title}'")];
                assert_eq!(found, expected, "{statement} {table}: {}", node.path().display());
            }
            pair.close();
            for at in 0..2 {
                let verified = verify(pair.path(at), &options(&pair.url()).repair(true));
                assert!(verified.is_well(), "{statement} {table}: {verified:#?}");
            }
        }
    }
}

#[test]
fn the_command_says_what_differs_with_an_exit_code_of_its_own() {
    let pair = pair();
    let file = pair.path(1).to_str().expect("text");
    let commands = Commands::get();
    assert!(commands.succeed(["verify", file, &pair.url()]).ends_with("all is well"));
    sql(
        pair.path(1),
        &format!("UPDATE _driftless_documents SET body = x'00ff' WHERE id = {}", document("1")),
    );
    let found = commands.driftless(["verify", file, &pair.url()]);
    assert_eq!(found.code, Some(7), "{found:?}");
    assert!(found.stdout.contains("notes ['1']: the document cannot be read"), "{found:?}");
    assert!(found.stdout.contains("--repair` repairs"), "{found:?}");
    let repaired = commands.succeed(["verify", file, &pair.url(), "--repair", "--json"]);
    let repaired: serde_json::Value = serde_json::from_str(&repaired).expect("JSON");
    assert_eq!(repaired["well"], true, "{repaired:#}");
    assert!(repaired["checks"].as_array().is_some_and(|checks| checks.len() >= 7), "{repaired:#}");
    assert!(commands.succeed(["verify", file, &pair.url()]).ends_with("all is well"));
}

/// It spoke of "1 documents", of `_driftless_definitions`, and of tables under the names under which they travel.
#[test]
fn verify_speaks_of_tables_as_their_users_call_them_and_of_one_document_as_one() {
    let mut pair = pair();
    pair[1].close();
    sql(
        pair.path(1),
        "ALTER TABLE notes RENAME TO memos; CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT);
         INSERT INTO notes VALUES ('new', 'another table')",
    );
    let file = pair.path(1).to_str().expect("text");
    Commands::get().succeed(["track", file, "notes"]);
    let well = Commands::get().succeed(["verify", file, &pair.url()]);
    let says = |line: &str| assert!(well.contains(line), "{line}: {well}");
    says("\n  notes: 1 document, fingerprint");
    says("\n  memos: 4 documents, fingerprint");
    sql(
        pair.path(1),
        "UPDATE _driftless_documents SET body = x'00' WHERE id IN (SELECT doc FROM _driftless_rows WHERE tbl = 1);
         INSERT INTO _driftless_documents (id, body) VALUES (1000, x'00')",
    );
    let found = Commands::get().driftless(["verify", file, &pair.url()]);
    assert_eq!(found.code, Some(7), "{found:?}");
    assert!(found.stdout.contains("\n  1 document belongs to no row"), "{found:?}");
    assert!(found.stdout.contains("\n  the space's definitions ['notes']: the document"), "{found:?}");
    assert!(!found.stdout.contains("_driftless"), "{found:?}");
}

/// What `driftless parked` says, for comparison.
fn parked(path: &Path) -> Vec<String> {
    let parked = driftless::parked(path).expect("the parked rows");
    parked.iter().map(|row| format!("{} [{}] {}", row.table, row.key, row.reason)).collect()
}

const PEOPLE: &str = "
CREATE TABLE people (id TEXT PRIMARY KEY, email TEXT UNIQUE, name TEXT);
CREATE TABLE dogs (id TEXT PRIMARY KEY, owner TEXT NOT NULL REFERENCES people, tag TEXT UNIQUE);
INSERT INTO people VALUES ('a', 'a@x', 'Ann'), ('b', 'b@x', 'Bob');
INSERT INTO dogs VALUES ('rex', 'b', '7');
";

/// Two files with a conflict, a row that is parked for UNIQUE and one for its parent, and a table that only one has.
fn entangled(folder: &Path, url: &str) -> [Node; 2] {
    let mut nodes = ["one.db", "two.db"].map(|name| Node::create(folder.join(name), PEOPLE));
    nodes[0].sql("CREATE TABLE elsewhere (k TEXT PRIMARY KEY); INSERT INTO elsewhere VALUES ('only here')");
    nodes[0].track_all(driftless::TableOptions::integer_key());
    for node in &mut nodes {
        node.go_online(url);
    }
    driftless_tests::settle_in(&[&nodes[0], &nodes[1]], 3);
    nodes.iter_mut().for_each(Node::go_offline);
    nodes[0].sql(
        "UPDATE people SET name = 'Anne' WHERE id = 'a'; INSERT INTO people VALUES ('c', 'new@x', 'Cy')",
    );
    nodes[0].sql("DELETE FROM dogs; DELETE FROM people WHERE id = 'b'");
    nodes[1].sql(
        "UPDATE people SET name = 'Anna' WHERE id = 'a'; INSERT INTO people VALUES ('d', 'new@x', 'Di')",
    );
    nodes[1].sql("UPDATE dogs SET tag = '8'");
    for node in &mut nodes {
        node.go_online(url);
    }
    driftless_tests::settle_in(&[&nodes[0], &nodes[1]], 3);
    // A write that is not acknowledged when its file loses its identity counts as written anew.
    nodes.iter().for_each(Node::sync_now);
    assert!(!parked(nodes[0].path()).is_empty() && nodes[0].conflicts().len() == 1);
    nodes
}

#[test]
fn conflicts_and_parked_rows_come_back_whatever_side_table_is_lost() {
    for statement in ["DROP TABLE", "DELETE FROM"] {
        for table in [
            "meta",
            "tables",
            "rows",
            "documents",
            "progress",
            "outbox",
            "conflicts",
            "parked",
            "claims",
            "writers",
            "refresh",
            "definitions",
        ] {
            let what = format!("{statement} {table}");
            let folder = tempfile::tempdir().expect("a folder");
            let relay = TestRelay::in_memory();
            let url = relay.url("people");
            let mut nodes = entangled(folder.path(), &url);
            nodes.iter_mut().for_each(Node::close);
            let expected = (nodes[0].conflicts(), parked(nodes[0].path()));
            sql(nodes[1].path(), &format!("{statement} _driftless_{table}"));
            if table == "meta" {
                // It no longer knows its space: its next sync tells.
                nodes[1].reopen();
                nodes[1].go_online(&url);
                nodes[1].sync_now();
                nodes[1].close();
            }
            let repaired = verify(nodes[1].path(), &options(&url).repair(true));
            assert!(repaired.is_well(), "{what}: {repaired:#?}");
            for node in &mut nodes {
                node.reopen();
                node.go_online(&url);
            }
            driftless_tests::settle_in(&[&nodes[0], &nodes[1]], 5);
            nodes.iter_mut().for_each(Node::close);
            for node in &nodes {
                assert_eq!(
                    (node.conflicts(), parked(node.path())),
                    expected,
                    "{what}: {}",
                    node.path().display()
                );
                let verified = verify(node.path(), &options(&url));
                assert!(verified.is_well(), "{what}: {verified:#?}");
            }
            let rows = |node: &Node| query(node.path(), "SELECT * FROM people ORDER BY id");
            assert_eq!(rows(&nodes[0]), rows(&nodes[1]), "{what}");
        }
    }
}

#[test]
fn writes_that_were_not_sent_when_the_documents_were_lost_reach_the_others() {
    for lost in ["documents", "rows", "progress", "meta", "outbox"] {
        let mut pair = pair();
        pair[1].reopen();
        pair[1].sql(
            "UPDATE notes SET title = 'unsent' WHERE id = '1'; INSERT INTO notes VALUES ('5', 'unsent')",
        );
        pair[1].engine().capture().expect("captured");
        pair[1].close();
        sql(pair.path(1), &format!("DELETE FROM _driftless_{lost}"));
        pair[0].reopen();
        pair.go_online_at(0);
        pair[0].sql("UPDATE notes SET title = 'three and more' WHERE id = '3'");
        pair[0].sync_now();
        pair[1].reopen();
        pair.go_online_at(1);
        let [one, two] = &pair[..] else { panic!("two nodes") };
        driftless_tests::settle_in(&[one, two], 5);
        let expected = ["'1', 'unsent'", "'3', 'three and more'", "'4', 'four'", "'5', 'unsent'"];
        for node in pair.iter() {
            assert_eq!(query(node.path(), "SELECT * FROM notes ORDER BY id"), expected, "{lost} emptied");
        }
    }
}

/// Others are sent what a damaged changeset said by way of a snapshot; a copy of such a file is no worse off.
#[test]
fn a_damaged_outbox_holds_nothing_up() {
    for copied in [false, true] {
        let mut pair = pair();
        pair[1].reopen();
        for id in ["5", "6"] {
            pair[1].sql(&format!("INSERT INTO notes VALUES ('{id}', 'unsent')"));
            pair[1].engine().capture().expect("captured");
        }
        pair[1].close();
        sql(
            pair.path(1),
            "UPDATE _driftless_outbox SET changeset = x'00ff' WHERE seq = (SELECT max(seq) - 1 FROM _driftless_outbox)",
        );
        if copied {
            let copy = pair.file("copy.db");
            std::fs::copy(pair.path(1), &copy).expect("copied");
            pair[1] = Node::open(copy);
        }
        pair.reopen();
        pair.go_online();
        let [one, two] = &pair[..] else { panic!("two nodes") };
        driftless_tests::settle_in(&[one, two], 5);
        for node in pair.iter() {
            assert_eq!(
                query(node.path(), "SELECT id FROM notes WHERE title = 'unsent'"),
                ["'5'", "'6'"],
                "{copied}"
            );
        }
        pair.close();
        for at in 0..2 {
            let verified = verify(pair.path(at), &options(&pair.url()));
            assert!(verified.is_well(), "{verified:#?}");
        }
    }
}

#[test]
fn while_others_write_it_compares_all_the_same() {
    let mut pair = pair();
    pair[0].reopen();
    pair.go_online_at(0);
    pair[0].sync_now();
    // Whatever comes between two downloads is there at the next.
    let (path, writer) = (pair.path(1).to_owned(), pair.path(0).to_owned());
    let mut count = 0;
    let verified = driftless::verify_telling(&path, &options(&pair.url()), &mut |doing| {
        if doing == "downloading the space" && count < 3 {
            count += 1;
            sql(&writer, &format!("UPDATE notes SET title = 'change {count}' WHERE id = '3'"));
            pair[0].sync_now();
        }
    });
    let verified = verified.expect("verified");
    assert!(verified.is_well(), "{verified:#?}");
    let check = verified.checks.iter().find(|check| check.name == "relay").expect("it was made");
    assert!(check.looked_at > 0, "it was compared: {check:?}");
    assert!(count >= 1, "somebody wrote meanwhile");
}
