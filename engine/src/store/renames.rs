//! The renamed columns of a table, and how the definitions of the space write them down: as a JSON object of the name now
//! and the name under which the column travels. Format 1 wrote lines of both with a tab between, which are still read.

use std::collections::BTreeMap;

/// (name now, name under which the column travels), both folded; sorted.
pub(crate) type Renames = Vec<(String, String)>;

/// As they are written down.
pub(crate) fn to_text(renames: &[(String, String)]) -> String {
    let object = renames.iter().map(|(now, travels)| (now.clone(), travels.clone().into()));
    serde_json::Value::Object(object.collect()).to_string()
}

/// From what is written down. Others may have written it, so what says nothing is passed over.
pub(crate) fn from_text(text: &str) -> Renames {
    let mut renames: Renames = match serde_json::from_str::<BTreeMap<String, serde_json::Value>>(text) {
        Ok(object) => object
            .into_iter()
            .filter_map(|(now, travels)| Some((now, travels.as_str()?.to_owned())))
            .collect(),
        Err(_) => {
            let lines = text.lines().filter_map(|line| line.split_once('\t'));
            lines.map(|(now, travels)| (now.to_owned(), travels.to_owned())).collect()
        }
    };
    renames.retain(|(now, travels)| !now.is_empty() && !travels.is_empty() && now != travels);
    renames.sort();
    renames.dedup_by(|a, b| a.0 == b.0);
    renames
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renames_read_as_they_were_written_and_what_says_nothing_is_passed_over() {
        let renames = vec![("a\tb".to_owned(), "c\nd".to_owned()), ("x".to_owned(), "y".to_owned())];
        assert_eq!(from_text(&to_text(&renames)), renames);
        assert_eq!(from_text(r#"{"a":"a","b":"","c":4,"d":"e"}"#), [("d".to_owned(), "e".to_owned())]);
    }

    #[test]
    fn the_lines_of_format_1_are_still_read() {
        assert_eq!(from_text("new\told\n\nnothing\nb\tb"), [("new".to_owned(), "old".to_owned())]);
    }
}
