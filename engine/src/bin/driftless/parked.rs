//! `driftless parked`.

use std::path::Path;

use driftless::Parked;
use serde_json::json;

use crate::output;

pub(crate) fn run(file: &Path, as_json: bool) -> anyhow::Result<()> {
    let parked = driftless::parked(file)?;
    if as_json {
        return output::json(&json!({ "parked": parked.iter().map(to_json).collect::<Vec<_>>() }));
    }
    if parked.is_empty() {
        return output::line("no row is parked");
    }
    for row in &parked {
        output::line(&format!("{} [{}]  {}", row.table, row.key, row.reason))?;
        let values = row.row.iter().map(|(column, value)| format!("{column} = {}", output::short(value)));
        output::line(&format!("  {}", values.collect::<Vec<_>>().join(", ")))?;
    }
    output::line(
        "\nA parked row is in no table; it returns by itself when it fits. To bring one back, write it anew:\n\
         INSERT INTO its table with the same key and values that fit. To be rid of one, delete it then. A row that\n\
         waits for another returns with that one.",
    )
}

fn to_json(parked: &Parked) -> serde_json::Value {
    let row: serde_json::Map<_, _> =
        parked.row.iter().map(|(column, value)| (column.clone(), driftless::to_json(value))).collect();
    json!({
        "table": parked.table,
        "key": parked.key,
        "rule": parked.rule,
        "reason": parked.reason,
        "clash": parked.clash,
        "row": row,
    })
}
