//! The main job, from beginning to end, in a few seconds: two files are written to while they are cut off from each
//! other, meet at a relay, and agree. Prints what happened; exits with 1 if the files differ.
//!
//! ```text
//! cargo run --release -p driftless-tests --bin meet
//! ```

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use driftless::{Config, Conflict, Engine, ReplicaId, SyncConfig, SyncHandle, TableOptions, Written};
use driftless_tests::{TestRelay, tables};
use rusqlite::Connection;

/// How long any step may take; each takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);
const COLUMNS: [&str; 4] = ["id", "title", "who", "due"];

const SCHEMA: &str = "
CREATE TABLE tasks (id TEXT PRIMARY KEY, title TEXT NOT NULL, who TEXT, due TEXT);
INSERT INTO tasks VALUES
  ('t1', 'Order paper',    NULL,  'Monday'),
  ('t2', 'Call the bank',  'Ben', 'Tuesday'),
  ('t3', 'Book a room',    NULL,  NULL),
  ('t4', 'Water plants',   'Ben', 'Friday');
";

/// What each writes while apart: the statement, and why it is here.
const ANNA: [(&str, &str); 4] = [
    ("INSERT INTO tasks VALUES ('t5', 'Buy coffee', 'Anna', NULL)", "a new row"),
    ("UPDATE tasks SET who = 'Anna' WHERE id = 't3'", "one column of t3"),
    ("UPDATE tasks SET due = 'Wednesday' WHERE id = 't1'", "the due day of t1"),
    ("DELETE FROM tasks WHERE id = 't4'", "t4 is gone for her"),
];
const BEN: [(&str, &str); 4] = [
    ("INSERT INTO tasks VALUES ('t6', 'Fix the lamp', 'Ben', 'Sunday')", "a new row"),
    ("UPDATE tasks SET due = 'Thursday' WHERE id = 't3'", "another column of t3"),
    ("UPDATE tasks SET due = 'Tuesday' WHERE id = 't1'", "the due day of t1 as well"),
    ("UPDATE tasks SET title = 'Water ALL plants' WHERE id = 't4'", "t4 is not done for him"),
];
const SETTLE: &str = "UPDATE tasks SET due = 'Wednesday' WHERE id = 't1'";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nmeet: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let begun = Instant::now();
    let paint = Paint { on: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() };
    let folder = tempfile::tempdir().context("no folder for the files")?;
    let relay = TestRelay::on_disk(&folder.path().join("relay"));
    let url = relay.url("tasks");

    let mut anna = Person::new("Anna", folder.path().join("anna.db"), &url);
    let mut ben = Person::new("Ben", folder.path().join("ben.db"), &url);
    Connection::open(&anna.path)?.execute_batch(SCHEMA)?;
    anna.start()?;
    anna.engine()?.track(&["tasks"], TableOptions::default())?;
    anna.online()?.sync_now(PATIENCE)?;
    driftless::clone_space(&ben.path, SyncConfig::new(&url), Config::default(), PATIENCE)?;
    ben.start()?;
    ensure!(differ(&anna, &ben).is_none(), "the clone is not equal to its original");
    println!("{}\n", paint.bold("Two SQLite files, one relay. Ben's file is a clone of Anna's."));
    side_by_side(&paint, &anna, &ben, &[])?;

    println!(
        "\n{}\n",
        paint.bold("They are cut off from each other, and both go on writing, with plain SQL:")
    );
    // One after the other, so that it is known whose write is the later one.
    anna.write(&ANNA)?;
    std::thread::sleep(Duration::from_millis(20));
    ben.write(&BEN)?;
    println!();
    side_by_side(&paint, &anna, &ben, &[])?;
    ensure!(differ(&anna, &ben).is_some(), "they agree without having met");

    println!("\n{}\n", paint.bold("They meet:"));
    let syncs = [anna.online()?, ben.online()?];
    meet(&anna, &ben, &syncs)?;
    let conflicts = anna.conflicts()?;
    side_by_side(&paint, &anna, &ben, &conflicts)?;
    if let Some(difference) = differ(&anna, &ben) {
        bail!("the files differ:\n{difference}");
    }
    ensure!(conflicts == ben.conflicts()?, "the files list other conflicts");

    println!("\n{}\n", paint.bold("What happened:"));
    explain(&paint, &anna, &ben, &conflicts)?;

    println!("\n{}\n", paint.bold("Anna settles it, with an ordinary UPDATE:"));
    anna.write(&[(SETTLE, "")])?;
    meet(&anna, &ben, &syncs)?;
    println!();
    side_by_side(&paint, &anna, &ben, &anna.conflicts()?)?;
    if let Some(difference) = differ(&anna, &ben) {
        bail!("the files differ:\n{difference}");
    }
    let left = [anna.conflicts()?.len(), ben.conflicts()?.len()];
    ensure!(left == [0, 0], "there are still conflicts: {left:?}");
    println!("\n  No conflict is left in either file.");
    let rows = tables(&anna.path).rows();
    println!(
        "\n{} {rows} rows, value for value, in {} ms.",
        paint.green("The two files agree:"),
        begun.elapsed().as_millis()
    );
    Ok(())
}

/// Syncs both until both have everything: what one sends last the other must still hear.
fn meet(anna: &Person, ben: &Person, syncs: &[SyncHandle]) -> anyhow::Result<()> {
    for _ in 0..3 {
        for sync in syncs {
            sync.sync_now(PATIENCE)?;
        }
        if driftless::status(&anna.path)?.vector == driftless::status(&ben.path)?.vector {
            return Ok(());
        }
    }
    bail!("the state vectors differ after three rounds")
}

/// What differs between the two files, if anything.
fn differ(anna: &Person, ben: &Person) -> Option<String> {
    tables(&anna.path).difference(&tables(&ben.path))
}

/// Says of every row that both wrote what became of it. It is all read from the files.
fn explain(paint: &Paint, anna: &Person, ben: &Person, conflicts: &[Conflict]) -> anyhow::Result<()> {
    let rows = anna.rows()?;
    let row = |id: &str| rows.get(id).with_context(|| format!("row {id} is not there"));
    ensure!(rows.contains_key("t5") && rows.contains_key("t6"), "a new row is missing");
    println!("  t5 t6  Both new rows are in both files.");
    let shared = row("t3")?;
    ensure!(shared[2] == "Anna" && shared[3] == "Thursday", "a column of t3 was lost: {shared:?}");
    println!("  t3     Each wrote another column. Both stay.");
    let edited = row("t4")?;
    ensure!(edited[1] == "Water ALL plants", "the edit of t4 was lost: {edited:?}");
    println!("  t4     Anna deleted it while Ben edited it. The edit wins: nobody's work vanishes.");
    let [conflict] = conflicts else { bail!("one cell should be in conflict, not {}", conflicts.len()) };
    ensure!((&*conflict.table, &*conflict.column) == ("tasks", "due"), "another cell is in conflict");
    let [kept] = &conflict.kept[..] else { bail!("one value should be kept beside the one shown") };
    let who = |written: &Written| match written.replica {
        Some(replica) if replica == anna.replica => anna.name,
        Some(replica) if replica == ben.replica => ben.name,
        _ => "somebody",
    };
    println!(
        "  t1     Both wrote the same column. It is {}, and nothing is lost:",
        paint.yellow("in conflict")
    );
    for (role, written) in [("shown", &conflict.shown), ("kept ", kept)] {
        let later = if role == "shown" { ", the later one" } else { ", listed in driftless_conflicts" };
        println!("           {role}  {:13} by {}{later}", written.value.to_string(), who(written));
    }
    ensure!(who(&conflict.shown) == ben.name && who(kept) == anna.name, "the authors are not known");
    Ok(())
}

/// Somebody with a file.
struct Person {
    name: &'static str,
    path: PathBuf,
    url: String,
    engine: Option<Engine>,
    replica: ReplicaId,
}

impl Person {
    fn new(name: &'static str, path: PathBuf, url: &str) -> Self {
        // Replaced by the file's own when the engine starts.
        Self { name, path, url: url.to_owned(), engine: None, replica: ReplicaId::random() }
    }

    fn start(&mut self) -> anyhow::Result<()> {
        self.engine = Some(Engine::open(&self.path, Config::default())?);
        self.replica = driftless::status(&self.path)?.replica;
        Ok(())
    }

    fn engine(&self) -> anyhow::Result<&Engine> {
        self.engine.as_ref().context("the engine is closed")
    }

    fn online(&self) -> anyhow::Result<SyncHandle> {
        Ok(self.engine()?.sync(SyncConfig::new(&self.url))?)
    }

    /// Everything as an app that knows nothing of Driftless would: its own connection, its own SQL.
    fn write(&self, statements: &[(&str, &str)]) -> anyhow::Result<()> {
        let connection = Connection::open(&self.path)?;
        connection.busy_timeout(PATIENCE)?;
        for (statement, why) in statements {
            connection.execute(statement, [])?;
            let line = format!("  {:5} {statement:66} {why}", format!("{}:", self.name));
            println!("{}", line.trim_end());
        }
        Ok(())
    }

    /// The rows by their key.
    fn rows(&self) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
        let connection = Connection::open(&self.path)?;
        connection.busy_timeout(PATIENCE)?;
        let mut statement = connection.prepare("SELECT id, title, who, due FROM tasks ORDER BY id")?;
        let rows = statement.query_map([], |row| {
            let cells = (0..COLUMNS.len()).map(|at| row.get::<_, Option<String>>(at));
            cells.map(|cell| Ok(cell?.unwrap_or_default())).collect::<rusqlite::Result<Vec<String>>>()
        })?;
        rows.map(|row| row.map(|row| (row[0].clone(), row))).collect::<Result<_, _>>().map_err(Into::into)
    }

    fn conflicts(&self) -> anyhow::Result<Vec<Conflict>> {
        Ok(driftless::conflicts(&self.path)?)
    }
}

/// Prints both tables, row beside row. Cells in conflict have a star; cells that differ between the files stand out.
fn side_by_side(paint: &Paint, anna: &Person, ben: &Person, conflicts: &[Conflict]) -> anyhow::Result<()> {
    const WIDTHS: [usize; 4] = [2, 16, 4, 11];
    let (left, right) = (anna.rows()?, ben.rows()?);
    let width = WIDTHS.iter().sum::<usize>() + 2 * WIDTHS.len();
    let line = |cells: &mut dyn FnMut(usize) -> String| {
        (0..WIDTHS.len()).map(|at| cells(at) + "  ").collect::<String>()
    };
    let name =
        |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    println!("  {:width$}│ {}", name(&anna.path), name(&ben.path));
    let head = line(&mut |at| paint.dim(&format!("{:1$}", COLUMNS[at], WIDTHS[at])));
    println!("  {head}│ {}", head.trim_end());
    let ids: std::collections::BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    for id in ids {
        let is_in_conflict = |at: usize| {
            let key = format!("'{id}'");
            conflicts.iter().any(|conflict| conflict.key == key && conflict.column == COLUMNS[at])
        };
        let half = |own: Option<&Vec<String>>, other: Option<&Vec<String>>| {
            line(&mut |at| {
                let text = own.map_or("", |row| &*row[at]);
                let star = if is_in_conflict(at) { "*" } else { "" };
                let cell = format!("{:1$}", format!("{text}{star}"), WIDTHS[at]);
                match (is_in_conflict(at), own.map(|row| &row[at]) == other.map(|row| &row[at])) {
                    (true, _) => paint.yellow(&cell),
                    (false, false) => paint.cyan(&cell),
                    (false, true) => cell,
                }
            })
        };
        println!("  {}│ {}", half(left.get(id), right.get(id)), half(right.get(id), left.get(id)).trim_end());
    }
    Ok(())
}

/// Colours, on a terminal only.
struct Paint {
    on: bool,
}

impl Paint {
    fn with(&self, code: &str, text: &str) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn bold(&self, text: &str) -> String {
        self.with("1", text)
    }

    fn dim(&self, text: &str) -> String {
        self.with("2", text)
    }

    fn green(&self, text: &str) -> String {
        self.with("1;32", text)
    }

    fn yellow(&self, text: &str) -> String {
        self.with("33", text)
    }

    fn cyan(&self, text: &str) -> String {
        self.with("36", text)
    }
}
