//! `driftless conflicts`.

use std::path::Path;

use driftless::{Conflict, Written};
use serde_json::json;

use crate::output;

pub(crate) fn run(file: &Path, as_json: bool) -> anyhow::Result<()> {
    let conflicts = driftless::conflicts(file)?;
    if as_json {
        return output::json(&json!({ "conflicts": conflicts.iter().map(to_json).collect::<Vec<_>>() }));
    }
    if conflicts.is_empty() {
        return output::line("no conflicts");
    }
    for conflict in &conflicts {
        let nowhere = if conflict.has_column { "" } else { "   (this file's table has no such column)" };
        output::line(&format!("{} [{}] {}{nowhere}", conflict.table, conflict.key, conflict.column))?;
        output::line(&format!("  shown  {}", describe(&conflict.shown)))?;
        for kept in &conflict.kept {
            output::line(&format!("  kept   {}", describe(kept)))?;
        }
    }
    output::line("\nTo settle one, write the column: UPDATE … SET … with the value that it should have.")?;
    if conflicts.iter().all(|conflict| conflict.has_column) {
        return Ok(());
    }
    output::line(
        "Where the table has no such column, run the app's migration first, or write it in a file that has the column.",
    )
}

fn describe(written: &Written) -> String {
    let value = output::short(&written.value);
    let at = written.at.map_or("found in the table, written at an unknown time".to_owned(), |at| {
        format!("written {}", output::ago(at))
    });
    match written.replica {
        Some(replica) => format!("{value}   {at} on replica {}", replica.short()),
        None => format!("{value}   {at}"),
    }
}

fn to_json(conflict: &Conflict) -> serde_json::Value {
    let written = |written: &Written| {
        json!({
            "value": driftless::to_json(&written.value),
            "at": written.at,
            "replica": written.replica.map(|replica| replica.to_string()),
        })
    };
    json!({
        "table": conflict.table,
        "key": conflict.key,
        "column": conflict.column,
        "has_column": conflict.has_column,
        "shown": written(&conflict.shown),
        "kept": conflict.kept.iter().map(written).collect::<Vec<_>>(),
    })
}
