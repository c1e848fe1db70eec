//! Bugs that are planted on purpose, to find out whether the simulator notices them. `tests/planted/bugs.toml` says what each does to
//! the sources. They are put into a copy of the workspace, so that nothing that is released, and no other test, knows of them.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// The packages that ask whether a bug is on.
const PACKAGES: [&str; 2] = ["engine", "relay"];

/// A bug, as `bugs.toml` has it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bug {
    /// What it is called.
    pub name: String,
    /// What is wrong, what a user would see, and which promise breaks.
    pub what: String,
    edit: Vec<Edit>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    file: PathBuf,
    find: String,
    replace: String,
}

/// All bugs, in the order of their planting.
pub fn bugs() -> &'static [Bug] {
    #[derive(Deserialize)]
    struct List {
        bug: Vec<Bug>,
    }
    static BUGS: OnceLock<Vec<Bug>> = OnceLock::new();
    BUGS.get_or_init(|| {
        let list: List = toml::from_str(include_str!("../planted/bugs.toml")).expect("bugs.toml is valid");
        list.bug
    })
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package is in a workspace")
}

/// The files that differ where all bugs are planted, by their paths in the workspace, and what they hold then. Fails if one does
/// not fit the sources any more, and names it.
pub fn planted_files() -> Result<BTreeMap<PathBuf, String>> {
    let mut files = BTreeMap::new();
    for (number, bug) in bugs().iter().enumerate() {
        for edit in &bug.edit {
            let text = match files.remove(&edit.file) {
                Some(text) => text,
                None => read(&edit.file)?,
            };
            let places = text.matches(&edit.find).count();
            ensure!(
                places == 1,
                "the bug '{}' cannot be planted: what bugs.toml looks for is {places} times in {}, not once:\n{}",
                bug.name,
                edit.file.display(),
                edit.find
            );
            let is_on = format!("driftless_planted::is({number})");
            files.insert(
                edit.file.clone(),
                text.replace(&edit.find, &edit.replace.replace("PLANTED", &is_on)),
            );
        }
    }
    for package in PACKAGES {
        let manifest = Path::new(package).join("Cargo.toml");
        let text = read(&manifest)?;
        let with =
            text.replacen("[dependencies]\n", "[dependencies]\ndriftless-planted.workspace = true\n", 1);
        ensure!(with != text, "{} has no dependencies", manifest.display());
        files.insert(manifest, with);
    }
    let switch = PathBuf::from("tests/planted/src/lib.rs");
    let text = read(&switch)?;
    let with = text.replacen("ARE_PLANTED: bool = false", "ARE_PLANTED: bool = true", 1);
    ensure!(with != text, "{} does not say whether bugs are planted", switch.display());
    files.insert(switch, with);
    Ok(files)
}

fn read(file: &Path) -> Result<String> {
    let path = workspace().join(file);
    std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// Runs a program of this package, built from a copy of the workspace that has the bugs in it. The copy lies in the target folder,
/// and is built anew only where the sources have changed. Returns whether the program succeeded.
pub fn run_planted(program: &str, arguments: impl IntoIterator<Item = std::ffi::OsString>) -> Result<bool> {
    let folder = workspace().join("target/planted");
    let sources = folder.join("sources");
    copy_workspace(&sources)?;
    // The cargo that runs this program, or the one that its user would type: either knows which compiler to take.
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["run", "--quiet", "--release", "-p", "driftless-tests", "--bin", program])
        .arg("--target-dir")
        .arg(folder.join("build"))
        .arg("--")
        .args(arguments)
        .current_dir(&sources)
        .status()
        .context("cannot run cargo")?;
    Ok(status.success())
}

/// Makes `to` the workspace with all bugs in it. Files that are right already are left as they are, with the times that cargo goes by.
fn copy_workspace(to: &Path) -> Result<()> {
    let mut planted = planted_files()?;
    let mut folders = vec![PathBuf::new()];
    let mut known = Vec::new();
    while let Some(folder) = folders.pop() {
        let path = workspace().join(&folder);
        let entries = std::fs::read_dir(&path).with_context(|| format!("cannot read {}", path.display()))?;
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let is_source = !matches!(name.to_str(), None | Some("target" | "node_modules" | "__pycache__"))
                && !name.as_encoded_bytes().starts_with(b".");
            let file = folder.join(&name);
            match entry.file_type()? {
                kind if kind.is_dir() && is_source => folders.push(file),
                kind if kind.is_file() && is_source => {
                    let bytes = match planted.remove(&file) {
                        Some(text) => text.into_bytes(),
                        None => std::fs::read(entry.path())?,
                    };
                    write_if_other(&to.join(&file), &bytes)?;
                    known.push(to.join(file));
                }
                _ => {}
            }
        }
    }
    ensure!(planted.is_empty(), "these are no sources: {:?}", planted.keys());
    remove_others(to, &known)
}

fn write_if_other(path: &Path, bytes: &[u8]) -> Result<()> {
    if std::fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    let folder = path.parent().expect("a file lies in a folder");
    let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(path, bytes));
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// Removes the files that are no sources any more.
fn remove_others(folder: &Path, known: &[PathBuf]) -> Result<()> {
    let listed: io::Result<Vec<_>> = std::fs::read_dir(folder)?.collect();
    for entry in listed? {
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            remove_others(&path, known)?;
        } else if !known.contains(&path) {
            std::fs::remove_file(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bug_still_fits_the_sources_and_each_has_a_name_of_its_own() {
        let files = planted_files().expect("all can be planted");
        for (number, bug) in bugs().iter().enumerate() {
            let is_on = format!("driftless_planted::is({number})");
            assert!(files.values().any(|text| text.contains(&is_on)), "{}", bug.name);
            assert_eq!(bugs().iter().filter(|other| other.name == bug.name).count(), 1, "{}", bug.name);
            assert!(!bug.what.trim().is_empty(), "{}", bug.name);
        }
    }

    #[test]
    fn nothing_but_the_copy_has_bugs_in_it() {
        let switch = read(Path::new("tests/planted/src/lib.rs")).expect("the switch");
        assert!(switch.contains("ARE_PLANTED: bool = false"));
        for package in PACKAGES {
            let manifest = read(&Path::new(package).join("Cargo.toml")).expect("a manifest");
            assert!(!manifest.contains("driftless-planted"), "{package}");
        }
    }
}
