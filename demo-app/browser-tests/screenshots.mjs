// Pictures of the four looks, 1280 and 390 wide, light and dark, of the two people's page and of one person's notes:
//   node demo-app/browser-tests/screenshots.mjs [folder]

import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { startBrowser } from "./browser.js";
import { Person } from "./person.js";
import { builtProgram, Program } from "./program.js";

const LOOKS = [
  { width: 1280, height: 800, deviceScaleFactor: 1 },
  { width: 390, height: 844, deviceScaleFactor: 2 },
];

const NOTES = [
  { title: "Seeds to order", body: "Runner beans, chard, and the small yellow tomatoes that did well in the rain.", colour: "sage", tags: ["garden"] },
  { title: "The cabin in March", body: "Key is with Ilse until the 12th.\n\nBring the long ladder: two tiles have come loose over the porch.", colour: "sky", pinned: true, items: ["Book the ferry", "Firewood", "Ladder"], tags: ["travel"] },
  { title: "What to read next", body: "Something short. Something about birds.", likes: 3 },
];

// Some notes, one of them with two titles, and a notebook that waits.
async function write(ada, ben) {
  for (const { title, body, tags = [], items = [], likes = 0, ...rest } of NOTES) {
    const { id } = await ada.api("POST", "notes", { title, body });
    await ada.api("PATCH", `notes/${id}`, rest);
    for (const tag of tags) await ada.api("PUT", `notes/${id}/tags/${tag}`);
    for (const item of items) await ada.api("POST", `notes/${id}/items`, { text: item });
    for (let like = 0; like < likes; like++) await ada.api("POST", `notes/${id}/like`);
  }
  const note = await ada.hasNote("Supper on Friday", "Soup first, then the pie. Somebody has to ask the neighbours for a second table.");
  await ben.open(note);
  await Promise.all([ada.goOffline(), ben.goOffline()]);
  await ada.api("PATCH", `notes/${note}`, { title: "Supper on Friday at seven" });
  await ada.api("POST", "notebooks", { name: "Recipes" });
  await ben.api("PATCH", `notes/${note}`, { title: "Supper on Saturday" });
  await ben.api("POST", "notebooks", { name: "Recipes" });
  await Promise.all([ada.goOnline(), ben.goOnline()]);
  await ben.at("conflict").waitFor();
  await ben.at("parked").waitFor({ state: "attached" });
  return note;
}

const settled = (person) => Promise.all([person.is("online"), person.at("other").first().waitFor({ state: "attached" })]);

const folder = resolve(process.argv[2] ?? fileURLToPath(new URL("screenshots", import.meta.url)));
await mkdir(folder, { recursive: true });
const files = await mkdtemp(join(tmpdir(), "driftless-notes-"));
const program = await Program.stage(files, { program: builtProgram(["release", "debug"]) });
const browser = await startBrowser();
try {
  const ben = new Person(await browser.newPage(), `${program.url}b/`);
  const ada = new Person(await browser.newPage(), `${program.url}a/`);
  await Promise.all([ada.visit(), ben.visit()]);
  const note = await write(ada, ben);
  await ada.page.close();
  for (const colorScheme of ["light", "dark"]) {
    for (const { deviceScaleFactor, ...viewport } of LOOKS) {
      const context = await browser.newContext({ viewport, deviceScaleFactor, colorScheme, reducedMotion: "reduce" });
      const page = await context.newPage();
      const shoot = async (what) => {
        const path = join(folder, `${what}-${viewport.width}-${colorScheme}.png`);
        await page.screenshot({ path });
        console.log(path);
      };
      await page.goto(program.url);
      for (const side of ["frame-a", "frame-b"]) {
        await page.frameLocator(`[data-testid=${side}]`).locator("[data-testid=bar][data-state=online]").waitFor({ state: "attached" });
        await page.frameLocator(`[data-testid=${side}]`).locator("[data-testid=editor][data-note]").waitFor({ state: "attached" });
      }
      await shoot("stage");
      const person = new Person(page, `${program.url}a/`);
      await person.visit();
      await settled(person);
      await shoot("list");
      await person.open(note);
      await person.at("conflict").waitFor();
      await settled(person);
      await shoot("note");
      await context.close();
    }
  }
} finally {
  await browser.close();
  await program.kill();
  await rm(files, { recursive: true, force: true });
}
