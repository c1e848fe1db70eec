//! The engine as a library, with a relay at the other end.

use std::time::Duration;

use driftless::{Config, Engine, FeedEvent, Origin, SyncConfig, SyncState, TableOptions, Value};
use driftless_tests::{
    Commands, Node, PATIENCE, TestRelay, agree, assert_same_tables, connect, create_database, query, sql,
};

const NOTES: &str = "CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT);";

#[test]
fn an_app_embeds_it_in_ten_lines() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let relay = TestRelay::in_memory();
    let (path, url) = (folder.path().join("app.db"), relay.url("notes"));
    create_database(&path, NOTES);

    let engine = Engine::open(&path, Config::default())?;
    engine.track(&["notes"], TableOptions::default())?;
    let sync = engine.sync(SyncConfig::new(&url))?;
    connect(&path).execute("INSERT INTO notes VALUES ('1', 'hello')", [])?;
    sync.sync_now(PATIENCE)?;

    let copy = folder.path().join("copy.db");
    let tables = driftless::clone_space(&copy, SyncConfig::new(&url), Config::default(), PATIENCE)?.tables;
    assert_eq!(tables, ["notes"]);
    assert_same_tables(&[&path, &copy]);
    sync.stop();
    engine.close();
    Ok(())
}

#[tokio::test(flavor = "current_thread")]
async fn an_async_app_embeds_it_the_same_way() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let relay = tokio::task::spawn_blocking(TestRelay::in_memory).await?;
    let (path, url) = (folder.path().join("app.db"), relay.url("notes"));
    create_database(&path, NOTES);

    let engine = Engine::open(&path, Config::default())?;
    engine.track_async(&["notes"], TableOptions::default()).await?;
    let sync = engine.sync(SyncConfig::new(&url))?;
    let mut state = sync.watch();
    tokio::time::timeout(PATIENCE, state.wait_for(|state| *state == SyncState::Online)).await??;
    connect(&path).execute("INSERT INTO notes VALUES ('1', 'hello')", [])?;
    sync.sync_now_async(PATIENCE).await?;
    assert_eq!(driftless::status(&path)?.unsent.changesets, 0);
    tokio::task::spawn_blocking(move || drop((sync, engine, relay))).await?;
    Ok(())
}

#[test]
fn the_feed_tells_local_and_remote_rows_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let relay = TestRelay::in_memory();
    let mut a = Node::create(folder.path().join("a.db"), NOTES);
    let mut b = Node::create(folder.path().join("b.db"), NOTES);
    for node in [&mut a, &mut b] {
        node.go_online(&relay.url("notes"));
        node.sync_now();
    }
    agree(&[&a, &b]);
    let mut feeds = [&a, &b].map(|node| node.engine().changes().expect("a subscription"));

    a.sql("INSERT INTO notes VALUES ('1', 'one'), ('2', 'two')");
    agree(&[&a, &b]);
    b.sql("DELETE FROM notes WHERE id = '1'");
    agree(&[&a, &b]);

    let expected = [vec![Origin::Local, Origin::Remote], vec![Origin::Remote, Origin::Local]];
    for (feed, expected) in feeds.iter_mut().zip(expected) {
        for (origin, keys) in expected.into_iter().zip([vec!["1", "2"], vec!["1"]]) {
            let Some(FeedEvent::Changed(changes)) = feed.next_blocking() else { panic!("no change") };
            assert_eq!(changes.origin, origin, "{changes:?}");
            let told: Vec<_> = changes.rows.iter().map(|row| (row.table.clone(), row.key())).collect();
            let keys: Vec<_> =
                keys.into_iter().map(|key| ("notes".to_owned(), vec![Value::text(key)])).collect();
            assert_eq!(told, keys);
        }
    }
    a.close();
    assert_eq!(feeds[0].next_blocking(), None, "the feed ends with the engine");
}

#[test]
fn sync_now_returns_after_everything_is_stored_there_and_applied_here() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("relay");
    let mut relay = TestRelay::on_disk(&data);
    let mut a = Node::create(folder.path().join("a.db"), NOTES);
    let mut b = Node::create(folder.path().join("b.db"), NOTES);
    a.go_online(&relay.url("notes"));
    b.go_online(&relay.url("notes"));
    for n in 0..20 {
        a.sql(&format!("INSERT INTO notes VALUES ('{n}', 'row {n}')"));
        a.sync_now();
        // One call on each side, no polling in between.
        b.sync_now();
        assert_eq!(query(b.path(), "SELECT count(*) FROM notes"), [(n + 1).to_string()]);
    }
    // Acknowledged means on disk.
    a.sql("INSERT INTO notes VALUES ('last', 'row')");
    a.sync_now();
    relay.kill();
    a.close();
    relay.restart();
    b.sync_now();
    assert_eq!(query(b.path(), "SELECT title FROM notes WHERE id = 'last'"), ["'row'"]);
}

#[test]
fn sync_now_without_a_relay_says_so_and_nothing_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut relay = TestRelay::in_memory();
    let url = relay.url("notes");
    relay.stop();
    let mut node = Node::create(folder.path().join("a.db"), NOTES);
    node.sql("INSERT INTO notes VALUES ('1', 'offline')");
    node.go_online(&url);
    let refused = node.sync().sync_now(PATIENCE);
    assert!(matches!(refused, Err(driftless::Error::Offline { .. })), "{refused:?}");
    relay.restart();
    node.sync_now();
    assert_eq!(node.status().unsent.changesets, 0);
}

/// Asked of a relay that was down, this answered now and then that there is no connection, which was true as well.
/// Here somebody listens and never says a word, so that nothing but the time can end the waiting.
#[test]
fn sync_now_gives_up_after_the_time_it_was_given() {
    let folder = tempfile::tempdir().expect("a folder");
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("its address");
    let mut node = Node::create(folder.path().join("a.db"), NOTES);
    node.go_online(&format!("ws://{address}/notes"));
    let late = node.sync().sync_now(Duration::from_millis(50));
    // Which of them it is depends on whether the relay was asked by then.
    let gave_up = matches!(late, Err(driftless::Error::TimedOut(_) | driftless::Error::Offline { .. }));
    assert!(gave_up, "{late:?}");
}

#[test]
fn what_others_commit_travels_without_being_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let relay = TestRelay::in_memory();
    let mut a = Node::create(folder.path().join("a.db"), NOTES);
    let mut b = Node::create(folder.path().join("b.db"), NOTES);
    a.go_online(&relay.url("notes"));
    b.go_online(&relay.url("notes"));
    agree(&[&a, &b]);
    let mut feed = b.engine().changes().expect("a subscription");
    a.sql("INSERT INTO notes VALUES ('1', 'by itself')");
    let Some(FeedEvent::Changed(changes)) = feed.next_blocking() else { panic!("no change") };
    assert_eq!((changes.origin, changes.rows.len()), (Origin::Remote, 1));
    assert_eq!(query(b.path(), "SELECT title FROM notes"), ["'by itself'"]);
}

#[test]
fn tracking_status_and_conflicts_work_while_a_sync_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let relay = TestRelay::in_memory();
    let (commands, url) = (Commands::get(), relay.url("notes"));
    let path = folder.path().join("app.db");
    let file = path.to_str().expect("text");
    create_database(&path, &format!("{NOTES} CREATE TABLE tags (name TEXT PRIMARY KEY, n INTEGER);"));
    sql(
        &path,
        "INSERT INTO tags WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 5000)
                SELECT 'tag ' || n, n FROM n",
    );
    commands.succeed(["track", file, "notes"]);
    let sync = commands.sync(&path, &url);

    let said = commands.succeed(["track", file, "tags"]);
    assert!(said.contains("tracking 1 table: tags"), "{said}");
    sql(&path, "INSERT INTO notes VALUES ('1', 'while it runs')");
    let status: serde_json::Value =
        serde_json::from_str(&commands.succeed(["status", file, "--json"])).expect("JSON");
    assert_eq!(status["tables"][1]["table"], "tags");
    assert_eq!(status["tables"][1]["state"], "tracked");
    assert_eq!(status["tables"][1]["documents"], 5000);
    assert_eq!(commands.succeed(["conflicts", file]), "no conflicts");

    let told = sync.stop();
    assert_eq!(told.code, Some(0), "{told:?}");
    let copy = folder.path().join("copy.db");
    commands.succeed(["clone", &url, copy.to_str().expect("text")]);
    assert_same_tables(&[&path, &copy]);
    let copied = query(&copy, "SELECT (SELECT count(*) FROM tags), (SELECT count(*) FROM notes)");
    assert_eq!(copied, ["5000, 1"]);
}
