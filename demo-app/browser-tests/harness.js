// What a test of the notes in a browser begins with: the program, a browser, and a page for each person.

import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { startBrowser } from "./browser.js";
import { PATIENCE_MS, Person } from "./person.js";
import { freshFolder, Program } from "./program.js";

const CLAIM_MS = 300_000;
const FAILED = fileURLToPath(new URL("failed/", import.meta.url));

let running = null;
after(async () => (await running)?.close());

// The rest of a test that has a browser: `run({ t, stage })`. It fails, too, if a page had an error that nobody caught.
export const inBrowser = (run) => [
  { timeout: CLAIM_MS },
  async (t) => {
    const stage = new Stage(t);
    await stage.whole(() => run({ t, stage }));
  },
];

// A test with the two people's notes running, and a page for each with their list:
// `run({ t, stage, folder, program, ada, ben })`.
export function withTwo(claim, run) {
  test(claim, ...inBrowser(async ({ t, stage }) => {
    const folder = await freshFolder(t);
    const program = stage.runs(await Program.stage(folder));
    const ada = await stage.person(`${program.url}a/`);
    const ben = await stage.person(`${program.url}b/`);
    await Promise.all([ada.visit(), ben.visit()]);
    await run({ t, stage, folder, program, ada, ben });
  }));
}

class Stage {
  #contexts = [];
  #programs = [];
  #errors = [];

  constructor(t) {
    this.t = t;
  }

  // A program, which ends with the test.
  runs(program) {
    this.#programs.push(program);
    return program;
  }

  // A page of somebody's own, as on a machine of their own.
  async page() {
    running ??= startBrowser();
    const context = await (await running).newContext({ reducedMotion: "reduce" });
    this.#contexts.push(context);
    context.setDefaultTimeout(PATIENCE_MS);
    const page = await context.newPage();
    page.on("pageerror", (error) => this.#errors.push(String(error.stack ?? error)));
    // What the page was not allowed to load or run is said only there.
    page.on("console", (said) => /Content.Security.Policy/i.test(said.text()) && this.#errors.push(said.text()));
    return page;
  }

  async person(url) {
    return new Person(await this.page(), url);
  }

  async whole(run) {
    try {
      await run();
      assert.deepEqual(this.#errors, [], "errors in the pages");
    } catch (error) {
      await this.#tell();
      throw error;
    } finally {
      for (const context of this.#contexts) await context.close();
      for (const program of this.#programs) await program.kill();
    }
  }

  // For whoever has to find out why: what the programs and the pages said, and how the pages look.
  async #tell() {
    for (const { complaints } of this.#programs) if (complaints) this.t.diagnostic(complaints);
    for (const error of this.#errors) this.t.diagnostic(error);
    await mkdir(FAILED, { recursive: true });
    const pages = this.#contexts.flatMap((context) => context.pages());
    for (const [number, page] of pages.entries()) {
      const path = `${FAILED}${this.t.name.replace(/\W+/g, "-").slice(0, 80)}-${number}.png`;
      await page.screenshot({ path }).then(() => this.t.diagnostic(`the page is in ${path}`), () => {});
    }
  }
}
