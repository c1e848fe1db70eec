//! Which tables can be tracked, and the reason and the way out where one cannot.

use rusqlite::Connection;

use super::bookkeeping::Purpose;
use super::{Table, insert_sql};
use crate::config::{ColumnKind, TableOptions};
use crate::document::affinity::Affinity;
use crate::error::Result;
use crate::error::refusal::{KindRefusal, Refusal};
use crate::store::{fold, sql};

impl From<Purpose> for Refusal {
    fn from(purpose: Purpose) -> Self {
        match purpose {
            Purpose::Migrations => Self::Migrations,
            Purpose::Sessions => Self::Sessions,
        }
    }
}

/// Whether a table can be tracked with these options.
pub(crate) fn check(table: &Table, options: &TableOptions) -> std::result::Result<(), Refusal> {
    if table.integer_key && !options.allow_integer_key {
        return Err(Refusal::IntegerKey);
    }
    Ok(())
}

/// Whether a table can be tracked with what is in it, and be written to by us.
pub(crate) fn check_rows(connection: &Connection, table: &Table) -> Result<std::result::Result<(), Refusal>> {
    if let Err(error) = connection.prepare(&insert_sql(table, 0..table.columns.len())) {
        return Ok(Err(Refusal::NeedsApplication(error.to_string())));
    }
    let mut orphans = 0;
    for at in 0..table.references.len() {
        let sql = table.orphans_sql(at, "count(*)", "1");
        let doing = "looking for what the rows of a table refer to";
        orphans += sql::one(connection, doing, &sql, [], sql::number)?;
    }
    Ok(if orphans == 0 { Ok(()) } else { Err(Refusal::Orphans(orphans)) })
}

/// Whether a column of this table can be of this kind. Fails with the reason and what to do instead.
pub(crate) fn check_kind(table: &Table, column: &str, kind: ColumnKind) -> std::result::Result<(), Refusal> {
    let refuse = |why| Err(Refusal::Kind { column: column.to_owned(), kind, why });
    let folded = fold(column);
    if table.generated.contains(&folded) {
        return refuse(KindRefusal::Generated);
    }
    let Some(at) = table.called(&folded) else {
        return refuse(KindRefusal::NoSuchColumn);
    };
    if kind == ColumnKind::Register {
        return Ok(());
    }
    if table.key.iter().any(|key| key.at == at) {
        return refuse(KindRefusal::Key);
    }
    if folded.contains(['\n', '\r']) {
        return refuse(KindRefusal::Newline);
    }
    let affinity = table.columns[at].affinity;
    match (kind, affinity) {
        (ColumnKind::Counter, Affinity::Text | Affinity::Real) => refuse(KindRefusal::Affinity(affinity)),
        (ColumnKind::Text, Affinity::Integer | Affinity::Numeric | Affinity::Real) => {
            refuse(KindRefusal::Affinity(affinity))
        }
        _ => Ok(()),
    }
}
