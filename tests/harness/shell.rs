//! The stock `sqlite3` shell, where there is one; else an ordinary connection in its place.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::database::{sql, tables};

/// Whether the shell is installed. Says so once when it is not.
pub fn has_shell() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let found = Command::new("sqlite3").arg("--version").stdout(Stdio::null()).status();
        let found = found.is_ok_and(|status| status.success());
        if !found {
            eprintln!("the sqlite3 shell is not installed: ordinary connections take its place");
        }
        found
    })
}

/// Runs statements in the shell, which waits for locks as an app would. Panics if one fails.
pub fn shell(path: &Path, statements: &str) {
    if has_shell() {
        run(path, &format!(".bail on\n.timeout 20000\n{statements}\n"));
    } else {
        sql(path, statements);
    }
}

/// `.dump` of every user table: definition, rows, and for tables that the shell dumps in the order in which rows were
/// inserted here (no INTEGER PRIMARY KEY) sorted lines. Without the shell: the same through a connection.
pub fn dump(path: &Path) -> String {
    let found = tables(path);
    if !has_shell() {
        return found.to_string();
    }
    let mut dumps = String::new();
    for name in found.names() {
        let dump = run(path, &format!(".timeout 20000\n.dump '{name}'\n"));
        let by_rowid = dump.lines().any(|line| line.contains("PRIMARY KEY") && line.contains(','));
        if by_rowid && !dump.contains("WITHOUT ROWID") {
            let (mut rows, rest): (Vec<_>, Vec<_>) = dump.lines().partition(|l| l.starts_with("INSERT INTO"));
            rows.sort_unstable();
            for line in rest.into_iter().chain(rows) {
                dumps.push_str(line);
                dumps.push('\n');
            }
        } else {
            dumps.push_str(&dump);
        }
    }
    dumps
}

fn run(path: &Path, input: &str) -> String {
    let mut child = Command::new("sqlite3")
        .args(["-batch", "-init", "/dev/null"])
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the shell starts");
    let mut stdin = child.stdin.take().expect("its input");
    let input = input.to_owned();
    let writing = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("the shell ends");
    let _ = writing.join().expect("writing does not panic"); // a shell that fails reads no further
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && stderr.trim().is_empty(), "sqlite3 {}: {stderr}", path.display());
    stdout.into_owned()
}
