-- The tables of the notes, as any app would make them. Driftless keeps the first six the same on every copy.

CREATE TABLE IF NOT EXISTS notebooks (
  id TEXT NOT NULL PRIMARY KEY,
  -- Two people who are offline may both make a "Recipes". When they meet, one of the two waits until it is renamed.
  name TEXT NOT NULL UNIQUE
);

CREATE TABLE IF NOT EXISTS notes (
  id TEXT NOT NULL PRIMARY KEY,               -- UUIDv7: drawn apart, never alike, in the order of their making
  title TEXT NOT NULL DEFAULT '',             -- a register: of two values that were written apart both are kept
  body TEXT NOT NULL DEFAULT '',              -- a text: merged by character
  likes INTEGER NOT NULL DEFAULT 0,           -- a counter: every "+ 1" counts
  colour TEXT NOT NULL DEFAULT 'plain',
  pinned INTEGER NOT NULL DEFAULT 0 CHECK (pinned IN (0, 1)),
  archived INTEGER NOT NULL DEFAULT 0 CHECK (archived IN (0, 1)),
  notebook TEXT,                              -- no REFERENCES: a note does not leave because its notebook waits for a name
  created INTEGER NOT NULL                    -- milliseconds since 1970
);

CREATE TABLE IF NOT EXISTS items (
  id TEXT NOT NULL PRIMARY KEY,
  note TEXT NOT NULL REFERENCES notes ON DELETE CASCADE,
  text TEXT NOT NULL DEFAULT '',
  done INTEGER NOT NULL DEFAULT 0 CHECK (done IN (0, 1)),
  position REAL NOT NULL                      -- between two others there is always room
);
CREATE INDEX IF NOT EXISTS items_of_note ON items (note, position);

CREATE TABLE IF NOT EXISTS tags (
  note TEXT NOT NULL REFERENCES notes ON DELETE CASCADE,
  tag TEXT NOT NULL COLLATE NOCASE,
  PRIMARY KEY (note, tag)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS notes_of_tag ON tags (tag);

-- Titles that somebody wrote and somebody else wrote over without having chosen between them: they wait for that beside the one
-- that shows, as the values of a conflict do, which ends as soon as anybody writes.
CREATE TABLE IF NOT EXISTS other_titles (
  note TEXT NOT NULL REFERENCES notes ON DELETE CASCADE,
  title TEXT NOT NULL,
  at INTEGER,                                 -- when it was written, milliseconds since 1970, and by which replica: if known
  replica TEXT,
  PRIMARY KEY (note, title)
) WITHOUT ROWID;

-- Who a replica is, to a person.
CREATE TABLE IF NOT EXISTS people (
  replica TEXT NOT NULL PRIMARY KEY,
  name TEXT NOT NULL,
  colour TEXT NOT NULL
);

-- From here on each file has its own: what follows is not tracked. The triggers keep it, whoever writes a note: this app,
-- the sqlite3 shell, or Driftless when it shows what others wrote.
CREATE TABLE IF NOT EXISTS seen (
  number INTEGER PRIMARY KEY,
  note TEXT NOT NULL UNIQUE,
  changed REAL NOT NULL                       -- Julian day: when this file last saw the note change
);
CREATE INDEX IF NOT EXISTS seen_lately ON seen (changed DESC);
CREATE VIRTUAL TABLE IF NOT EXISTS search USING fts5(title, body);

-- But for this, which the app keeps: the last save of each page, so that one whose answer was lost is not merged twice when
-- it is tried again.
CREATE TABLE IF NOT EXISTS last_saves (
  number INTEGER PRIMARY KEY,                 -- the latest have the highest; old ones go
  page TEXT NOT NULL UNIQUE,
  save INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  text TEXT NOT NULL
);

-- The columns of notes of which several values stand: those in conflict, and titles that were written over.
CREATE VIEW IF NOT EXISTS apart AS
SELECT trim("key", '''') AS note, "column", value, shown,
       CAST(round((julianday(written_at) - 2440587.5) * 86400000) AS INTEGER) AS at, replica
FROM driftless_conflicts WHERE "table" = 'notes'
UNION ALL
SELECT note, 'title', title, 0, at, replica FROM other_titles;

CREATE TRIGGER IF NOT EXISTS note_added AFTER INSERT ON notes BEGIN
  INSERT OR IGNORE INTO seen (note, changed) VALUES (NEW.id, julianday('now'));
  INSERT OR REPLACE INTO search (rowid, title, body) SELECT number, NEW.title, NEW.body FROM seen WHERE note = NEW.id;
END;
CREATE TRIGGER IF NOT EXISTS note_changed AFTER UPDATE ON notes BEGIN
  UPDATE seen SET changed = julianday('now') WHERE note = NEW.id;
END;
CREATE TRIGGER IF NOT EXISTS note_rewritten AFTER UPDATE OF title, body ON notes BEGIN
  UPDATE search SET title = NEW.title, body = NEW.body WHERE rowid = (SELECT number FROM seen WHERE note = NEW.id);
END;
CREATE TRIGGER IF NOT EXISTS note_gone AFTER DELETE ON notes BEGIN
  DELETE FROM search WHERE rowid = (SELECT number FROM seen WHERE note = OLD.id);
  DELETE FROM seen WHERE note = OLD.id;
END;
