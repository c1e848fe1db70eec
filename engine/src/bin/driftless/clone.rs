//! `driftless clone`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use driftless::{Cloned, Config, Error, LeftOut, ObjectKind, SpaceObject, SyncConfig};
use serde_json::json;

use crate::output;

/// What `clone` says of itself after its arguments.
pub(crate) const AFTER_HELP: &str = "\
Everything that can be made is made: what is left out is named with the reason, and the exit code is 0. If the space
defines tables and none of them can be made there is no file, and the exit code is 3.

Views, triggers and virtual tables come from whoever else writes into the space, and a trigger runs with each write to this
file from then on: look at them with --show before you --include them.";

#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct CloneArgs {
    /// Where the space is: ws://host:port/<space> or wss://…
    url: String,
    /// The file to make; it must not exist. Not needed with --show
    #[arg(required_unless_present = "show")]
    pub(crate) file: Option<PathBuf>,
    /// Make these as well; each is shown before any is made
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    include: Vec<Include>,
    /// Show all that the space defines, and make no file
    #[arg(long, conflicts_with = "include")]
    show: bool,
    /// A token that grants access, where the relay asks for one
    #[arg(long)]
    token: Option<String>,
    /// Give up after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is made only where somebody asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Include {
    /// Views
    Views,
    /// Full-text tables (FTS3, FTS4, FTS5) and R*Trees
    VirtualTables,
    /// Triggers of the app's
    Triggers,
}

impl Include {
    fn of(kind: ObjectKind) -> Option<Self> {
        match kind {
            ObjectKind::View => Some(Self::Views),
            ObjectKind::VirtualTable => Some(Self::VirtualTables),
            ObjectKind::Trigger => Some(Self::Triggers),
            _ => None,
        }
    }

    fn flag(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

pub(crate) fn run(args: &CloneArgs) -> anyhow::Result<ExitCode> {
    let begun = Instant::now();
    let progress = output::Progress::begin(format!("cloning {}", args.url));
    let sync = SyncConfig::new(&args.url).token(args.token.clone());
    let timeout = Duration::from_secs(args.timeout);
    if args.show {
        // The space is downloaded beside this, and removed again.
        let beside = args.file.clone().unwrap_or_else(|| std::env::temp_dir().join("driftless-clone-show"));
        let objects = driftless::space_objects(beside, sync, Config::default(), timeout)?;
        drop(progress);
        show(&objects, args.json)?;
        return Ok(ExitCode::SUCCESS);
    }
    let Some(file) = &args.file else { anyhow::bail!("name the file to make: driftless clone URL FILE") };
    let is_wanted = |object: &SpaceObject| is_wanted(args, object);
    let cloned = driftless::clone_space_with(file, sync, Config::default(), timeout, is_wanted);
    drop(progress);
    if let Err(Error::NothingCloned(left_out)) = &cloned {
        tell_left_out(left_out);
    }
    let cloned = cloned?;
    if args.json {
        tell_json(file, &cloned)?
    } else {
        tell(file, &cloned, begun.elapsed())?
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether something is to be made that is made only where somebody asks for it. Shows it if so.
fn is_wanted(args: &CloneArgs, object: &SpaceObject) -> bool {
    let wanted = Include::of(object.kind).is_some_and(|kind| args.include.contains(&kind));
    if wanted && !args.json {
        eprintln!("driftless: {} '{}' is to be made:\n{};", object.kind.name(), object.name, object.sql);
    }
    wanted
}

fn tell(file: &Path, cloned: &Cloned, took: Duration) -> anyhow::Result<()> {
    if cloned.tables.is_empty() {
        eprintln!(
            "driftless: nobody has put a table into this space yet. Sync a file that tracks some; they appear here once \
             they are tracked: or remove {} and clone again",
            file.display()
        );
    }
    tell_left_out(&cloned.left_out);
    for index in &cloned.renamed_indexes {
        eprintln!(
            "driftless: index '{}' of table '{}' is called '{}' here: something else in the file has its name",
            index.index, index.table, index.name
        );
    }
    for note in &cloned.notes {
        eprintln!("driftless: {note}");
    }
    if !cloned.tables.is_empty() {
        eprintln!("driftless: {}", crate::track::BOOKKEEPING_STAYS);
    }
    let made = cloned.objects.iter().map(|object| format!(", {} '{}'", object.kind.name(), object.name));
    output::line(&format!(
        "cloned {}{} into {} in {}",
        output::count(cloned.tables.len() as u64, "table"),
        made.collect::<String>(),
        file.display(),
        output::duration(took)
    ))
}

/// A line for each thing that could not be made, and one for all of a kind that nobody asked for.
fn tell_left_out(left_out: &[LeftOut]) {
    let mut unasked: BTreeMap<ObjectKind, Vec<&str>> = BTreeMap::new();
    for left in left_out {
        if left.reason == driftless::NOT_ASKED_FOR {
            unasked.entry(left.kind).or_default().push(&left.name);
            continue;
        }
        let of = left.table.as_ref().map(|table| format!(" of table '{table}'")).unwrap_or_default();
        eprintln!("driftless: left out {} '{}'{of}: {}", left.kind.name(), left.name, left.reason);
    }
    for (kind, names) in unasked {
        let flag = Include::of(kind).map(Include::flag).unwrap_or_default();
        eprintln!(
            "driftless: left out {}: {}; --show shows what it does, --include {flag} makes it",
            output::count(names.len() as u64, kind.name()),
            names.join(", ")
        );
    }
}

fn show(objects: &[SpaceObject], json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(&serde_json::to_value(objects)?);
    }
    let is_table = |object: &&SpaceObject| object.kind == ObjectKind::Table;
    let tables: Vec<&str> = objects.iter().filter(is_table).map(|table| &*table.name).collect();
    for (at, name) in tables.iter().enumerate() {
        if tables[..at].iter().any(|other| other.eq_ignore_ascii_case(name)) {
            eprintln!("driftless: two tables are called '{name}', and a clone makes the first");
        }
    }
    for object in objects {
        match object.kind {
            ObjectKind::Pragma => output::line(&format!("PRAGMA {} = {};", object.name, object.sql))?,
            _ => output::line(&format!("{};", object.sql))?,
        }
    }
    Ok(())
}

fn tell_json(file: &Path, cloned: &Cloned) -> anyhow::Result<()> {
    // Documents of deleted rows count among them.
    let documents: u64 = driftless::status(file)?.tables.iter().map(|table| table.documents).sum();
    output::json(&json!({
        "file": file.display().to_string(),
        "tables": cloned.tables,
        "documents": documents,
        "objects": cloned.objects,
        "left_out": cloned.left_out,
        "renamed_indexes": cloned.renamed_indexes,
        "notes": cloned.notes,
    }))
}
