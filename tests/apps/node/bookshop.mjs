// What both apps do the same: read their arguments, do what the scenarios ask, print the answer. See ../README.md.

import { randomUUID } from "node:crypto";

const [file, keys, command, ...words] = process.argv.slice(2);

export { file, keys };

// The key of a new row: one that was given, a UUID, or none, so that SQLite hands out a number.
export const keyOf = (given) => given ?? (keys === "uuid" ? randomUUID() : undefined);

// `app` has migrate(number), fake(number), transaction(work), and the operations that ../README.md names: add, edit, delete
// and seen, which are called with what the transaction gave to `work`.
export async function run(app) {
  console.log(JSON.stringify((await answer(app)) ?? null));
}

async function answer(app) {
  if (command === "migrate") return app.migrate(words[0]);
  if (command === "fake") return app.fake(words[0]);
  if (command === "busy") return busy(app, words[0], Number(words[1]));
  const operations = JSON.parse(words[0]);
  return app.transaction((tx) => inTurn(operations.map(([operation, ...rest]) => () => app[operation](tx, ...rest))));
}

// One after the other, and at once where nothing is to be waited for.
function inTurn([first, ...rest]) {
  const result = first();
  if (rest.length === 0) return result;
  return result instanceof Promise ? result.then(() => inTurn(rest)) : inTurn(rest);
}

// Transactions that read before they write, as fast as they go. Returns how many failed.
async function busy(app, name, count) {
  let failed = 0;
  for (let at = 0; at < count; at++) {
    try {
      await app.transaction((tx) => app.seen(tx, name));
    } catch (error) {
      if (!String(error.code).startsWith("SQLITE_BUSY")) throw error;
      console.error(error.message);
      failed += 1;
    }
  }
  return failed;
}
