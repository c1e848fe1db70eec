//! README.md in this folder, the page of the rules, and the tests say the same: each line of its tables names tests, the tests that it
//! names exist, and each test of this folder is named by a line.
//!
//! The sources are read as text. A name is `module::function` for this folder, `e2e::module::function` for `tests/e2e` and
//! `engine::module::function` for `engine/tests/engine`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const PAGE: &str = include_str!("README.md");

/// How the last column of each table on the page is headed.
const HEAD: &str = "shown by";

/// The folders in which a named test may stand, seen from this package, and what its name then begins with.
const FOLDERS: [(&str, &str); 3] =
    [("what_happens", ""), ("e2e", "e2e::"), ("../engine/tests/engine", "engine::")];

#[test]
fn every_line_of_the_page_names_tests_that_exist() {
    let tests: BTreeSet<String> =
        FOLDERS.iter().flat_map(|(folder, prefix)| tests_below(folder, prefix)).collect();
    let mut wrong = Vec::new();
    for (rule, names) in lines(PAGE) {
        if names.is_empty() {
            wrong.push(format!("names no test: {rule}"));
        }
        wrong.extend(
            names
                .into_iter()
                .filter(|name| !tests.contains(name))
                .map(|name| format!("no such test: {name}")),
        );
    }
    assert!(wrong.is_empty(), "tests/what_happens/README.md:\n{}", wrong.join("\n"));
}

#[test]
fn every_test_of_this_folder_is_named_by_a_line_of_the_page() {
    let named: BTreeSet<String> = lines(PAGE).into_iter().flat_map(|(_, names)| names).collect();
    let (folder, prefix) = FOLDERS[0];
    let of_the_page = |name: &String| name.starts_with("page::");
    let missing: Vec<String> = tests_below(folder, prefix)
        .into_iter()
        .filter(|name| !of_the_page(name) && !named.contains(name))
        .collect();
    assert!(
        missing.is_empty(),
        "tests/what_happens/README.md has no line for these tests; add the rule that each shows, or name it beside one:\n{}",
        missing.join("\n")
    );
}

#[test]
fn lines_and_tests_are_read_as_they_are_written() {
    let page = "| a | b | shown by |\n|---|---|---|\n| `x` | y | `m::one`, `e2e::n::two` |\n| z | | |\n\n| other | table |\n|---|---|\n| 1 | 2 |\n";
    let found: Vec<(String, Vec<String>)> = lines(page);
    assert_eq!(
        found,
        [
            ("`x`".to_owned(), vec!["m::one".to_owned(), "e2e::n::two".to_owned()]),
            ("z".to_owned(), Vec::new())
        ]
    );
    let source = "fn helper() {}\n#[test]\nfn one() {\n}\n#[tokio::test]\nasync fn two() {}\n#[test]\n#[ignore]\nfn never() {}\n#[test]\nfn three() {}\n";
    assert_eq!(tests_in(source), ["one", "two", "three"], "an ignored test shows nothing");
}

/// The lines of those tables whose last column is headed [`HEAD`]: the first column, and the names in the last.
fn lines(page: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    let mut in_table = false;
    for line in page.lines() {
        let Some(row) = line.strip_prefix('|').and_then(|line| line.strip_suffix('|')) else {
            in_table = false;
            continue;
        };
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let (first, last) = (cells[0], cells[cells.len() - 1]);
        if last == HEAD {
            in_table = true;
        } else if in_table && !first.starts_with("---") {
            let names = last.split('`').skip(1).step_by(2).map(str::to_owned).collect();
            found.push((first.to_owned(), names));
        }
    }
    assert!(!found.is_empty(), "the page has no table with a column '{HEAD}'");
    found
}

/// The names of the tests in a folder and below it, each after its modules.
fn tests_below(folder: &str, prefix: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut found = Vec::new();
    for entry in fs::read_dir(&folder).expect("a folder of tests") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        if path.is_dir() {
            found.extend(tests_below(&path.to_string_lossy(), &format!("{prefix}{name}::")));
        } else if path.extension() == Some("rs".as_ref()) {
            let source = fs::read_to_string(&path).expect("a source file");
            let module = if name == "mod" { prefix.to_owned() } else { format!("{prefix}{name}::") };
            found.extend(tests_in(&source).into_iter().map(|test| format!("{module}{test}")));
        }
    }
    found
}

/// The functions in a source file that are tests and are run: an ignored test shows no rule.
fn tests_in(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let (mut is_test, mut is_ignored) = (false, false);
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if line.starts_with("#[ignore") {
            is_ignored = true;
        } else if let Some(name) = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ") {
            if is_test && !is_ignored {
                found.push(name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
            }
            (is_test, is_ignored) = (false, false);
        }
    }
    found
}
