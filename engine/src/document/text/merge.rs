//! A text from an editor → the text to write: what somebody made of a text that has changed meanwhile.

use super::diff::{Edit, edits};

/// What `edited`, made from `base`, comes to where the text is `current` by now: all that was inserted in either is in it
/// once, and what was deleted in either is not.
///
/// This is how to write a text column from an editor. The editor knows which text it began with, and a write of somebody
/// else may have come in since; writing its text as it is would undo that write, since SQL says only what a text is now.
/// So read, merge and write in one transaction, and show what comes of it:
///
/// ```
/// # fn main() -> rusqlite::Result<()> {
/// # let mut db = rusqlite::Connection::open_in_memory()?;
/// # db.execute_batch("CREATE TABLE notes (id TEXT PRIMARY KEY, body TEXT); INSERT INTO notes VALUES ('1', 'My dear world!')")?;
/// let (base, edited) = ("My world", "My small world"); // what the editor began with, and what was made of it
/// let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
/// let current: String = tx.query_row("SELECT body FROM notes WHERE id = '1'", [], |row| row.get(0))?;
/// let merged = driftless::merge_text(base, edited, &current);
/// tx.execute("UPDATE notes SET body = ?1 WHERE id = '1'", [&merged])?;
/// tx.commit()?;
/// assert_eq!(merged, "My small dear world!");
/// # Ok(())
/// # }
/// ```
///
/// Of what both inserted at one place, that of `edited` comes first: it goes on where its author typed, so that the words of two
/// who type at one place, and save as they type, stay whole. Where both typed the same, it is there twice. So a save that is tried again, because its answer was lost, is not to be merged again: give saves numbers, and let what was new since
/// the numbered one be merged onto it, as `demo-app` does.
pub fn merge_text(base: &str, edited: &str, current: &str) -> String {
    if edited == base {
        return current.to_owned();
    }
    if current == base {
        return edited.to_owned();
    }
    let text: Vec<u16> = base.encode_utf16().collect();
    let (theirs, ours) = (Side::of(&text, &edits(base, current)), Side::of(&text, &edits(base, edited)));
    let mut merged = Vec::with_capacity(text.len() + edited.len());
    for at in 0..=text.len() {
        merged.extend_from_slice(ours.inserted(at));
        merged.extend_from_slice(theirs.inserted(at));
        if let Some(unit) = text.get(at)
            && !theirs.deleted[at]
            && !ours.deleted[at]
        {
            merged.push(*unit);
        }
    }
    // No edit cuts a character, so this changes nothing.
    String::from_utf16_lossy(&merged)
}

/// What one side did to the text, place by place, in units of UTF-16.
struct Side {
    deleted: Vec<bool>,
    /// Ascending by place.
    insertions: Vec<(usize, Vec<u16>)>,
}

impl Side {
    fn of(base: &[u16], edits: &[Edit<'_>]) -> Self {
        let mut side = Self { deleted: vec![false; base.len()], insertions: Vec::new() };
        for edit in edits {
            let at = edit.at as usize;
            side.deleted[at..at + edit.removed as usize].fill(true);
            if !edit.inserted.is_empty() {
                side.insertions.push((at, edit.inserted.encode_utf16().collect()));
            }
        }
        side
    }

    fn inserted(&self, at: usize) -> &[u16] {
        let found = self.insertions.binary_search_by_key(&at, |(place, _)| *place);
        found.map_or(&[], |found| &self.insertions[found].1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_both_did_is_in_it() {
        assert_eq!(merge_text("one two three", "one 2 three", "one two three four"), "one 2 three four");
        assert_eq!(merge_text("abc", "abcX", "Yabc"), "YabcX");
        assert_eq!(merge_text("gone, stays", "stays", "gone, stays here"), "stays here");
        assert_eq!(merge_text("😀 a", "😀 ab", "😀😀 a"), "😀😀 ab");
    }

    #[test]
    fn what_two_typed_alike_or_began_alike_is_there_from_both() {
        assert_eq!(
            merge_text("Hi.", "Hi. See you at 6", "Hi. See you at 5"),
            "Hi. See you at 6 See you at 5"
        );
        assert_eq!(merge_text("a", "a<", "a<"), "a<<");
    }

    #[test]
    fn of_two_insertions_at_one_place_the_editors_comes_first() {
        assert_eq!(merge_text("", "ours", "theirs"), "ourstheirs");
    }

    /// An editor: the text it began with, the text as it shows it, and where the caret is, in characters.
    struct Page {
        base: String,
        shown: String,
        caret: usize,
    }

    impl Page {
        fn types(&mut self, letter: char) {
            let at = self.shown.char_indices().nth(self.caret).map_or(self.shown.len(), |(at, _)| at);
            self.shown.insert(at, letter);
            self.caret += 1;
        }

        /// Shows the text as it has become. The caret stays with the letter before it.
        fn saves(&mut self, current: &mut String) {
            let before = self.shown.chars().nth(self.caret - 1).expect("something was typed");
            *current = merge_text(&self.base, &self.shown, current);
            self.shown.clone_from(current);
            self.base.clone_from(current);
            self.caret = current.chars().position(|c| c == before).expect("what was typed stays") + 1;
        }
    }

    fn text() -> impl Strategy<Value = String> {
        proptest::collection::vec(
            prop_oneof![Just("a"), Just("b "), Just("語"), Just("😀"), Just("\n")],
            0..24,
        )
        .prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn a_side_that_did_nothing_changes_nothing(base in text(), other in text()) {
            prop_assert_eq!(&merge_text(&base, &base, &other), &other);
            prop_assert_eq!(&merge_text(&base, &other, &base), &other);
        }

        #[test]
        fn words_that_two_type_at_one_place_stay_whole_however_often_they_save(
            turns in proptest::collection::vec((any::<bool>(), any::<bool>()), 1..24),
        ) {
            let mut current = "ab".to_owned();
            let page = || Page { base: "ab".into(), shown: "ab".into(), caret: 1 };
            let mut pages = [page(), page()];
            let mut words = ["甲乙丙丁戊己庚辛壬癸".chars(), "子丑寅卯辰巳午未申酉戌亥".chars()];
            let mut typed = [String::new(), String::new()];
            for (second, saves) in turns {
                let who = usize::from(second);
                let Some(letter) = words[who].next() else { continue };
                pages[who].types(letter);
                typed[who].push(letter);
                if saves {
                    pages[who].saves(&mut current);
                }
            }
            for (who, page) in pages.iter_mut().enumerate().filter(|(_, page)| page.shown != page.base) {
                page.saves(&mut current);
                prop_assert!(current.contains(&typed[who]), "{current}");
            }
            prop_assert!(typed.iter().all(|word| current.contains(word)), "{typed:?} in {current}");
        }

        // Letters that are words of their own: of a word in which both typed, what stayed may be typed anew.
        #[test]
        fn all_that_was_typed_is_there_once_and_all_that_both_kept_is_there(
            length in 0..10usize,
            ours in proptest::collection::vec((0..14usize, "[甲乙丙]{0,3}", 0..3usize), 0..3),
            theirs in proptest::collection::vec((0..14usize, "[子丑寅]{0,3}", 0..3usize), 0..3),
        ) {
            let base: Vec<char> = "一二三四五六七八九十".chars().take(length).collect();
            let change = |steps: &[(usize, String, usize)]| {
                let mut text = base.clone();
                for (at, typed, gone) in steps {
                    let at = (*at).min(text.len());
                    let end = (at + gone).min(text.len());
                    text.splice(at..end, typed.chars());
                }
                text
            };
            let (ours, theirs) = (change(&ours), change(&theirs));
            let string = |text: &[char]| text.iter().collect::<String>();
            let merged: Vec<char> = merge_text(&string(&base), &string(&ours), &string(&theirs)).chars().collect();
            let only = |text: &[char], of: &str| string(&text.iter().copied().filter(|c| of.contains(*c)).collect::<Vec<_>>());
            prop_assert_eq!(only(&merged, "甲乙丙"), only(&ours, "甲乙丙"));
            prop_assert_eq!(only(&merged, "子丑寅"), only(&theirs, "子丑寅"));
            // What stands between two edits that are close may have been taken for typed anew.
            for stayed in base.iter().filter(|c| ours.contains(c) && theirs.contains(c)) {
                prop_assert!(merged.contains(stayed));
            }
        }
    }
}
