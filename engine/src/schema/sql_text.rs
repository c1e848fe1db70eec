//! The little of SQL's grammar that must be read as text. SQLite has a pragma for the columns of an index, but an
//! expression or a WHERE is only in the statement that the user wrote. See
//! <https://sqlite.org/lang_createindex.html>.
//!
//! SQLite has parsed these statements before, and stores them with the name of the table as the third word. So this
//! code handles CREATE statements only, and returns `None` where it does not understand one.

/// What follows `CREATE TABLE <name>`, for a table called `new`, which needs no quotes: a CHECK may name its columns with
/// the table's name before them.
pub(crate) fn after_table_name(sql: &str, new: &str) -> Option<String> {
    let mut tokens = Tokens { sql, at: 0 };
    let (create, table, name) = (tokens.next()?, tokens.next()?, tokens.next()?);
    let is = |token: &str, word: &str| token.eq_ignore_ascii_case(word);
    if !is(create, "CREATE") || !is(table, "TABLE") {
        return None;
    }
    let name = unquoted(name);
    let (mut rest, mut copied, mut last) = (String::new(), tokens.at, None);
    while let Some(token) = tokens.next() {
        if let (".", Some((begin, end))) = (token, last) {
            rest.push_str(&sql[copied..begin]);
            rest.push_str(new);
            copied = end;
        }
        let is_name = !token.starts_with('\'') && unquoted(token).eq_ignore_ascii_case(&name);
        last = is_name.then_some((tokens.at - token.len(), tokens.at));
    }
    rest.push_str(&sql[copied..]);
    Some(rest)
}

/// Whether an expression names a column, as far as its words tell.
pub(crate) fn mentions(expression: &str, column: &str) -> bool {
    let mut tokens = Tokens { sql: expression, at: 0 };
    std::iter::from_fn(|| tokens.next()).any(|token| unquoted(token).eq_ignore_ascii_case(column))
}

/// A name as it is without its quotes.
fn unquoted(token: &str) -> String {
    let inner = || token.get(1..token.len().saturating_sub(1)).unwrap_or_default();
    match token.chars().next() {
        Some('[') => inner().to_owned(),
        Some(quote @ ('"' | '`' | '\'')) => inner().replace(&format!("{quote}{quote}"), &quote.to_string()),
        _ => token.to_owned(),
    }
}

/// The terms of an index, without ASC and DESC, and its WHERE condition.
pub(crate) fn index_terms(sql: &str) -> Option<(Vec<&str>, Option<&str>)> {
    let mut tokens = Tokens { sql, at: 0 };
    let terms = list(&mut tokens)?.into_iter().map(without_order).collect();
    let filter = match tokens.next() {
        None => None,
        Some(word) if word.eq_ignore_ascii_case("WHERE") => Some(sql[tokens.at..].trim()),
        Some(_) => return None,
    };
    Some((terms, filter))
}

/// What a CREATE INDEX statement says before its terms.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct IndexHead {
    pub(crate) name: String,
    /// Where the name stands in the statement, quotes included.
    at: (usize, usize),
}

/// The head of a CREATE INDEX statement as SQLite stores it.
pub(crate) fn index_head(sql: &str) -> Option<IndexHead> {
    let mut tokens = Tokens { sql, at: 0 };
    let is = |token: &str, word: &str| token.eq_ignore_ascii_case(word);
    if !is(tokens.next()?, "CREATE") {
        return None;
    }
    let next = tokens.next()?;
    let index = if is(next, "UNIQUE") { tokens.next()? } else { next };
    let name = tokens.next()?;
    let at = (tokens.at - name.len(), tokens.at);
    let is_head = is(index, "INDEX") && is(tokens.next()?, "ON");
    is_head.then(|| IndexHead { name: unquoted(name), at })
}

/// A CREATE INDEX statement with another name.
pub(crate) fn with_index_name(sql: &str, head: &IndexHead, name: &str) -> String {
    format!("{}{}{}", &sql[..head.at.0], crate::store::quote(name), &sql[head.at.1..])
}

/// What a CREATE VIRTUAL TABLE statement says of the table from which its contents come, as full-text tables do: its
/// `content` argument. `None` where it says nothing or names no table.
pub(crate) fn content_table(sql: &str) -> Option<String> {
    let arguments = list(&mut Tokens { sql, at: 0 })?;
    let named = arguments.into_iter().find_map(|argument| {
        let mut tokens = Tokens { sql: argument, at: 0 };
        let is_content = tokens.next()?.eq_ignore_ascii_case("content") && tokens.next()? == "=";
        if is_content { tokens.next().map(unquoted) } else { None }
    });
    named.filter(|table| !table.is_empty())
}

/// What a CREATE TABLE statement says of a column, its name first.
pub(crate) fn column_definition<'a>(sql: &'a str, column: &str) -> Option<&'a str> {
    list(&mut Tokens { sql, at: 0 })?.into_iter().find(|definition| {
        let first = Tokens { sql: definition, at: 0 }.next();
        first.is_some_and(|first| unquoted(first).eq_ignore_ascii_case(column))
    })
}

/// Where a column stands among the columns of a CREATE TABLE statement.
pub(crate) fn column_place(sql: &str, column: &str) -> Option<usize> {
    list(&mut Tokens { sql, at: 0 })?.into_iter().position(|definition| {
        let first = Tokens { sql: definition, at: 0 }.next();
        first.is_some_and(|first| unquoted(first).eq_ignore_ascii_case(column))
    })
}

/// What stands between the commas of the first parenthesis: names before it are quoted where they hold one.
fn list<'a>(tokens: &mut Tokens<'a>) -> Option<Vec<&'a str>> {
    while tokens.next()? != "(" {}
    let (mut terms, mut depth, mut begin) = (Vec::new(), 0, tokens.at);
    loop {
        let before = tokens.at;
        match tokens.next()? {
            "(" => depth += 1,
            ")" if depth > 0 => depth -= 1,
            end @ (")" | ",") if depth == 0 => {
                terms.push(tokens.sql[begin..before].trim());
                begin = tokens.at;
                if end == ")" {
                    return Some(terms);
                }
            }
            _ => {}
        }
    }
}

fn without_order(term: &str) -> &str {
    let mut tokens = Tokens { sql: term, at: 0 };
    let mut last = ("", 0);
    loop {
        let before = tokens.at;
        match tokens.next() {
            Some(token) => last = (token, before),
            None => break,
        }
    }
    let is_order = last.0.eq_ignore_ascii_case("ASC") || last.0.eq_ignore_ascii_case("DESC");
    if is_order { term[..last.1].trim_end() } else { term }
}

/// Words, quoted names and strings whole, every other character alone; blanks and comments left out.
struct Tokens<'a> {
    sql: &'a str,
    at: usize,
}

impl<'a> Tokens<'a> {
    fn next(&mut self) -> Option<&'a str> {
        self.skip_blanks();
        let rest = &self.sql[self.at..];
        let first = rest.chars().next()?;
        let length = match first {
            '\'' | '"' | '`' => quoted(rest, first),
            '[' => rest.find(']').map_or(rest.len(), |end| end + 1),
            _ if is_word(first) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        self.at += length;
        Some(&rest[..length])
    }

    fn skip_blanks(&mut self) {
        loop {
            let rest = &self.sql[self.at..];
            let blank = rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r', '\x0c']).len();
            let comment = match &rest[blank..] {
                rest if rest.starts_with("--") => rest.find('\n').map_or(rest.len(), |end| end + 1),
                rest if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
                _ => 0,
            };
            if blank + comment == 0 {
                return;
            }
            self.at += blank + comment;
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

/// The length of a string or name in quotes; a doubled quote stands for one.
fn quoted(text: &str, quote: char) -> usize {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == quote && chars.next_if(|&(_, next)| next == quote).is_none() {
            return at + 1;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_and_condition_of_an_index_whatever_stands_in_them() {
        let sql = "CREATE UNIQUE INDEX \"a (b\" ON [t(] (lower(\"e,\"\"x)\") COLLATE NOCASE desc, -- a, comment)\n b /* ( */ ASC, \
                   substr(c, 1, 2) || ')') WHERE d = ')' AND e IN (1, 2) ";
        let (terms, filter) = index_terms(sql).expect("an index");
        assert_eq!(terms.len(), 3, "{terms:?}");
        assert_eq!(terms[0], "lower(\"e,\"\"x)\") COLLATE NOCASE");
        assert!(terms[1].ends_with('b') || terms[1].contains("b /*"), "{terms:?}");
        assert_eq!(terms[2], "substr(c, 1, 2) || ')'");
        assert_eq!(filter, Some("d = ')' AND e IN (1, 2)"));
        assert_eq!(index_terms("CREATE UNIQUE INDEX i ON t(a)"), Some((vec!["a"], None)));
        assert_eq!(index_terms("CREATE UNIQUE INDEX i ON t"), None);
    }

    #[test]
    fn a_table_under_another_name() {
        let under_s = |sql| after_table_name(sql, "s");
        assert_eq!(under_s("CREATE TABLE \"a b\"\"c\" (x)").as_deref(), Some(" (x)"));
        assert_eq!(under_s("CREATE TABLE t(x) STRICT").as_deref(), Some("(x) STRICT"));
        assert_eq!(under_s("CREATE TABLE [t (] (x)").as_deref(), Some(" (x)"));
        assert_eq!(under_s("CREATE VIEW v AS SELECT 1"), None);
        assert_eq!(
            under_s("CREATE TABLE \"T\" (t, x CHECK (t.x < 'T.' AND [t] /* */ . t > t AND ut.x), CHECK (t))")
                .as_deref(),
            Some(" (t, x CHECK (s.x < 'T.' AND s /* */ . t > t AND ut.x), CHECK (t))")
        );
    }

    #[test]
    fn an_index_under_another_name() {
        let renamed = |sql| index_head(sql).map(|head| (with_index_name(sql, &head, "n\"n"), head.name));
        assert_eq!(
            renamed("CREATE UNIQUE INDEX \"a \"\"on b\" /* ON */ ON t (a)"),
            Some(("CREATE UNIQUE INDEX \"n\"\"n\" /* ON */ ON t (a)".to_owned(), "a \"on b".to_owned()))
        );
        assert_eq!(
            renamed("CREATE INDEX i ON t(a)"),
            Some(("CREATE INDEX \"n\"\"n\" ON t(a)".to_owned(), "i".to_owned()))
        );
        assert_eq!(renamed("CREATE TABLE i (a)"), None);
        assert_eq!(renamed("CREATE INDEX i"), None);
    }

    #[test]
    fn the_table_that_a_full_text_table_takes_its_contents_from() {
        let content =
            |arguments: &str| content_table(&format!("CREATE VIRTUAL TABLE f USING fts5({arguments})"));
        assert_eq!(content("a, b, content = 'my notes' , content_rowid=id").as_deref(), Some("my notes"));
        assert_eq!(content("content=notes").as_deref(), Some("notes"));
        assert_eq!(content("content, content=''"), None);
        assert_eq!(content("a"), None);
        assert_eq!(content_table("CREATE VIRTUAL TABLE f USING fts5"), None);
    }

    #[test]
    fn which_columns_an_expression_names() {
        let names =
            |column: &str| mentions("lower(a) || \"b c\" COLLATE NOCASE || [D] || 'not e' -- f", column);
        assert!(["a", "A", "b c", "d"].into_iter().all(names));
        assert!(!["b", "c", "e", "f", "not e x"].into_iter().any(names));
    }
}
