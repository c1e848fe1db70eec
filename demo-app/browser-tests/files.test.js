// What happens to the files: the program dies, another program writes, another machine joins.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { inBrowser, withTwo } from "./harness.js";
import { freshFolder, lastingPort, Program } from "./program.js";

test("after kill -9 what was said to be saved is there, is sent, and the pages go on", ...inBrowser(async ({ t, stage }) => {
  const folder = await freshFolder(t);
  const port = await lastingPort();
  const first = stage.runs(await Program.stage(folder, { port }));
  const [ada, ben] = [await stage.person(`${first.url}a/`), await stage.person(`${first.url}b/`)];
  await Promise.all([ada.visit(), ben.visit()]);
  const note = await ada.hasNote("Diary", "Today:");
  await Promise.all([ada.open(note), ben.open(note)]);
  // Nothing that is written from here on leaves its file before the program dies.
  await Promise.all([ada.goOffline(), ben.goOffline()]);
  await ada.typeAtEnd("body", " rain,");
  await ben.replace("title", "Diary of a week");
  await Promise.all([ada.saved(), ben.saved()]);
  await first.kill();

  await Promise.all([ada.is("lost"), ben.is("lost")]);
  await ada.typeAtEnd("body", " then sun.");
  stage.runs(await Program.stage(folder, { port }));
  for (const person of [ada, ben]) {
    await person.is("online");
    await person.reads("title", "Diary of a week");
    await person.reads("body", "Today: rain, then sun.");
    await person.saved();
    await person.allSent();
  }
  // Not what a page still had, but what is in the files.
  const fresh = await stage.person(ben.url);
  await fresh.open(note);
  await fresh.reads("title", "Diary of a week");
  await fresh.reads("body", "Today: rain, then sun.");
}));

// With a busy timeout, as everybody who writes to the file has one.
const shell = (file, sql) => promisify(execFile)("sqlite3", ["-cmd", ".timeout 5000", "-bail", file, sql]);

withTwo("what the sqlite3 shell writes into a file appears on both pages", async ({ t, folder, ada, ben }) => {
  const file = join(folder, "ben.db");
  const seen = async (what, wait) => {
    const begun = performance.now();
    await Promise.all([ada, ben].map(async (person) => {
      await wait(person);
      t.diagnostic(`${what}: at ${person === ada ? "Ada's" : "Ben's"} ${Math.round(performance.now() - begun)} ms after the shell ended`);
    }));
  };
  await shell(file, "INSERT INTO notes (id, title, body, created) VALUES ('shell', 'By hand', 'Plain SQL.', 0)");
  await seen("inserted", (person) => person.row("By hand").waitFor());
  await Promise.all([ada.open("shell"), ben.open("shell")]);
  await shell(file, "UPDATE notes SET title = 'From the shell', body = body || ' Any program.', likes = likes + 1 WHERE id = 'shell'");
  await seen("edited", async (person) => {
    await person.reads("body", "Plain SQL. Any program.");
    await person.reads("title", "From the shell");
    await person.at("likes").getByText("1", { exact: true }).waitFor();
  });
  for (const person of [ada, ben]) await person.row("From the shell").waitFor();
});

withTwo("a node of its own shares the notes through the relay of another", async ({ folder, program, stage, ada, ben }) => {
  const note = await ada.hasNote("Three of us", "Ada was here.");
  const alone = stage.runs(await Program.alone(join(folder, "carl.db"), program.relay, "Carl"));
  const carl = await stage.person(alone.url);
  await carl.visit();
  await carl.at("person").getByText("Carl", { exact: true }).waitFor();
  await carl.row("Three of us").click();
  await carl.reads("body", "Ada was here.");
  await carl.typeAtEnd("body", " Carl too.");
  await Promise.all([ada.open(note), ben.open(note)]);
  await ada.reads("body", "Ada was here. Carl too.");
  await ben.reads("body", "Ada was here. Carl too.");
  await ben.typeAtEnd("body", " And Ben.");
  await carl.reads("body", "Ada was here. Carl too. And Ben.");
});
