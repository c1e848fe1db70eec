//! The findings of the checks, in words and numbers, and the repairs that they ask for.

use serde::Serialize;

use super::repairs::Repair;
use crate::replica::repair::Part;

/// So many differences of a check are told in words; all are counted.
const SHOWN: usize = 20;
/// Stands in reports for the name of our own table that holds the space's definitions.
pub(super) const DEFINITIONS_CALLED: &str = "the space's definitions";

/// The result of a verification: what was checked, what differs, and what was repaired.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Verification {
    /// How many tables are tracked: of others nothing travels, and nothing is known that could be compared.
    pub tracked_tables: u64,
    /// Whether an engine has the file: then what it has not captured yet, and all that needs its lock, was left out.
    pub engine_running: bool,
    /// Each check, as things were found.
    pub checks: Vec<Check>,
    /// The repairs that were made, a sentence each.
    pub repairs: Vec<String>,
    /// Each check again, as things are now, if anything was to be repaired.
    pub after: Option<Vec<Check>>,
}

impl Verification {
    /// Whether everything is there now: nothing differed, or all of it was repaired. Of a file in which nothing is tracked that
    /// cannot be said.
    pub fn is_well(&self) -> bool {
        self.tracked_tables > 0 && self.all_agree()
    }

    pub(super) fn all_agree(&self) -> bool {
        self.after.as_ref().unwrap_or(&self.checks).iter().all(|check| check.differences == 0)
    }

    /// How many differences were found.
    pub fn differences(&self) -> u64 {
        self.checks.iter().map(|check| check.differences).sum()
    }
}

/// One kind of check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Check {
    /// `sqlite`, `side tables`, `documents`, `tables`, `conflicts`, `parked`, `quarantine` or `relay`.
    pub name: &'static str,
    /// How many things were looked at.
    pub looked_at: u64,
    /// Rows left out because they wait to be captured or shown.
    pub waiting: u64,
    /// How many things differ.
    pub differences: u64,
    /// The first of them, in words.
    pub shown: Vec<Difference>,
    /// Remarks: why a check was not made, fingerprints that two people can compare.
    pub notes: Vec<String>,
}

/// One thing that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Difference {
    /// The table, as it is called here, or in the space if it is not here; `the space's definitions` of what the space defines
    /// (its tables, indexes and the like), with what is defined as the key.
    pub table: Option<String>,
    /// The primary key as SQL literals, with commas between.
    pub key: Option<String>,
    /// The difference, in words.
    pub what: String,
}

/// The findings so far, and the repairs that they ask for.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) checks: Vec<Check>,
    pub(super) repairs: Vec<Repair>,
}

impl Findings {
    pub(super) fn check(&mut self, name: &'static str) -> &mut Check {
        let at = self.checks.iter().position(|check| check.name == name).unwrap_or_else(|| {
            self.checks.push(Check::new(name));
            self.checks.len() - 1
        });
        &mut self.checks[at]
    }

    /// A part of the side tables is to be rebuilt.
    pub(super) fn rebuild(&mut self, part: Part) {
        self.repairs.push(Repair::Rebuild(part));
    }
}

impl Check {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, looked_at: 0, waiting: 0, differences: 0, shown: Vec::new(), notes: Vec::new() }
    }

    pub(super) fn differs(&mut self, table: Option<String>, key: Option<String>, what: String) {
        self.differences += 1;
        if self.shown.len() < SHOWN {
            self.shown.push(Difference { table, key, what });
        }
    }

    pub(super) fn absorb(&mut self, other: &Self) {
        self.differences += other.differences;
        self.shown.extend(other.shown.iter().cloned());
        self.shown.truncate(SHOWN);
    }
}

/// A number, and words that agree with it.
pub(super) fn plural(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}
