//! The modules of the engine use each other as ARCHITECTURE.md says, and in no other way.
//!
//! Its section "Layers" has two tables for this, of the modules and of the steps of a turn. The source is read as text:
//! `crate::…` and `super::…`, alone or in groups, outside comments and tests. Modules that stand within a file are not looked
//! into apart from it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Modules that stand beside each other, and the table that says which may use which.
struct Level {
    /// How the table begins.
    header: &'static str,
    /// The module that they are parts of; empty for the crate.
    parent: &'static str,
}

const LEVELS: [Level; 2] = [
    Level { header: "| module | what it is | uses |", parent: "" },
    Level { header: "| step | what it is | uses |", parent: "turn" },
];

#[test]
fn each_module_uses_those_that_the_architecture_lists_and_no_others() {
    let mut wrong = Vec::new();
    for level in &LEVELS {
        let (found, listed) = (arrows(level), listed(level));
        for ((user, used), file) in &found {
            if !listed.get(user).is_some_and(|list| list.contains(used)) {
                let file = file.display();
                wrong.push(format!("{file}: `{user}` uses `{used}`, which ARCHITECTURE.md does not list"));
            }
        }
        for (user, list) in listed {
            let unused = list.into_iter().filter(|used| !found.contains_key(&(user.clone(), used.clone())));
            wrong.extend(
                unused.map(|used| {
                    format!("ARCHITECTURE.md lists `{used}` for `{user}`, which does not use it")
                }),
            );
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn the_architecture_lists_the_modules_that_there_are() {
    for level in &LEVELS {
        let there: BTreeSet<String> = modules(level).into_iter().map(|(name, _)| name).collect();
        let listed: BTreeSet<String> = listed(level).into_keys().collect();
        let missing: Vec<_> = there.difference(&listed).collect();
        assert!(missing.is_empty(), "the table '{}' in ARCHITECTURE.md lacks {missing:?}", level.header);
        let unknown: Vec<_> = listed.difference(&there).collect();
        assert!(
            unknown.is_empty(),
            "the table '{}' in ARCHITECTURE.md lists {unknown:?}: no such modules",
            level.header
        );
    }
}

#[test]
fn no_arrow_of_the_architecture_leads_back() {
    for level in &LEVELS {
        let listed = listed(level);
        let mut lower = BTreeSet::new();
        // Takes the modules from the ground up: each time those that use nothing but what has been taken.
        while let Some((next, _)) =
            listed.iter().find(|(name, used)| !lower.contains(*name) && used.is_subset(&lower))
        {
            lower.insert(next.clone());
        }
        let left = listed.keys().find(|name| !lower.contains(*name));
        let mut way: Vec<&String> = left.into_iter().collect();
        while let Some(last) = way.last() {
            let next = listed[*last].difference(&lower).next().expect("it would have been taken");
            assert!(!way.contains(&next), "ARCHITECTURE.md lists a cycle: {way:?}, and again {next:?}");
            assert!(listed.contains_key(next), "ARCHITECTURE.md lists `{next}` for `{last}`: no such module");
            way.push(next);
        }
    }
}

#[test]
fn paths_are_found_alone_and_in_groups_but_not_in_comments_and_tests() {
    let text = "
        //! See [`crate::comment`].
        use crate::a::{self, b::{c, d as e}, F};
        use super::super::g;
        use crate::{h, i::*};
        fn f() { crate::j::k(1) } // not crate::comment
#[cfg(test)]
mod tests {
    use crate::test;
}
";
    let found = paths(text, &["own".to_owned(), "part".to_owned()]);
    let found: Vec<String> = found.iter().map(|path| path.join("::")).collect();
    assert_eq!(found, ["a::self", "a::b::c", "a::b::d", "a::F", "h", "i", "j::k", "g"]);
}

/// What ARCHITECTURE.md lists: in the first column a module, in the last those that it uses, all in backticks.
fn listed(level: &Level) -> BTreeMap<String, BTreeSet<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ARCHITECTURE.md");
    let text = fs::read_to_string(path).expect("ARCHITECTURE.md");
    let (_, table) = text.split_once(level.header).expect("the table is in ARCHITECTURE.md");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let quoted = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let row = |row: &str| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        let [name, _, uses] = cells[..] else { panic!("not three columns: {row}") };
        let [name] = &quoted(name)[..] else { panic!("not the name of one module: {row}") };
        (name.clone(), quoted(uses).into_iter().collect())
    };
    rows.map(row).collect()
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The modules of a level, and the file or folder of each. `bin` has no `mod.rs`: the command is no part of the library.
fn modules(level: &Level) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(source().join(level.parent)).expect("the source");
    let named = entries.map(|entry| {
        let path = entry.expect("a file").path();
        (path.file_stem().expect("a name").to_string_lossy().into_owned(), path)
    });
    let is_module = |path: &Path| path.join("mod.rs").is_file() || path.extension() == Some("rs".as_ref());
    named.filter(|(name, path)| is_module(path) && !["lib", "mod"].contains(&&**name)).collect()
}

/// Which module uses which, and a file that does.
fn arrows(level: &Level) -> BTreeMap<(String, String), PathBuf> {
    let parent: Vec<String> = level.parent.split_terminator('/').map(str::to_owned).collect();
    let mut arrows = BTreeMap::new();
    for (user, path) in modules(level) {
        let mut files = Vec::new();
        collect(&path, &mut files);
        let texts: Vec<String> =
            files.iter().map(|file| fs::read_to_string(file).expect("a source file")).collect();
        let of_tests: Vec<PathBuf> =
            files.iter().zip(&texts).flat_map(|(file, text)| files_of_tests(file, text)).collect();
        for (file, text) in files.iter().zip(&texts).filter(|(file, _)| !of_tests.contains(file)) {
            let file = file.strip_prefix(source()).expect("a file of the source");
            for path in paths(text, &module(file)) {
                let used = path.strip_prefix(&parent[..]).and_then(|rest| rest.first());
                if let Some(used) = used.filter(|used| **used != user) {
                    arrows.insert((user.clone(), used.clone()), file.to_owned());
                }
            }
        }
    }
    arrows
}

/// A file, or the files in a folder and below it.
fn collect(path: &Path, files: &mut Vec<PathBuf>) {
    if path.is_dir() {
        let entries = fs::read_dir(path).expect("a folder");
        entries.for_each(|entry| collect(&entry.expect("a file").path(), files));
    } else {
        files.push(path.to_owned());
    }
}

/// The files of modules for tests alone: `#[cfg(test)]` and then `mod name;`.
fn files_of_tests(file: &Path, text: &str) -> Vec<PathBuf> {
    let folder = if file.ends_with("mod.rs") { file.with_file_name("") } else { file.with_extension("") };
    let declared = text.split("#[cfg(test)]\nmod ").skip(1);
    let names = declared.filter_map(|rest| rest.lines().next()?.strip_suffix(';'));
    names.map(|name| folder.join(name).with_extension("rs")).collect()
}

/// The names that lead from the crate to the module of a file.
fn module(file: &Path) -> Vec<String> {
    let names = file.with_extension("");
    let names = names.iter().map(|name| name.to_string_lossy().into_owned());
    names.filter(|name| name != "mod").collect()
}

/// The paths that a file's text names, from the crate down. `module`: the file's own.
fn paths(text: &str, module: &[String]) -> Vec<Vec<String>> {
    let text = code(text);
    let mut found = Vec::new();
    for (at, word) in text.match_indices("crate::") {
        read_path(&text[at + word.len()..], &[], &mut found);
    }
    for (at, word) in text.match_indices("super::").filter(|(at, _)| !text[..*at].ends_with("super::")) {
        let mut rest = &text[at..];
        let mut from = module;
        while let Some(further) = rest.strip_prefix(word) {
            (rest, from) = (further, &from[..from.len().saturating_sub(1)]);
        }
        read_path(rest, from, &mut found);
    }
    found
}

/// A file's text without comments and without modules of tests.
fn code(text: &str) -> String {
    let mut parts = text.split("#[cfg(test)]\nmod ");
    let mut code = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let declared = part.lines().next().unwrap_or_default();
        // A module that stands here ends with the first brace at the left.
        let end = if declared.ends_with(';') { ";" } else { "\n}" };
        code.push_str(part.split_once(end).map_or("", |(_, rest)| rest));
    }
    // Not the slashes of an address.
    let comment =
        |line: &str| line.match_indices("//").map(|(at, _)| at).find(|at| !line[..*at].ends_with(':'));
    code.lines().map(|line| format!("{}\n", &line[..comment(line).unwrap_or(line.len())])).collect()
}

/// Reads `a::b`, or `a::{b, c::d}` as several paths, each after `before`. Returns the text that follows.
fn read_path<'a>(text: &'a str, before: &[String], found: &mut Vec<Vec<String>>) -> &'a str {
    let mut path = before.to_vec();
    let mut rest = text.trim_start();
    loop {
        if let Some(group) = rest.strip_prefix('{') {
            rest = group;
            while !rest.trim_start().starts_with('}') {
                rest = read_path(rest, &path, found);
                // Past `as name` and the comma.
                let end = rest.find([',', '}']).expect("a group ends");
                rest = rest[end..].trim_start_matches(',');
            }
            return &rest.trim_start()[1..];
        }
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        path.extend((end > 0).then(|| rest[..end].to_owned()));
        rest = &rest[end..];
        let Some(further) = rest.strip_prefix("::") else { break };
        rest = further;
    }
    found.push(path);
    rest
}
