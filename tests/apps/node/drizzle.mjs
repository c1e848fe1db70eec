// A bookshop on Drizzle with better-sqlite3, and Drizzle's migrator.

import Database from "better-sqlite3";
import { eq } from "drizzle-orm";
import { drizzle } from "drizzle-orm/better-sqlite3";
import { migrate } from "drizzle-orm/better-sqlite3/migrator";
import { readMigrationFiles } from "drizzle-orm/migrator";
import { integer, sqliteTable, text } from "drizzle-orm/sqlite-core";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { file, keyOf, keys, run } from "./bookshop.mjs";

const SQL = new URL("drizzle/", import.meta.url);
const ALL = readdirSync(SQL).sort();

// The recipe: wait for others who write. Transactions that read first are `immediate`, below.
const sqlite = new Database(file, { timeout: 20_000 });
const db = drizzle(sqlite);

const words = keys === "uuid" ? { PRIMARY: "text PRIMARY KEY NOT NULL", REFERENCE: "text" }
  : { PRIMARY: "integer PRIMARY KEY AUTOINCREMENT NOT NULL", REFERENCE: "integer" };

// Drizzle runs all migrations of a folder: here is one with those of this version, as drizzle-kit lays it out.
function folder(number, use) {
  const made = mkdtempSync(join(tmpdir(), "drizzle-"));
  try {
    mkdirSync(join(made, "meta"));
    const entries = ALL.filter((name) => name.slice(0, 4) <= number).map((name, idx) => {
      const sql = readFileSync(new URL(name, SQL), "utf8").replace(/«(\w+)»/g, (_, word) => words[word]);
      writeFileSync(join(made, name), sql);
      const when = Date.UTC(2026, 0, Number(name.slice(0, 4)));
      return { idx, version: "6", when, tag: name.replace(".sql", ""), breakpoints: true };
    });
    writeFileSync(join(made, "meta", "_journal.json"), JSON.stringify({ version: "7", dialect: "sqlite", entries }));
    return use({ migrationsFolder: made });
  } finally {
    rmSync(made, { recursive: true });
  }
}

const has = (name) => sqlite.prepare("SELECT 1 FROM sqlite_master WHERE name = ?").get(name) !== undefined;

// How many are done, in the order of their dates.
const done = () => (has("__drizzle_migrations") ? sqlite.prepare("SELECT count(*) FROM __drizzle_migrations").pluck().get() : 0);

const idOf = (name) => (keys === "uuid" ? text(name) : integer(name));
const id = () => (keys === "uuid" ? text("id").primaryKey() : integer("id").primaryKey({ autoIncrement: true }));

// The schema of this version.
function schema() {
  const version = done();
  return {
    author: sqliteTable("authors", { id: id(), name: text("name").notNull(), seen: integer("seen").notNull().default(0) }),
    shelf: sqliteTable("shelf", { id: id(), name: text("label").notNull() }),
    book: sqliteTable(version >= 5 ? "works" : "books", {
      id: id(),
      name: text(version >= 3 ? "name" : "title").notNull(),
      price: version >= 2 ? text("price") : integer("price"),
      author: idOf("author_id"),
      ...(version < 3 && { note: text("note") }),
      ...(version >= 3 && { pages: integer("pages").notNull().default(0) }),
      ...(version >= 4 && { shelf: idOf("shelf_id") }),
    }),
  };
}

const find = (tx, kind, name) => {
  const table = schema()[kind];
  return tx.select().from(table).where(eq(table.name, name)).get();
};

const row = (tx, values) =>
  Object.fromEntries(Object.entries(values).map(([name, value]) => {
    if (name === "author" || name === "shelf") return [name, find(tx, name, value).id];
    return [name === "title" || name === "label" ? "name" : name, value];
  }));

await run({
  migrate(number) {
    const before = done();
    folder(number, (config) => migrate(db, config));
    return ALL.slice(before, done());
  },

  // On a clone: says that the migrations which made the tables that came along are done.
  fake(number) {
    folder("0000", (config) => migrate(db, config));
    const insert = sqlite.prepare("INSERT INTO __drizzle_migrations (hash, created_at) VALUES (?, ?)");
    folder(number, (config) => readMigrationFiles(config).slice(done()).forEach(({ hash, folderMillis }) => insert.run(hash, folderMillis)));
  },

  // better-sqlite3 does everything at once, so nothing in a transaction can be waited for.
  transaction: (work) => db.transaction((tx) => void work(tx), { behavior: "immediate" }),

  add(tx, kind, values, given) {
    const key = keyOf(given);
    tx.insert(schema()[kind]).values({ ...(key === undefined ? {} : { id: key }), ...row(tx, values) }).run();
  },

  edit(tx, kind, name, values) {
    const table = schema()[kind];
    tx.update(table).set(row(tx, values)).where(eq(table.id, find(tx, kind, name).id)).run();
  },

  delete(tx, kind, name) {
    const table = schema()[kind];
    tx.delete(table).where(eq(table.id, find(tx, kind, name).id)).run();
  },

  seen(tx, name) {
    const { author } = schema();
    const found = find(tx, "author", name);
    tx.update(author).set({ seen: found.seen + 1 }).where(eq(author.id, found.id)).run();
  },
});
sqlite.close();
