//! Two copies of a database as people have them, the built commands, the stock `sqlite3` shell.

use std::path::Path;

use driftless_tests::{
    Commands, MusicShop, assert_same_tables, dump, eventually, free_port, query, shell, tables,
};

/// A thousand artists and albums in one transaction, from this key on.
fn thousand(from: u32) -> String {
    format!(
        "BEGIN;
         INSERT INTO Artist WITH RECURSIVE n(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < 499)
           SELECT {from} + n, 'Artist ' || n FROM n;
         INSERT INTO Album WITH RECURSIVE n(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < 499)
           SELECT {from} + n, 'Album ' || n, {from} + n FROM n;
         COMMIT;"
    )
}

#[test]
fn two_copies_edited_with_the_sqlite3_shell_offline_and_online_end_equal_and_equal_to_a_clone() {
    edit_offline_and_online(MusicShop::put);
}

#[test]
fn two_copies_of_a_generated_shop_end_equal_too() {
    edit_offline_and_online(|path| MusicShop { artists: 60 }.create(path));
}

fn edit_offline_and_online(put: impl Fn(&Path)) {
    let commands = Commands::get();
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let text = |path: &Path| path.to_str().expect("text").to_owned();
    let (a, b) = (at("a.db"), at("b.db"));
    put(&a);
    std::fs::copy(&a, &b).expect("cp");
    let found = tables(&a);
    for file in [&a, &b] {
        let said = commands.succeed(["track", &text(file), "--all", "--allow-integer-key"]);
        assert!(said.contains(&format!("tracking {} tables", found.names().len())), "{said}");
    }
    let data = at("relay");
    let (relay, port) = commands.relay(&data, free_port());
    let url = format!("ws://127.0.0.1:{port}/shop");
    let syncs = [commands.sync(&a, &url), commands.sync(&b, &url)];

    // Online: each sees the other's rows without being asked.
    shell(&a, "UPDATE Artist SET Name = 'Online, by a' WHERE ArtistId = 1;");
    shell(&b, "INSERT INTO Artist VALUES (900001, 'Online, by b');");
    let shows = |file: &Path, id: u32, name: &str| {
        let select = format!("SELECT Name FROM Artist WHERE ArtistId = {id}");
        eventually(name, || (query(file, &select) == [format!("'{name}'")]).then_some(()));
    };
    shows(&b, 1, "Online, by a");
    shows(&a, 900_001, "Online, by b");

    // Offline: what a node says goodbye with is still sent.
    for sync in syncs {
        let outcome = sync.stop();
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
    }
    shell(
        &a,
        "UPDATE Track SET Name = 'Name by a' WHERE TrackId = 10;
         UPDATE Track SET Composer = 'Composer by a' WHERE TrackId = 11;
         UPDATE Track SET UnitPrice = UnitPrice + 1 WHERE TrackId BETWEEN 100 AND 200;
         DELETE FROM InvoiceLine WHERE InvoiceId = 5;
         DELETE FROM PlaylistTrack WHERE TrackId = 30;
         UPDATE Customer SET Company = 'Edited by a' WHERE CustomerId = 3;
         INSERT INTO Genre VALUES (910001, 'Genre of a');
         INSERT INTO Artist VALUES (2, 'Upserted by a') ON CONFLICT (ArtistId) DO UPDATE SET Name = excluded.Name;
         REPLACE INTO MediaType VALUES (1, 'Replaced by a');
         INSERT OR IGNORE INTO MediaType VALUES (2, 'ignored');
         INSERT INTO Playlist VALUES (910001, 'Playlist of a');
         INSERT INTO PlaylistTrack SELECT 910001, TrackId FROM Track WHERE TrackId <= 50;",
    );
    shell(&a, &thousand(920_000));
    shell(
        &b,
        "UPDATE Track SET Name = 'Name by b' WHERE TrackId = 10;
         UPDATE Track SET Milliseconds = 1, Bytes = NULL WHERE TrackId = 11;
         UPDATE Track SET UnitPrice = 0.5 WHERE TrackId BETWEEN 300 AND 310;
         DELETE FROM InvoiceLine WHERE InvoiceId = 6;
         DELETE FROM Customer WHERE CustomerId = 3;
         INSERT INTO Genre VALUES (930001, 'Genre of b'), (930002, NULL);
         INSERT INTO Artist VALUES (3, 'Upserted by b') ON CONFLICT (ArtistId) DO UPDATE SET Name = excluded.Name;
         REPLACE INTO Genre (GenreId, Name) VALUES (1, 'Replaced by b');
         UPDATE PlaylistTrack SET PlaylistId = 2 WHERE PlaylistId = 1 AND TrackId = 40
           AND NOT EXISTS (SELECT 1 FROM PlaylistTrack WHERE PlaylistId = 2 AND TrackId = 40);
         UPDATE Artist SET ArtistId = 930010 WHERE ArtistId = 270;",
    );
    shell(&b, &thousand(940_000));

    // Online again, with edits meanwhile.
    let syncs = [commands.sync(&a, &url), commands.sync(&b, &url)];
    for n in 0..5 {
        shell(&a, &format!("INSERT INTO Genre VALUES ({}, 'a while online');", 950_000 + n));
        shell(&b, &format!("UPDATE Invoice SET Total = Total + {n} WHERE InvoiceId = {};", n + 20));
    }
    drop(syncs);
    for file in [&a, &b, &a] {
        let said = commands.succeed(["sync", &text(file), &url, "--once", "--timeout", "60"]);
        assert!(said.contains("agree"), "{said}");
    }

    assert_same_tables(&[&a, &b]);
    assert_eq!(dump(&a), dump(&b), "`.dump` of the user tables");
    assert_eq!(
        query(&b, "SELECT Name FROM Track WHERE TrackId = 10"),
        ["'Name by b'"],
        "the later one shows"
    );
    assert_eq!(
        query(&a, "SELECT Composer, Milliseconds, Bytes FROM Track WHERE TrackId = 11"),
        ["'Composer by a', 1, NULL"],
        "different columns both stay"
    );
    assert_eq!(
        query(&b, "SELECT Company FROM Customer WHERE CustomerId = 3"),
        ["'Edited by a'"],
        "an edit wins over a delete"
    );
    let ours = "SELECT count(*) FROM Album WHERE AlbumId >= 900000";
    assert_eq!(query(&a, ours), ["1000"], "both transactions of a thousand rows are there");

    // The value that does not show is listed, on both alike.
    let listed = [&a, &b].map(|file| {
        let json = commands.succeed(["conflicts", &text(file), "--json"]);
        serde_json::from_str::<serde_json::Value>(&json).expect("JSON")
    });
    assert_eq!(listed[0], listed[1]);
    let conflicts = listed[0]["conflicts"].as_array().expect("a list");
    let cells: Vec<_> = conflicts.iter().map(|c| (&c["table"], &c["key"], &c["column"])).collect();
    assert_eq!(cells, [(&"Track".into(), &"10".into(), &"name".into())], "{conflicts:#?}");
    assert_eq!(conflicts[0]["shown"]["value"], "Name by b");
    assert_eq!(conflicts[0]["kept"][0]["value"], "Name by a");

    let status: serde_json::Value =
        serde_json::from_str(&commands.succeed(["status", &text(&a), "--json"])).expect("JSON");
    assert_eq!(
        (&status["unsent"]["changesets"], &status["quarantined"]),
        (&0.into(), &0.into()),
        "{status:#}"
    );

    let copy = at("copy.db");
    commands.succeed(["clone", &url, &text(&copy)]);
    assert_same_tables(&[&a, &copy]);
    assert_eq!(dump(&a), dump(&copy), "`.dump` of the clone");
    let stopped = relay.stop();
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
}

#[test]
fn a_generated_shop_has_the_features_of_the_real_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("shop.db");
    MusicShop { artists: 12 }.create(&path);
    let commands = Commands::get();
    let file = path.to_str().expect("text");
    let refused = commands.driftless(["track", file, "Artist"]);
    assert_eq!(refused.code, Some(3), "{refused:?}");
    assert!(refused.stderr.contains("--allow-integer-key"), "{refused:?}");
    let json = commands.succeed(["track", file, "--all", "--allow-integer-key", "--json"]);
    let tracked: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(tracked["tracked"].as_array().map(Vec::len), Some(11), "{tracked:#}");
    assert_eq!(tracked["left_out"].as_array().map(Vec::len), Some(0), "{tracked:#}");
}
