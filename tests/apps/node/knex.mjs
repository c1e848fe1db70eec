// A bookshop on knex with better-sqlite3, and knex's migrations.

import makeKnex from "knex";
import BetterSqlite3 from "knex/lib/dialects/better-sqlite3/index.js";
import { file, keyOf, keys, run } from "./bookshop.mjs";

// The recipe: every transaction has the right to write from its first statement on. (knex itself has no setting for it.)
class Immediate extends BetterSqlite3 {
  _query(connection, query) {
    if (query.sql === "BEGIN;") query.sql = "BEGIN IMMEDIATE;";
    return super._query(connection, query);
  }
}

const knex = makeKnex({
  client: Immediate,
  connection: { filename: file },
  useNullAsDefault: true,
  pool: {
    afterCreate(connection, done) {
      connection.pragma("busy_timeout = 20000");
      done(null, connection);
    },
  },
});

const key = (table) => (keys === "uuid" ? table.uuid("id").primary() : table.increments("id"));
const reference = (table, column) => (keys === "uuid" ? table.uuid(column) : table.integer(column));

const MIGRATIONS = {
  async "0001_initial"(knex) {
    await knex.schema.createTable("authors", (table) => {
      key(table);
      table.string("name", 100).notNullable().unique();
      table.integer("seen").notNullable().defaultTo(0);
    });
    await knex.schema.createTable("books", (table) => {
      key(table);
      table.string("title", 100).notNullable();
      table.integer("price").notNullable().index();
      table.text("note");
      reference(table, "author_id").notNullable().references("authors.id");
    });
  },
  async "0002_price_as_text"(knex) {
    await knex("books").where("price", "<", 0).del();
    await knex.schema.alterTable("books", (table) => table.string("price", 20).notNullable().alter());
  },
  async "0003_name_and_pages"(knex) {
    await knex.schema.alterTable("books", (table) => table.renameColumn("title", "name"));
    await knex.schema.alterTable("books", (table) => table.dropColumn("note"));
    await knex.schema.alterTable("books", (table) => table.integer("pages").notNullable().defaultTo(0));
  },
  async "0004_shelf"(knex) {
    await knex.schema.createTable("shelf", (table) => {
      key(table);
      table.string("label", 100).notNullable().unique();
    });
    await knex.schema.alterTable("books", (table) => reference(table, "shelf_id").references("shelf.id"));
  },
  "0005_works": (knex) => knex.schema.renameTable("books", "works"),
  // Every change of a column makes the table anew.
  "0006_named": (knex) => knex.schema.alterTable("works", (table) => table.string("name", 200).notNullable().alter()),
};

const upTo = (number) => Object.keys(MIGRATIONS).filter((name) => name.slice(0, 4) <= number);

const migrator = (number) =>
  knex.migrate.latest({
    migrationSource: {
      getMigrations: async () => upTo(number),
      getMigrationName: (name) => name,
      getMigration: async (name) => ({ up: MIGRATIONS[name], async down() {} }),
    },
  });

async function shape(trx) {
  const book = (await trx.schema.hasTable("works")) ? "works" : "books";
  return { book, title: (await trx.schema.hasColumn(book, "name")) ? "name" : "title" };
}

async function place(trx, kind) {
  const { book, title } = await shape(trx);
  return { author: ["authors", "name"], shelf: ["shelf", "label"], book: [book, title] }[kind];
}

// The table that a row is in, and its key.
async function find(trx, kind, name) {
  const [table, column] = await place(trx, kind);
  return { table, id: (await trx(table).where(column, name).first()).id };
}

async function columns(trx, values) {
  const { title } = await shape(trx);
  const row = {};
  for (const [name, value] of Object.entries(values)) {
    if (name === "author" || name === "shelf") row[`${name}_id`] = (await find(trx, name, value)).id;
    else row[name === "title" ? title : name] = value;
  }
  return row;
}

await run({
  async migrate(number) {
    const [, names] = await migrator(number);
    return names;
  },

  // On a clone: says that the migrations which made the tables that came along are done.
  async fake(number) {
    await knex.migrate.currentVersion();
    for (const name of upTo(number)) await knex("knex_migrations").insert({ name, batch: 1, migration_time: new Date() });
  },

  transaction: (work) => knex.transaction(work),

  async add(trx, kind, values, given) {
    const id = keyOf(given);
    await trx((await place(trx, kind))[0]).insert({ ...(id === undefined ? {} : { id }), ...(await columns(trx, values)) });
  },

  async edit(trx, kind, name, values) {
    const { table, id } = await find(trx, kind, name);
    await trx(table).where({ id }).update(await columns(trx, values));
  },

  async delete(trx, kind, name) {
    const { table, id } = await find(trx, kind, name);
    await trx(table).where({ id }).del();
  },

  async seen(trx, name) {
    const { seen } = await trx("authors").where({ name }).first();
    await trx("authors").where({ name }).update({ seen: seen + 1 });
  },
});
await knex.destroy();
