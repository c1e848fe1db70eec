//! Bad input: a clear message each, an exit code that says what kind of failure it is, and nothing changed.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use driftless_protocol::changeset::BodyBuilder;
use driftless_protocol::message::{Hello, MAX_FRAME_BYTES, PROTOCOL_VERSION, Welcome, changeset_frame};
use driftless_protocol::{
    Changeset, ChangesetHeader, ClientMessage, Collation, Part, RelayMessage, ReplicaId, RowKey, Seq,
    SpaceId, StateVector, Value,
};
use driftless_tests::{
    Commands, Node, Outcome, TestRelay, agree, assert_same_tables, create_database, free_port, query,
    settle_in, tables,
};
use futures_util::{SinkExt, StreamExt};
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, connect};

const NOTES: &str = "
CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT);
INSERT INTO notes VALUES ('1', 'one'), ('2', 'two');
";

/// A folder with a tracked database in it.
struct Desk {
    folder: TempDir,
    file: PathBuf,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("app.db");
        create_database(&file, NOTES);
        Commands::get().succeed(["track", text(&file), "notes"]);
        Self { folder, file }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self) -> &str {
        text(&self.file)
    }

    /// Runs a command, which must fail with this code and say these words on stderr only, leaving the tables as
    /// they were.
    #[track_caller]
    fn fails(&self, arguments: &[&str], code: i32, words: &str) {
        let before = tables(&self.file);
        let outcome = Commands::get().driftless(arguments.iter().copied());
        assert_failed(&outcome, code, words);
        assert_eq!(tables(&self.file), before);
    }

    /// The same for `clone` into a new file, of which nothing may be left.
    #[track_caller]
    fn clone_fails(&self, url: &str, code: i32, words: &str) {
        let copy = self.at("copy.db");
        let before = names(self.folder.path());
        self.fails(&["clone", url, text(&copy), "--timeout", "20"], code, words);
        assert_eq!(names(self.folder.path()), before, "clone left something behind");
    }

    #[track_caller]
    fn sync_fails(&self, url: &str, code: i32, words: &str) {
        self.fails(&["sync", self.file(), url, "--once", "--timeout", "20"], code, words);
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("the folder is there");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        // SQLite's own, which come and go with connections.
        .filter(|name| !name.ends_with("-wal") && !name.ends_with("-shm"))
        .collect();
    names.sort();
    names
}

#[track_caller]
fn assert_failed(outcome: &Outcome, code: i32, words: &str) {
    assert_eq!(outcome.code, Some(code), "{outcome:?}");
    assert!(outcome.stderr.contains(words), "'{words}' is not in: {}", outcome.stderr);
    assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
    assert_eq!(outcome.stdout, "", "results of something that failed");
}

#[test]
fn tables_that_are_not_there_or_not_fit_are_named_and_nothing_is_tracked() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("app.db");
    create_database(&file, &format!("{NOTES} CREATE TABLE loose (a); CREATE VIEW v AS SELECT 1;"));
    let before = tables(&file);
    let commands = Commands::get();
    for (arguments, words) in [
        (vec!["track", text(&file), "notes", "nosuch"], "'nosuch' cannot be tracked: there is no such table"),
        (vec!["track", text(&file), "notes", "loose"], "no PRIMARY KEY"),
        (vec!["track", text(&file), "v"], "it is a view"),
        (vec!["status", text(&file)], "is not tracked by Driftless yet"),
        (vec!["conflicts", text(&file)], "is not tracked by Driftless yet"),
        (vec!["untrack", text(&file), "notes"], "is not tracked by Driftless yet"),
    ] {
        assert_failed(&commands.driftless(arguments), 3, words);
    }
    assert_eq!(tables(&file), before);
    assert_eq!(query(&file, "SELECT count(*) FROM sqlite_master WHERE name LIKE '%driftless%'"), ["0"]);
}

#[test]
fn what_sqlite_refuses_and_what_contradicts_itself_is_said_in_words_that_help() {
    let desk = Desk::new();
    desk.fails(&["rename-column", desk.file(), "notes", "title", "rowid"], 3, "cannot rename to rowid alias");
    for arguments in
        [&["track", desk.file()][..], &["track", desk.file(), "--off"], &["untrack", desk.file()]]
    {
        desk.fails(arguments, 2, "<TABLES|--all>");
    }
    let address = format!("ws://127.0.0.1:{}/space", free_port());
    desk.fails(&["sync", desk.file(), &address, "--once", "--timeout", "0"], 2, "0 is not in 1..");
}

#[test]
fn what_is_no_database_stays_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("letter.txt");
    let letter = "Dear reader, this is not a database, however long it may be. ".repeat(100);
    std::fs::write(&file, &letter).expect("a file");
    let missing = folder.path().join("missing.db");
    let commands = Commands::get();
    let url = "ws://127.0.0.1:9/x";
    for command in [
        vec!["track", "FILE", "--all"],
        vec!["status", "FILE"],
        vec!["conflicts", "FILE"],
        vec!["sync", "FILE", url],
    ] {
        let with = |file: &Path| {
            let file = text(file).to_owned();
            command
                .iter()
                .map(|word| if *word == "FILE" { file.clone() } else { (*word).to_owned() })
                .collect::<Vec<_>>()
        };
        let on_letter = commands.driftless(with(&file).iter().map(String::as_str));
        assert_failed(&on_letter, 3, "is not a SQLite database");
        let on_missing = commands.driftless(with(&missing).iter().map(String::as_str));
        assert_failed(&on_missing, 3, "there is no file");
    }
    assert_eq!(std::fs::read_to_string(&file).expect("the file is there"), letter);
    assert_eq!(names(folder.path()), ["letter.txt"]);
    assert_failed(&commands.driftless(["status", text(folder.path())]), 3, "is a folder");
}

#[test]
fn a_read_only_file_and_a_read_only_folder_are_said_to_be_so() {
    let mode = |path: &Path, mode: u32| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("the mode can be set");
    };
    let commands = Commands::get();
    for (file_mode, folder_mode) in [(0o444, 0o777), (0o666, 0o555)] {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("app.db");
        create_database(&file, NOTES);
        let before = tables(&file);
        mode(&file, file_mode);
        mode(folder.path(), folder_mode);
        let outcome = commands.driftless_unprivileged(["track", text(&file), "notes"]);
        mode(folder.path(), 0o755);
        mode(&file, 0o644);
        let Some(outcome) = outcome else { return };
        assert_failed(&outcome, 3, "cannot be written");
        assert_eq!(tables(&file), before);
    }
}

#[test]
fn a_clone_into_a_folder_that_cannot_be_written_is_said_to_be_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let mode = |mode: u32| {
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(mode))
            .expect("the mode can be set");
    };
    let copy = folder.path().join("copy.db");
    mode(0o555);
    // It is found out before the relay is asked: nobody listens on port 1.
    let outcome = Commands::get().driftless_unprivileged(["clone", "ws://127.0.0.1:1/notes", text(&copy)]);
    mode(0o755);
    let Some(outcome) = outcome else { return };
    assert_failed(&outcome, 3, "cannot be written");
    assert!(!copy.exists());
}

#[test]
fn addresses_that_name_no_space_are_refused_before_anything_is_tried() {
    let desk = Desk::new();
    for url in
        ["http://127.0.0.1:1/x", "file:///etc/passwd", "ws://127.0.0.1:1", "ws://127.0.0.1:1/a/b", "notes"]
    {
        desk.sync_fails(url, 2, "is not the address of a space");
        desk.clone_fails(url, 2, "is not the address of a space");
    }
}

#[test]
fn a_connection_that_is_refused_is_no_agreement() {
    let desk = Desk::new();
    let url = format!("ws://127.0.0.1:{}/notes", free_port());
    desk.sync_fails(&url, 5, "no connection to");
    desk.clone_fails(&url, 5, "no connection to");
}

#[test]
fn a_file_of_one_space_is_refused_by_another() {
    let (desk, other) = (Desk::new(), Desk::new());
    let relay = TestRelay::in_memory();
    let commands = Commands::get();
    commands.succeed(["sync", desk.file(), &relay.url("one"), "--once"]);
    commands.succeed(["sync", other.file(), &relay.url("two"), "--once"]);
    // Another space of this relay, and a space of the same name elsewhere.
    desk.sync_fails(&relay.url("two"), 6, "another space");
    let elsewhere = TestRelay::in_memory();
    commands.succeed(["sync", other.file(), &elsewhere.url("one"), "--once", "--new-space"]);
    desk.sync_fails(&elsewhere.url("one"), 6, "another space");
    commands.succeed(["sync", desk.file(), &relay.url("one"), "--once"]);
}

#[test]
fn clone_makes_no_file_of_a_space_that_is_not_there_and_overwrites_none() {
    let desk = Desk::new();
    let relay = TestRelay::in_memory();
    desk.clone_fails(&relay.url("nosuch"), 6, "no space");
    Commands::get().succeed(["sync", desk.file(), &relay.url("notes"), "--once"]);
    let there = desk.at("there.db");
    std::fs::write(&there, "something").expect("a file");
    desk.fails(&["clone", &relay.url("notes"), text(&there)], 3, "exists already");
    assert_eq!(std::fs::read_to_string(&there).expect("the file is there"), "something");
    // And asking for what is not there did not make it.
    desk.clone_fails(&relay.url("nosuch"), 6, "no space");
}

#[test]
fn a_second_engine_on_a_file_is_told_who_has_it() {
    let desk = Desk::new();
    let relay = TestRelay::in_memory();
    let _first = Commands::get().sync(&desk.file, &relay.url("notes"));
    desk.sync_fails(&relay.url("notes"), 4, "another Driftless engine has");
}

/// Something that listens where a relay should, and says `frames` to whoever comes: at once, or after a proper
/// welcome. It ends with the test.
fn fake_relay(frames: Vec<Message>, welcome: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    listener.set_nonblocking(true).expect("a socket");
    let serve = async move {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
        while let Ok((socket, _)) = listener.accept().await {
            let frames = frames.clone();
            tokio::spawn(async move {
                let mut config = WebSocketConfig::default();
                config.max_message_size = None;
                config.max_frame_size = None;
                let Ok(mut socket) = tokio_tungstenite::accept_async_with_config(socket, Some(config)).await
                else {
                    return;
                };
                let _hello = socket.next().await;
                if welcome {
                    let space = SpaceId::from_bytes([9; 16]).expect("not nil");
                    let welcome = Welcome { space, heads: StateVector::new(), own: None };
                    let _ = socket.send(Message::Binary(RelayMessage::Welcome(welcome).encode())).await;
                }
                for frame in frames {
                    let _ = socket.send(frame).await; // it may have hung up
                }
                while let Some(Ok(_)) = socket.next().await {}
            });
        }
    };
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(serve);
    });
    format!("ws://{address}/notes")
}

/// Another version with a plausible message behind it.
fn other_version() -> Vec<u8> {
    vec![PROTOCOL_VERSION + 1, 16, 0, 0, 0]
}

#[test]
fn a_relay_that_talks_nonsense_is_not_believed() {
    let oversized = Message::Binary(vec![PROTOCOL_VERSION; MAX_FRAME_BYTES + 1].into());
    let garbage = |bytes: &[u8]| Message::Binary(Bytes::copy_from_slice(bytes));
    let truncated = [PROTOCOL_VERSION, 32, 255, 255, 255, 255, 1];
    let cases = [
        (garbage(b"\x01\xffgarbage"), 5, "malformed"),
        (garbage(&[]), 5, "malformed"),
        (garbage(&truncated), 5, "malformed"),
        // It acknowledges changeset 2^64 - 1.
        (
            garbage(b"\x01\x11\xfd\xff\xff\xff\xff\xff\xff\xff\xff\x7b\xbc\x45\xc5\xaa\x66\x7a\xb1"),
            5,
            "malformed",
        ),
        (Message::text("hello"), 5, "not a Driftless relay"),
        (oversized, 5, "no connection"),
        (garbage(&other_version()), 6, "protocol version"),
        (garbage(&RelayMessage::Stored(Seq::FIRST).encode()), 5, "no connection"),
    ];
    for (frame, code, words) in cases {
        for welcome in [false, true] {
            if welcome && words == "no connection" && frame.len() < 100 {
                continue; // after a welcome an acknowledgement may be true
            }
            // A file of its own: the fake's welcome would bind it to the fake's space.
            let desk = Desk::new();
            let url = fake_relay(vec![frame.clone()], welcome);
            desk.sync_fails(&url, code, words);
            desk.clone_fails(&url, code, words);
        }
    }
}

#[test]
fn a_server_that_is_no_relay_is_said_to_be_none() {
    let desk = Desk::new();
    let none = "what answers there is no Driftless relay";
    for (scheme, answer, code, words) in [
        ("ws", "HTTP/1.1 404 Not Found\r\ncontent-length: 9\r\n\r\n<p>no</p>", 5, none),
        ("ws", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", 5, none),
        (
            "ws",
            "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 2\r\n\r\nhi",
            5,
            "in front of the relay does not reach it",
        ),
        ("ws", "SSH-2.0-OpenSSH_9.6\r\n\r\n", 5, none),
        ("ws", "", 5, "no connection to"),
        ("wss", "SSH-2.0-OpenSSH_9.6\r\n\r\n", 5, "speaks no TLS"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("{scheme}://{}/notes", listener.local_addr().expect("an address"));
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let mut socket = socket.expect("a connection");
                let _ = socket.read(&mut [0; 4096]);
                let _ = socket.write_all(answer.as_bytes()); // it may have hung up
            }
        });
        desk.sync_fails(&url, code, words);
        desk.clone_fails(&url, code, words);
    }
}

/// It was said not to be in agreement, as if it had been connected.
#[test]
fn a_server_that_accepts_and_never_answers_is_said_not_to_answer() {
    let desk = Desk::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("ws://{}/notes", listener.local_addr().expect("an address"));
    desk.fails(&["sync", desk.file(), &url, "--once", "--timeout", "3"], 5, "no answer in 3s");
}

/// The updates known to hurt Yrs.
fn corpus() -> Vec<Vec<u8>> {
    let lines = include_str!("../../engine/protocol/tests/corpus/hostile-updates-v1.hex").lines();
    let lines = lines.filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(|line| hex::decode(line).expect("the corpus is hex")).collect()
}

type Socket = tokio_tungstenite::tungstenite::WebSocket<
    tokio_tungstenite::tungstenite::stream::MaybeTlsStream<TcpStream>,
>;

/// Connects to a relay as an engine would that may say anything.
fn dial(relay: &TestRelay) -> Socket {
    let (socket, _) = connect(relay.url("notes")).expect("the relay upgrades");
    if let tokio_tungstenite::tungstenite::stream::MaybeTlsStream::Plain(stream) = socket.get_ref() {
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    }
    socket
}

/// Waits for the close frame and returns its code.
fn close_code(mut socket: Socket) -> u16 {
    loop {
        match socket.read() {
            Ok(Message::Close(frame)) => return frame.map_or(1005, |frame| frame.code.into()),
            Ok(_) => {}
            Err(error) => panic!("no close frame but {error}"),
        }
    }
}

fn hello(space: Option<SpaceId>, replica: ReplicaId) -> Message {
    let hello = Hello { space, propose: None, replica, vector: StateVector::new(), token: None };
    Message::Binary(ClientMessage::Hello(hello).encode())
}

#[test]
fn a_relay_that_is_talked_nonsense_to_says_so_and_stays_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let relay = TestRelay::on_disk(&folder.path().join("relay"));
    let mut good = Node::create(folder.path().join("good.db"), NOTES);
    good.go_online(&relay.url("notes"));
    good.sync_now();
    let space = good.status().space;
    let replica = ReplicaId::random();
    for greeted in [false, true] {
        let dial = || {
            let mut socket = dial(&relay);
            if greeted {
                socket.send(hello(space, replica)).expect("the relay reads");
            }
            socket
        };
        let says = |frame: Vec<u8>| {
            let mut socket = dial();
            socket.send(Message::Binary(frame.into())).expect("the relay reads");
            close_code(socket)
        };
        assert_eq!(says(b"\x01\xffgarbage".to_vec()), 4400);
        assert_eq!(says(Vec::new()), 4400);
        assert_eq!(says(other_version()), 4410);
        for update in corpus() {
            // As it is, and as what might be a changeset.
            let code = says(update.clone());
            assert!([4400, 4410, 4413, 4505].contains(&code), "{code}: {}", hex::encode(&update));
            assert_eq!(says(changeset_frame(&update).to_vec()), 4400, "{}", hex::encode(&update));
        }
        // The header of a frame of a gigabyte; what follows it is never sent.
        let mut socket = dial();
        if let tokio_tungstenite::tungstenite::stream::MaybeTlsStream::Plain(stream) = socket.get_mut() {
            stream.write_all(&[0x82, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0, 1, 2, 3, 4]).expect("the relay reads");
        }
        assert_eq!(close_code(socket), 4413);
    }
    good.sql("INSERT INTO notes VALUES ('3', 'after all that')");
    good.sync_now();
    let mut other = Node::create(folder.path().join("other.db"), NOTES);
    other.go_online(&relay.url("notes"));
    agree(&[&good, &other]);
}

#[test]
fn hostile_updates_in_proper_changesets_are_set_aside_and_later_good_ones_are_applied() {
    let folder = tempfile::tempdir().expect("a folder");
    let relay = TestRelay::in_memory();
    let mut good = Node::create(folder.path().join("good.db"), NOTES);
    let mut victim = Node::create(folder.path().join("victim.db"), NOTES);
    for node in [&mut good, &mut victim] {
        node.go_online(&relay.url("notes"));
        node.sync_now();
    }
    agree(&[&good, &victim]);
    let replica = ReplicaId::random();
    let mut socket = dial(&relay);
    socket.send(hello(good.status().space, replica)).expect("the relay reads");
    let corpus = corpus();
    let mut seq = 0;
    let mut send = |socket: &mut Socket, body: BodyBuilder| {
        seq += 1;
        let (number, after) = (Seq::new(seq).expect("not zero"), StateVector::new());
        let header = ChangesetHeader { replica, seq: number, part: Part::Whole, after, time: 0 };
        let message = ClientMessage::Changeset(Changeset::seal(header, &body.finish()));
        socket.send(Message::Binary(message.encode())).expect("the relay reads");
        seq
    };
    for (n, update) in corpus.iter().enumerate() {
        // Rows that are there and rows that are not; a good table and one that nobody has.
        let key = if n % 2 == 0 { "1".to_owned() } else { format!("new {n}") };
        let key = Value::text(&key);
        let key = RowKey::encode([(&key, Collation::Binary)]).expect("a key");
        let mut body = BodyBuilder::new();
        body.row(if n % 3 == 0 { "elsewhere" } else { "notes" }, &key, update);
        send(&mut socket, body);
    }
    let last = send(&mut socket, BodyBuilder::new());
    loop {
        let Message::Binary(frame) = socket.read().expect("the relay answers") else { continue };
        let message = RelayMessage::decode(frame).expect("a message");
        if matches!(message, RelayMessage::Stored(stored) if stored.get() == last) {
            break;
        }
    }
    good.sql(
        "INSERT INTO notes VALUES ('3', 'after all that'); UPDATE notes SET title = 'ONE' WHERE id = '1'",
    );
    settle_in(&[&good, &victim], 3);
    assert_same_tables(&[good.path(), victim.path()]);
    assert_eq!(
        query(victim.path(), "SELECT id, title FROM notes ORDER BY id"),
        ["'1', 'ONE'", "'2', 'two'", "'3', 'after all that'"]
    );
    for node in [&good, &victim] {
        let status = node.status();
        assert_eq!(status.quarantined, corpus.len() as u64, "each is set aside, and nothing else");
        assert_eq!((status.waiting, status.vector.get(replica)), (0, last));
    }
}
