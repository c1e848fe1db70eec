// Somebody types while the page is drawn anew under their hands: no key goes astray, and the caret stays where it was.

import assert from "node:assert/strict";
import { withTwo } from "./harness.js";

// "Then" became "henT": the note changed while it was being opened, so it was asked for twice, and the later answer opened it once
// more, empty and with the caret at its start, when the first letter was there already.
withTwo("a note that changes while it is being opened is opened once, and keeps what is typed into it", async ({ ada }) => {
  const held = await ada.holds("GET", "notes/*");
  await ada.page.keyboard.press("n");
  const first = await held.next();
  const note = new URL(ada.page.url()).hash.replace("#note/", "");
  await ada.api("PUT", `notes/${note}/tags/home`);
  // When the list has it, the page knows that the note changed.
  await ada.row("Untitled").getByText("#home").waitFor();
  first();
  await ada.focused("title");
  await ada.at("tag-new").fill("half a t");
  await ada.enter("title");
  await ada.type("T");
  held.release();
  await ada.at("tag").getByText("#home").waitFor();
  await ada.saved();
  await ada.type("hen");
  await ada.saved();
  assert.equal(await ada.text("title"), "Then");
  assert.equal(await ada.text("tag-new"), "half a t");
  assert.equal((await ada.api("GET", `notes/${note}`)).title, "Then");
});

const TEXTS = [
  { field: "title", method: "PATCH", path: "notes/*" },
  { field: "body", method: "PUT", path: "notes/*/body" },
];

for (const { field, method, path } of TEXTS) {
  withTwo(`what is typed into a new ${field} while its first save is answered goes where the caret is`, async ({ ada }) => {
    await ada.page.keyboard.press("n");
    await ada.focused("title");
    await ada.enter(field);
    const held = await ada.holds(method, path);
    await ada.type("T");
    const answer = await held.next();
    await ada.type("h");
    answer();
    held.release();
    await ada.saved();
    await ada.focused(field);
    await ada.type("en");
    await ada.saved();
    assert.equal(await ada.text(field), "Then");
    assert.equal(await ada.beforeCaret(field), "Then");
  });

  withTwo(`what is selected in a ${field} stays selected when what others wrote is shown in it`, async ({ ada, ben }) => {
    const note = await ada.hasNote("one two three", "one two three");
    await Promise.all([ada.open(note), ben.open(note)]);
    await ada.select(field, "two");
    await ben.caretAfter(field, "");
    await ben.type("zero ");
    await ada.reads(field, "zero one two three");
    const selected = await ada.at(field).evaluate((area) => area.value.slice(area.selectionStart, area.selectionEnd));
    assert.equal(selected, "two");
    await ada.type("2");
    await ben.reads(field, "zero one 2 three");
  });

  withTwo(`a word that is being composed in a ${field} is not torn apart by an answer or an edit from elsewhere`, async ({ ada, ben }) => {
    const note = await ada.hasNote("Kyoto: ", "Kyoto: ");
    await Promise.all([ada.open(note), ben.open(note)]);
    const input = await ada.page.context().newCDPSession(ada.page);
    const compose = (text) =>
      input.send("Input.imeSetComposition", { text, selectionStart: text.length, selectionEnd: text.length });
    await ada.typeAtEnd(field, "");
    const held = await ada.holds("GET", "notes/*");
    await ben.caretAfter(field, "");
    await ben.type("In ");
    const answer = await held.next();
    await compose("に");
    answer();
    held.release();
    await ben.api("PUT", `notes/${note}/tags/trip`);
    await ada.row("Kyoto:").or(ada.row("In Kyoto:")).getByText("#trip").waitFor();
    // Goes into the place of what was composed so far. Were that ended, it would come to stand beside it.
    await compose("にほん");
    assert.equal(await ada.text(field), "Kyoto: にほん");
    await input.send("Input.insertText", { text: "日本" });
    await ada.saved();
    await ada.type("!");
    await ada.saved();
    const text = await ada.text(field);
    // Bodies are merged by the letter; of two titles that were written apart one may show.
    assert.match(text, field === "body" ? /^In Kyoto: 日本!$/ : /^(In )?Kyoto: 日本!$/);
    assert.equal(await ada.beforeCaret(field), text);
  });
}

// The fields of a note, other than its title and text, that somebody can type into.
const FIELDS = [
  { field: "tag-new" },
  { field: "item-new" },
  { field: "item-text", at: 1 },
  { field: "search" },
  { field: "notebook-new", dialog: true },
  { field: "notebook-name", at: 1, dialog: true },
];

for (const { field, at = 0, dialog } of FIELDS) {
  withTwo(`who types into ${field} goes on there while everything around it is drawn anew`, async ({ ada, ben }) => {
    const note = await ada.hasNote("Shopping", "Bread.");
    for (const text of ["eggs", "flour"]) await ada.api("POST", `notes/${note}/items`, { text });
    const { id: early } = await ada.api("POST", "notebooks", { name: "Beta" });
    await ada.api("POST", "notebooks", { name: "Gamma" });
    await ada.open(note);
    await ada.counts(ada.at("item"), 2);
    await ada.page.locator("[data-testid=filter][data-kind=notebook]").nth(1).waitFor();
    await ben.open(note);
    await ben.counts(ben.at("item"), 2);
    if (dialog) await ada.at("notebooks").click();
    const typed = ada.at(field).nth(at);
    await typed.fill("one two");
    await typed.evaluate((input) => input.setSelectionRange(4, 4));
    const element = await typed.elementHandle();

    // Elsewhere: the item that is written comes to stand before its neighbour, and so does the notebook.
    const { items } = await ben.api("GET", `notes/${note}`);
    await ben.api("PATCH", `items/${items[1].id}`, { position: items[0].position - 1, done: true });
    await ben.api("POST", `notes/${note}/items`, { text: "milk" });
    await ben.api("PUT", `notes/${note}/tags/home`);
    await ben.api("PATCH", `notebooks/${early}`, { name: "Zeta" });
    await ben.api("POST", "notebooks", { name: "Alpha" });
    await ben.api("PATCH", `notes/${note}`, { colour: "sky", title: "Breakfast" });
    await ada.counts(ada.at("item"), 3);
    await ada.page.locator("[data-testid=item]:first-child.is-done").waitFor({ state: "attached" });
    await ada.at("tag").getByText("#home").waitFor({ state: "attached" });
    await ada.reads("title", "Breakfast");
    await ada.page.locator("[data-testid=filter][data-kind=notebook]:nth-child(4)").getByText("Zeta").waitFor({ state: "attached" });

    await ada.type("and ");
    assert.equal(await element.evaluate((input) => input.value), "one and two");
    assert.ok(await element.evaluate((input) => document.activeElement === input), "it has the focus");
  });
}

withTwo("what others made of an item is shown to who only looked at it, when they leave its field", async ({ ada, ben }) => {
  const note = await ada.hasNote("Shopping");
  await ada.api("POST", `notes/${note}/items`, { text: "eggs" });
  await ada.open(note);
  await ada.enter("item-text");
  const [item] = (await ada.api("GET", `notes/${note}`)).items;
  await ben.row("Shopping").waitFor();
  await ben.open(note);
  await ben.at("item").waitFor();
  await ben.api("PATCH", `items/${item.id}`, { text: "six eggs", done: true });
  await ada.page.locator("[data-testid=item].is-done").waitFor();
  assert.equal(await ada.text("item-text"), "eggs", "not under their hands");
  await ada.page.keyboard.press("Tab");
  await ada.reads("item-text", "six eggs");
});

withTwo("who types the next notebook's name while the last one is added loses no letter of it", async ({ ada }) => {
  await ada.at("notebooks").click();
  await ada.enter("notebook-new");
  const held = await ada.holds("POST", "notebooks");
  await ada.type("Work");
  await ada.page.keyboard.press("Enter");
  const answer = await held.next();
  await ada.page.keyboard.press("Control+A");
  await ada.type("Ho");
  answer();
  held.release();
  await ada.counts(ada.at("notebook"), 1);
  await ada.type("me");
  assert.equal(await ada.text("notebook-new"), "Home");
  await ada.page.keyboard.press("Enter");
  await ada.counts(ada.at("notebook"), 2);
  await ada.reads("notebook-new", "");
});
