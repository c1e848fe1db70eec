//! A backup from before `driftless track` takes the file's place, so that it has none of Driftless's tables any more. The
//! engine made them anew, empty, and went on: nothing travelled, and every command said that all was well.

use std::fs;
use std::path::{Path, PathBuf};

use driftless::{Config, Engine, Error, OtherSpace, SyncConfig, SyncState, TableOptions};
use driftless_tests::{
    Commands, Outcome, PATIENCE, TestRelay, create_database, eventually, has_shell, query, shell, sql,
};
use serde_json::Value as Json;
use tempfile::TempDir;

const NOTES: &str = "
CREATE TABLE notes (id TEXT PRIMARY KEY NOT NULL, title TEXT);
INSERT INTO notes VALUES ('1', 'one'), ('2', 'two'), ('3', 'three');
";

/// The exit code of a command whose file has lost what Driftless kept in it.
const LOST: Option<i32> = Some(13);

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

fn driftless<const N: usize>(arguments: [&str; N]) -> Outcome {
    Commands::get().driftless(arguments)
}

/// A tracked file that is synced, and a backup of it from before it was tracked.
struct Scene {
    folder: TempDir,
    relay: TestRelay,
    file: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, relay) = (folder.path().join("app.db"), TestRelay::in_memory());
        create_database(&file, NOTES);
        fs::copy(&file, folder.path().join("backup.db")).expect("a backup");
        let scene = Self { folder, relay, file };
        Commands::get().succeed(["track", text(&scene.file), "--all"]);
        scene.once();
        scene
    }

    fn backup(&self) -> PathBuf {
        self.folder.path().join("backup.db")
    }

    fn url(&self) -> String {
        self.relay.url("notes")
    }

    fn once(&self) -> String {
        Commands::get().succeed(["sync", text(&self.file), &self.url(), "--once", "--timeout", "60"])
    }

    fn remove_log(&self) {
        for suffix in ["-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{suffix}", text(&self.file))); // it may be gone already
        }
    }

    fn copy_over(&self) {
        self.remove_log();
        fs::write(&self.file, fs::read(self.backup()).expect("the backup")).expect("copied over");
    }

    fn move_over(&self) {
        self.remove_log();
        fs::rename(self.backup(), &self.file).expect("moved over");
    }

    fn restore(&self) {
        shell(&self.file, &format!(".restore '{}'", text(&self.backup())));
    }

    /// Leaves in the file only what a backup from before has.
    fn drop_ours(&self) {
        let ours = |kind: &str| {
            let select = format!(
                "SELECT name FROM sqlite_master WHERE type = '{kind}' AND name LIKE '%driftless!_%' ESCAPE '!'"
            );
            let drop = |name: &String| format!("DROP {kind} IF EXISTS \"{}\";", name.trim_matches('\''));
            query(&self.file, &select).iter().map(drop).collect::<String>()
        };
        sql(&self.file, &format!("BEGIN; {} {} {} COMMIT", ours("trigger"), ours("view"), ours("table")));
    }

    fn count_of_ours(&self) -> Vec<String> {
        query(&self.file, "SELECT count(*) FROM sqlite_master WHERE name LIKE '%driftless%'")
    }

    /// Nothing says that all is well, and the file is left as it is.
    fn every_command_says_so(&self) {
        let mode = query(&self.file, "PRAGMA journal_mode");
        let (file, url) = (text(&self.file), self.url());
        for said in [
            driftless(["sync", file, &url]),
            driftless(["sync", file, &url, "--once"]),
            driftless(["status", file]),
            driftless(["status", file, "--check"]),
            driftless(["verify", file]),
            driftless(["conflicts", file]),
        ] {
            assert_eq!(said.code, LOST, "{said:?}");
            assert!(said.stderr.contains(&format!("app.db' was synced with {url} before")), "{said:?}");
            let what_to_do = format!("driftless track {file} --all, and then driftless sync {file} {url}");
            assert!(said.stderr.contains(&what_to_do), "{said:?}");
        }
        for command in [
            &["status", file][..],
            &["status", file, "--check"],
            &["verify", file],
            &["conflicts", file],
            &["parked", file],
            &["sync", file, &url, "--once"],
        ] {
            let said = Commands::get().driftless(command.iter().copied().chain(["--json"]));
            let json: Json = serde_json::from_str(&said.stdout).expect("JSON");
            assert_eq!((said.code, &json["error"]["exit_code"]), (LOST, &Json::from(13)), "{command:?}");
            let message = json["error"]["message"].as_str().expect("a text");
            assert!(message.contains("has none of Driftless's tables now"), "{message}");
        }
        assert_eq!(self.count_of_ours(), ["0"], "nothing was made in the file");
        assert_eq!(query(&self.file, "PRAGMA journal_mode"), mode);
    }

    /// The user does what the error says.
    fn goes_on(&self) {
        Commands::get().succeed(["track", text(&self.file), "--all"]);
        assert!(self.once().contains("agree"));
    }
}

fn lost_under_a_running_sync(how: &str, lose: impl Fn(&Scene)) {
    let scene = Scene::new();
    let sync = Commands::get().sync(&scene.file, &scene.url());
    lose(&scene);
    let ended = sync.outcome();
    assert_eq!(ended.code, LOST, "{how}: {ended:?}");
    assert!(ended.stderr.contains("has none of Driftless's tables now"), "{how}: {ended:?}");
    scene.every_command_says_so();
    scene.goes_on();
}

#[test]
fn a_running_sync_ends_when_a_backup_from_before_track_takes_the_files_place() {
    lost_under_a_running_sync("copied over", Scene::copy_over);
    lost_under_a_running_sync("moved over", Scene::move_over);
    lost_under_a_running_sync("dropped", Scene::drop_ours);
    if has_shell() {
        lost_under_a_running_sync("restored", Scene::restore);
    }
}

/// The others had seen the rows of the backup, so their later edits and deletes stand.
#[test]
fn a_backup_from_before_track_is_tracked_again_and_gets_back_what_others_did_since() {
    let scene = Scene::new();
    let copy = scene.folder.path().join("copy.db");
    Commands::get().succeed(["clone", &scene.url(), text(&copy)]);
    sql(&copy, "UPDATE notes SET title = 'ONE' WHERE id = '1'; DELETE FROM notes WHERE id = '2'");
    let once = |file: &Path| {
        Commands::get().succeed(["sync", text(file), &scene.url(), "--once", "--timeout", "60"]);
    };
    once(&copy);
    scene.copy_over();
    scene.every_command_says_so();
    sql(&scene.file, "INSERT INTO notes VALUES ('4', 'in the backup')");
    scene.goes_on();
    once(&copy);
    let expected = ["'1', 'ONE'", "'3', 'three'", "'4', 'in the backup'"];
    for file in [&scene.file, &copy] {
        assert_eq!(query(file, "SELECT * FROM notes ORDER BY id"), expected, "{file:?}");
        assert_eq!(driftless(["verify", text(file), &scene.url()]).code, Some(0));
    }
}

/// The file knows no space any more. A mistyped name made one, in which the file was alone for ever.
#[test]
fn a_file_that_lost_its_tracking_is_put_into_no_other_space_than_before_unless_that_is_said() {
    let scene = Scene::new();
    let file = text(&scene.file);
    scene.copy_over();
    Commands::get().succeed(["track", file, "--all"]);
    let others = tempfile::tempdir().expect("a folder");
    let others = others.path().join("app.db");
    create_database(&others, NOTES);
    Commands::get().succeed(["track", text(&others), "--all"]);
    Commands::get().succeed(["sync", text(&others), &scene.relay.url("others"), "--once"]);
    // One that is not there, and one that is somebody else's.
    for name in ["ntoes", "others"] {
        let url = scene.relay.url(name);
        for refused in
            [driftless(["sync", file, &url, "--once", "--timeout", "60"]), driftless(["sync", file, &url])]
        {
            assert_eq!(refused.code, Some(6), "{refused:?}");
            let right = format!("app.db' was last synced with {}, and {url} is another space", scene.url());
            assert!(refused.stderr.contains(&right), "{refused:?}");
            for what_to_do in [scene.url(), format!("{url} --new-space")] {
                let what_to_do = format!("driftless sync {file} {what_to_do}");
                assert!(refused.stderr.contains(&what_to_do), "{refused:?}");
            }
        }
    }
    let absent = scene.folder.path().join("absent.db");
    let clone = driftless(["clone", &scene.relay.url("ntoes"), text(&absent), "--timeout", "60"]);
    assert_eq!(clone.code, Some(6), "the space was made all the same: {clone:?}");
    assert_eq!(query(&scene.file, "SELECT count(*) FROM _driftless_meta WHERE name = 'space'"), ["0"]);
    // The right one takes the file back, on another relay too; any other does when it is said.
    scene.once();
    assert_eq!(driftless(["verify", file, &scene.url()]).code, Some(0));
    scene.drop_ours();
    Commands::get().succeed(["track", file, "--all"]);
    let meant = scene.relay.url("ntoes");
    Commands::get().succeed(["sync", file, &meant, "--once", "--timeout", "60", "--new-space"]);
    Commands::get().succeed(["sync", file, &meant, "--once", "--timeout", "60"]);
}

/// The same for an app that has the engine as a library.
#[test]
fn an_app_that_opens_a_backup_from_before_track_joins_another_space_only_when_it_says_so() {
    let scene = Scene::new();
    scene.copy_over();
    let engine = Engine::open(&scene.file, Config::default()).expect("opened");
    engine.track(&["notes"], TableOptions::default()).expect("tracked");
    let other = SyncConfig::new(scene.relay.url("ntoes"));
    let sync = engine.sync(other.clone()).expect("the address is good");
    eventually("the refusal", || matches!(sync.state(), SyncState::Refused(_)).then_some(()));
    // However late somebody asks, the first is told the very error.
    match sync.sync_now(PATIENCE) {
        Err(Error::OtherSpace { last, meant, why: OtherSpace::Unknown, .. }) => {
            assert_eq!((last, meant), (scene.url(), scene.url()));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(sync.sync_now(PATIENCE), Err(Error::SyncEnded(_))));
    sync.stop();
    let sync = engine.sync(other.new_space(true)).expect("the address is good");
    sync.sync_now(PATIENCE).expect("it is meant");
}

#[test]
fn a_file_that_was_never_tracked_syncs_once_with_json_like_any_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, relay) = (folder.path().join("app.db"), TestRelay::in_memory());
    create_database(&file, NOTES);
    // Nobody listens on port 1.
    let failed = driftless(["sync", text(&file), "ws://127.0.0.1:1/notes", "--once", "--json"]);
    let json: Json = serde_json::from_str(&failed.stdout).expect("JSON");
    assert_eq!((failed.code, &json["error"]["exit_code"]), (Some(5), &Json::from(5)), "{failed:?}");
    let url = relay.url("notes");
    let once = driftless(["sync", text(&file), &url, "--once", "--json", "--timeout", "60"]);
    let json: Json = serde_json::from_str(&once.stdout).expect("JSON");
    assert_eq!(once.code, Some(0), "{once:?}");
    assert_eq!((&json["tracked"], &json["untracked"]), (&Json::from(0), &serde_json::json!(["notes"])));
    assert_eq!((&json["agree"], &json["url"]), (&Json::from(true), &Json::from(url)));
}

#[test]
fn a_file_of_which_nothing_is_tracked_is_not_said_to_be_well() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, relay) = (folder.path().join("app.db"), TestRelay::in_memory());
    let url = relay.url("notes");
    create_database(&file, NOTES);
    let says = |said: &Outcome| {
        let all = format!("{}\n{}", said.stdout, said.stderr);
        assert!(all.contains("no table of this file is tracked"), "{said:?}");
        assert!(all.contains(&format!("driftless track {} --all", text(&file))), "{said:?}");
    };
    let once = driftless(["sync", text(&file), &url, "--once", "--timeout", "60"]);
    says(&once);
    assert!(once.code == Some(0) && !once.stdout.contains("agree"), "{once:?}");
    let verified = driftless(["verify", text(&file)]);
    says(&verified);
    assert!(verified.code == LOST && !verified.stdout.contains("well"), "{verified:?}");
    let sync = Commands::get().sync(&file, &url);
    eventually("the check to find it", || {
        let check = driftless(["status", text(&file), "--check"]);
        (check.code == Some(12)).then(|| says(&check))
    });
    says(&sync.stop());
}
