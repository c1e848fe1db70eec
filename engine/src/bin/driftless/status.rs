//! `driftless status`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use driftless::{Refusal, Status, TableStatus};
use serde_json::{Map, json};

use crate::output;

const CHECK_HELP: &str = "\
Exit codes of --check, of what was found the first in this order:
  0   all is well
  10  no engine is running
  11  it is not connected for longer than --max-lag, or what was written longer ago than that is on no relay
  12  somebody should look: no table is tracked, rows are parked, changesets are set aside, a table is missing, cannot be
      tracked or is left out, a question waits for an answer (was a column renamed?), what is written into a given-up
      table or column or under a NULL key stays here, side tables were damaged and repaired, the engine's turns fail
  13  the file has lost what Driftless kept in it: a backup from before `driftless track` took its place
  1, 2, 3 mean that the check itself failed, as with every command.

For Nagios and the like: driftless status app.db --check || case $? in 12) exit 1;; 10|11|13) exit 2;; *) exit 3;; esac";

#[derive(Args)]
#[command(after_help = CHECK_HELP)]
pub(crate) struct StatusArgs {
    /// The SQLite database
    pub(crate) file: PathBuf,
    /// Say only what is not as it should be, and exit with a code for it
    #[arg(long)]
    check: bool,
    /// With --check: how many seconds the connection may be gone, and writes may be on no relay
    #[arg(long, value_name = "SECONDS", default_value_t = 60, requires = "check")]
    max_lag: u64,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let status = driftless::status(&args.file)?;
    if args.check {
        return check(args, &status);
    }
    if args.json {
        output::json(&to_json(&status))?
    } else {
        output::line(&to_text(&args.file, &status))?
    }
    Ok(ExitCode::SUCCESS)
}

/// Something that is not as it should be: the exit code that it stands for, and a sentence.
type Finding = (u8, String);

const NOT_RUNNING: u8 = 10;
const BEHIND: u8 = 11;
const LOOK: u8 = 12;

fn check(args: &StatusArgs, status: &Status) -> anyhow::Result<ExitCode> {
    let mut findings = lateness(status, Duration::from_secs(args.max_lag));
    let sentences = nothing_tracked(&args.file, status).into_iter().chain(to_look_at(status));
    findings.extend(sentences.map(|sentence| (LOOK, with_file(&sentence, &args.file))));
    let code = findings.iter().map(|(code, _)| *code).min().unwrap_or(0);
    if args.json {
        let mut json = to_json(status);
        json["check"] = json!({
            "code": code,
            "findings": findings.iter().map(|(_, sentence)| sentence).collect::<Vec<_>>(),
        });
        output::json(&json)?;
    } else if findings.is_empty() {
        output::line("well")?;
    } else {
        findings.iter().try_for_each(|(_, sentence)| output::line(sentence))?;
    }
    Ok(code.into())
}

/// Whether the engine runs, and keeps up with what is written.
fn lateness(status: &Status, most: Duration) -> Vec<Finding> {
    let Some(engine) = &status.engine else {
        return vec![(NOT_RUNNING, "no engine is running: start `driftless sync`".to_owned())];
    };
    let mut findings = Vec::new();
    match &engine.connection {
        Some(connection) if connection.state == "online" => {}
        Some(connection) if connection.state == "refused" => {
            let why = connection.why.as_deref().unwrap_or("no reason was given");
            findings.push((BEHIND, format!("{} refuses: {why}", connection.url)));
        }
        Some(connection) if output::since(connection.since) <= most => {}
        Some(connection) => {
            let why = connection.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            let since = output::duration(output::since(connection.since));
            findings.push((BEHIND, format!("not connected to {} for {since}{why}", connection.url)));
        }
        None if output::since(engine.since) <= most => {}
        None => findings.push((BEHIND, "the engine that is running does not sync".to_owned())),
    }
    let lag = Duration::from_millis(status.lag_ms);
    if lag > most {
        findings
            .push((BEHIND, format!("the oldest write that no relay has is {} old", output::duration(lag))));
    }
    findings
}

/// The tables of this file whose rows travel.
pub(crate) fn tracked(status: &Status) -> impl Iterator<Item = &TableStatus> {
    status.tables.iter().filter(|table| table.state == "tracked")
}

/// The sentence that tells that no table of the file is tracked; `None` if one is.
pub(crate) fn nothing_tracked(file: &Path, status: &Status) -> Option<String> {
    if tracked(status).next().is_some() {
        return None;
    }
    let text = "no table of this file is tracked, so nothing that is written to it travels; `driftless track FILE --all` \
                tracks its tables";
    Some(with_file(text, file))
}

/// What somebody should look at.
fn to_look_at(status: &Status) -> Vec<String> {
    let mut sentences = Vec::new();
    if let Some(engine) = &status.engine
        && engine.health == "ailing"
    {
        sentences
            .push(format!("the engine's turns fail: {}", engine.why.as_deref().unwrap_or("see its log")));
    }
    if status.quarantined > 0 {
        let aside = output::count(status.quarantined, "changeset");
        sentences.push(format!("set aside: {aside} that could not be applied; see `driftless verify`"));
    }
    if let Some(repaired) = &status.repaired {
        sentences
            .push(format!("side tables were damaged and are repaired: {repaired}; see `driftless verify`"));
    }
    for table in status.tables.iter().filter(|table| table.parked > 0) {
        let rows = output::count(table.parked, "row");
        sentences
            .push(format!("table {}: {rows} parked; see `driftless parked`", output::name(&table.table)));
    }
    for table in status.tables.iter().filter(|table| matches!(table.state, "missing" | "unfit")) {
        let reason = table.reason.as_deref().unwrap_or("no reason is known");
        sentences.push(format!("table {} is {}: {reason}", output::name(&table.table), table.state));
    }
    sentences.extend(status.tables.iter().flat_map(stays_here));
    // Where only some tables were asked for, the others are nobody's concern.
    if status.tracks_all {
        let shapes = status.untracked.iter().filter_map(|untracked| {
            let refusal = untracked.refusal.as_ref().filter(|refusal| refusal.is_shape())?;
            Some((&*untracked.table, refusal.to_string()))
        });
        let lines = output::by_reason(shapes);
        sentences.extend(lines.into_iter().map(|line| format!("not tracked: {line}")));
    }
    sentences
}

/// A sentence for each question about a table that waits for an answer, and for whatever is written here and reaches nobody.
fn stays_here(table: &TableStatus) -> Vec<String> {
    let name = output::name(&table.table);
    let mut sentences: Vec<String> =
        table.concerns.iter().map(|concern| format!("table {name}: {concern}")).collect();
    if table.local_only > 0 {
        let rows = output::count(table.local_only, "row");
        sentences
            .push(format!("table {name}: {rows} with a NULL key, which no other file gets; give them keys"));
    }
    sentences
}

/// The tables that are not tracked, one line a reason.
pub(crate) fn untracked(status: &Status) -> Vec<String> {
    let reason = |refusal: &Option<Refusal>| match refusal {
        Some(refusal) => refusal.to_string(),
        None if status.tracks_all => "it is new; a running engine tracks it within seconds".to_owned(),
        None => "nobody asked for it; see `driftless track`".to_owned(),
    };
    // A table that was untracked by its name is in the list of tables already, with that reason.
    let is_listed =
        |name: &str| status.tables.iter().any(|table| table.table == name && table.state == "untracked");
    let others = status.untracked.iter().filter(|untracked| !is_listed(&untracked.table));
    output::by_reason(others.map(|untracked| (&*untracked.table, reason(&untracked.refusal))))
}

fn engine_lines(status: &Status) -> Vec<String> {
    let Some(engine) = &status.engine else {
        return vec![
            "engine        not running; what is written is captured and sent when `driftless sync` runs"
                .to_owned(),
        ];
    };
    let process = match engine.pid {
        0 => "running".to_owned(),
        pid => format!("running, process {pid}"),
    };
    let health = match (&*engine.health, &engine.why) {
        ("well", _) => String::new(),
        ("busy", _) => "; busy: others hold the write lock, it goes on when they let go".to_owned(),
        (name, Some(why)) => format!("; {name}: {why}"),
        (name, None) => format!("; {name}"),
    };
    let mut lines = vec![format!("engine        {process}{health}")];
    lines.push(match &engine.connection {
        None => "connection    it does not sync".to_owned(),
        Some(connection) => {
            let since = output::duration(output::since(connection.since));
            let why = connection.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            format!("connection    {} for {since}, with {}{why}", connection.state, connection.url)
        }
    });
    lines
}

fn to_json(status: &Status) -> serde_json::Value {
    let vector: Map<_, _> =
        status.vector.iter().map(|(id, seq)| (id.to_string(), json!(seq.get()))).collect();
    json!({
        "replica": status.replica.to_string(),
        "space": status.space.map(|space| space.to_string()),
        "tables": status.tables,
        "unsent": status.unsent,
        "lag_ms": status.lag_ms,
        "vector": vector,
        "last_contact": status.last_contact,
        "conflicts": status.conflicts,
        "waiting": status.waiting,
        "quarantined": status.quarantined,
        "repaired": status.repaired,
        "engine": status.engine,
        "waits": status.waits,
        "tracks_all": status.tracks_all,
        "untracked": status.untracked.iter().map(|untracked| json!({
            "table": untracked.table,
            "reason": untracked.refusal.as_ref().map(ToString::to_string),
            "shape": untracked.refusal.as_ref().is_some_and(Refusal::is_shape),
        })).collect::<Vec<_>>(),
    })
}

fn to_text(file: &Path, status: &Status) -> String {
    let space = status.space.map_or("none yet: the first sync decides".to_owned(), |space| space.to_string());
    let mut lines = vec![format!("replica       {}", status.replica), format!("space         {space}")];
    lines.extend(engine_lines(status));
    lines.extend(relay_lines(status));
    lines.extend(work_lines(status));
    lines.extend(trouble_lines(status));
    lines.extend(vector_lines(status));
    if status.tracks_all {
        lines.push("rule          tables that are made later are tracked too".to_owned());
    }
    lines.push(String::new());
    lines.extend(table_lines(&status.tables));
    if !status.tables.is_empty() {
        lines.extend(nothing_tracked(file, status));
    }
    lines.extend(untracked(status).into_iter().map(|line| format!("not tracked: {line}")));
    with_file(&lines.join("\n"), file)
}

/// When a relay was last heard, and what it does not have.
fn relay_lines(status: &Status) -> [String; 2] {
    let contact = match &status.last_contact {
        Some(contact) => format!("last contact  {}, with {}", output::ago(contact.at), contact.url),
        None => "last contact  never".to_owned(),
    };
    let unsent = match status.unsent.changesets {
        0 => "unsent        nothing".to_owned(),
        n => {
            let bytes = output::bytes(status.unsent.bytes);
            format!("unsent        {}, {bytes}", output::count(n, "changeset"))
        }
    };
    [contact, unsent]
}

/// What is still to be done.
fn work_lines(status: &Status) -> Vec<String> {
    let mut lines = Vec::new();
    if status.waits.to_capture > 0 {
        lines.push(format!("to capture    {}", output::count(status.waits.to_capture, "write")));
    }
    if status.waits.to_show > 0 {
        lines.push(format!("to show       {}", output::count(status.waits.to_show, "row")));
    }
    if status.lag_ms > 0 {
        let lag = output::duration(Duration::from_millis(status.lag_ms));
        lines.push(format!("lag           the oldest write that no relay has yet is {lag} old"));
    }
    lines
}

/// What somebody may have to look at.
fn trouble_lines(status: &Status) -> Vec<String> {
    let mut lines = Vec::new();
    if status.conflicts > 0 {
        let columns = output::count(status.conflicts, "column");
        lines.push(format!("conflicts     {columns}; list them with `driftless conflicts`"));
    }
    if status.waiting > 0 {
        let waiting = output::count(status.waiting, "changeset");
        lines.push(format!("waiting       {waiting} for others that they build on"));
    }
    if status.quarantined > 0 {
        let aside = output::count(status.quarantined, "changeset");
        lines.push(format!(
            "set aside     {aside} that could not be applied; `driftless verify FILE URL --repair` tries again and takes \
             what they say from the space"
        ));
    }
    if let Some(repaired) = &status.repaired {
        lines.push(format!("repaired      {repaired}; check that all is well with `driftless verify`"));
    }
    lines
}

/// What is applied here of each replica.
fn vector_lines(status: &Status) -> Vec<String> {
    let others = status.vector.len();
    let mut lines = vec![format!("vector        {}", output::count(others as u64, "replica"))];
    for (replica, seq) in status.vector.iter() {
        let own = if replica == status.replica { "  (this file)" } else { "" };
        lines.push(format!("              {replica}  {seq}{own}"));
    }
    lines
}

/// Puts the file into the commands that a text proposes.
fn with_file(text: &str, file: &Path) -> String {
    let file = output::shell_word(&file.to_string_lossy());
    ["forget", "rename-column", "track", "verify"].iter().fold(text.to_owned(), |text, command| {
        text.replace(&format!("`driftless {command} FILE"), &format!("`driftless {command} {file}"))
    })
}

fn table_lines(tables: &[TableStatus]) -> Vec<String> {
    if tables.is_empty() {
        return vec!["no tables are tracked; `driftless track FILE --all` begins".to_owned()];
    }
    let names = tables.iter().map(|table| output::name(&table.table).chars().count());
    let width = names.max().unwrap_or(0).max(5);
    let mut lines = vec![format!("{:width$}  {:9}  {:>9}  {:>8}", "table", "state", "documents", "pending")];
    for table in tables {
        let mut line = format!(
            "{:width$}  {:9}  {:>9}  {:>8}",
            output::name(&table.table),
            table.state,
            table.documents,
            table.pending
        );
        if table.parked > 0 {
            line += &format!("  {} parked, see `driftless parked`", table.parked);
        }
        if table.local_only > 0 {
            line += &format!(
                "  {} with a NULL key, which stay in this file",
                output::count(table.local_only, "row")
            );
        }
        if table.deletes_win {
            line += "  deletes win";
        }
        if !table.kinds.is_empty() {
            let kinds = table.kinds.iter().map(|(column, kind)| format!("{column}: {kind}"));
            line += &format!("  {}", kinds.collect::<Vec<_>>().join(", "));
        }
        lines.push(line);
        lines.extend(rebuilt(table).map(|note| format!("{:width$}  ! {note}", "")));
        for note in notes(table) {
            lines.extend(in_cases(&note).iter().enumerate().map(|(at, line)| {
                let mark = if at == 0 { '!' } else { ' ' };
                format!("{:width$}  {mark} {line}", "")
            }));
        }
    }
    lines
}

/// The parts of [`TableStatus::reason`]: what there is to say of the table, and then each question or warning by itself.
fn notes(table: &TableStatus) -> Vec<String> {
    let mut rest = table.reason.clone().unwrap_or_default();
    let mut apart = Vec::new();
    for concern in &table.concerns {
        if let Some(at) = rest.find(concern.as_str()) {
            rest.replace_range(at..at + concern.len(), "");
            apart.push(concern.clone());
        }
    }
    if !apart.is_empty() {
        let others: Vec<&str> = rest.split("; ").filter(|part| !part.is_empty()).collect();
        rest = others.join("; ");
    }
    if !rest.is_empty() {
        apart.insert(0, rest);
    }
    apart
}

/// A sentence that tells cases apart ("…: if it was renamed, …; if not, …"), each case on a line of its own.
fn in_cases(sentence: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = sentence;
    while let Some(at) = [": if ", "; if "].iter().filter_map(|end| rest.find(end)).min() {
        // The mark ends the line, the space is left out.
        let (line, next) = (&rest[..=at], &rest[at + 2..]);
        lines.push(line);
        rest = next;
    }
    lines.push(rest);
    lines
}

/// What there is to say of a table that was dropped and made anew.
fn rebuilt(table: &TableStatus) -> Option<String> {
    let name = output::name(&table.table);
    if table.settling {
        return Some(format!(
            "table {name} was rebuilt, or lost its triggers; `driftless sync` will compare it with its last known rows once \
             nobody has written to it for a few seconds"
        ));
    }
    let found = table.rebuilt?;
    let counts = [(found.deleted, "deleted"), (found.inserted, "inserted"), (found.edited, "edited")];
    let counts = counts.into_iter().filter(|(count, _)| *count > 0);
    let counts: Vec<String> =
        counts.map(|(count, what)| format!("{} {what}", output::count(count, "row"))).collect();
    let counts = if counts.is_empty() { "no row differed".to_owned() } else { counts.join(", ") };
    Some(format!("table {name} was rebuilt: {counts} ({})", output::ago(found.at)))
}
