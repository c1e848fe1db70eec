// Two people write, in one note and at one time.

import assert from "node:assert/strict";
import { withTwo } from "./harness.js";
import { PATIENCE_MS } from "./person.js";

withTwo("what one types appears in the other's page, in the note and in the list", async ({ ada, ben }) => {
  const note = await ada.hasNote("Shopping", "Bread.");
  await Promise.all([ada.open(note), ben.open(note)]);
  await ada.typeAtEnd("body", " Butter.");
  await ben.reads("body", "Bread. Butter.");
  await ben.typeAtEnd("body", " Jam.");
  await ada.reads("body", "Bread. Butter. Jam.");
  await ben.replace("title", "Breakfast");
  await ada.reads("title", "Breakfast");
  for (const person of [ada, ben]) {
    await person.row("Breakfast").getByText("Bread. Butter. Jam.").waitFor();
    await person.saved();
  }
});

withTwo("what two write offline in one paragraph is there on both sides afterwards", async ({ ada, ben }) => {
  const note = await ada.hasNote("Train", "The train leaves at noon.");
  await Promise.all([ada.open(note), ben.open(note)]);
  await Promise.all([ada.goOffline(), ben.goOffline()]);
  // In different places of the paragraph, and both of them at its end.
  await ada.caretAfter("body", "The ");
  await ada.type("night ");
  await ada.typeAtEnd("body", " Ada brings tea.");
  await ben.caretAfter("body", "leaves ");
  await ben.type("late, ");
  await ben.typeAtEnd("body", " Ben brings cake.");
  await Promise.all([ada.saved(), ben.saved()]);
  for (const person of [ada, ben]) {
    await person.page.locator("[data-testid=detail]:not([data-unsent='0'])").waitFor();
  }
  assert.equal(await ada.text("body"), "The night train leaves at noon. Ada brings tea.");
  assert.equal(await ben.text("body"), "The train leaves late, at noon. Ben brings cake.");

  await Promise.all([ada.goOnline(), ben.goOnline()]);
  const both = ["The night train leaves late, at noon.", " Ada brings tea.", " Ben brings cake."];
  const merged = await ada.readsAll("body", ...both);
  assert.equal(merged.length, both.join("").length, `nothing is there twice: ${merged}`);
  await ben.reads("body", merged);
  await Promise.all([ada.allSent(), ben.allSent()]);
});

withTwo("the caret stays at its letter while the other writes before it", async ({ ada, ben }) => {
  const note = await ada.hasNote("Caret", "Alpha omega.");
  await Promise.all([ada.open(note), ben.open(note)]);
  await ada.caretAfter("body", "Alpha ");
  await ada.type("one ");
  await ben.caretAfter("body", "");
  await ben.type("In the beginning: ");
  await ada.readsAll("body", "In the beginning: ", "one ");
  assert.equal(await ada.beforeCaret("body"), "In the beginning: Alpha one ");
  await ada.type("two ");
  await ada.reads("body", "In the beginning: Alpha one two omega.");
  await ben.reads("body", "In the beginning: Alpha one two omega.");
});

withTwo("two who type at one time in different places lose no letter and stay at their places", async ({ ada, ben }) => {
  const note = await ada.hasNote("Duet", "First: . Second: .");
  await Promise.all([ada.open(note), ben.open(note)]);
  await ada.caretAfter("body", "Second: ");
  await ben.caretAfter("body", "First: ");
  const low = "the quick brown fox jumps over the lazy dog";
  const high = "pack my box with five dozen liquor jugs";
  // Slower than the pause after which a page saves at the latest, so that saves and edits from elsewhere fall between the keys.
  await Promise.all([ada.type(low, 60), ben.type(high, 70)]);
  const whole = `First: ${high}. Second: ${low}.`;
  await Promise.all([ada.reads("body", whole), ben.reads("body", whole)]);
  assert.equal(await ada.beforeCaret("body"), `First: ${high}. Second: ${low}`);
  assert.equal(await ben.beforeCaret("body"), `First: ${high}`);
});

withTwo("a page that saves a text it loaded before an edit came in does not undo the edit", async ({ ada, ben, stage }) => {
  const note = await ada.hasNote("Old", "The meeting is on Monday at nine. Bring a pen.");
  await ada.open(note);
  // A page that hears of nothing, from the server that Ben's other page is at.
  const stale = await stage.person(ben.url);
  await stale.page.route("**/api/events", (route) => route.abort());
  await stale.open(note);
  await ben.open(note);

  await ada.select("body", "Monday");
  await ada.type("Tuesday");
  const edited = "The meeting is on Tuesday at nine. Bring a pen.";
  await ben.reads("body", edited);
  assert.equal(await stale.text("body"), "The meeting is on Monday at nine. Bring a pen.", "it is the old text");

  await stale.typeAtEnd("body", " And paper.");
  await stale.saved();
  const merged = `${edited} And paper.`;
  for (const person of [stale, ada, ben]) await person.reads("body", merged);
});

withTwo("what was written is there after a reload, and the note is open again", async ({ ada, ben }) => {
  await ada.at("new").click();
  await ada.at("title").fill("Everything");
  await ada.at("body").fill("First line\nsecond line");
  await ada.at("tag-new").fill("home");
  await ada.page.keyboard.press("Enter");
  for (const item of ["eggs", "flour"]) {
    await ada.at("item-new").fill(item);
    await ada.page.keyboard.press("Enter");
  }
  await ada.counts(ada.at("item"), 2);
  await ada.at("item-done").first().check();
  await ada.at("like").click();
  await ada.at("like").click();
  await ada.at("pin").click();
  await ada.page.locator("[data-testid=colour]").nth(2).click();
  await ada.at("likes").getByText("2", { exact: true }).waitFor();
  await ada.page.locator("[data-testid=pin][aria-pressed=true]").waitFor();
  await ada.page.locator("[data-testid=colour][aria-pressed=true]").waitFor();
  await ada.saved();
  const note = await ada.at("editor").getAttribute("data-note");
  const colour = await ada.page.locator("[data-testid=colour][aria-pressed=true]").getAttribute("data-colour");
  await ada.allSent();

  await ada.page.reload();
  await ben.open(note);
  for (const person of [ada, ben]) {
    await person.reads("title", "Everything");
    await person.reads("body", "First line\nsecond line");
    await person.at("tag").getByText("#home").waitFor();
    await person.counts(person.at("item"), 2);
    assert.deepEqual(await person.at("item-text").evaluateAll((all) => all.map(({ value }) => value)), ["eggs", "flour"]);
    assert.deepEqual(await person.at("item-done").evaluateAll((all) => all.map(({ checked }) => checked)), [true, false]);
    await person.at("likes").getByText("2", { exact: true }).waitFor();
    await person.page.locator("[data-testid=pin][aria-pressed=true]").waitFor();
    await person.page.locator(`[data-testid=colour][data-colour=${colour}][aria-pressed=true]`).waitFor();
  }
});

withTwo("what was typed last is saved though the page is left at once", async ({ ada, ben }) => {
  const note = await ada.hasNote("Letters", "Dear Ann");
  await Promise.all([ada.open(note), ben.open(note)]);
  for (const word of [", how", " are", " you?"]) {
    await ada.typeAtEnd("body", word);
    await ada.page.reload();
  }
  await ben.reads("body", "Dear Ann, how are you?");
  await ada.reads("body", "Dear Ann, how are you?");
});

withTwo("who writes in a note that is deleted elsewhere goes on in a new one, without missing a letter", async ({ ada, ben }) => {
  const note = await ada.hasNote("Letters", "Dear Ann,");
  await ada.api("PUT", `notes/${note}/tags/post`);
  await Promise.all([ada.open(note), ben.open(note)]);
  await ada.typeAtEnd("body", " how");
  await ada.saved();
  const rest = " are you? We are well, and so is the dog, who sends his love.";
  await Promise.all([ada.type(rest, 30), ben.api("DELETE", `notes/${note}`)]);
  await ada.page.locator(`[data-testid=editor]:not([data-note="${note}"])[data-saved=saved]`).waitFor();
  await ada.type(" Yours");
  await ada.saved();
  await ada.reads("body", `Dear Ann, how${rest} Yours`);
  await ada.at("tag").getByText("#post").waitFor();
  await ben.row("Letters").click();
  await ben.reads("body", `Dear Ann, how${rest} Yours`);
});

withTwo("two who type in one title at one time lose no word: it is in the title, or in a conflict about it", async ({ ada, ben }) => {
  const note = await ada.hasNote("Title");
  await Promise.all([ada.open(note), ben.open(note)]);
  await Promise.all([ada.typeAtEnd("title", ""), ben.typeAtEnd("title", "")]);
  const words = { ada: ["alpha", "beta", "gamma", "delta"], ben: ["one", "two", "three", "four"] };
  // Now and then a pause that is long enough for what is written to be saved, and to meet what the other has written.
  const write = async (person, words) => {
    for (const [at, word] of words.entries()) {
      await person.type(` ${word}`, 40);
      if (at % 2) await person.saved();
    }
  };
  await Promise.all([write(ada, words.ada), write(ben, words.ben)]);
  await Promise.all([ada.saved(), ben.saved()]);
  // What each has of it, until they have the same.
  const versions = async (person) => {
    const [conflict] = await person.api("GET", "conflicts");
    const { title } = await person.api("GET", `notes/${note}`);
    return JSON.stringify([title, conflict?.kept.map(({ value }) => value) ?? []]);
  };
  const all = await agreed(() => versions(ada), () => versions(ben));
  for (const word of [...words.ada, ...words.ben]) assert.ok(all.includes(word), `${word} in ${all}`);
  await Promise.all([ada.reads("title", JSON.parse(all)[0]), ben.reads("title", JSON.parse(all)[0])]);
});

// Asks both until they answer alike. Returns the answer.
async function agreed(one, other) {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const answers = [await one(), await other()];
    if (answers[0] === answers[1]) return answers[0];
    assert.ok(Date.now() < end, `they do not agree: ${answers.join(" and ")}`);
    await new Promise((done) => setTimeout(done, 50));
  }
}
