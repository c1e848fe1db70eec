//! What Driftless costs, as CPU time beside that of plain SQLite in the same run: for the writer, whose transactions a
//! trigger slows down, and for the engine, which captures and merges beside it.
//!
//! ```text
//! cargo bench -p driftless --bench cost              100,000 rows, medians of three, some minutes
//! cargo bench -p driftless --bench cost -- --quick   10,000 rows, once
//! cargo bench -p driftless --bench cost -- --text    one long text alone
//! cargo bench -p driftless --bench cost -- --chain   one long chain of rows alone
//! ```
//!
//! CPU time, so that a busy machine says about the same as an idle one. It is read from `/proc`, so Linux only: the
//! writer's is its thread's, the engine's is the whole process's less what opening and closing an engine takes on a file
//! where there is nothing to do. Both sides write with WAL and `synchronous=NORMAL`, in a temporary folder.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use driftless::{Config, Engine, Selection, TableOptions};
use rusqlite::{Connection, params};

#[cfg(feature = "cli")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SCHEMA: &str = "CREATE TABLE notes (
    id TEXT PRIMARY KEY, title TEXT NOT NULL, body TEXT, priority INTEGER, weight REAL, done INTEGER NOT NULL DEFAULT 0)";
const INSERT: &str =
    "INSERT INTO notes (id, title, body, priority, weight, done) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

/// Rows in a transaction, where there is more than one.
const BATCH: usize = 1000;

fn main() {
    // `cargo bench` adds --bench.
    let quick = std::env::args().any(|argument| argument == "--quick");
    let (rows, single, runs) = if quick { (10_000, 1000, 1) } else { (100_000, 10_000, 3) };
    if cpu_of_thread().is_none() {
        eprintln!("this benchmark reads CPU times from /proc, which is not here");
        return;
    }
    if std::env::args().any(|argument| argument == "--text") {
        print!("{}", texts());
        return;
    }
    if std::env::args().any(|argument| argument == "--chain") {
        print!("{}", chains());
        return;
    }
    let measured: Vec<Measured> = (0..runs)
        .map(|run| {
            eprintln!("run {} of {runs} …", run + 1);
            measure(rows, single)
        })
        .collect();
    let median = |of: fn(&Measured) -> f64| {
        let mut values: Vec<f64> = measured.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    print!("{}{}{}", table(rows, single, median), texts(), chains());
}

/// CPU seconds, bytes and counts of one run.
#[derive(Debug, Default)]
struct Measured {
    insert_plain: f64,
    insert_writer: f64,
    insert_capture: f64,
    single_plain: f64,
    single_writer: f64,
    update_plain: f64,
    update_writer: f64,
    update_capture: f64,
    merge_new: f64,
    merge_concurrent: f64,
    merge_beside: f64,
    file_plain: f64,
    file: f64,
    file_sent: f64,
    changes: f64,
    update_changes: f64,
    document: f64,
}

struct Line {
    what: String,
    plain: Option<f64>,
    measured: f64,
    unit: Unit,
    goal: &'static str,
}

#[derive(Clone, Copy)]
enum Unit {
    Cpu,
    Bytes,
}

fn table(rows: usize, single: usize, median: impl Fn(fn(&Measured) -> f64) -> f64) -> String {
    let per_100k = 100_000.0 / rows as f64;
    let cpu = |what: &str, plain: fn(&Measured) -> f64, own: fn(&Measured) -> f64, goal| Line {
        what: what.to_owned(),
        plain: Some(median(plain)),
        measured: median(own),
        unit: Unit::Cpu,
        goal,
    };
    let lines = [
        cpu("insert, transactions of 1,000: the writer", |m| m.insert_plain, |m| m.insert_writer, "<= 1.3"),
        cpu("  capture included", |m| m.insert_plain, |m| m.insert_writer + m.insert_capture, "<= 1.8"),
        Line {
            what: format!("{single} single-row transactions: the writer"),
            ..cpu("", |m| m.single_plain, |m| m.single_writer, "<= 1.2")
        },
        cpu("update one column of each: the writer", |m| m.update_plain, |m| m.update_writer, ""),
        cpu(
            "  capture included",
            |m| m.update_plain,
            |m| m.update_writer + m.update_capture,
            "<= 1.4 (half of cr-sqlite's 2.8)",
        ),
        cpu("merge as new rows into an empty replica", |m| m.insert_plain, |m| m.merge_new, "<= 1.5"),
        cpu(
            "merge concurrent updates of the same column",
            |m| m.update_plain,
            |m| m.merge_concurrent,
            "<= 1.9 s for 100k",
        ),
        cpu(
            "merge concurrent updates of another column",
            |m| m.update_plain,
            |m| m.merge_beside,
            "<= 1.9 s for 100k",
        ),
        Line {
            what: "file after checkpoint, nothing sent".into(),
            plain: Some(median(|m| m.file_plain)),
            measured: median(|m| m.file),
            unit: Unit::Bytes,
            goal: "",
        },
        Line {
            what: "file once all is sent, vacuumed".into(),
            plain: Some(median(|m| m.file_plain)),
            measured: median(|m| m.file_sent),
            unit: Unit::Bytes,
            goal: "<= 1.6",
        },
        Line {
            what: "changes of the inserts".into(),
            plain: None,
            measured: median(|m| m.changes),
            unit: Unit::Bytes,
            goal: "<= 12 MB for 100k",
        },
        Line {
            what: "changes of the updates".into(),
            plain: None,
            measured: median(|m| m.update_changes),
            unit: Unit::Bytes,
            goal: "",
        },
        Line {
            what: format!("document of a row updated {single} times"),
            plain: None,
            measured: median(|m| m.document),
            unit: Unit::Bytes,
            goal: "< 1,024 B",
        },
    ];
    let mut text = format!("\n{rows} rows of 6 columns with random UUID text keys; CPU time\n\n");
    let mut row = |cells: [&str; 6]| {
        let [what, plain, measured, ratio, scaled, goal] = cells;
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{what:45} {plain:>10} {measured:>10} {ratio:>6} {scaled:>12}  {goal}");
    };
    row(["", "plain", "driftless", "ratio", "for 100k", "goal"]);
    for line in lines {
        let show = |value: f64| match line.unit {
            Unit::Cpu => format!("{:.3} s", value),
            Unit::Bytes if value < 10_000.0 => format!("{value:.0} B"),
            Unit::Bytes => format!("{:.2} MB", value / 1e6),
        };
        let of_rows = !line.what.contains("single-row") && !line.what.contains("document");
        row([
            &line.what,
            &line.plain.map_or(String::new(), show),
            &show(line.measured),
            &line.plain.map_or(String::new(), |plain| format!("{:.2}", line.measured / plain)),
            &if of_rows { show(line.measured * per_100k) } else { String::new() },
            line.goal,
        ]);
    }
    text
}

fn measure(rows: usize, single: usize) -> Measured {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let data = Data::new(rows + single);
    let (many, few) = data.rows.split_at(rows);
    let mut m = Measured::default();

    // Plain SQLite and a tracked file, step by step side by side.
    let (plain, app) = (create(at("plain.db")), create(at("app.db")));
    track(&at("app.db"));
    m.insert_plain = writer(|| insert(&plain, many, BATCH));
    m.insert_writer = writer(|| insert(&app, many, BATCH));
    m.insert_capture = captured(&at("app.db"));
    m.file_plain = size(&plain, &at("plain.db"));
    m.file = size(&app, &at("app.db"));
    m.changes = number(&app, "SELECT sum(length(changeset)) FROM _driftless_outbox");

    // An empty replica that was handed them all.
    let copy = create(at("copy.db"));
    track(&at("copy.db"));
    hand_over(&copy, &at("app.db"));
    m.merge_new = captured(&at("copy.db"));
    assert_eq!(number(&copy, "SELECT count(*) FROM notes"), rows as f64, "all rows are merged");

    m.single_plain = writer(|| insert(&plain, few, 1));
    m.single_writer = writer(|| insert(&app, few, 1));
    captured(&at("app.db"));

    // Both replicas update every row, apart from each other.
    let before = last_seq(&app);
    m.update_plain = writer(|| update(&plain, many, "priority = priority + 1"));
    m.update_writer = writer(|| update(&app, many, "priority = priority + 1"));
    m.update_capture = captured(&at("app.db"));
    m.update_changes =
        number(&app, &format!("SELECT sum(length(changeset)) FROM _driftless_outbox WHERE seq > {before}"));
    update(&copy, many, "priority = priority + 2");
    captured(&at("copy.db"));
    hand_over(&copy, &at("app.db"));
    m.merge_concurrent = captured(&at("copy.db"));
    assert!(number(&copy, "SELECT count(*) FROM _driftless_inbox") == 0.0, "all is merged");
    assert!(number(&copy, "SELECT count(*) FROM _driftless_conflicts") > 0.0, "and was concurrent");
    update(&app, many, "done = 1");
    captured(&at("app.db"));
    update(&copy, many, "weight = weight + 1");
    captured(&at("copy.db"));
    hand_over(&copy, &at("app.db"));
    m.merge_beside = captured(&at("copy.db"));

    // The inserts alone again, as they are when everybody has them.
    let (sent, id) = (create(at("sent.db")), &many[0].id);
    track(&at("sent.db"));
    insert(&sent, many, BATCH);
    captured(&at("sent.db"));
    sent.execute_batch("DELETE FROM _driftless_outbox; VACUUM").expect("emptied");
    m.file_sent = size(&sent, &at("sent.db"));

    let engine = open(&at("sent.db"));
    for n in 0..single {
        sent.execute("UPDATE notes SET priority = ?2 WHERE id = ?1", params![id, n as i64]).expect("updated");
        engine.capture().expect("captured");
    }
    engine.close();
    m.document = number(&sent, "SELECT max(length(body)) FROM _driftless_documents");
    m
}

/// One row with a text of a megabyte: what a change costs the engine that captures it and the one that merges it.
fn texts() -> String {
    const BYTES: usize = 1 << 20;
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let (app, copy) = (create(at("app.db")), create(at("copy.db")));
    for path in [at("app.db"), at("copy.db")] {
        let options = TableOptions::default().text("body");
        driftless::track(path, Selection::All, options).expect("tracked");
    }
    let mut body: String = Data::new(BYTES / 50).rows.into_iter().map(|row| row.body + ".\n").collect();
    body.truncate(BYTES);
    let row = Row { id: "n".into(), title: "a text".into(), body: body.clone(), priority: 0, weight: 0.0 };
    insert(&app, &[row], 1);
    captured(&at("app.db"));
    hand_over(&copy, &at("app.db"));
    captured(&at("copy.db"));

    let mut text = format!("\none text of {:.1} MB; for each change\n\n", body.len() as f64 / 1e6);
    let head = ["", "plain", "capture", "merge", "changeset", "documents after"];
    let mut line = |cells: [String; 6]| {
        let [what, cells @ ..] = cells;
        let _ = write!(text, "{what:45}");
        cells.iter().for_each(|cell| {
            let _ = write!(text, " {cell:>12}");
        });
        text.push('\n');
    };
    line(head.map(str::to_owned));
    let mut measure = |what: &str, count: usize, change: &mut dyn FnMut(&Connection, usize)| {
        let before = last_seq(&app);
        let engine = open(&at("app.db"));
        engine.capture().expect("captured");
        let all = cpu_of_process();
        let mut plain = 0.0;
        for n in 0..count {
            plain += writer(|| change(&app, n));
            engine.capture().expect("captured");
        }
        let capture = cpu_of_process() - all - plain;
        engine.close();
        let bytes = number(
            &app,
            &format!("SELECT sum(length(changeset)) FROM _driftless_outbox WHERE seq > {before}"),
        );
        hand_over(&copy, &at("app.db"));
        let merge = captured(&at("copy.db"));
        let same = |of: &Connection| -> Vec<u8> {
            let select = "SELECT CAST(body || done || title AS BLOB) FROM notes";
            of.query_row(select, [], |row| row.get(0)).expect("the row")
        };
        assert!(same(&app) == same(&copy), "{what}: all is merged");
        let documents = number(&app, "SELECT sum(length(body)) FROM _driftless_text_updates");
        let each = |seconds: f64| format!("{:.2} ms", seconds * 1e3 / count as f64);
        line([
            format!("{what}, {count} times"),
            each(plain),
            each(capture),
            each(merge),
            format!("{:.0} B", bytes / count as f64),
            format!("{:.2} MB", documents / 1e6),
        ]);
    };
    let set = |app: &Connection, body: &str| {
        app.execute("UPDATE notes SET body = ?1", [body]).expect("updated");
    };
    let mut rng = fastrand::Rng::with_seed(7);
    let mut place = |text: &str| {
        let from = rng.usize(..text.len() - 100);
        text[from..].find(' ').map_or(0, |at| from + at + 1)
    };
    measure("one word changed", 100, &mut |app, _| {
        let at = place(&body);
        let end = at + body[at..].find([' ', '.']).unwrap_or(0);
        body.replace_range(at..end, "changed");
        set(app, &body);
    });
    let mut at = body.len() / 2;
    measure("one character typed after the other", 1000, &mut |app, n| {
        body.insert(at, char::from(b'a' + (n % 26) as u8));
        at += 1;
        set(app, &body);
    });
    measure("a flag set beside it", 100, &mut |app, n| {
        app.execute("UPDATE notes SET done = ?1", [n as i64]).expect("updated");
    });
    text
}

/// Rows each of which refers to the one before. The first is deleted, and all others are parked; it comes back, and they
/// return: in the file of the app that does it, and in another. Meanwhile an app writes now and then.
fn chains() -> String {
    const LENGTH: usize = 20_000;
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let make = |name: &str| {
        let connection = Connection::open(at(name)).expect("a database");
        connection.busy_timeout(Duration::from_secs(60)).expect("set");
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = OFF;
                 CREATE TABLE chain (id TEXT PRIMARY KEY, before TEXT REFERENCES chain (id), body TEXT);",
            )
            .expect("made");
        connection
    };
    let (app, copy) = (make("app.db"), make("copy.db"));
    track(&at("app.db"));
    track(&at("copy.db"));
    app.execute(
        "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?1)
         INSERT INTO chain SELECT printf('%06d', i), iif(i > 0, printf('%06d', i - 1), NULL), 'a few words' FROM n",
        [LENGTH as i64],
    )
    .expect("inserted");
    captured(&at("app.db"));
    hand_over(&copy, &at("app.db"));
    captured(&at("copy.db"));

    let mut text = format!("\na chain of {LENGTH} rows, of which the first goes and comes back\n\n");
    let _ = writeln!(text, "{:45} {:>10} {:>14}", "", "CPU", "longest wait");
    let steps = [
        ("the first is deleted", "DELETE FROM chain WHERE before IS NULL", 0),
        ("the file is opened again", "SELECT 1", 0),
        ("the first comes back", "INSERT INTO chain (id, body) VALUES ('000000', 'again')", LENGTH),
    ];
    for (what, sql, rows) in steps {
        app.execute_batch(sql).expect("written");
        for (whose, file, connection) in [("here", "app.db", &app), ("elsewhere", "copy.db", &copy)] {
            if whose == "elsewhere" {
                hand_over(connection, &at("app.db"));
            }
            let (cpu, wait) = beside_a_writer(&at(file));
            assert_eq!(number(connection, "SELECT count(*) FROM chain"), rows as f64, "{what}, {whose}");
            let what = format!("{what}, {whose}");
            let _ = writeln!(text, "{what:45} {cpu:>8.3} s {:>11.1} ms", wait.as_secs_f64() * 1e3);
        }
    }
    let _ = writeln!(text, "{:45} {:>10} {:>14}", "goal", "<= 2 s", "<= 100 ms");
    text
}

/// CPU seconds of the process while an engine captures and merges what there is, and the longest time for which another
/// writer waited for the write lock meanwhile.
fn beside_a_writer(path: &Path) -> (f64, Duration) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let connection = Connection::open(path).expect("a database");
            connection.busy_timeout(Duration::from_secs(60)).expect("set");
            let (mut longest, before) = (Duration::ZERO, cpu_of_thread().expect("asked before"));
            while !done.load(Ordering::Acquire) {
                let begun = Instant::now();
                connection.execute_batch("BEGIN IMMEDIATE; COMMIT").expect("the lock");
                longest = longest.max(begun.elapsed());
                std::thread::sleep(Duration::from_millis(5));
            }
            (longest, cpu_of_thread().expect("asked before") - before)
        });
        let before = cpu_of_process();
        let engine = open(path);
        engine.capture().expect("captured");
        engine.close();
        let cpu = cpu_of_process() - before;
        done.store(true, Ordering::Release);
        let (longest, writers) = writer.join().expect("the writer ends");
        ((cpu - writers).max(0.0), longest)
    })
}

struct Row {
    id: String,
    title: String,
    body: String,
    priority: i64,
    weight: f64,
}

struct Data {
    rows: Vec<Row>,
}

impl Data {
    /// The same rows in every run.
    fn new(count: usize) -> Self {
        let mut rng = fastrand::Rng::with_seed(7);
        let words =
            ["river", "stone", "lantern", "quiet", "orbit", "meadow", "copper", "signal", "winter", "paper"];
        let mut text = |least: usize, most: usize| {
            let count = rng.usize(least..=most);
            (0..count).map(|_| words[rng.usize(0..words.len())]).collect::<Vec<_>>().join(" ")
        };
        let texts: Vec<(String, String)> = (0..count).map(|_| (text(2, 4), text(5, 15))).collect();
        let rows = texts.into_iter().map(|(title, body)| Row {
            id: uuid::Uuid::from_u128(rng.u128(..)).to_string(),
            title,
            body,
            priority: rng.i64(0..1_000_000),
            weight: rng.f64(),
        });
        Self { rows: rows.collect() }
    }
}

fn create(path: PathBuf) -> Connection {
    let connection = Connection::open(path).expect("a database");
    connection
        .execute_batch(&format!("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; {SCHEMA}"))
        .expect("made");
    connection
}

fn track(path: &Path) {
    driftless::track(path, Selection::All, TableOptions::default()).expect("tracked");
    captured(path);
}

fn insert(connection: &Connection, rows: &[Row], batch: usize) {
    let mut statement = connection.prepare(INSERT).expect("valid SQL");
    for batch in rows.chunks(batch) {
        connection.execute_batch("BEGIN").expect("begun");
        for row in batch {
            statement
                .execute(params![row.id, row.title, row.body, row.priority, row.weight, 0])
                .expect("inserted");
        }
        connection.execute_batch("COMMIT").expect("committed");
    }
}

fn update(connection: &Connection, rows: &[Row], assignment: &str) {
    let sql = format!("UPDATE notes SET {assignment} WHERE id = ?1");
    let mut statement = connection.prepare(&sql).expect("valid SQL");
    for batch in rows.chunks(BATCH) {
        connection.execute_batch("BEGIN").expect("begun");
        for row in batch {
            statement.execute([&row.id]).expect("updated");
        }
        connection.execute_batch("COMMIT").expect("committed");
    }
}

/// Puts into the inbox what the other file has to send and this one has not, as a sync does with what comes too early.
/// What is measured afterwards is therefore apply and materialize, and not the network.
fn hand_over(to: &Connection, from: &Path) {
    to.execute("ATTACH ?1 AS theirs", [from.to_str().expect("UTF-8")]).expect("attached");
    to.execute(
        "INSERT INTO main._driftless_inbox (replica, seq, part, changeset)
         SELECT m.value, o.seq, o.part, o.changeset FROM theirs._driftless_outbox o, theirs._driftless_meta m
         WHERE m.name = 'replica'
           AND o.seq > coalesce((SELECT seq FROM main._driftless_progress WHERE replica = m.value), 0)",
        [],
    )
    .expect("handed over");
    to.execute_batch("DETACH theirs").expect("detached");
}

/// CPU seconds of this thread while it writes.
fn writer(work: impl FnOnce()) -> f64 {
    let before = cpu_of_thread().expect("asked before");
    work();
    cpu_of_thread().expect("asked before") - before
}

fn open(path: &Path) -> Engine {
    Engine::open(path, Config::default()).expect("the engine opens")
}

/// CPU seconds of the process while an engine captures and merges what there is.
fn captured(path: &Path) -> f64 {
    let work = || {
        let before = cpu_of_process();
        let engine = open(path);
        engine.capture().expect("captured");
        engine.close();
        cpu_of_process() - before
    };
    let all = work();
    let nothing = work();
    (all - nothing).max(0.0)
}

fn size(connection: &Connection, path: &Path) -> f64 {
    connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").expect("checkpointed");
    fs::metadata(path).expect("the file").len() as f64
}

fn number(connection: &Connection, sql: &str) -> f64 {
    connection.query_row(sql, [], |row| row.get::<_, i64>(0)).expect("a number") as f64
}

fn last_seq(connection: &Connection) -> i64 {
    number(connection, "SELECT coalesce(max(seq), 0) FROM _driftless_outbox") as i64
}

/// See <https://docs.kernel.org/scheduler/sched-stats.html#proc-pid-schedstat>: the first number, in nanoseconds.
fn cpu_of_thread() -> Option<f64> {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds: f64 = stat.split_whitespace().next()?.parse().ok()?;
    Some(nanoseconds / 1e9)
}

/// See proc_pid_stat(5): utime and stime, threads that have ended included, in hundredths of a second.
fn cpu_of_process() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("asked before");
    // The second field is a name in parentheses, which may hold anything.
    let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
    let ticks =
        fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<f64>().expect("a number"));
    ticks.sum::<f64>() / 100.0
}
