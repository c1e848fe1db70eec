//! What `status` tells while a sync runs, the rule that `track --all` is, and names of spaces that were mistyped.

use std::path::{Path, PathBuf};

use driftless::TableOptions;
use driftless_tests::{Commands, Replicas, TestRelay, create_database, eventually, query, sql};
use serde_json::Value as Json;

const NOTES: &str =
    "CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT); INSERT INTO notes VALUES ('1', 'one');";

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

fn once(file: &Path, url: &str) {
    Commands::get().succeed(["sync", text(file), url, "--once", "--timeout", "60"]);
}

fn status(file: &Path) -> Json {
    let json = Commands::get().succeed(["status", text(file), "--json"]);
    serde_json::from_str(&json).expect("JSON")
}

/// A file of which every table is tracked, and those to come.
fn tracked(folder: &tempfile::TempDir, name: &str, statements: &str) -> PathBuf {
    let file = folder.path().join(name);
    create_database(&file, statements);
    Commands::get().succeed(["track", text(&file), "--all"]);
    file
}

/// A typing error made a second space of the same id on the relay, in which the file was alone for ever.
#[test]
fn a_space_that_is_mistyped_is_refused_with_its_right_name_and_not_made() {
    let folder = tempfile::tempdir().expect("a folder");
    for relay in [TestRelay::in_memory(), TestRelay::on_disk(&folder.path().join("relay"))] {
        let file = tracked(&folder, &format!("{}.db", relay.address().port()), NOTES);
        once(&file, &relay.url("notes"));
        let refused = Commands::get().driftless([
            "sync",
            text(&file),
            &relay.url("ntoes"),
            "--once",
            "--timeout",
            "60",
        ]);
        assert_eq!(refused.code, Some(6), "{refused:?}");
        let right = format!("driftless sync {} {}", text(&file), relay.url("notes"));
        assert!(refused.stderr.ends_with(&right), "it says what to type: {}", refused.stderr);
        // It said "offline" twice first, as of a relay that may be back in a moment.
        let refused = Commands::get().driftless(["sync", text(&file), &relay.url("ntoes")]);
        assert_eq!(refused.code, Some(6), "{refused:?}");
        assert!(!refused.stderr.contains("offline") && refused.stderr.ends_with(&right), "{refused:?}");
        // `verify` proposed `sync`.
        let refused = Commands::get().driftless(["verify", text(&file), &relay.url("ntoes"), "--repair"]);
        assert_eq!(refused.code, Some(6), "{refused:?}");
        let right = format!("driftless verify {} {} --repair", text(&file), relay.url("notes"));
        assert!(refused.stderr.ends_with(&right), "it says what to type: {}", refused.stderr);
        assert!(!refused.stderr.contains("driftless sync"), "{refused:?}");
        let copy = folder.path().join("copy.db");
        let clone = Commands::get().driftless(["clone", &relay.url("ntoes"), text(&copy), "--timeout", "60"]);
        assert_eq!(clone.code, Some(6), "the space was made all the same: {clone:?}");
        once(&file, &relay.url("notes"));
        // Beside a running sync `verify` does not ask which space the file belongs to.
        let sync = Commands::get().sync(&file, &relay.url("notes"));
        let refused = Commands::get().driftless(["verify", text(&file), &relay.url("ntoes"), "--json"]);
        let json: Json = serde_json::from_str(&refused.stdout).expect("JSON");
        assert_eq!((refused.code, &json["error"]["exit_code"]), (Some(6), &Json::from(6)), "{refused:?}");
        let message = json["error"]["message"].as_str().expect("a text");
        let right = format!("driftless verify {} {}", text(&file), relay.url("notes"));
        assert!(message.starts_with("there is no space at") && message.ends_with(&right), "{message}");
        sync.stop();
    }
}

/// A relay that has lost its data, or is a new one, knows no id: a mistyped name made a space there.
#[test]
fn a_new_relay_is_filled_under_the_same_name_and_under_another_only_when_that_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let relay = TestRelay::in_memory();
    let file = tracked(&folder, "app.db", NOTES);
    once(&file, &relay.url("notes"));
    let copy = folder.path().join("copy.db");
    let clone = |url: &str| Commands::get().driftless(["clone", url, text(&copy), "--timeout", "60"]);
    let empty = TestRelay::in_memory();
    let mistyped = empty.url("ntoes");
    let right = format!("driftless sync {} {}", text(&file), empty.url("notes"));
    for refused in [
        Commands::get().driftless(["sync", text(&file), &mistyped, "--once", "--timeout", "60"]),
        Commands::get().driftless(["sync", text(&file), &mistyped]),
    ] {
        assert_eq!(refused.code, Some(6), "{refused:?}");
        assert!(refused.stderr.contains(&relay.url("notes")), "it names the last address: {refused:?}");
        assert!(refused.stderr.contains(&right), "it says what to type: {refused:?}");
        let meant = format!("driftless sync {} {mistyped} --new-space", text(&file));
        assert!(refused.stderr.contains(&meant), "{refused:?}");
    }
    let verified = Commands::get().driftless(["verify", text(&file), &mistyped]);
    assert_eq!(verified.code, Some(6), "{verified:?}");
    for meant in [empty.url("notes"), relay.url("notes")] {
        assert!(
            verified.stderr.contains(&format!("driftless verify {} {meant}", text(&file))),
            "{verified:?}"
        );
    }
    assert_eq!(clone(&mistyped).code, Some(6), "the space was made all the same");

    // The relay has moved, or lost its data.
    once(&file, &empty.url("notes"));
    let another = TestRelay::in_memory();
    let meant = another.url("memos");
    Commands::get().succeed(["sync", text(&file), &meant, "--once", "--timeout", "60", "--new-space"]);
    assert_eq!(clone(&meant).code, Some(0));
    assert_eq!(query(&copy, "SELECT title FROM notes"), ["'one'"]);
    // It is the same space there, under whatever name.
    once(&file, &relay.url("notes"));
    once(&file, &meant);
}

#[test]
fn status_tells_whether_a_running_sync_is_connected_and_since_when() {
    let folder = tempfile::tempdir().expect("a folder");
    let commands = Commands::get();
    let (mut relay, port) = commands.relay(&folder.path().join("relay"), 0);
    let url = format!("ws://127.0.0.1:{port}/notes");
    let file = tracked(&folder, "a.db", NOTES);
    assert_eq!(status(&file)["engine"], Json::Null);
    let sync = commands.sync(&file, &url);
    let connection = |state: &'static str| {
        eventually(state, || {
            let connection = status(&file)["engine"]["connection"].clone();
            (connection["state"] == state).then_some(connection)
        })
    };
    let online = connection("online");
    assert_eq!(online["url"], url.as_str());
    let check = |most: &str| commands.driftless(["status", text(&file), "--check", "--max-lag", most]);
    eventually("all is sent", || (check("600").code == Some(0)).then_some(()));
    relay.kill();
    let offline = connection("offline");
    assert!(offline["since"].as_i64() >= online["since"].as_i64(), "{offline}");
    assert_eq!(check("600").code, Some(0), "not for that long");
    eventually("it is too long", || (check("0").code == Some(11)).then_some(()));
    // Each attempt fails anew; it has been offline since the first.
    eventually("a reason", || status(&file)["engine"]["connection"]["why"].is_string().then_some(()));
    assert_eq!(connection("offline")["since"], offline["since"]);
    let _relay = commands.relay(&folder.path().join("relay"), port);
    connection("online");
    assert_eq!(sync.stop().code, Some(0));
    assert_eq!(check("600").code, Some(10));
}

/// `status` told when the connection had begun, however long ago that was.
#[test]
fn the_last_contact_is_when_the_relay_was_last_heard_and_stays_when_the_sync_has_ended() {
    let folder = tempfile::tempdir().expect("a folder");
    let relay = TestRelay::in_memory();
    let url = relay.url("notes");
    let file = tracked(&folder, "a.db", NOTES);
    once(&file, &url);
    let copy = folder.path().join("b.db");
    Commands::get().succeed(["clone", &url, text(&copy)]);
    let sync = Commands::get().sync(&file, &url);
    let begun = driftless::status(&file).expect("a status").last_contact.expect("it is online").at;
    let mut rows = 1;
    // It is told once a second at most, so that several rows may have to come.
    let contact = eventually("a later contact", || {
        rows += 1;
        sql(&copy, &format!("INSERT INTO notes VALUES ('{rows}', 'more')"));
        once(&copy, &url);
        let contact = driftless::status(&file).expect("a status").last_contact.expect("it was heard");
        (contact.at > begun).then_some(contact)
    });
    assert_eq!(contact.url, url);
    assert_eq!(sync.stop().code, Some(0));
    let after = driftless::status(&file).expect("a status").last_contact.expect("it was heard");
    assert!(after.at >= contact.at, "{after:?}");
}

/// `status` showed such a table as `unknown` and explained nothing.
#[test]
fn a_table_that_only_others_have_is_explained() {
    let folder = tempfile::tempdir().expect("a folder");
    let relay = TestRelay::in_memory();
    let url = relay.url("notes");
    let tags = "CREATE TABLE tags (id TEXT PRIMARY KEY, name TEXT); INSERT INTO tags VALUES ('a', 'from a');";
    let a = tracked(&folder, "a.db", &format!("{NOTES} {tags}"));
    let b = folder.path().join("b.db");
    create_database(&b, NOTES);
    Commands::get().succeed(["track", text(&b), "notes"]);
    [&a, &b].into_iter().for_each(|file| once(file, &url));
    let said = || Commands::get().succeed(["status", text(&b)]);
    let command = format!("`driftless track {} tags`", text(&b));
    assert!(
        said().contains("only other machines have this table") && said().contains(&command),
        "{}",
        said()
    );
    sql(&b, "CREATE TABLE tags (id TEXT PRIMARY KEY, name TEXT)");
    once(&b, &url);
    let here = "other machines track a table of this name";
    assert!(said().contains(here) && said().contains(&command), "{}", said());
    Commands::get().succeed(["track", text(&b), "tags"]);
    once(&b, &url);
    assert_eq!(query(&b, "SELECT name FROM tags"), ["'from a'"]);
    assert!(!said().contains("other machines"), "{}", said());
}

/// `status --check` said that all was well while a question waited, and while rows of a given-up table reached nobody.
#[test]
fn the_check_tells_what_waits_for_an_answer_and_what_does_not_reach_the_others() {
    let statements = "CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT, body TEXT);
                      CREATE TABLE tags (id TEXT PRIMARY KEY); CREATE TABLE marks (id TEXT PRIMARY KEY);";
    let mut replicas = Replicas::new(2, statements, &["notes", "tags", "marks"], &TableOptions::default());
    let check = |replicas: &Replicas, node: usize| {
        let file = text(replicas.path(node));
        let said = Commands::get().driftless(["status", file, "--check", "--max-lag", "600"]);
        (said.code, said.stdout)
    };
    let asks = |replicas: &Replicas, node: usize, words: &str| {
        let (code, said) = check(replicas, node);
        assert!(code == Some(12) && said.contains(words), "{node}: {code:?} {said}");
    };
    let well = (Some(0), "well".to_owned());
    assert_eq!(check(&replicas, 0), well);
    replicas.sql(
        0,
        "CREATE TABLE n (id TEXT PRIMARY KEY, head TEXT, body TEXT); INSERT INTO n SELECT * FROM notes; DROP TABLE notes;
         ALTER TABLE n RENAME TO notes",
    );
    replicas.meet();
    asks(&replicas, 0, "table notes: column 'title' went and 'head' came");
    asks(&replicas, 0, &format!("`driftless rename-column {} notes title head`", text(replicas.path(0))));
    assert_eq!(check(&replicas, 1), well, "it has not renamed anything");
    driftless::rename_column(replicas.path(0), "notes", "title", "head").expect("told");
    replicas.meet();
    assert_eq!(check(&replicas, 0), well);

    replicas.sql(0, "ALTER TABLE notes DROP COLUMN body; DROP TABLE tags");
    replicas.meet();
    driftless::forget(replicas.path(0), "notes", Some("body")).expect("forgotten");
    driftless::forget(replicas.path(0), "tags", None).expect("forgotten");
    replicas.meet();
    assert_eq!(check(&replicas, 0), well, "what it gave up is history here");
    asks(&replicas, 1, "table notes: the space has given up its column 'body'");
    asks(&replicas, 1, "table tags: the space has given it up");
    replicas.sql(1, "ALTER TABLE notes DROP COLUMN body; DROP TABLE tags");
    replicas.meet();
    assert_eq!(check(&replicas, 1), well);

    replicas.sql(1, "INSERT INTO marks VALUES (NULL)");
    replicas.meet();
    asks(&replicas, 1, "table marks: 1 row with a NULL key");
    // A table that was made anew and compared is history.
    replicas
        .sql(0, "DROP TABLE marks; CREATE TABLE marks (id TEXT PRIMARY KEY); INSERT INTO marks VALUES ('1')");
    replicas.meet();
    assert_eq!(check(&replicas, 0), well);
}

/// New tables stayed in the file in which they were made, and nobody said so.
#[test]
fn a_table_that_two_apps_make_later_is_shared_by_the_first_file_and_its_clone() {
    let folder = tempfile::tempdir().expect("a folder");
    let relay = TestRelay::in_memory();
    let url = relay.url("notes");
    let a = tracked(&folder, "a.db", NOTES);
    once(&a, &url);
    let b = folder.path().join("b.db");
    let said = Commands::get().driftless(["clone", &url, text(&b)]);
    assert!(said.stderr.contains("no part of a space"), "{said:?}");
    // The clone's app is first; what only it has is its own until the space knows it.
    let tags = "CREATE TABLE tags (id TEXT PRIMARY KEY, name TEXT);";
    sql(
        &b,
        &format!("{tags} INSERT INTO tags VALUES ('b', 'from b'); CREATE TABLE own (id TEXT PRIMARY KEY)"),
    );
    once(&b, &url);
    assert_eq!(status(&b)["untracked"][0]["table"], "tags");
    sql(&a, &format!("{tags} INSERT INTO tags VALUES ('a', 'from a')"));
    let live = Commands::get().sync(&b, &url);
    once(&a, &url);
    eventually("b has it", || (query(&b, "SELECT count(*) FROM tags") == ["2"]).then_some(()));
    assert_eq!(live.stop().code, Some(0));
    once(&a, &url);
    // The same without a running engine: b hears of the table when its sync is over.
    let marks = "CREATE TABLE marks (id TEXT PRIMARY KEY)";
    sql(&b, marks);
    once(&b, &url);
    sql(&a, &format!("{marks}; INSERT INTO marks VALUES ('a')"));
    [&a, &b, &b].into_iter().for_each(|file| once(file, &url));
    assert_eq!(query(&b, "SELECT id FROM marks"), ["'a'"]);
    for file in [&a, &b] {
        assert_eq!(query(file, "SELECT name FROM tags ORDER BY id"), ["'from a'", "'from b'"]);
    }
    let untracked = status(&b)["untracked"].clone();
    assert_eq!((untracked.as_array().map(Vec::len), &untracked[0]["table"]), (Some(1), &Json::from("own")));
}

/// The list of what was applied travelled, and the other machine skipped its own migration.
#[test]
fn what_one_machine_has_migrated_does_not_keep_the_other_from_migrating() {
    let folder = tempfile::tempdir().expect("a folder");
    let relay = TestRelay::in_memory();
    let url = relay.url("notes");
    let statements = format!("{NOTES} CREATE TABLE schema_migrations (version TEXT PRIMARY KEY);");
    let files = ["a.db", "b.db"].map(|name| tracked(&folder, name, &statements));
    for file in &files {
        let applied = "SELECT count(*) FROM schema_migrations WHERE version = '2'";
        assert_eq!(query(file, applied), ["0"], "it came from the other machine");
        sql(file, "ALTER TABLE notes ADD COLUMN slug TEXT; INSERT INTO schema_migrations VALUES ('2')");
        once(file, &url);
        files.iter().for_each(|file| once(file, &url));
    }
}

#[test]
fn a_running_sync_names_the_tables_that_do_not_travel() {
    let folder = tempfile::tempdir().expect("a folder");
    let relay = TestRelay::in_memory();
    let file = folder.path().join("a.db");
    create_database(&file, &format!("{NOTES} CREATE TABLE loose (v); CREATE TABLE looser (v);"));
    let tracked = Commands::get().driftless(["track", text(&file), "--all"]);
    assert_eq!(tracked.code, Some(9), "{tracked:?}");
    let sync = Commands::get().sync(&file, &relay.url("notes"));
    let said = sync.stop().stderr;
    assert!(
        said.contains(
            "not tracked: 2 tables (loose, looser), each for the same reason: it has no PRIMARY KEY"
        ),
        "{said}"
    );
}
