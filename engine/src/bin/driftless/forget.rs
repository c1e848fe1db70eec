//! `driftless forget`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::{output, track};

#[derive(Args)]
pub(crate) struct ForgetArgs {
    /// The SQLite database
    pub(crate) file: PathBuf,
    /// A table that this file no longer has; or one that it has, if a column is named
    table: String,
    /// A column that the table no longer has
    column: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(args: &ForgetArgs) -> anyhow::Result<()> {
    driftless::status(&args.file)?;
    // The engine has to have seen that it is gone.
    let mut captured = track::capture(&args.file)?;
    let table = driftless::forget(&args.file, &args.table, args.column.as_deref())?;
    captured &= track::capture(&args.file)?;
    if args.json {
        return output::json(&json!({ "table": table, "column": args.column, "captured": captured }));
    }
    output::line(&match &args.column {
        None => format!(
            "table '{table}' is gone for good: new copies no longer get it, and a later table of that name begins empty"
        ),
        Some(column) => {
            format!(
                "column '{column}' of '{table}' is gone for good: a later column of that name begins empty"
            )
        }
    })
}
