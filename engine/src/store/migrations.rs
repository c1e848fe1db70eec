//! The side tables' definitions, and the way from each version of them to the next. Each step runs in the
//! transaction it is given, so a file is at one version or the next, never between.

use std::path::Path;

use rusqlite::Transaction;

use super::identity;
use crate::error::{Doing, Error, Result};

/// The format that this version writes, in `_driftless_meta` under `format`.
pub(crate) const FORMAT: i64 = 2;

/// The side tables and views of the newest format.
pub(super) const SCHEMA: &str = "
-- What is known about this file: one value a name. See identity.rs.
CREATE TABLE _driftless_meta (
  name TEXT PRIMARY KEY,
  value
) WITHOUT ROWID;

-- Every table that rows are known of. A small number stands for it in the other tables and in the triggers.
CREATE TABLE _driftless_tables (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,        -- folded to ASCII lower case, as it travels
  spelled TEXT NOT NULL,            -- as the user wrote it
  state TEXT NOT NULL,              -- 'tracked', 'untracked' (documents are kept), 'unknown' (only others have it),
                                    -- 'missing' (dropped here), 'unfit' (changed so that it cannot be tracked)
  reason TEXT,                      -- of 'missing' and 'unfit': for status
  deletes_win INTEGER NOT NULL DEFAULT 0,
  integer_key INTEGER NOT NULL DEFAULT 0,
  rules TEXT,                       -- a digest of what the table demands of its rows, as it was looked at last
  unjudged INTEGER NOT NULL DEFAULT 0, -- 1: rows were written here that nobody has compared with what they refer to
  rebuilt INTEGER,                  -- not NULL: the table lost our triggers and waits to be compared with its documents;
                                    -- the time that edits which are found then get, milliseconds since 1970
  compared INTEGER,                 -- when that was last done, milliseconds since 1970, and how many rows had been
  deleted INTEGER NOT NULL DEFAULT 0,  -- deleted,
  inserted INTEGER NOT NULL DEFAULT 0, -- inserted and
  edited INTEGER NOT NULL DEFAULT 0    -- edited without our triggers
);

-- The columns of those tables, also those that a table no longer has. See columns.rs.
CREATE TABLE _driftless_columns (
  tbl INTEGER NOT NULL,
  name TEXT NOT NULL,               -- folded, as the table calls it, or called it last
  travels TEXT NOT NULL,            -- folded, as it travels: its first name anywhere
  kind TEXT NOT NULL,               -- 'register', 'text' or 'counter'
  place INTEGER,                    -- its place in the table; NULL while the table has no such column
  key INTEGER,                      -- its place in the primary key; NULL for other columns
  collation TEXT,                   -- of a key column; NULL where the key is an alias of the rowid
  came INTEGER,                     -- with which change of the table's columns it came; NULL if it was never here
  went INTEGER,                     -- with which change it went; NULL while it is here
  was TEXT,                         -- the column that went when it came: perhaps it was renamed
  fresh INTEGER NOT NULL,           -- 1: it has just appeared, and until the table shows what the documents hold of it
                                    -- a default in it is nobody's write
  PRIMARY KEY (tbl, name)
) WITHOUT ROWID;

-- The dirty log. The triggers append to it in the writer's own transaction. More key columns (k1, k2 ...) are added
-- when a table with a longer key is tracked.
CREATE TABLE _driftless_dirty (
  id INTEGER PRIMARY KEY,
  tbl INTEGER NOT NULL,
  at INTEGER NOT NULL,              -- time of the write, milliseconds since 1970
  gone INTEGER NOT NULL DEFAULT 0,  -- 1: the row went. It may have come back since
  k0                                -- the key's columns as they are, no affinity
);

-- Rows that were there when their table was tracked, to be captured as they are when there is time.
CREATE TABLE _driftless_backlog (
  id INTEGER PRIMARY KEY,
  tbl INTEGER NOT NULL,
  first INTEGER NOT NULL,           -- 1: the table was never shown what the documents hold; 0: it is looked at again;
                                    -- 2: it was rebuilt
  at INTEGER NOT NULL,              -- the time that an edit which is found gets, milliseconds since 1970
  k0
);

-- Rows to be materialized anew although nothing came in: their table or column has just appeared.
CREATE TABLE _driftless_refresh (
  id INTEGER PRIMARY KEY,
  tbl INTEGER NOT NULL,
  key BLOB NOT NULL
);

CREATE INDEX _driftless_refresh_table ON _driftless_refresh (tbl);

-- Holds a row while the engine itself writes; only the engine's own transaction ever sees one. The triggers look.
CREATE TABLE _driftless_applying (
  one INTEGER PRIMARY KEY
);

-- Row key -> document. Documents are numbered as they come, so that random keys scatter writes over this small
-- index only and not over the documents.
CREATE TABLE _driftless_rows (
  tbl INTEGER NOT NULL,
  key BLOB NOT NULL,                -- canonical bytes of the primary key
  doc INTEGER NOT NULL,
  PRIMARY KEY (tbl, key)
) WITHOUT ROWID;

CREATE TABLE _driftless_documents (
  id INTEGER PRIMARY KEY,
  body BLOB NOT NULL                -- a Yrs update, v1, that makes the whole row document
);

-- Text columns: (row key, column) -> document. Numbered as they come, like row documents.
CREATE TABLE _driftless_texts (
  id INTEGER PRIMARY KEY,
  tbl INTEGER NOT NULL,
  key BLOB NOT NULL,                -- as in _driftless_rows; the row document need not be there yet
  col TEXT NOT NULL,                -- folded to ASCII lower case, as it travels
  digest BLOB,                      -- of the text that it holds
  UNIQUE (tbl, key, col)
);

-- The parts of text documents. See texts.rs.
CREATE TABLE _driftless_text_updates (
  id INTEGER PRIMARY KEY,           -- number of the document * 65536 + number of the part
  body BLOB NOT NULL                -- a Yrs update, v1: the first makes a whole document, the others go on from there
);

-- Documents as their table shows them, while it is not shown what comes in (it is not tracked, or was rebuilt just now), of
-- rows that others have written since: what the user changed meanwhile is what differs from these.
CREATE TABLE _driftless_bases (
  tbl INTEGER NOT NULL,
  key BLOB NOT NULL,
  body BLOB NOT NULL,               -- as in _driftless_documents; empty where there was no document
  PRIMARY KEY (tbl, key)
) WITHOUT ROWID;

-- The same of texts.
CREATE TABLE _driftless_text_bases (
  tbl INTEGER NOT NULL,
  key BLOB NOT NULL,
  col TEXT NOT NULL,
  content TEXT NOT NULL,
  PRIMARY KEY (tbl, key, col)
) WITHOUT ROWID;

-- Changesets of this replica that the relay has not confirmed for good.
CREATE TABLE _driftless_outbox (
  seq INTEGER PRIMARY KEY,
  part INTEGER NOT NULL,            -- 0 whole, 1 more follow, 2 last of several
  changeset BLOB NOT NULL
);

-- Changesets of others that came before something they build on, or whose last part is not there yet.
CREATE TABLE _driftless_inbox (
  id INTEGER PRIMARY KEY,
  replica BLOB NOT NULL,
  seq INTEGER NOT NULL,
  part INTEGER NOT NULL,
  changeset BLOB NOT NULL,
  UNIQUE (replica, seq)
);

-- Parts of a snapshot that is still coming in.
CREATE TABLE _driftless_snapshot (
  snapshot BLOB NOT NULL,
  idx INTEGER NOT NULL,
  last INTEGER NOT NULL,            -- 1 for the part with the highest idx
  part BLOB NOT NULL,
  PRIMARY KEY (snapshot, idx)
);

-- The state vector, this replica's own seq included.
CREATE TABLE _driftless_progress (
  replica BLOB PRIMARY KEY,
  seq INTEGER NOT NULL,
  announced INTEGER NOT NULL        -- how much of it this replica's own changesets have named as seen
) WITHOUT ROWID;

-- Who a writer was.
CREATE TABLE _driftless_writers (
  writer INTEGER PRIMARY KEY,
  replica BLOB NOT NULL
);

-- Columns in which several values stand: the one shown and those kept beside it.
CREATE TABLE _driftless_conflicts (
  tbl INTEGER NOT NULL,             -- the primary key first: integrity_check of SQLite before 3.41 mistakes the others
  key BLOB NOT NULL,
  col TEXT NOT NULL,
  shown INTEGER NOT NULL,
  at INTEGER NOT NULL,
  writer INTEGER NOT NULL,
  pk TEXT NOT NULL,                 -- the key for people
  value,
  PRIMARY KEY (tbl, key, col, shown, at, writer)
) WITHOUT ROWID;

-- Conflicts of which somebody has said that what shows is to stand. Emptied by the engine.
CREATE TABLE _driftless_settled (
  tbl INTEGER NOT NULL,
  key BLOB NOT NULL,
  col TEXT NOT NULL,
  PRIMARY KEY (tbl, key, col)
) WITHOUT ROWID;

-- Merged rows that a constraint keeps out of their table. They stay in their documents and are judged again when what
-- they wait for changes.
CREATE TABLE _driftless_parked (
  tbl INTEGER NOT NULL,
  key BLOB NOT NULL,
  pk TEXT NOT NULL,                 -- the key for people
  stage INTEGER NOT NULL,           -- 0 it cannot travel and stays in this file, 1 refused by itself, 2 UNIQUE,
                                    -- 3 the row it refers to is not there
  rule TEXT,                        -- the constraint, as SQL
  reason TEXT NOT NULL,             -- a sentence
  clash TEXT,                       -- the key of the row that stands in its way, or the values that no row has
  row TEXT,                         -- its values, a JSON object
  waits_tbl INTEGER,                -- in which table something must change, and
  waits BLOB,                       -- what; see materialize/waits.rs
  PRIMARY KEY (tbl, key)
) WITHOUT ROWID;
CREATE INDEX _driftless_parked_waits ON _driftless_parked (waits_tbl, waits);

-- The UNIQUE values of rows that are parked because of what they refer to: they hold them all the same.
CREATE TABLE _driftless_claims (
  tbl INTEGER NOT NULL,
  rule TEXT NOT NULL,               -- the index
  value BLOB NOT NULL,              -- canonical bytes
  key BLOB NOT NULL,                -- of the row
  PRIMARY KEY (tbl, rule, value, key)
) WITHOUT ROWID;
CREATE INDEX _driftless_claims_row ON _driftless_claims (tbl, key);

-- Changesets and snapshots that could not be applied: set aside whole, so that they hold nothing up.
CREATE TABLE _driftless_quarantine (
  id INTEGER PRIMARY KEY,
  replica BLOB,
  seq INTEGER,
  reason TEXT NOT NULL,
  at INTEGER NOT NULL,
  frame BLOB NOT NULL
);

-- What the space knows of its tables. Travels like any other table's rows; clone makes the tables from it.
CREATE TABLE _driftless_definitions (
  name TEXT PRIMARY KEY,            -- folded; the name under which it travels
  type TEXT,                        -- NULL: a table. Else 'view', 'trigger', 'virtual' (a virtual table) or 'pragma' (a
                                    -- number in the file's header), and the name is char(1) || type || char(1) || its
                                    -- own name, folded
  spelled TEXT,                     -- the name that it has now, if another; without fail where there is a type
  sql TEXT,                         -- the CREATE statement; of a pragma its number
  indexes TEXT,                     -- the CREATE INDEX statements: a JSON array of strings, by name
  deletes_win INTEGER,
  integer_key INTEGER,
  renames TEXT,                     -- columns that were renamed: a JSON object, name now to name that it travels by;
                                    -- NULL while there are none
  kinds TEXT,                       -- columns that are no registers: a JSON object, name to kind; NULL while nobody has
                                    -- stated any
  retired INTEGER,                  -- 1: the table is gone from the space for good
  retired_columns TEXT              -- a JSON array of the columns that are gone for good, by the names that they travel by;
                                    -- NULL while there are none
) WITHOUT ROWID;

INSERT INTO _driftless_tables (id, name, spelled, state)
VALUES (1, '_driftless_definitions', '_driftless_definitions', 'tracked');

-- Without subqueries that name an outer table: in one of a view SQLite 3.40 does not find that again when somebody renames a
-- table or a column, and the ALTER TABLE fails.
CREATE VIEW driftless_conflicts AS
SELECT t.spelled AS \"table\", c.pk AS \"key\",
       coalesce(n.name, c.col) AS \"column\",
       c.value AS value, c.shown AS shown,
       CASE WHEN c.at <= 0 THEN NULL ELSE strftime('%Y-%m-%dT%H:%M:%fZ', c.at / 1000.0, 'unixepoch') END AS written_at,
       lower(hex(w.replica)) AS replica
FROM _driftless_conflicts c
JOIN _driftless_tables t ON t.id = c.tbl
LEFT JOIN _driftless_columns n ON n.tbl = c.tbl AND n.travels = c.col AND n.place IS NOT NULL
LEFT JOIN _driftless_writers w ON w.writer = c.writer
WHERE c.tbl <> 1;

-- To write a column as it is already is no write. This says that what shows is to stand.
CREATE TRIGGER driftless_settle INSTEAD OF DELETE ON driftless_conflicts BEGIN
  INSERT OR IGNORE INTO _driftless_settled (tbl, key, col)
  SELECT c.tbl, c.key, c.col FROM _driftless_conflicts c JOIN _driftless_tables t ON t.id = c.tbl
  LEFT JOIN _driftless_columns n ON n.tbl = c.tbl AND n.travels = c.col AND n.place IS NOT NULL
  WHERE t.spelled = OLD.\"table\" AND c.pk = OLD.\"key\" AND coalesce(n.name, c.col) = OLD.\"column\";
END;

CREATE VIEW driftless_parked AS
SELECT t.spelled AS \"table\", p.pk AS \"key\", p.rule AS rule, p.reason AS reason, p.clash AS clash, p.row AS \"row\"
FROM _driftless_parked p JOIN _driftless_tables t ON t.id = p.tbl;

CREATE VIEW driftless_status AS
SELECT t.spelled AS \"table\", t.state AS state,
       (SELECT count(*) FROM _driftless_rows r WHERE r.tbl = t.id) AS documents,
       (SELECT count(*) FROM _driftless_dirty d WHERE d.tbl = t.id)
         + (SELECT count(*) FROM _driftless_backlog b WHERE b.tbl = t.id) AS pending,
       (SELECT count(*) FROM _driftless_parked p WHERE p.tbl = t.id) AS parked,
       t.reason AS reason
FROM _driftless_tables t WHERE t.id <> 1;
";

/// Brings the side tables to [`FORMAT`]. Returns whether anything was done.
/// Fails with [`Error::NewerFormat`] on a file of a later version, which is left as it is.
pub(crate) fn run(tx: &Transaction<'_>, path: &Path) -> Result<bool> {
    let found = if super::health::any(tx)? { identity::format(tx)? } else { 0 };
    match found {
        FORMAT => Ok(false),
        0 => {
            tx.execute_batch(SCHEMA).doing("creating the side tables")?;
            identity::initialize(tx, path, FORMAT)?;
            tracing::info!(path = %path.display(), format = FORMAT, "side tables created");
            Ok(true)
        }
        1 => {
            super::format_1::upgrade(tx)?;
            identity::set_format(tx, FORMAT)?;
            tracing::info!(path = %path.display(), format = FORMAT, "side tables brought to a newer format");
            Ok(true)
        }
        newer => Err(Error::NewerFormat { path: path.to_owned(), found: newer, known: FORMAT }),
    }
}
