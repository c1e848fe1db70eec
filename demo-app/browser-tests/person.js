// Somebody's notes in a page of a browser: what they do there, and what they come to see.

import assert from "node:assert/strict";

// So long may anything take before a test is said to have failed. It is reached only by what never happens.
export const PATIENCE_MS = 60_000;

export class Person {
  constructor(page, url) {
    this.page = page;
    this.url = url;
  }

  // What carries a `data-testid`; the list of them is at the top of web/index.html.
  at(id, options) {
    const found = this.page.getByTestId(id);
    return options ? found.filter(options) : found;
  }

  row(title) {
    return this.at("row").filter({ has: this.page.getByTestId("row-title").getByText(title, { exact: true }) });
  }

  // Asks the server as the page does.
  async api(method, path, body) {
    const response = await fetch(`${this.url}api/${path}`, {
      method,
      body: body === undefined ? undefined : JSON.stringify(body),
      headers: body === undefined ? {} : { "content-type": "application/json" },
    });
    const answer = await response.json();
    assert.ok(response.ok, `${method} ${path}: ${response.status} ${answer?.error}`);
    return answer;
  }

  // A note that is there before the test begins. Returns its id.
  async hasNote(title, body = "") {
    return (await this.api("POST", "notes", { title, body })).id;
  }

  // Opens the page without a note, and waits until the list is drawn.
  async visit() {
    await this.page.goto(this.url);
    await this.page.locator("[data-testid=list][data-total]").waitFor();
    await this.is("online");
  }

  // Opens a note by its address; if it is still on its way here, the page shows it when it comes.
  async open(note) {
    await this.page.goto(`${this.url}#note/${note}`);
    await this.page.locator(`[data-testid=editor][data-note="${note}"]`).waitFor();
  }

  // Waits for what the status line says: online, off, lost …
  async is(state) {
    await this.page.locator(`[data-testid=bar][data-state=${state}]`).waitFor();
  }

  async goOffline() {
    await this.at("online").click();
    await this.is("off");
  }

  async goOnline() {
    await this.at("online").click();
    await this.is("online");
  }

  async allSent() {
    await this.page.locator("[data-testid=detail][data-unsent='0']").waitFor();
  }

  async saved() {
    await this.page.locator("[data-testid=editor][data-saved=saved]").waitFor();
  }

  // Puts the caret behind the first `text` of a field.
  async caretAfter(field, text) {
    await this.at(field).evaluate((area, text) => {
      const at = area.value.indexOf(text) + text.length;
      area.focus();
      area.setSelectionRange(at, at);
    }, text);
  }

  // Selects the first `text` of a field.
  async select(field, text) {
    await this.at(field).evaluate((area, text) => {
      const at = area.value.indexOf(text);
      area.focus();
      area.setSelectionRange(at, at + text.length);
    }, text);
  }

  // What stands before the caret.
  beforeCaret(field) {
    return this.at(field).evaluate((area) => area.value.slice(0, area.selectionStart));
  }

  // Types where the caret is, as fast as somebody who types well.
  async type(text, delay = 0) {
    await this.page.keyboard.type(text, { delay });
  }

  // Puts the caret into a field once it is to be seen. Before that the browser lets it go nowhere, and says nothing.
  async enter(field) {
    await this.at(field).waitFor();
    await this.at(field).focus();
  }

  // Types at the end of a field.
  async typeAtEnd(field, text) {
    await this.enter(field);
    await this.page.keyboard.press("Control+End");
    await this.type(text);
  }

  async replace(field, text) {
    await this.enter(field);
    await this.page.keyboard.press("Control+A");
    await this.type(text);
  }

  // Waits until a field is just this text.
  async reads(field, text) {
    await this.#until(field, (area, text) => area.value === text, text);
  }

  // Waits until a field has all these in it. Returns its text.
  async readsAll(field, ...texts) {
    await this.#until(field, (area, texts) => texts.every((text) => area.value.includes(text)), texts);
    return this.text(field);
  }

  text(field) {
    return this.at(field).inputValue();
  }

  async #until(field, holds, wanted) {
    const area = await this.at(field).elementHandle();
    const test = new Function("[area, wanted]", `return (${holds})(area, wanted)`);
    await this.page.waitForFunction(test, [area, wanted]).catch(async (error) => {
      const text = JSON.stringify(await this.text(field));
      throw new Error(`${field} should have become ${JSON.stringify(wanted)}; it is ${text}`, { cause: error });
    });
  }

  // Waits until the keys go there.
  async focused(id) {
    await this.page.waitForFunction((id) => document.activeElement?.dataset.testid === id, id);
  }

  // From now on the server gets such requests and the page no answer, until it is given one: `next()` waits for a
  // request and returns what answers it, `release()` answers all that was and will be asked.
  async holds(method, path) {
    const held = [];
    const waiting = [];
    let release;
    const released = new Promise((done) => (release = done));
    await this.page.route(`**/api/${path}`, async (route) => {
      if (route.request().method() !== method) return route.continue();
      const response = await route.fetch();
      const answered = new Promise((done) => {
        const answer = () => done();
        if (waiting.length) waiting.shift()(answer);
        else held.push(answer);
      });
      await Promise.race([answered, released]);
      await route.fulfill({ response });
    });
    const next = () => (held.length ? held.shift() : new Promise((done) => waiting.push(done)));
    return { next, release };
  }

  // Waits until there are just so many.
  async counts(locator, count) {
    if (count) await locator.nth(count - 1).waitFor();
    await locator.nth(count).waitFor({ state: "detached" });
  }
}
