//! The command: what it prints, how it stops, with which codes it exits.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_driftless-relay"));
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The command, running, and its first line.
fn running(folder: &TempDir) -> (Child, String) {
    let data = folder.path().display().to_string();
    let mut child = command(&["--listen", "127.0.0.1:0", "--data", &data]).spawn().expect("starts");
    let mut line = String::new();
    let stdout = child.stdout.as_mut().expect("piped");
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    (child, line)
}

#[test]
fn it_says_where_it_listens_and_stops_in_good_order() {
    let folder = TempDir::new().expect("a folder");
    let (mut child, line) = running(&folder);
    let data = folder.path().display();
    let port = line.strip_prefix("listening on ws://127.0.0.1:").and_then(|rest| rest.split(' ').next());
    assert!(port.and_then(|port| port.parse::<u16>().ok()).is_some_and(|port| port > 0), "{line}");
    assert!(line.ends_with(&format!("(data in {data})\n")), "{line}");
    #[cfg(unix)]
    {
        let sent = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("sent");
        assert!(sent.success());
        let mut log = String::new();
        child.stderr.take().expect("piped").read_to_string(&mut log).expect("read");
        assert_eq!(child.wait().expect("ends").code(), Some(0), "{log}");
        let left = std::fs::read_dir(folder.path()).expect("read").count();
        assert_eq!(left, 2, "relay.db and lock: the write-ahead log was folded in");
    }
    #[cfg(not(unix))]
    child.kill().expect("killed");
}

#[test]
fn an_address_that_others_can_reach_is_a_usage_error() {
    let folder = TempDir::new().expect("a folder");
    let data = folder.path().display().to_string();
    let output = command(&["--listen", "0.0.0.0:0", "--data", &data]).output().expect("runs");
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("access tokens are not there yet"), "{message}");
}

#[test]
fn a_second_relay_in_the_same_folder_fails_and_says_why() {
    let folder = TempDir::new().expect("a folder");
    let (mut first, _) = running(&folder);
    let data = folder.path().display().to_string();
    let output = command(&["--listen", "127.0.0.1:0", "--data", &data]).output().expect("runs");
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains(&data) && message.contains("another relay"), "{message}");
    first.kill().expect("killed");
    first.wait().expect("ends");
}
