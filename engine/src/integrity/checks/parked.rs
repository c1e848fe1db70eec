//! Whether the rows that are parked would be parked again, and no others: they are judged anew in a transaction that is
//! rolled back.

use std::collections::BTreeMap;

use driftless_protocol::RowKey;
use rusqlite::Connection;

use crate::error::Result;
use crate::integrity::report::Findings;
use crate::replica::Replica;
use crate::replica::repair::Part;
use crate::store::parked::{self, Stage};
use crate::store::{claims, tables};

/// What is listed of a row: stage and constraint, and the values that it holds all the same.
type Reason = (i64, Option<String>, Vec<Vec<u8>>);
type Listed = BTreeMap<(i64, Vec<u8>), Reason>;

/// Of several UNIQUE values that are taken, or parents that are missing, the one that was found first is listed, and that
/// depends on what came when.
fn alike(one: &Reason, other: &Reason) -> bool {
    let rule = one.1 == other.1 || one.0 >= Stage::Unique as i64;
    one.0 == other.0 && rule && one.2 == other.2
}

pub(in crate::integrity) fn check(replica: &mut Replica, found: &mut Findings) -> Result<()> {
    let (before, after, names) = replica
        .judge_parked(|connection| {
            let names: BTreeMap<i64, String> =
                tables::all(connection)?.into_iter().map(|entry| (entry.id, entry.spelled)).collect();
            Ok((listed(connection)?, names))
        })?
        .map_or_else(Default::default, |((before, names), (after, _))| (before, after, names));
    let check = found.check("parked");
    check.looked_at = before.len() as u64;
    let all: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
    for (table, key) in all {
        let place = (*table, key.clone());
        let what = match (before.get(&place), after.get(&place)) {
            (Some(before), Some(after)) if alike(before, after) => continue,
            (Some(_), Some((_, rule, _))) => {
                format!("it is parked for another reason now: {}", rule.as_deref().unwrap_or("it is refused"))
            }
            (Some(_), None) => "it is parked, and would fit".to_owned(),
            (None, _) => "it should be parked".to_owned(),
        };
        let name = RowKey::from_bytes(key).ok().map(|key| key.to_string());
        check.differs(names.get(table).cloned(), name, what);
    }
    if check.differences > 0 {
        found.rebuild(Part::Lists);
    }
    Ok(())
}

fn listed(connection: &Connection) -> Result<Listed> {
    let rows = parked::judged(connection)?.into_iter();
    let mut listed: Listed =
        rows.map(|(table, key, stage, rule)| ((table, key), (stage, rule, Vec::new()))).collect();
    for (table, key, value) in claims::all(connection)? {
        listed.entry((table, key)).or_insert((0, None, Vec::new())).2.push(value);
    }
    Ok(listed)
}
