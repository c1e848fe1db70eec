//! Old text → new text as edits: small ones, at sensible places, found in time that stays bounded.
//!
//! SQL only says what a text was and what it is; what its writer did in between has to be guessed. What both begin
//! and end with is set aside, lines are compared, then the words within lines that changed, then the characters at both
//! ends of words. What differs is found by `imara-diff`; it can take time that grows with the square, so there are
//! limits to what it is given, and what exceeds them is replaced as a whole.
//!
//! An insertion like that of "wonderful " into "a world" can stand in several places ("a w|onderful w|orld"): of those
//! it takes the one between words.

use std::ops::Range;

use imara_diff::{Algorithm, Diff, InternedInput, TokenSource};

/// Words are compared in stretches up to this long, in bytes. In the worst texts (two words, over and over, in no order)
/// comparing takes time that grows with the square: 0.2 s for this much.
const WORDS_BYTES: usize = 32 << 10;
/// So many lines, or longer pieces, are compared; measured in the worst texts: 1 s.
const PIECES: usize = 20_000;
/// How far an insertion or deletion is moved to stand between words, in bytes.
const SLIDE_BYTES: usize = 512;
/// Edits times bytes of the old text. Each edit cuts a string in two, and in a text that was written in one go that
/// string is the text: 2,000 cuts in a megabyte take Yrs a second.
const CUT_BUDGET: usize = 1 << 28;
/// So many edits there may be in any text.
const ALWAYS_EDITS: usize = 64;

/// One edit. Offsets and lengths are in UTF-16 code units and never lie within a character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Edit<'a> {
    /// Where in the old text.
    pub(crate) at: u32,
    /// How much of the old text goes away from there on.
    pub(crate) removed: u32,
    /// What comes there instead.
    pub(crate) inserted: &'a str,
}

/// The edits that make `old` into `new`, ascending, with something unchanged between any two.
pub(crate) fn edits<'a>(old: &str, new: &'a str) -> Vec<Edit<'a>> {
    let both = Both { old, new };
    let Some(middle) = both.trimmed(Hunk { old: 0..old.len(), new: 0..new.len() }) else { return Vec::new() };
    let mut hunks = Vec::new();
    both.compare(middle, &mut hunks);
    both.settle(&mut hunks);
    limit(&mut hunks, (CUT_BUDGET / old.len().max(1)).max(ALWAYS_EDITS));
    let (mut at, mut seen) = (0, 0);
    let edit = |hunk: Hunk| {
        at += utf16_len(&old[seen..hunk.old.start]);
        let removed = utf16_len(&old[hunk.old.clone()]);
        let edit = Edit { at: at as u32, removed: removed as u32, inserted: &new[hunk.new] };
        at += removed;
        seen = hunk.old.end;
        edit
    };
    hunks.into_iter().map(edit).collect()
}

/// The length in UTF-16 code units. (`encode_utf16().count()` takes twenty times as long.)
fn utf16_len(text: &str) -> usize {
    let bytes = text.as_bytes();
    let chars = bytes.iter().filter(|&&byte| byte & 0xc0 != 0x80).count();
    chars + bytes.iter().filter(|&&byte| byte >= 0xf0).count()
}

/// What a long stretch is compared by next.
#[derive(Debug, Clone, Copy)]
enum Level {
    Lines,
    Pieces,
    Pairs,
    Whole,
}

/// A stretch of the old text and what is there in the new one, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hunk {
    old: Range<usize>,
    new: Range<usize>,
}

#[derive(Debug, Clone, Copy)]
struct Both<'o, 'n> {
    old: &'o str,
    new: &'n str,
}

impl Both<'_, '_> {
    /// A hunk without what both sides begin and end with; `None` if nothing is left.
    fn trimmed(&self, hunk: Hunk) -> Option<Hunk> {
        let (old, new) = (&self.old[hunk.old.clone()], &self.new[hunk.new.clone()]);
        let prefix = common_prefix(old, new);
        let suffix = common_suffix(&old[prefix..], &new[prefix..]);
        let hunk = Hunk {
            old: hunk.old.start + prefix..hunk.old.end - suffix,
            new: hunk.new.start + prefix..hunk.new.end - suffix,
        };
        (!hunk.old.is_empty() || !hunk.new.is_empty()).then_some(hunk)
    }

    /// Compares a hunk: a long one by lines, then by pieces of lines, then line for line, and then by words. What is
    /// still long after that is replaced as a whole.
    fn compare(&self, hunk: Hunk, hunks: &mut Vec<Hunk>) {
        self.compare_from(Level::Lines, hunk, hunks);
    }

    fn compare_from(&self, level: Level, hunk: Hunk, hunks: &mut Vec<Hunk>) {
        let Some(hunk) = self.trimmed(hunk) else { return };
        let longer = hunk.old.len().max(hunk.new.len());
        if hunk.old.is_empty() || hunk.new.is_empty() {
            hunks.push(hunk);
        } else if longer <= WORDS_BYTES {
            hunks.extend(self.compare_tokens(hunk, Words, usize::MAX));
        } else {
            let (parts, next) = match level {
                Level::Lines => (self.compare_tokens(hunk.clone(), Lines, PIECES), Level::Pieces),
                Level::Pieces => {
                    let pieces = Pieces { words: longer / PIECES + 16 };
                    (self.compare_tokens(hunk.clone(), pieces, PIECES), Level::Pairs)
                }
                Level::Pairs => (self.pair_lines(hunk.clone()), Level::Whole),
                Level::Whole => return hunks.push(hunk),
            };
            match &parts[..] {
                [] => self.compare_from(next, hunk, hunks),
                parts => parts.iter().for_each(|part| self.compare_from(next, part.clone(), hunks)),
            }
        }
    }

    /// Each line with the one in its place, if there are as many on both sides: as where all were indented.
    fn pair_lines(&self, hunk: Hunk) -> Vec<Hunk> {
        let (old, new) = (&self.old[hunk.old.clone()], &self.new[hunk.new.clone()]);
        if old.matches('\n').count() != new.matches('\n').count() {
            return Vec::new();
        }
        let (mut old_at, mut new_at) = (hunk.old.start, hunk.new.start);
        let pair = |(old, new): (&str, &str)| {
            let pair = Hunk { old: old_at..old_at + old.len(), new: new_at..new_at + new.len() };
            // And the end of the line, which is the same.
            (old_at, new_at) = (pair.old.end + 1, pair.new.end + 1);
            pair
        };
        old.split('\n').zip(new.split('\n')).map(pair).collect()
    }

    /// What differs within a hunk, by whole tokens. Empty if there are more than `most` of them on a side.
    fn compare_tokens(&self, hunk: Hunk, split: impl Split, most: usize) -> Vec<Hunk> {
        let side = |text| Side { text, split };
        let sides = (side(&self.old[hunk.old.clone()]), side(&self.new[hunk.new.clone()]));
        let many = |side: Side<'_, _>| side.take(most.saturating_add(1)).count() > most;
        if most < usize::MAX && (many(sides.0) || many(sides.1)) {
            return Vec::new();
        }
        let input = InternedInput::new(sides.0, sides.1);
        let mut diff = Diff::compute(Algorithm::Histogram, &input);
        diff.postprocess_no_heuristic(&input);
        let (mut old, mut new) = (Ends::new(&input, &input.before), Ends::new(&input, &input.after));
        diff.hunks()
            .map(|tokens| Hunk {
                old: hunk.old.start + old.at(tokens.before.start)..hunk.old.start + old.at(tokens.before.end),
                new: hunk.new.start + new.at(tokens.after.start)..hunk.new.start + new.at(tokens.after.end),
            })
            .collect()
    }

    /// Brings ascending hunks to good places: replacements with nothing but spaces and punctuation between them become
    /// one, each keeps only characters that differ, and what is only inserted or only deleted goes between words.
    fn settle(&self, hunks: &mut Vec<Hunk>) {
        let replaces = |hunk: &Hunk| !hunk.old.is_empty() && !hunk.new.is_empty();
        hunks.dedup_by(|next, hunk| {
            let between = &self.old[hunk.old.end..next.old.start];
            let joins = between.is_empty()
                || replaces(hunk) && replaces(next) && between.len() < 4 && !between.contains(in_word);
            if joins {
                (hunk.old.end, hunk.new.end) = (next.old.end, next.new.end);
            }
            joins
        });
        let mut from = (0, 0);
        for at in 0..hunks.len() {
            let hunk = self.trimmed(hunks[at].clone()).unwrap_or_else(|| hunks[at].clone());
            let next = hunks.get(at + 1);
            hunks[at] = if hunk.old.is_empty() {
                let until = next.map_or(self.new.len(), |next| next.new.start - 1);
                let new = slide(self.new, hunk.new.clone(), from.1..until);
                Hunk { old: moved(hunk.old, &hunk.new, &new), new }
            } else if hunk.new.is_empty() {
                let until = next.map_or(self.old.len(), |next| next.old.start - 1);
                let old = slide(self.old, hunk.old.clone(), from.0..until);
                Hunk { new: moved(hunk.new, &hunk.old, &old), old }
            } else {
                hunk
            };
            // Something unchanged stays between any two.
            from = (hunks[at].old.end + 1, hunks[at].new.end + 1);
        }
    }
}

/// `range`, moved as far as `before` was to become `after`.
fn moved(range: Range<usize>, before: &Range<usize>, after: &Range<usize>) -> Range<usize> {
    range.start + after.start - before.start..range.end + after.start - before.start
}

/// The best place for a stretch of `text` that is inserted or deleted, among those where taking it away leaves the same
/// text, `within` these bounds. The last of equally good ones.
fn slide(text: &str, mut stretch: Range<usize>, within: Range<usize>) -> Range<usize> {
    let first_and_next = |stretch: &Range<usize>| {
        let (first, next) = (text[stretch.start..].chars().next()?, text[stretch.end..].chars().next()?);
        (first == next && stretch.end + next.len_utf8() <= within.end).then_some(first.len_utf8())
    };
    let last_and_before = |stretch: &Range<usize>| {
        let (last, before) =
            (text[..stretch.end].chars().next_back()?, text[..stretch.start].chars().next_back()?);
        (last == before && stretch.start >= within.start + last.len_utf8()).then_some(last.len_utf8())
    };
    let rate = |stretch: &Range<usize>| {
        border(&text[..stretch.start], &text[stretch.start..])
            + border(&text[..stretch.end], &text[stretch.end..])
    };
    let began = stretch.start;
    while let Some(len) = first_and_next(&stretch).filter(|_| stretch.start - began < SLIDE_BYTES) {
        stretch = stretch.start + len..stretch.end + len;
    }
    let (mut best, mut rating) = (stretch.clone(), rate(&stretch));
    while let Some(len) = last_and_before(&stretch).filter(|_| best.start - stretch.start < SLIDE_BYTES) {
        stretch = stretch.start - len..stretch.end - len;
        if rate(&stretch) > rating {
            (best, rating) = (stretch.clone(), rate(&stretch));
        }
    }
    best
}

/// How well a text can be taken apart at a place.
fn border(before: &str, after: &str) -> u32 {
    match (before.chars().next_back(), after.chars().next()) {
        (None, _) | (_, None) | (Some('\n'), _) => 4,
        (Some(_), Some(next)) if continues(next) => 0,
        (Some(before), Some(next)) if in_word(before) && in_word(next) => 1,
        (Some(before), Some(_)) if before.is_whitespace() => 3,
        _ => 2,
    }
}

/// Joins the hunks that are nearest to each other until there are at most `most`.
fn limit(hunks: &mut Vec<Hunk>, most: usize) {
    let Some(excess) = hunks.len().checked_sub(most).filter(|&excess| excess > 0) else { return };
    let mut gaps: Vec<usize> = hunks.windows(2).map(|pair| pair[1].old.start - pair[0].old.end).collect();
    let (nearer, &mut widest, farther) = gaps.select_nth_unstable(excess - 1);
    let nearer_ties = nearer.iter().filter(|&&gap| gap == widest).count() + 1;
    let ties = nearer_ties + farther.iter().filter(|&&gap| gap == widest).count();
    // Of gaps as wide as the widest that goes, the ones that go are spread out evenly.
    let mut tie = 0;
    hunks.dedup_by(|next, hunk| {
        let gap = next.old.start - hunk.old.end;
        let mut joins = gap < widest;
        if gap == widest {
            joins = (tie + 1) * nearer_ties / ties > tie * nearer_ties / ties;
            tie += 1;
        }
        if joins {
            (hunk.old.end, hunk.new.end) = (next.old.end, next.new.end);
        }
        joins
    });
}

fn common_prefix(a: &str, b: &str) -> usize {
    const CHUNK: usize = 64;
    let (x, y) = (a.as_bytes(), b.as_bytes());
    let chunks = x.chunks_exact(CHUNK).zip(y.chunks_exact(CHUNK)).take_while(|(x, y)| x == y).count() * CHUNK;
    let mut at = chunks + x[chunks..].iter().zip(&y[chunks..]).take_while(|(x, y)| x == y).count();
    while !a.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn common_suffix(a: &str, b: &str) -> usize {
    const CHUNK: usize = 64;
    let (x, y) = (a.as_bytes(), b.as_bytes());
    let chunks =
        x.rchunks_exact(CHUNK).zip(y.rchunks_exact(CHUNK)).take_while(|(x, y)| x == y).count() * CHUNK;
    let (x, y) = (&x[..x.len() - chunks], &y[..y.len() - chunks]);
    let mut len = chunks + x.iter().rev().zip(y.iter().rev()).take_while(|(x, y)| x == y).count();
    while !a.is_char_boundary(a.len() - len) {
        len -= 1;
    }
    len
}

/// A letter or digit of a script that puts spaces between words. In the others each character is a word.
fn in_word(char: char) -> bool {
    char.is_alphanumeric()
        && !matches!(char, '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7af}' | '\u{20000}'..)
}

/// Whether a character belongs to the one before it: combining marks and what emoji are joined by.
fn continues(char: char) -> bool {
    matches!(char, '\u{300}'..='\u{36f}' | '\u{200d}' | '\u{20d0}'..='\u{20ff}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{1f3fb}'..='\u{1f3ff}')
}

/// How a text is cut into tokens. Never into empty ones.
trait Split: Copy {
    /// The length of the first token of a text that is not empty, in bytes.
    fn first(self, text: &str) -> usize;
}

/// Lines, each with its end.
#[derive(Debug, Clone, Copy)]
struct Lines;

impl Split for Lines {
    fn first(self, text: &str) -> usize {
        text.find('\n').map_or(text.len(), |at| at + 1)
    }
}

/// Words, runs of spaces, ends of lines, and all other characters one by one.
#[derive(Debug, Clone, Copy)]
struct Words;

impl Split for Words {
    fn first(self, text: &str) -> usize {
        let mut chars = text.char_indices();
        let Some((_, first)) = chars.next() else { return 0 };
        let is_space = |char: char| char.is_whitespace() && !matches!(char, '\n' | '\r');
        let mut joined = false;
        let end = chars.find(|&(_, char)| {
            let goes_on = continues(char)
                || std::mem::replace(&mut joined, false)
                || in_word(first) && in_word(char)
                || is_space(first) && is_space(char)
                || first == '\r' && char == '\n';
            joined = char == '\u{200d}';
            !goes_on
        });
        end.map_or(text.len(), |(at, _)| at)
    }
}

/// Pieces of lines, of about so many words: each ends with a few words that their own hash elects. So the pieces before
/// and after a change are the same on both sides, wherever they stand.
#[derive(Debug, Clone, Copy)]
struct Pieces {
    words: usize,
}

impl Split for Pieces {
    fn first(self, text: &str) -> usize {
        /// Tokens that elect, spaces included. One would not do: there are texts of few words.
        const ELECTORS: usize = 8;
        let mut last = [0u64; ELECTORS];
        let mut end = 0;
        for at in 0.. {
            let word = Words.first(&text[end..]);
            // FNV-1a.
            last[at % ELECTORS] = text[end..end + word].bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
            end += word;
            let votes = (0..ELECTORS).map(|back| last[(at + back) % ELECTORS]);
            let hash = votes.fold(0u64, |hash, vote| hash.rotate_left(5).wrapping_add(vote));
            let elected = at + 1 >= ELECTORS && (hash >> 16).is_multiple_of(self.words as u64);
            if elected || end == text.len() {
                break;
            }
        }
        end
    }
}

/// One side of a comparison.
#[derive(Debug, Clone, Copy)]
struct Side<'a, S> {
    text: &'a str,
    split: S,
}

impl<'a, S: Split> Iterator for Side<'a, S> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        if self.text.is_empty() {
            return None;
        }
        let (token, rest) = self.text.split_at(self.split.first(self.text));
        self.text = rest;
        Some(token)
    }
}

impl<'a, S: Split> TokenSource for Side<'a, S> {
    type Token = &'a str;
    type Tokenizer = Self;

    fn tokenize(&self) -> Self {
        *self
    }

    fn estimate_tokens(&self) -> u32 {
        (self.text.len() / 8) as u32
    }
}

/// Numbers of tokens → offsets in bytes, asked in ascending order.
struct Ends<'i, 'a> {
    input: &'i InternedInput<&'a str>,
    tokens: &'i [imara_diff::Token],
    token: usize,
    bytes: usize,
}

impl<'i, 'a> Ends<'i, 'a> {
    fn new(input: &'i InternedInput<&'a str>, tokens: &'i [imara_diff::Token]) -> Self {
        Self { input, tokens, token: 0, bytes: 0 }
    }

    /// Where the token begins.
    fn at(&mut self, token: u32) -> usize {
        let passed = &self.tokens[self.token..token as usize];
        self.bytes += passed.iter().map(|&token| self.input.interner[token].len()).sum::<usize>();
        self.token = token as usize;
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Applies edits in UTF-16, as an editor would.
    fn apply(old: &str, edits: &[Edit<'_>]) -> String {
        let mut units: Vec<u16> = old.encode_utf16().collect();
        for edit in edits.iter().rev() {
            let range = edit.at as usize..(edit.at + edit.removed) as usize;
            units.splice(range, edit.inserted.encode_utf16());
        }
        String::from_utf16(&units).expect("no character is cut")
    }

    fn edit(at: u32, removed: u32, inserted: &str) -> Edit<'_> {
        Edit { at, removed, inserted }
    }

    fn text() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("the "),
            Just("quick"),
            Just(" "),
            Just("\r\n"),
            Just("\n"),
            Just("\0"),
            Just("a"),
            Just("e\u{301}"),
            Just("שלום"),
            Just("中文"),
            Just("\u{1f980}"),
            Just("\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}"),
            Just("\u{1f44d}\u{1f3fd}"),
        ];
        let pieces = prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat());
        prop_oneof![pieces, any::<String>()]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_edits_of_any_two_texts_make_the_one_into_the_other(old in text(), new in text()) {
            let edits = edits(&old, &new);
            prop_assert_eq!(apply(&old, &edits), &new[..]);
            for pair in edits.windows(2) {
                prop_assert!(pair[0].at + pair[0].removed < pair[1].at, "{edits:?}");
            }
        }

        #[test]
        fn the_edits_of_a_long_text_changed_here_and_there_make_the_one_into_the_other(
            lines in prop::collection::vec(0..99u8, 700..900),
            changes in prop::collection::vec((any::<prop::sample::Index>(), text()), 1..5),
        ) {
            let lines: Vec<String> = lines.iter().map(|n| format!("a line, number {n}, of several")).collect();
            let mut changed = lines.clone();
            for (at, line) in changes {
                *at.get_mut(&mut changed) = line;
            }
            let (old, new) = (lines.join("\n"), changed.join("\n"));
            prop_assert_eq!(apply(&old, &edits(&old, &new)), new);
        }

        #[test]
        fn however_few_edits_are_allowed_they_make_the_one_into_the_other(
            old in text(), new in text(), most in 1..4usize,
        ) {
            let both = Both { old: &old, new: &new };
            let mut hunks = Vec::new();
            both.compare(Hunk { old: 0..old.len(), new: 0..new.len() }, &mut hunks);
            limit(&mut hunks, most);
            prop_assert!(hunks.len() <= most);
            let mut made = old.clone();
            hunks.iter().rev().for_each(|hunk| made.replace_range(hunk.old.clone(), &new[hunk.new.clone()]));
            prop_assert_eq!(made, new);
        }
    }

    #[test]
    fn equal_texts_have_no_edits() {
        assert_eq!(edits("", ""), []);
        assert_eq!(edits("a\u{1f980}", "a\u{1f980}"), []);
    }

    #[test]
    fn each_change_is_an_edit_of_its_own() {
        let old = "The quick brown fox jumps over the lazy dog.";
        let new = "The slow brown fox jumps over the two lazy dogs.";
        assert_eq!(edits(old, new), [edit(4, 5, "slow"), edit(35, 0, "two "), edit(43, 0, "s")]);
    }

    #[test]
    fn what_is_inserted_or_deleted_stands_between_words_where_it_can() {
        assert_eq!(edits("a world", "a wonderful world"), [edit(2, 0, "wonderful ")]);
        assert_eq!(edits("a wonderful world", "a world"), [edit(2, 10, "")]);
        assert_eq!(edits("one\ntwo\n", "one\none\ntwo\n"), [edit(4, 0, "one\n")]);
        assert_eq!(edits("aa", "aaa"), [edit(2, 0, "a")]);
    }

    #[test]
    fn a_sentence_that_was_rewritten_is_replaced_in_one_piece() {
        let edits = edits("Before. Every word differs. After.", "Before. None remained unchanged. After.");
        assert_eq!(edits.len(), 1, "{edits:?}");
    }

    #[test]
    fn characters_that_share_bytes_or_surrogates_are_replaced_whole() {
        // Both begin with f0 9f a6 in UTF-8 and with d83e in UTF-16.
        assert_eq!(edits("a\u{1f980}b", "a\u{1f981}b"), [edit(1, 2, "\u{1f981}")]);
        // These end with the same byte.
        assert_eq!(edits("é", "ĩ"), [edit(0, 1, "ĩ")]);
        assert_eq!(edits("x\r\ny", "x\ny"), [edit(1, 1, "")]);
    }

    #[test]
    fn two_changes_far_apart_in_a_long_text_without_line_ends_are_two_small_edits() {
        let words: Vec<String> = (0..40_000).map(|n| format!("word{n}")).collect();
        let old = words.join(" ");
        let new = old.replacen("word10 ", "word10 here ", 1).replacen("word39990 ", "word39990 there ", 1);
        let edits = edits(&old, &new);
        assert_eq!(edits.iter().map(|edit| edit.inserted).collect::<Vec<_>>(), ["here ", "there "]);
        assert!(edits.iter().all(|edit| edit.removed == 0));
    }

    #[test]
    fn a_text_changed_all_over_has_fewer_edits_the_longer_it_is() {
        let old: String = (0..20_000).map(|n| format!("a line of a long text, number {n}\n")).collect();
        let new = old.replace("a line", "    a line");
        let edits = edits(&old, &new);
        assert!(edits.len() * old.len() <= CUT_BUDGET, "{} edits", edits.len());
        assert!(edits.len() > 100, "{} edits", edits.len());
        assert_eq!(apply(&old, &edits), new);
    }

    #[test]
    fn a_reversed_text_is_compared_in_bounded_time() {
        let old: String = (0..4_000).map(|n| format!("w{} ", n % 613)).collect();
        let new: String = old.chars().rev().collect();
        let start = std::time::Instant::now();
        assert_eq!(apply(&old, &edits(&old, &new)), new);
        // A tenth of this in a release build.
        assert!(start.elapsed() < std::time::Duration::from_secs(5), "took {:?}", start.elapsed());
    }
}
