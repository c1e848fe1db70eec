// Who else is here, and with which note open.

import { join } from "node:path";
import { withTwo } from "./harness.js";
import { Program } from "./program.js";

const here = (person, name) => person.at("here").locator(`[data-person="${name}"]`);
const others = (person, name) => person.at("others").locator(`[data-person="${name}"]`);

withTwo("who has a note open is shown to whoever has it open, too, until they leave it", async ({ ada, ben }) => {
  const note = await ada.hasNote("Ours", "Text.");
  const other = await ada.hasNote("Mine");
  await Promise.all([others(ada, "Ben").waitFor(), others(ben, "Ada").waitFor()]);
  await ada.open(note);
  await ada.counts(here(ada, "Ben"), 0);
  await ben.open(note);
  await Promise.all([here(ada, "Ben").waitFor(), here(ben, "Ada").waitFor()]);
  // It is said for some seconds who wrote.
  await Promise.all([ada.at("remote", { hasText: "Ben edited this note" }).waitFor(), ben.typeAtEnd("body", " More.")]);

  await ben.open(other);
  await ada.counts(here(ada, "Ben"), 0);
  await others(ada, "Ben").waitFor();
  await ben.page.keyboard.press("Escape");
  await ben.page.locator(`[data-testid=row][data-id="${note}"] .row-who i`).waitFor({ state: "attached" });
});

withTwo("who goes offline, closes the page or is killed is no longer shown", async ({ folder, program, stage, ada, ben }) => {
  const note = await ada.hasNote("Ours");
  const alone = stage.runs(await Program.alone(join(folder, "carl.db"), program.relay, "Carl"));
  const carl = await stage.person(alone.url);
  for (const person of [ada, ben, carl]) await person.open(note);
  for (const name of ["Ben", "Carl"]) await here(ada, name).waitFor();

  await alone.kill();
  await ada.counts(here(ada, "Carl"), 0);
  await ada.counts(others(ada, "Carl"), 0);

  await ben.goOffline();
  await ada.counts(others(ada, "Ben"), 0);
  await ben.counts(others(ben, "Ada"), 0);
  await ben.goOnline();
  await Promise.all([here(ada, "Ben").waitFor(), here(ben, "Ada").waitFor()]);

  await ben.page.close();
  await ada.counts(others(ada, "Ben"), 0);
  // Back, and without a note: the one that was open is not remembered.
  const again = await stage.person(ben.url);
  await again.visit();
  await others(ada, "Ben").waitFor();
  await ada.counts(here(ada, "Ben"), 0);
});
