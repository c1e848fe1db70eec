PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE t (k TEXT COLLATE NOCASE PRIMARY KEY, n INTEGER DEFAULT 0, body TEXT, "x, y" TEXT, "renamed" TEXT, last);
INSERT INTO t VALUES('a',2,'text, edited','xy','o',NULL);
INSERT INTO t VALUES('B',5,'second','z','p','q');
CREATE TABLE i (id INTEGER PRIMARY KEY, v);
INSERT INTO i VALUES(7,'seven');
CREATE TABLE _driftless_meta (
  name TEXT PRIMARY KEY,
  value
) WITHOUT ROWID;
INSERT INTO _driftless_meta VALUES('format',1);
INSERT INTO _driftless_meta VALUES('inode',10092581);
INSERT INTO _driftless_meta VALUES('opened',1795962806916);
INSERT INTO _driftless_meta VALUES('replica',X'8a5fe0b90601474097b76b51a387d64f');
CREATE TABLE _driftless_tables (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,        -- folded to ASCII lower case, as it travels
  spelled TEXT NOT NULL,            -- as the user wrote it
  state TEXT NOT NULL,              -- 'tracked', 'untracked' (documents are kept), 'unknown' (only others have it),
                                    -- 'missing' (dropped here), 'unfit' (changed so that it cannot be tracked)
  reason TEXT,                      -- of 'missing' and 'unfit': for status
  deletes_win INTEGER NOT NULL DEFAULT 0,
  integer_key INTEGER NOT NULL DEFAULT 0,
  kinds TEXT NOT NULL DEFAULT '',   -- columns that are no registers: 'counter likes', a line each, sorted
  renames TEXT NOT NULL DEFAULT '', -- columns that were renamed: name now, tab, name that it travels by; a line each
  hint TEXT,                        -- what may have been a rename that nobody told
  fresh TEXT,                       -- columns that have just appeared, a line each: until the table shows what the
                                    -- documents hold of them, a default in one is nobody's write
  shape TEXT,                       -- what reconcile compares: the table's columns, key and triggers as recorded
  unjudged INTEGER NOT NULL DEFAULT 0 -- 1: rows were written here that nobody has compared with what they refer to
);
INSERT INTO _driftless_tables VALUES(1,'_driftless_definitions','_driftless_definitions','tracked',NULL,0,0,'','',NULL,NULL,NULL,0);
INSERT INTO _driftless_tables VALUES(2,'t','t','tracked','column ''x'' went and ''x, y'' came, which was taken for a dropped and an added one: if it was a rename, tell so (driftless rename-column FILE t x x, y), else what others write in ''x'' does not show here',0,0,replace('counter n\ntext body','\n',char(10)),'renamed	old',replace('x	y	most\nx, y	last','\n',char(10)),NULL,replace('"k" NoCase\n"k", "n", "body", "x, y", "old", "last"\ncd66d40909ed15d2','\n',char(10)),0);
INSERT INTO _driftless_tables VALUES(3,'i','i','tracked',NULL,0,1,'','',NULL,NULL,replace('"id" Binary rowid\n"id", "v"\n571d8db1be5467f7','\n',char(10)),0);
CREATE TABLE _driftless_dirty (
  id INTEGER PRIMARY KEY,
  tbl INTEGER NOT NULL,
  at INTEGER NOT NULL,              -- time of the write, milliseconds since 1970
  k0                                -- the key's columns as they are, no affinity
);
INSERT INTO _driftless_dirty VALUES(1,2,1795962806976,'a');
INSERT INTO _driftless_dirty VALUES(2,2,1795962807020,'B');
CREATE TABLE _driftless_backlog (
  id INTEGER PRIMARY KEY,
  tbl INTEGER NOT NULL,
  first INTEGER NOT NULL,           -- 1: the table was never shown what the documents hold; 0: it is looked at again
  k0
);
CREATE TABLE _driftless_refresh (
  id INTEGER PRIMARY KEY,
  tbl INTEGER NOT NULL,
  key BLOB NOT NULL
);
CREATE TABLE _driftless_applying (
  one INTEGER PRIMARY KEY
);
CREATE TABLE _driftless_rows (
  tbl INTEGER NOT NULL,
  key BLOB NOT NULL,                -- canonical bytes of the primary key
  doc INTEGER NOT NULL,
  PRIMARY KEY (tbl, key)
) WITHOUT ROWID;
INSERT INTO _driftless_rows VALUES(1,X'20690000',3);
INSERT INTO _driftless_rows VALUES(1,X'20740000',1);
INSERT INTO _driftless_rows VALUES(2,X'20610000',2);
INSERT INTO _driftless_rows VALUES(3,X'10c01c0000000000008000',4);
CREATE TABLE _driftless_documents (
  id INTEGER PRIMARY KEY,
  body BLOB NOT NULL                -- a Yrs update, v1, that makes the whole row document
);
INSERT INTO _driftless_documents VALUES(1,X'040185919afed3cfc30f00230103726f770b3265326e70316a65786c31b101010101b881cdfbc468030000010201dda6f58b8fa6f806020772656e616d657300030b72656e616d6564096f6c64000373716c00036f435245415445205441424c45207420286b205445585420434f4c4c415445204e4f43415345205052494d415259204b45592c206e20494e54454745522044454641554c5420302c20626f647920544558542c2022782c20792220544558542c202272656e616d65642220544558542901dda6f58b8fa6f80602000001acd3eedbc4aac80900230103726f770b316830706667796d393463bc01010101a48acdfbc468020000010202dda6f58b8fa6f8060285919afed3cfc30f020373716c000375435245415445205441424c45207420286b205445585420434f4c4c415445204e4f43415345205052494d415259204b45592c206e20494e54454745522044454641554c5420302c20626f647920544558542c2022782c20792220544558542c202272656e616d65642220544558542c206c6173742902dda6f58b8fa6f8060285919afed3cfc30f020197efebf389dbeb0200010001dda6f58b8fa6f80600230103726f770b31326775336f33306a3139a6010101010004000001020007696e646578657300030000056b696e6473000313636f756e746572206e0a7465787420626f6479000373716c000369435245415445205441424c45207420286b205445585420434f4c4c415445204e4f43415345205052494d415259204b45592c206e20494e54454745522044454641554c5420302c20626f647920544558542c2022782c20792220544558542c206f6c642054455854290000000197efebf389dbeb0200210103726f770a6672306e657377386c7a010197efebf389dbeb02010001');
INSERT INTO _driftless_documents VALUES(2,X'0201f6c3c4e6fda4f90800230103726f770b31646c6839676f69383675330101010005000001020004626f64790003047465787400016e00010200036f6c640003016f0004782c207900030278790000000197efebf389dbeb0200230103726f770a6672306e657377386c7a1d010101a285cdfbc468010000010201f6c3c4e6fda4f908020001016e0200');
INSERT INTO _driftless_documents VALUES(3,X'0101f5dbece6f691ca0300230103726f770a6a753861326a686237395a0101010004000001020007696e6465786573000300000b696e74656765725f6b6579000102000373716c00032a435245415445205441424c4520692028696420494e5445474552205052494d415259204b45592c20762900000000');
INSERT INTO _driftless_documents VALUES(4,X'010197efebf389dbeb0200230103726f770a6672306e657377386c7a1c010101a485cdfbc4680200000102000176000305736576656e00000000');
CREATE TABLE _driftless_texts (
  id INTEGER PRIMARY KEY,
  tbl INTEGER NOT NULL,
  key BLOB NOT NULL,                -- as in _driftless_rows; the row document need not be there yet
  col TEXT NOT NULL,                -- folded to ASCII lower case, as it travels
  digest BLOB,                      -- of the text that it holds
  UNIQUE (tbl, key, col)
);
CREATE TABLE _driftless_text_updates (
  id INTEGER PRIMARY KEY,           -- number of the document * 65536 + number of the part
  body BLOB NOT NULL                -- a Yrs update, v1: the first makes a whole document, the others go on from there
);
CREATE TABLE _driftless_bases (
  tbl INTEGER NOT NULL,
  key BLOB NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (tbl, key)
) WITHOUT ROWID;
CREATE TABLE _driftless_text_bases (
  tbl INTEGER NOT NULL,
  key BLOB NOT NULL,
  col TEXT NOT NULL,
  content TEXT NOT NULL,
  PRIMARY KEY (tbl, key, col)
) WITHOUT ROWID;
CREATE TABLE _driftless_outbox (
  seq INTEGER PRIMARY KEY,
  part INTEGER NOT NULL,            -- 0 whole, 1 more follow, 2 last of several
  changeset BLOB NOT NULL
);
INSERT INTO _driftless_outbox VALUES(1,0,X'2f0000008a5fe0b90601474097b76b51a387d64f010000fd5a3e734f44030000fabce8ab5837419656f98b079773f9e6fb010128b52ffd6001009d0700024f3936606f3ac74418221308012a240a20d3a170dc62b7898e409a6df568529df0df65367084aa2349ef7808d2bcc221249187ae8a3edba614cccc0830f4d063573527b74c1ab7ac8d438ce2397c836bef7908fa38754bf40f2ed21ec4478bf09f785706f2870fc3b2cb61e8a173077efd318607fde17bed9a157719b6e253ac157e4df20a5027c94b4bd582a0621be9e402982bb6d224239d190668e60b7777a31438189b4eed942e1238031a9554b501635a501f1e2b2894ee2e61be7e61b6b4ce3be91cc9b8592bbb3b9aa4b8157476c22122c191842c781a934ad93a3223262c2a201ba9ee03003093bdb6b0bd842005');
INSERT INTO _driftless_outbox VALUES(2,0,X'2d0000008a5fe0b90601474097b76b51a387d64f020000fd5a3e734f44030000b72249b29d6becea05d4eba10ff509dc7728b52ffd2077b903000101b98394e6f7c9b6078a5fe0b90601474097b76b51a387d64f01017400000420610000520101f6c3c4e6fda4f90800230103726f770b31646c6839676f69383675330101010005000001020004626f64790003047465787400016e00010200036f6c640003016f0004782c2079000302787900000000');
INSERT INTO _driftless_outbox VALUES(3,0,X'2d0000008a5fe0b90601474097b76b51a387d64f030000fd923f734f440300002fad4a1ff49259f73c91dec59d7384a1b228b52ffd20b2910500010187ebf8bd9fa4bc098a5fe0b90601474097b76b51a387d64f01165f64726966746c6573735f646566696e6974696f6e7300000420690000780101f5dbece6f691ca0300230103726f770a6a753861326a686237395a0101010004000001020007696e6465786573000300000b696e74656765725f6b6579000102000373716c00032a435245415445205441424c4520692028696420494e5445474552205052494d415259204b45592c20762900000000');
INSERT INTO _driftless_outbox VALUES(4,0,X'2f0000008a5fe0b90601474097b76b51a387d64f040000fdea41734f4403000010522be1a2e10268c511d5f3351a2824fb0c0128b52ffd600c007d0700840d010185919afed3cfc30f8a5fe0b90601474097b76b51a387d64f01165f64726966746c6573735f646566696e6974696f6e7300000420740000d10100230103726f770b3265326e70316a65786c31b101010101b881cdfbc468030000010201dda6f58b8fa6f806020772656e616d657300030b64096f6c64000373716c00036f435245415445205441424c45207420286b205445585420434f4c4c415445204e4f43415345205052494d415259204b45592c206e20494e54454745522044454641554c5420302c20626f64792c2022782c2079222900000007001ab36566c08d3380499c79750fb68cbd7e537b');
INSERT INTO _driftless_outbox VALUES(5,0,X'2f0000008a5fe0b90601474097b76b51a387d64f050000fd5a43734f4403000076c80bd619ae1a9a7a9025de1f62e6e7fb9c0128b52ffd609c00450a00b412010197efebf389dbeb028a5fe0b90601474097b76b51a387d64f03165f64726966746c6573735f646566696e6974696f6e730174016900000420740000d10100230103726f770a6672306e657377386c7ab201010101d886cdfbc468020000010202dda6f58b8fa6f8060285919afed3cfc30f020373716c000375435245415445205441424c45207420286b205445585420434f4c4c415445204e4f43415345205052494d415259204b45592c206e20494e54454745522044454641554c5420302c20626f647920544558542c2022782c2079222c202272656e616d65646d6f737429000000010004206100003b1d010101a285cdfbc468010000010201f6c3c4e6fda4f908020001016e020002000b10c01c0080003a1c010101a4000176000305736576656e000000000900254b005cba093c8c5f8f6b8c9798a467085516bcf2850d4301');
INSERT INTO _driftless_outbox VALUES(6,0,X'2f0000008a5fe0b90601474097b76b51a387d64f060000fd2e45734f44030000e412da463bbfaca0ca55de0f34e3b5defb220128b52ffd602200f50700a40e0101acd3eedbc4aac8098a5fe0b90601474097b76b51a387d64f01165f64726966746c6573735f646566696e6974696f6e7300000420740000e70100230103726f770b316830706667796d393463bc01010101a48acdfbc468020000010202dda6f58b8fa6f8060285919afed3cfc30f020373716c000375435245415445205441424c45207420286b205445585420434f4c4c415445204e4f43415345205052494d415259204b45592c206e20494e54454745522044454641554c5420302c20626f64792c2022782c2079222c202272656e616d65646c617374290197efebf389dbeb020001000100010600af22494cd23384167c3c019a5c0f2b28');
CREATE TABLE _driftless_inbox (
  id INTEGER PRIMARY KEY,
  replica BLOB NOT NULL,
  seq INTEGER NOT NULL,
  part INTEGER NOT NULL,
  changeset BLOB NOT NULL,
  UNIQUE (replica, seq)
);
CREATE TABLE _driftless_snapshot (
  snapshot BLOB NOT NULL,
  idx INTEGER NOT NULL,
  last INTEGER NOT NULL,            -- 1 for the part with the highest idx
  part BLOB NOT NULL,
  PRIMARY KEY (snapshot, idx)
);
CREATE TABLE _driftless_progress (
  replica BLOB PRIMARY KEY,
  seq INTEGER NOT NULL,
  announced INTEGER NOT NULL        -- how much of it this replica's own changesets have named as seen
) WITHOUT ROWID;
INSERT INTO _driftless_progress VALUES(X'8a5fe0b90601474097b76b51a387d64f',6,5);
CREATE TABLE _driftless_writers (
  writer INTEGER PRIMARY KEY,
  replica BLOB NOT NULL
);
INSERT INTO _driftless_writers VALUES(1599620278581143,X'8a5fe0b90601474097b76b51a387d64f');
INSERT INTO _driftless_writers VALUES(4180684604506553,X'8a5fe0b90601474097b76b51a387d64f');
INSERT INTO _driftless_writers VALUES(5331677773444487,X'8a5fe0b90601474097b76b51a387d64f');
INSERT INTO _driftless_writers VALUES(5384670484867500,X'8a5fe0b90601474097b76b51a387d64f');
INSERT INTO _driftless_writers VALUES(8741655381706885,X'8a5fe0b90601474097b76b51a387d64f');
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
CREATE TABLE _driftless_settled (
  tbl INTEGER NOT NULL,
  key BLOB NOT NULL,
  col TEXT NOT NULL,
  PRIMARY KEY (tbl, key, col)
) WITHOUT ROWID;
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
CREATE TABLE _driftless_claims (
  tbl INTEGER NOT NULL,
  rule TEXT NOT NULL,               -- the index
  value BLOB NOT NULL,              -- canonical bytes
  key BLOB NOT NULL,                -- of the row
  PRIMARY KEY (tbl, rule, value, key)
) WITHOUT ROWID;
CREATE TABLE _driftless_quarantine (
  id INTEGER PRIMARY KEY,
  replica BLOB,
  seq INTEGER,
  reason TEXT NOT NULL,
  at INTEGER NOT NULL,
  frame BLOB NOT NULL
);
CREATE TABLE _driftless_definitions (
  name TEXT PRIMARY KEY,            -- folded; the name under which it travels
  spelled TEXT,                     -- the name that it has now, if another
  sql TEXT,                         -- CREATE TABLE
  indexes TEXT,                     -- CREATE INDEX ...; one after the other, by name
  deletes_win INTEGER,
  integer_key INTEGER,
  renames TEXT,                     -- columns that were renamed, as in _driftless_tables; NULL while there are none
  kinds TEXT                        -- columns that are no registers: 'counter likes', a line each, sorted; NULL while
                                    -- nobody has stated any
) WITHOUT ROWID;
INSERT INTO _driftless_definitions VALUES('i',NULL,'CREATE TABLE i (id INTEGER PRIMARY KEY, v)','',NULL,1,NULL,NULL);
INSERT INTO _driftless_definitions VALUES('t',NULL,'CREATE TABLE t (k TEXT COLLATE NOCASE PRIMARY KEY, n INTEGER DEFAULT 0, body TEXT, "x, y" TEXT, "renamed" TEXT, last)','',NULL,NULL,'renamed	old',replace('counter n\ntext body','\n',char(10)));
CREATE INDEX _driftless_refresh_table ON _driftless_refresh (tbl);
CREATE INDEX _driftless_parked_waits ON _driftless_parked (waits_tbl, waits);
CREATE INDEX _driftless_claims_row ON _driftless_claims (tbl, key);
CREATE VIEW driftless_conflicts AS
SELECT t.spelled AS "table", c.pk AS "key", c.col AS "column", c.value AS value, c.shown AS shown,
       CASE WHEN c.at <= 0 THEN NULL ELSE strftime('%Y-%m-%dT%H:%M:%fZ', c.at / 1000.0, 'unixepoch') END AS written_at,
       lower(hex(w.replica)) AS replica
FROM _driftless_conflicts c
JOIN _driftless_tables t ON t.id = c.tbl
LEFT JOIN _driftless_writers w ON w.writer = c.writer
WHERE c.tbl <> 1;
CREATE TRIGGER driftless_settle INSTEAD OF DELETE ON driftless_conflicts BEGIN
  INSERT OR IGNORE INTO _driftless_settled (tbl, key, col)
  SELECT c.tbl, c.key, c.col FROM _driftless_conflicts c JOIN _driftless_tables t ON t.id = c.tbl
  WHERE t.spelled = OLD."table" AND c.pk = OLD."key" AND c.col = OLD."column";
END;
CREATE VIEW driftless_parked AS
SELECT t.spelled AS "table", p.pk AS "key", p.rule AS rule, p.reason AS reason, p.clash AS clash, p.row AS "row"
FROM _driftless_parked p JOIN _driftless_tables t ON t.id = p.tbl;
CREATE VIEW driftless_status AS
SELECT t.spelled AS "table", t.state AS state,
       (SELECT count(*) FROM _driftless_rows r WHERE r.tbl = t.id) AS documents,
       (SELECT count(*) FROM _driftless_dirty d WHERE d.tbl = t.id)
         + (SELECT count(*) FROM _driftless_backlog b WHERE b.tbl = t.id) AS pending,
       (SELECT count(*) FROM _driftless_parked p WHERE p.tbl = t.id) AS parked,
       t.reason AS reason
FROM _driftless_tables t WHERE t.id <> 1;
CREATE TRIGGER _driftless_3_insert AFTER INSERT ON "i" WHEN NOT EXISTS (SELECT 1 FROM _driftless_applying) BEGIN INSERT INTO _driftless_dirty (tbl, at, k0) VALUES (3, CAST(round((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER), NEW."id"); END;
CREATE TRIGGER _driftless_3_update AFTER UPDATE ON "i" WHEN NOT EXISTS (SELECT 1 FROM _driftless_applying) BEGIN INSERT INTO _driftless_dirty (tbl, at, k0) VALUES (3, CAST(round((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER), NEW."id"); INSERT INTO _driftless_dirty (tbl, at, k0) SELECT 3, CAST(round((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER), OLD."id" WHERE OLD."id" IS NOT NEW."id"; END;
CREATE TRIGGER _driftless_3_delete AFTER DELETE ON "i" WHEN NOT EXISTS (SELECT 1 FROM _driftless_applying) BEGIN INSERT INTO _driftless_dirty (tbl, at, k0) VALUES (3, CAST(round((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER), OLD."id"); END;
CREATE TRIGGER _driftless_2_insert AFTER INSERT ON "t" WHEN NOT EXISTS (SELECT 1 FROM _driftless_applying) BEGIN INSERT INTO _driftless_dirty (tbl, at, k0) VALUES (2, CAST(round((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER), NEW."k"); END;
CREATE TRIGGER _driftless_2_update AFTER UPDATE ON "t" WHEN NOT EXISTS (SELECT 1 FROM _driftless_applying) BEGIN INSERT INTO _driftless_dirty (tbl, at, k0) VALUES (2, CAST(round((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER), NEW."k"); INSERT INTO _driftless_dirty (tbl, at, k0) SELECT 2, CAST(round((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER), OLD."k" WHERE OLD."k" IS NOT NEW."k"; END;
CREATE TRIGGER _driftless_2_delete AFTER DELETE ON "t" WHEN NOT EXISTS (SELECT 1 FROM _driftless_applying) BEGIN INSERT INTO _driftless_dirty (tbl, at, k0) VALUES (2, CAST(round((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER), OLD."k"); END;
CREATE TRIGGER _driftless_2_rowid_insert BEFORE INSERT ON "t" WHEN NEW.rowid IS NOT -1 AND NOT EXISTS (SELECT 1 FROM _driftless_applying) BEGIN INSERT INTO _driftless_dirty (tbl, at, k0) SELECT 2, CAST(round((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER), "k" FROM "t" WHERE rowid = NEW.rowid; END;
CREATE TRIGGER _driftless_2_rowid_update BEFORE UPDATE ON "t" WHEN NEW.rowid IS NOT OLD.rowid AND NOT EXISTS (SELECT 1 FROM _driftless_applying) BEGIN INSERT INTO _driftless_dirty (tbl, at, k0) SELECT 2, CAST(round((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER), "k" FROM "t" WHERE rowid = NEW.rowid; END;
COMMIT;
