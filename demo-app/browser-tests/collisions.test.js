// Where two people's writes collide: both are kept, said who wrote which, and settled with a button.

import assert from "node:assert/strict";
import { withTwo } from "./harness.js";

// Both give the note another title while they are apart, and meet again.
async function titledTwice(ada, ben) {
  const note = await ada.hasNote("Party");
  await Promise.all([ada.open(note), ben.open(note)]);
  await Promise.all([ada.goOffline(), ben.goOffline()]);
  await ada.replace("title", "Party on Friday");
  await ada.saved();
  await ben.replace("title", "Party on Saturday");
  await ben.saved();
  await Promise.all([ada.goOnline(), ben.goOnline()]);
}

// What a version of a conflict says: the title, and who wrote it when.
const version = (person, title, by) =>
  person.at("version").filter({ hasText: title }).filter({ hasText: by });

for (const [which, shown] of [["shows", true], ["was kept", false]]) {
  withTwo(`of a title changed twice both show who wrote what, and the one that ${which} can be chosen`, async ({ ada, ben }) => {
    await titledTwice(ada, ben);
    for (const person of [ada, ben]) {
      await version(person, "Party on Friday", /Ada · .*(ago|now)/).waitFor();
      await version(person, "Party on Saturday", /Ben · .*(ago|now)/).waitFor();
      await person.counts(person.at("conflict"), 1);
      await person.counts(person.at("version"), 2);
      await person.at("attention", { hasText: "1 conflict" }).waitFor();
      await person.at("row-conflict").waitFor();
    }
    // The later one, on both sides.
    await Promise.all([ada.reads("title", "Party on Saturday"), ben.reads("title", "Party on Saturday")]);
    const chosen = shown ? "Party on Saturday" : "Party on Friday";
    const button = ben.page.locator(`[data-testid=version][data-shown=${shown}]`, { hasText: chosen }).getByTestId("choose");
    await button.click();
    for (const person of [ada, ben]) {
      await person.counts(person.at("conflict"), 0);
      await person.reads("title", chosen);
      await person.row(chosen).waitFor();
      await person.at("attention").waitFor({ state: "hidden" });
      await person.counts(person.at("row-conflict"), 0);
    }
  });
}

withTwo("a conflict is found and settled from the bar, without its note being open", async ({ ada, ben }) => {
  await titledTwice(ada, ben);
  await ada.page.keyboard.press("Escape");
  await ada.at("attention").click();
  const dialog = ada.at("conflicts-dialog");
  await dialog.getByTestId("version").filter({ hasText: "Party on Friday" }).getByTestId("choose").click();
  await dialog.waitFor({ state: "hidden" });
  await ada.row("Party on Friday").waitFor();
  await ben.reads("title", "Party on Friday");
  await ben.counts(ben.at("conflict"), 0);
});

for (const whose of ["ada", "ben"]) {
  const which = whose === "ben" ? "shows" : "gave way";
  withTwo(`who types on in a title that ${which} takes nobody's away: it waits to be chosen`, async ({ ada, ben }) => {
    await titledTwice(ada, ben);
    const both = { ada, ben };
    for (const person of [ada, ben]) await person.counts(person.at("version"), 2);
    await both[whose].typeAtEnd("title", " or not");
    for (const person of [ada, ben]) {
      await person.reads("title", "Party on Saturday or not");
      await version(person, "Party on Friday", /Ada · .*(ago|now)/).waitFor();
      await person.counts(person.at("version"), 2);
      await person.at("attention", { hasText: "1 conflict" }).waitFor();
      await person.at("row-conflict").waitFor();
    }
    await both[whose].page.locator("[data-testid=version][data-shown=true]").getByTestId("choose").click();
    for (const person of [ada, ben]) {
      await person.counts(person.at("conflict"), 0);
      await person.reads("title", "Party on Saturday or not");
      await person.at("attention").waitFor({ state: "hidden" });
      await person.counts(person.at("row-conflict"), 0);
    }
  });
}

withTwo("a conflict that appears leaves the text that one is writing where it is", async ({ ada, ben }) => {
  const note = await ada.hasNote("Party", "Who brings what?");
  await Promise.all([ada.open(note), ben.open(note)]);
  await ben.goOffline();
  await ben.replace("title", "Party on Saturday");
  await ben.saved();
  await ada.replace("title", "Party on Friday");
  await ada.typeAtEnd("body", " I bring");
  await ada.saved();
  const top = () => ada.at("body").evaluate((area) => area.getBoundingClientRect().top);
  const before = await top();
  await ben.goOnline();
  await ada.at("conflict").waitFor({ state: "attached" });
  assert.ok(Math.abs((await top()) - before) <= 1, `from ${before} to ${await top()}`);
  await ada.type(" salad.");
  await ada.reads("body", "Who brings what? I bring salad.");
});

async function addNotebook(person, name) {
  await person.at("notebooks").click();
  await person.at("notebook-new").fill(name);
  await person.page.keyboard.press("Enter");
  await person.page.locator("[data-testid=notebook]").waitFor();
  await person.page.keyboard.press("Escape");
  await person.at("notebooks-dialog").waitFor({ state: "hidden" });
}

const notebook = (person, name) =>
  person.page.locator("[data-testid=filter][data-kind=notebook]").filter({ has: person.page.getByText(name, { exact: true }) });

// Both make a notebook of one name while they are apart, put a note into it, and meet again.
async function namedTwice(ada, ben) {
  await Promise.all([ada.goOffline(), ben.goOffline()]);
  for (const [person, title] of [[ada, "Ada's soup"], [ben, "Ben's cake"]]) {
    await addNotebook(person, "Recipes");
    // The notebook that one looks at is the one that a new note is in.
    await notebook(person, "Recipes").click();
    await person.at("new").click();
    await person.at("title").fill(title);
    await person.saved();
    await person.row(title).waitFor();
    await person.page.locator("[data-testid=filter][data-kind=all]").click();
  }
  await Promise.all([ada.goOnline(), ben.goOnline()]);
  for (const person of [ada, ben]) {
    await person.counts(person.at("parked", { hasText: "Recipes" }), 1);
    await person.row("Ada's soup").waitFor();
    await person.row("Ben's cake").waitFor();
  }
}

// In a notebook these notes are listed, and no others. What was listed before may have been as many.
async function lists(person, name, titles) {
  await notebook(person, name).click();
  for (const title of titles) await person.row(title).waitFor();
  await person.counts(person.at("row"), titles.length);
}

withTwo("a notebook goes at the second press of its button, and its notes stay", async ({ ada, ben }) => {
  const { id } = await ada.api("POST", "notebooks", { name: "Recipes" });
  await ada.api("POST", "notes", { title: "Soup", notebook: id });
  await ada.at("notebooks").click();
  const remove = ada.at("notebook-delete");
  await remove.click();
  assert.equal(await remove.getAttribute("aria-label"), "Delete Recipes? Press again");
  assert.equal((await ada.api("GET", "state")).notebooks.length, 1);
  await remove.click();
  await ada.counts(ada.at("notebook"), 0);
  await ben.row("Soup").waitFor();
  await ben.counts(notebook(ben, "Recipes"), 0);
});

withTwo("of two notebooks of one name one waits, says why, and is back under another name", async ({ ada, ben }) => {
  await namedTwice(ada, ben);
  for (const person of [ada, ben]) {
    const [{ reason }] = await person.api("GET", "parked");
    assert.match(reason, /name/);
    await person.at("parked", { hasText: reason }).waitFor();
  }
  assert.equal(await ben.at("parked-name").inputValue(), "Recipes 2", "a free name is suggested");
  await ben.at("parked-name").fill("Sweet recipes");
  await ben.at("repair", { hasText: "Rename" }).click();
  for (const person of [ada, ben]) {
    await person.counts(person.at("parked"), 0);
    // The one with the smaller key, which is the earlier one, kept the name.
    await lists(person, "Recipes", ["Ada's soup"]);
    await lists(person, "Sweet recipes", ["Ben's cake"]);
  }
});

withTwo("a notebook that waits is put into the one of its name, with its notes", async ({ ada, ben }) => {
  await namedTwice(ada, ben);
  await ada.at("repair", { hasText: "Put its notes into" }).click();
  for (const person of [ada, ben]) {
    await person.counts(person.at("parked"), 0);
    await lists(person, "Recipes", ["Ada's soup", "Ben's cake"]);
    await person.counts(person.page.locator("[data-testid=filter][data-kind=notebook]"), 1);
  }
});

withTwo("a notebook that waits is told in the bar, and repaired from there with a note open", async ({ ada, ben }) => {
  await namedTwice(ada, ben);
  await ada.row("Ada's soup").click();
  await ada.at("attention", { hasText: "1 waiting" }).click();
  const dialog = ada.at("conflicts-dialog");
  await dialog.getByTestId("parked-name").fill("Cakes");
  await ada.page.keyboard.press("Enter");
  await dialog.waitFor({ state: "hidden" });
  for (const person of [ada, ben]) {
    await person.at("attention").waitFor({ state: "hidden" });
    await person.counts(person.at("parked"), 0);
    await notebook(person, "Cakes").waitFor();
  }
});
