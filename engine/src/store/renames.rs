//! The renamed columns of a table as they are written down: lines of the new name, a tab, and the name under which the
//! column travels, sorted.

/// (name now, name under which the column travels), both folded.
pub(crate) type Renames = Vec<(String, String)>;

/// As they are written down.
pub(crate) fn to_text(renames: &[(String, String)]) -> String {
    let mut lines: Vec<String> = renames.iter().map(|(now, travels)| format!("{now}\t{travels}")).collect();
    lines.sort();
    lines.join("\n")
}

/// From what is written down. Others may have written it, so lines that say nothing are passed over.
pub(crate) fn from_text(text: &str) -> Renames {
    let lines = text.lines().filter_map(|line| line.split_once('\t'));
    let mut renames: Renames = lines.map(|(now, travels)| (now.to_owned(), travels.to_owned())).collect();
    renames.retain(|(now, travels)| !now.is_empty() && !travels.is_empty() && now != travels);
    renames.sort();
    renames.dedup_by(|a, b| a.0 == b.0);
    renames
}
