// How it feels with many notes: how long from a key to "Saved", and to the other's page, in an ordinary note and in one of
// 200 KB; how long the list and a search take. Prints the median and the worst of 30.
//   node demo-app/browser-tests/measure.mjs [notes, 5000 if it is not said]
// It takes the release build if there is one.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startBrowser } from "./browser.js";
import { Person } from "./person.js";
import { builtProgram, Program } from "./program.js";

const TIMES = 30;
const FILLING_MS = 20 * 60_000;
const notes = Number(process.argv[2] ?? 5000);

function tell(what, times) {
  const sorted = [...times].sort((one, other) => one - other);
  const [median, worst] = [sorted[sorted.length >> 1], sorted.at(-1)].map((ms) => `${Math.round(ms)} ms`.padStart(8));
  console.log(`${what.padEnd(52)} median ${median}   worst ${worst}`);
}

async function times(run) {
  const all = [];
  for (let time = 0; time < TIMES; time++) all.push(await run(time));
  return all;
}

async function timed(run) {
  const begun = performance.now();
  await run();
  return performance.now() - begun;
}

// When the page has heard of a key, and when it has said "Saved" after it, by the clock that all pages share.
const watchSaving = (person) =>
  person.page.evaluate(() => {
    const editor = document.querySelector("[data-testid=editor]");
    const watched = (window.watched = {});
    const body = document.querySelector("[data-testid=body]");
    body.addEventListener("keydown", () => {
      watched.typed = Date.now();
      watched.saved = null;
      requestAnimationFrame(() => setTimeout(() => (watched.drawn = Date.now())));
    }, true);
    new MutationObserver(() => {
      if (editor.dataset.saved === "saved") watched.saved ??= Date.now();
    }).observe(editor, { attributes: true, attributeFilter: ["data-saved"] });
  });

const watched = async (person) => {
  await person.page.waitForFunction(() => window.watched.saved && window.watched.drawn);
  return person.page.evaluate(() => window.watched);
};

// The first frame in which the other's text has become so long.
const lengthened = (person, length) =>
  person.page.waitForFunction((length) => document.querySelector("[data-testid=body]").value.length === length && Date.now(), length)
    .then((at) => at.jsonValue());

async function typing(ada, ben, note, what) {
  await Promise.all([ada.open(note), ben.open(note)]);
  // In the middle, where the whole text behind it has to move.
  const length = await ada.at("body").evaluate((area) => {
    const at = area.value.indexOf(" ", area.value.length / 2);
    area.focus();
    area.setSelectionRange(at, at);
    return area.value.length;
  });
  await ben.page.waitForFunction((length) => document.querySelector("[data-testid=body]").value.length === length, length);
  await watchSaving(ada);
  const [drawn, saved, seen] = [[], [], []];
  for (let time = 1; time <= TIMES; time++) {
    const there = lengthened(ben, length + time);
    await ada.type("x");
    const [at, own] = await Promise.all([there, watched(ada)]);
    drawn.push(own.drawn - own.typed);
    saved.push(own.saved - own.typed);
    seen.push(at - own.typed);
  }
  tell(`${what}: key to letter on the screen`, drawn);
  tell(`${what}: key to "Saved"`, saved);
  tell(`${what}: key to the other's page`, seen);
}

const WORDS = ["river", "lantern", "copper", "window", "salt", "meadow"];

async function listing(ada) {
  tell("the page, opened, with its list", await times(() => timed(async () => {
    await ada.page.goto("about:blank");
    await ada.page.goto(ada.url);
    await ada.page.locator("[data-testid=list][data-total]").waitFor();
    await ada.at("row").nth(Math.min(notes, 100) - 1).waitFor({ state: "attached" });
  })));
  tell("the server's list of 100", await times(() => timed(() => ada.api("GET", "notes?limit=100"))));
  tell("a search, typed, until its rows are there", await times(async (time) => {
    const answered = ada.page.waitForResponse((response) => new URL(response.url()).searchParams.get("q") === WORDS[time % 6]);
    return timed(async () => {
      await ada.at("search").fill(WORDS[time % 6]);
      const { total } = await (await answered).json();
      await ada.page.locator(`[data-testid=list][data-total="${total}"]`).waitFor();
    });
  }));
  tell("the server's search", await times((time) => timed(() => ada.api("GET", `notes?limit=100&q=${WORDS[time % 6]}`))));
  await ada.at("search").fill("");
}

const files = await mkdtemp(join(tmpdir(), "driftless-notes-"));
const path = builtProgram(["release", "debug"]);
console.log(`${path}, ${notes} notes`);
const more = ["--samples", String(notes)];
let program;
const filled = await timed(async () => (program = await Program.stage(files, { program: path, more, patience: FILLING_MS })));
console.log(`${(filled / 1000).toFixed(1)} s to write them`);
const browser = await startBrowser();
try {
  const [ada, ben] = await Promise.all(["a/", "b/"].map(async (side) => {
    const page = await browser.newPage();
    page.setDefaultTimeout(FILLING_MS);
    return new Person(page, program.url + side);
  }));
  await Promise.all([ada.visit(), ben.visit()]);
  // The one of the welcome, and the samples.
  const arrived = await timed(() => ben.page.locator(`[data-testid=list][data-total="${notes + 1}"]`).waitFor());
  console.log(`${(arrived / 1000).toFixed(1)} s more until all are at the other's`);
  await ada.allSent();
  const ordinary = await ada.hasNote("An ordinary note", "Some words that somebody wrote down here. ".repeat(20));
  const long = (await ada.api("GET", "notes?q=very+long+note")).notes.find(({ title }) => title === "A very long note").id;
  await typing(ada, ben, ordinary, "ordinary note");
  await typing(ada, ben, long, "note of 200 KB");
  await listing(ada);
} finally {
  await browser.close();
  await program.kill();
  await rm(files, { recursive: true, force: true });
}
