//! The relay as an engine meets it: a port, WebSocket frames, close codes.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use driftless_protocol::message::{Hello, MAX_FRAME_BYTES};
use driftless_protocol::{ClientMessage, CloseCode, RelayMessage};
use driftless_relay::{Error, Relay};
use futures_util::{SinkExt, StreamExt};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{
    Client, Heard, PATIENCE, changeset, changeset_of, hello, large_changeset, memory, on_disk, part, replica,
    space_id, start, vector,
};

#[tokio::test]
async fn what_one_engine_writes_another_is_sent() {
    let folder = TempDir::new().expect("a folder");
    let relay = start(on_disk(folder.path())).await;
    let (mut a, welcome) = Client::join(&relay, "notes", 1, &[]).await;
    assert_eq!((welcome.space, welcome.heads, welcome.own), (space_id(1), vector(&[]), None));
    let (mut b, _) = Client::join(&relay, "notes", 2, &[]).await;
    a.push(changeset(1, 1)).await;
    assert_eq!(a.hear_stored().await, 1);
    assert_eq!(b.hear_changeset().await, (replica(1), 1, changeset(1, 1).bytes().clone()));
    assert_eq!(b.ask_heads(5).await, vector(&[(1, 1)]));
    let (mut late, welcome) = Client::join(&relay, "notes", 1, &[]).await;
    assert_eq!(welcome.own.and_then(|head| head.checksum), Some(changeset(1, 1).checksum()));
    assert_eq!(late.hear_changeset().await.1, 1);
    relay.shutdown().await;
}

#[tokio::test]
async fn ack_comes_only_after_commit() {
    let folder = TempDir::new().expect("a folder");
    let relay = start(on_disk(folder.path())).await;
    let (mut author, _) = Client::join(&relay, "notes", 1, &[]).await;
    let (mut other, _) = Client::join(&relay, "notes", 2, &[]).await;
    // Whoever holds the file's write lock keeps the relay from committing.
    let lock = rusqlite::Connection::open(folder.path().join("relay.db")).expect("opens");
    lock.execute_batch("BEGIN IMMEDIATE").expect("locked");
    author.push(changeset(1, 1)).await;
    assert_eq!(other.ask_heads(1).await, vector(&[]));
    let early = tokio::time::timeout(Duration::from_millis(300), author.ws.next()).await;
    assert!(early.is_err(), "acknowledged while it could not be committed: {early:?}");
    lock.execute_batch("ROLLBACK").expect("released");
    assert_eq!(author.hear_stored().await, 1);
    assert_eq!(other.hear_changeset().await.1, 1, "and fanned out only then");
    let committed: i64 = lock.query_row("SELECT count(*) FROM log", [], |row| row.get(0)).expect("counted");
    assert_eq!(committed, 1);
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let folder = TempDir::new().expect("a folder");
    let relay = start(on_disk(folder.path())).await;
    let (mut a, _) = Client::join(&relay, "notes", 1, &[]).await;
    let mut acknowledged = 0;
    for s in 1..=200 {
        a.push(changeset(1, s)).await;
        if s == 150 {
            acknowledged = a.hear_stored().await;
        }
    }
    // Whatever was acknowledged before the kill is there when another relay opens the folder.
    relay.kill();
    while let Heard::Message(RelayMessage::Stored(seq)) = a.hear().await {
        acknowledged = seq.get();
    }
    let relay = start(on_disk(folder.path())).await;
    let (_, welcome) = Client::join(&relay, "notes", 1, &[(1, 200)]).await;
    assert!(acknowledged > 0);
    assert!(
        welcome.heads.get(replica(1)) >= acknowledged,
        "{} < {acknowledged}",
        welcome.heads.get(replica(1))
    );
}

#[tokio::test]
async fn a_commit_that_cannot_be_made_is_not_acknowledged() {
    let folder = TempDir::new().expect("a folder");
    let relay = start(on_disk(folder.path())).await;
    let (mut a, _) = Client::join(&relay, "notes", 1, &[]).await;
    // The file is replaced under the relay: what it commits nobody will find again.
    std::fs::rename(folder.path().join("relay.db"), folder.path().join("away.db")).expect("renamed");
    a.push(changeset(1, 1)).await;
    match a.hear().await {
        Heard::Closed(code, reason) => assert_eq!(code, CloseCode::Internal, "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_mistake_has_its_close_code_and_a_sentence() {
    let relay = start(memory()).await;
    drop(Client::join(&relay, "notes", 9, &[]).await);
    let hello_frame = || Message::Binary(ClientMessage::Hello(hello(1, &[])).encode());
    let binary = |message: ClientMessage| Message::Binary(message.encode());
    let with = |change: fn(&mut Hello)| {
        let mut hello = hello(1, &[]);
        change(&mut hello);
        binary(ClientMessage::Hello(hello))
    };
    let mut other_version = ClientMessage::Hello(hello(1, &[])).encode().to_vec();
    other_version[0] = 99;
    let damaged = {
        let mut frame = ClientMessage::Changeset(large_changeset(1, 1, 400)).encode().to_vec();
        *frame.last_mut().expect("not empty") ^= 1;
        Message::Binary(frame.into())
    };
    let cases: Vec<(&str, &str, Vec<Message>, CloseCode)> = vec![
        (
            "garbage",
            "notes",
            vec![Message::Binary(Bytes::from_static(&[1, 99, 255, 255]))],
            CloseCode::Malformed,
        ),
        ("an empty frame", "notes", vec![Message::Binary(Bytes::new())], CloseCode::Malformed),
        ("a text frame", "notes", vec![Message::text("{}")], CloseCode::Malformed),
        (
            "a relay's message",
            "notes",
            vec![Message::Binary(Bytes::from_static(&[1, 17, 1]))],
            CloseCode::Malformed,
        ),
        (
            "another version",
            "notes",
            vec![Message::Binary(other_version.into())],
            CloseCode::UnsupportedVersion,
        ),
        ("no hello", "notes", vec![binary(ClientMessage::AskHeads(1))], CloseCode::Malformed),
        ("two hellos", "notes", vec![hello_frame(), hello_frame()], CloseCode::Malformed),
        ("no such space", "absent", vec![with(|hello| hello.propose = None)], CloseCode::NoSuchSpace),
        (
            "another space",
            "notes",
            vec![with(|hello| hello.space = Some(space_id(7)))],
            CloseCode::WrongSpace,
        ),
        (
            "another's changeset",
            "notes",
            vec![hello_frame(), binary(ClientMessage::Changeset(changeset(2, 1)))],
            CloseCode::Malformed,
        ),
        ("a damaged changeset", "notes", vec![hello_frame(), damaged], CloseCode::Damaged),
        (
            "a damaged hello",
            "notes",
            vec![Message::Binary(Bytes::from_static(&[1, 1, 255, 255]))],
            CloseCode::Damaged,
        ),
        (
            "a gap",
            "notes",
            vec![hello_frame(), binary(ClientMessage::Changeset(changeset(1, 2)))],
            CloseCode::Gap,
        ),
        (
            "a part out of place",
            "notes",
            vec![hello_frame(), binary(ClientMessage::SnapshotPart(part(1, 3, 9, &[(1, 1)])))],
            CloseCode::Malformed,
        ),
    ];
    let (mut bystander, _) = Client::join(&relay, "notes", 5, &[]).await;
    for (what, space, messages, expected) in cases {
        let mut client = Client::connect(&relay, space).await;
        for message in messages {
            client.send_raw(message).await;
        }
        let (code, reason) = client.hear_close().await;
        assert_eq!(code, expected, "{what}: {reason}");
        assert!(!reason.is_empty(), "{what}");
    }
    assert_eq!(bystander.ask_heads(1).await, vector(&[]), "nobody else noticed");
}

#[tokio::test]
async fn a_copy_of_a_file_is_told_so() {
    let relay = start(memory()).await;
    let (mut file, _) = Client::join(&relay, "notes", 1, &[]).await;
    let (mut copy, _) = Client::join(&relay, "notes", 1, &[]).await;
    file.push(changeset(1, 1)).await;
    assert_eq!(file.hear_stored().await, 1);
    assert_eq!(copy.hear_changeset().await.1, 1, "what another connection wrote under its name");
    copy.push(changeset_of(1, 1, 7)).await;
    let (code, reason) = copy.hear_close().await;
    assert_eq!(code, CloseCode::Forked, "{reason}");
    // Its own is not sent back to the file: the next it hears is the answer to its question.
    assert_eq!(file.ask_heads(1).await, vector(&[(1, 1)]));
}

#[tokio::test]
async fn a_frame_that_is_too_large_is_refused_as_such() {
    let relay = start(memory()).await;
    let (client, _) = Client::join(&relay, "notes", 1, &[]).await;
    let (mut send, mut receive) = client.ws.split();
    let sending = tokio::spawn(async move {
        // The relay stops reading as a WebSocket; whether all of it is taken does not matter.
        let _refused = send.send(Message::Binary(vec![0; MAX_FRAME_BYTES + 1].into())).await;
    });
    let close = tokio::time::timeout(PATIENCE, async {
        loop {
            match receive.next().await {
                Some(Ok(Message::Close(Some(close)))) => return close,
                Some(Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    });
    let close = close.await.expect("in time");
    assert_eq!(CloseCode::from_number(close.code.into()), CloseCode::TooLarge, "{}", close.reason);
    sending.await.expect("no panic");
}

#[tokio::test]
async fn a_frame_larger_than_the_outgoing_queue_is_delivered() {
    let mut config = memory();
    config.limits.output_bytes = 1000;
    config.limits.room_cache_bytes = 1000;
    let relay = start(config).await;
    let (mut reader, _) = Client::join(&relay, "notes", 2, &[]).await;
    let (mut author, _) = Client::join(&relay, "notes", 1, &[]).await;
    let large = large_changeset(1, 1, 5 << 20);
    author.push(large.clone()).await;
    author.push(changeset(1, 2)).await;
    assert_eq!(reader.hear_changeset().await, (replica(1), 1, large.bytes().clone()));
    assert_eq!(reader.hear_changeset().await.1, 2);
}

#[tokio::test]
async fn spaces_are_isolated() {
    let relay = start(memory()).await;
    let (mut a, _) = Client::join(&relay, "one", 1, &[]).await;
    let (mut b, welcome) = Client::join(&relay, "two", 2, &[]).await;
    a.push(changeset(1, 1)).await;
    a.hear_stored().await;
    assert_eq!(welcome.heads, vector(&[]));
    assert_eq!(b.ask_heads(1).await, vector(&[]));
    b.push(changeset(2, 1)).await;
    assert_eq!(b.hear_stored().await, 1, "and nothing of the other space in between");
}

#[tokio::test]
async fn a_snapshot_is_acknowledged_when_it_is_whole_and_reaches_the_others() {
    let folder = TempDir::new().expect("a folder");
    let relay = start(on_disk(folder.path())).await;
    let (mut reader, _) = Client::join(&relay, "notes", 2, &[]).await;
    let (mut author, _) = Client::join(&relay, "notes", 1, &[(1, 3)]).await;
    for index in 0..2 {
        author.send(ClientMessage::SnapshotPart(part(7, index, 2, &[(1, 3)]))).await;
    }
    assert!(matches!(author.hear().await, Heard::Message(RelayMessage::SnapshotStored(id)) if id == [7; 16]));
    for index in 0..2 {
        match reader.hear().await {
            Heard::Message(RelayMessage::SnapshotPart(part)) => assert_eq!(part.header.index, index),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(reader.ask_heads(1).await, vector(&[(1, 3)]));
    relay.shutdown().await;
}

#[tokio::test]
async fn a_slow_reader_is_closed_and_the_others_go_on() {
    let mut config = memory();
    config.limits.slow_reader_after = Duration::from_millis(300);
    config.limits.output_bytes = 1 << 20;
    config.limits.close_timeout = PATIENCE;
    let relay = start(config).await;
    let (mut slow, _) = Client::join(&relay, "notes", 2, &[]).await;
    let (mut quick, _) = Client::join(&relay, "notes", 3, &[]).await;
    let (mut author, _) = Client::join(&relay, "notes", 1, &[]).await;
    // More than the system buffers for a socket that nobody reads.
    let count = 40;
    for s in 1..=count {
        author.push(large_changeset(1, s, 1 << 20)).await;
        assert_eq!(quick.hear_changeset().await.1, s, "in order, with none missing");
    }
    author.hear_stored_up_to(count).await;
    // The one wait for time in this file, since time is what makes a reader slow.
    tokio::time::sleep(Duration::from_millis(900)).await;
    let mut next = 1;
    let code = loop {
        match slow.hear().await {
            Heard::Message(RelayMessage::Changeset(changeset)) => {
                assert_eq!(changeset.header.seq.get(), next, "none was skipped");
                next += 1;
            }
            Heard::Closed(code, _) => break code,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(code, CloseCode::SlowReader);
    assert!(next <= count, "it got everything after all");
    // It comes back with its vector and is whole.
    let (mut slow, _) = Client::join(&relay, "notes", 2, &[(1, next - 1)]).await;
    for s in next..=count {
        assert_eq!(slow.hear_changeset().await.1, s);
    }
    author.push(changeset(1, count + 1)).await;
    assert_eq!(quick.hear_changeset().await.1, count + 1);
}

#[tokio::test]
async fn a_long_catch_up_costs_no_more_memory_than_the_queue() {
    let mut config = memory();
    config.limits.output_bytes = 100_000;
    config.limits.page_bytes = 50_000;
    config.limits.room_cache_bytes = 50_000;
    let relay = start(config).await;
    let (mut author, _) = Client::join(&relay, "notes", 1, &[]).await;
    for s in 1..=300 {
        author.push(large_changeset(1, s, 10_000)).await;
    }
    author.hear_stored_up_to(300).await;
    let (mut reader, _) = Client::join(&relay, "notes", 2, &[(1, 7)]).await;
    for s in 8..=300 {
        assert_eq!(reader.hear_changeset().await.1, s);
    }
}

#[tokio::test]
async fn a_peer_that_falls_silent_is_closed_and_one_that_answers_pings_is_not() {
    let mut config = memory();
    config.limits.ping_interval = Duration::from_millis(50);
    config.limits.silent_after = Duration::from_millis(400);
    let relay = start(config).await;
    let (mut alive, _) = Client::join(&relay, "notes", 1, &[]).await;
    let (mut silent, _) = Client::join(&relay, "notes", 2, &[]).await;
    let began = std::time::Instant::now();
    let reading = tokio::spawn(async move { (alive.hear().await, began.elapsed()) });
    // Reading through the WebSocket answers pings. This one reads past it and answers nothing.
    let io = silent.ws.get_mut();
    let mut got = Vec::new();
    let code = CloseCode::Silent.number().to_be_bytes();
    while !got.windows(2).any(|two| two == code) {
        let read = tokio::time::timeout(PATIENCE, io.read_buf(&mut got)).await;
        assert!(read.expect("in time").expect("readable") > 0, "cut without a close frame");
    }
    let (mut third, _) = Client::join(&relay, "notes", 3, &[]).await;
    third.push(changeset(3, 1)).await;
    let (heard, after) = reading.await.expect("no panic");
    assert!(matches!(heard, Heard::Message(RelayMessage::Changeset(_))), "{heard:?}");
    assert!(after > Duration::from_millis(400));
}

#[tokio::test]
async fn who_says_no_hello_is_closed() {
    let mut config = memory();
    config.limits.hello_timeout = Duration::from_millis(50);
    let relay = start(config).await;
    let mut mute = Client::connect(&relay, "notes").await;
    assert_eq!(mute.hear_close().await.0, CloseCode::Silent);
}

#[tokio::test]
async fn one_connection_too_many_is_told_to_come_back() {
    let mut config = memory();
    config.limits.connections = 1;
    let relay = start(config).await;
    let (first, _) = Client::join(&relay, "notes", 1, &[]).await;
    let mut second = Client::connect(&relay, "notes").await;
    assert_eq!(second.hear_close().await.0, CloseCode::Busy);
    drop(first);
    while relay.connections() > 0 {
        tokio::task::yield_now().await;
    }
    Client::join(&relay, "notes", 1, &[]).await;
}

#[tokio::test]
async fn a_graceful_shutdown_acknowledges_what_came_and_says_farewell() {
    let folder = TempDir::new().expect("a folder");
    let relay = start(on_disk(folder.path())).await;
    let (mut author, _) = Client::join(&relay, "notes", 1, &[]).await;
    for s in 1..=100 {
        author.push(changeset(1, s)).await;
    }
    let first = author.hear_stored().await;
    let stopping = tokio::spawn(relay.shutdown());
    let mut acknowledged = first;
    let code = loop {
        match author.hear().await {
            Heard::Message(RelayMessage::Stored(seq)) => acknowledged = seq.get(),
            Heard::Closed(code, _) => break code,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(code, CloseCode::GoingAway);
    stopping.await.expect("no panic");
    // What is in the log and what was acknowledged are the same: nothing was stored in silence.
    let relay = start(on_disk(folder.path())).await;
    let (_, welcome) = Client::join(&relay, "notes", 1, &[(1, 100)]).await;
    assert_eq!(welcome.heads.get(replica(1)), acknowledged);
}

#[tokio::test]
async fn addresses_that_others_can_reach_are_refused() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:7420"] {
        let address: SocketAddr = address.parse().expect("an address");
        let mut config = memory();
        config.listen = address;
        let error = Relay::start(config).await.expect_err("refused");
        assert!(matches!(error, Error::NotLoopback(refused) if refused == address), "{error:?}");
        assert!(error.is_usage() && error.to_string().contains("tokens"), "{error}");
    }
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let relay = start(memory()).await;
    let mut config = memory();
    config.listen = relay.local_addr();
    let error = Relay::start(config).await.expect_err("taken");
    assert!(matches!(error, Error::Listen { .. }), "{error:?}");
    assert!(error.to_string().contains(&relay.local_addr().to_string()), "{error}");
}

/// Sends a request as it stands; the whole response.
async fn http(relay: &Relay, request: &str) -> String {
    let mut stream = TcpStream::connect(relay.local_addr()).await.expect("connects");
    stream.write_all(request.replace('\n', "\r\n").as_bytes()).await.expect("written");
    let mut response = Vec::new();
    let reading = stream.read_to_end(&mut response);
    tokio::time::timeout(PATIENCE, reading).await.expect("in time").expect("read");
    String::from_utf8(response).expect("text")
}

#[tokio::test]
async fn http_answers_what_it_can_and_explains_the_rest() {
    let folder = TempDir::new().expect("a folder");
    let relay = start(on_disk(folder.path())).await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\nhost: relay\n\n");
    let upgrade = "GET /notes HTTP/1.1\nhost: relay\nconnection: keep-alive, Upgrade\nupgrade: websocket\n";
    let key = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\n";
    let version = "sec-websocket-version: 13\n";
    for (request, status, word) in [
        (get("/healthz"), 200, "ok"),
        (get("/readyz"), 200, "ok"),
        (get("/notes"), 426, "Driftless relay"),
        (get("/"), 404, "cannot name a space"),
        (get("/a/b"), 404, "cannot name a space"),
        (get("/.hidden"), 404, "cannot name a space"),
        (get("/a%20b"), 404, "cannot name a space"),
        ("POST /notes HTTP/1.1\nhost: relay\ncontent-length: 0\n\n".to_owned(), 405, "GET"),
        (format!("{upgrade}{version}\n"), 400, "Sec-WebSocket-Key"),
        (format!("{upgrade}{version}sec-websocket-key: short\n\n"), 400, "Sec-WebSocket-Key"),
        (format!("{upgrade}{key}sec-websocket-version: 8\n\n"), 426, "sec-websocket-version: 13"),
        (format!("{upgrade}{key}{version}origin: http://example.com\n\n"), 403, "web pages"),
    ] {
        let response = http(&relay, &request).await;
        assert!(response.starts_with(&format!("HTTP/1.1 {status}")), "{request}\n{response}");
        assert!(response.contains(word), "{request}\n{response}");
    }
}
