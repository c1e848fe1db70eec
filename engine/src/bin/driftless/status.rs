//! `driftless status`.

use std::path::Path;
use std::time::Duration;

use driftless::{Status, TableStatus};
use serde_json::{Map, json};

use crate::output;

pub(crate) fn run(file: &Path, as_json: bool) -> anyhow::Result<()> {
    let status = driftless::status(file)?;
    if as_json { output::json(&to_json(&status)) } else { output::line(&to_text(&status)) }
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
        "mended": status.mended,
    })
}

fn to_text(status: &Status) -> String {
    let mut lines = vec![
        format!("replica       {}", status.replica),
        format!(
            "space         {}",
            status.space.map_or("none yet: the first sync decides".to_owned(), |space| space.to_string())
        ),
        match &status.last_contact {
            Some(contact) => format!("last contact  {}, with {}", output::ago(contact.at), contact.url),
            None => "last contact  never".to_owned(),
        },
        match status.unsent.changesets {
            0 => "unsent        nothing".to_owned(),
            n => format!(
                "unsent        {}, {}",
                output::count(n, "changeset"),
                output::bytes(status.unsent.bytes)
            ),
        },
    ];
    if status.lag_ms > 0 {
        let lag = output::duration(Duration::from_millis(status.lag_ms));
        lines.push(format!("lag           the oldest write that no relay has yet is {lag} old"));
    }
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
    if let Some(mended) = &status.mended {
        lines.push(format!("mended        {mended}; see that all is well with `driftless verify`"));
    }
    let others = status.vector.len();
    lines.push(format!("vector        {}", output::count(others as u64, "replica")));
    for (replica, seq) in status.vector.iter() {
        let own = if replica == status.replica { "  (this file)" } else { "" };
        lines.push(format!("              {replica}  {seq}{own}"));
    }
    lines.push(String::new());
    lines.extend(table_lines(&status.tables));
    lines.join("\n")
}

fn table_lines(tables: &[TableStatus]) -> Vec<String> {
    if tables.is_empty() {
        return vec!["no tables are tracked".to_owned()];
    }
    let width = tables.iter().map(|table| table.table.chars().count()).max().unwrap_or(0).max(5);
    let mut lines = vec![format!("{:width$}  {:9}  {:>9}  {:>8}", "table", "state", "documents", "pending")];
    for table in tables {
        let mut line = format!(
            "{:width$}  {:9}  {:>9}  {:>8}",
            table.table, table.state, table.documents, table.pending
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
        lines.extend(table.reason.iter().map(|reason| format!("{:width$}  ! {reason}", "")));
    }
    lines
}

/// What there is to say of a table that was dropped and made anew.
fn rebuilt(table: &TableStatus) -> Option<String> {
    let name = &table.table;
    if table.settling {
        return Some(format!(
            "table {name} was rebuilt; it is compared with what was known of it once it has been left alone"
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
