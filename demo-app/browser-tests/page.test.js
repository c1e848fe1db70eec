// The page itself: found by words, used without a mouse, and safe from what people write into it and from other pages.

import assert from "node:assert/strict";
import { createServer, request } from "node:http";
import { join } from "node:path";
import { withTwo } from "./harness.js";
import { Program } from "./program.js";

withTwo("the first page shows two people in one note, and what each writes there comes to the other", async ({ program, stage }) => {
  const page = await stage.page();
  await page.goto(program.url);
  const [left, right] = ["frame-a", "frame-b"].map((id) => page.frameLocator(`[data-testid=${id}]`));
  const note = await left.locator("[data-testid=editor][data-note]").getAttribute("data-note");
  await right.locator(`[data-testid=editor][data-note="${note}"]`).waitFor();
  await left.getByTestId("person").getByText("Ada").waitFor();
  await right.getByTestId("person").getByText("Ben").waitFor();
  for (const side of [left, right]) {
    await side.getByTestId("online").click();
    await side.locator("[data-testid=bar][data-state=off]").waitFor();
  }
  await left.getByTestId("title").fill("Written on the left");
  await right.getByTestId("body").fill("Written on the right");
  for (const side of [left, right]) await side.getByTestId("online").click();
  await right.getByTestId("row").getByText("Written on the left").waitFor({ state: "attached" });
  await left.getByTestId("row").getByText("Written on the right").waitFor({ state: "attached" });
  await page.waitForFunction(() =>
    [...document.querySelectorAll("iframe")].every(({ contentDocument: side }) =>
      side.getElementById("title").value === "Written on the left" && side.getElementById("body").value === "Written on the right"));
});

withTwo("what comes while the page is being opened is on it", async ({ ada }) => {
  let listen;
  const wanted = new Promise((done) => (listen = done));
  await ada.page.goto("about:blank");
  await ada.page.route("**/api/events", async (route) => {
    await wanted;
    await route.continue();
  });
  await ada.page.goto(ada.url);
  await ada.page.locator("[data-testid=list][data-total]").waitFor();
  await ada.hasNote("Meanwhile");
  listen();
  await ada.row("Meanwhile").waitFor();
});

withTwo("at phone width all of a note is on the screen, also while it says who edits it", async ({ ada, ben }) => {
  const width = 360;
  await ben.page.setViewportSize({ width, height: 740 });
  const note = await ada.hasNote("Shopping", "Bread.");
  await Promise.all([ada.open(note), ben.open(note)]);
  await ada.typeAtEnd("body", " Butter.");
  await ben.at("remote").getByText("Ada edited this note").waitFor();
  for (const id of ["back", "delete", "title", "body", "online"]) {
    const { x, width: wide } = await ben.at(id).boundingBox();
    assert.ok(x >= 0 && x + wide <= width, `${id}: from ${x} to ${x + wide}`);
  }
});

withTwo("a search finds the words that either has written, by their beginnings, in bodies", async ({ ada, ben }) => {
  await ada.hasNote("Fruit", "apples, quinces and plums");
  const tree = await ben.hasNote("Garden", "a tree");
  await ben.open(tree);
  await ben.typeAtEnd("body", " of quinces");
  await ada.row("Garden").getByText("a tree of quinces").waitFor();
  await ada.hasNote("Tools", "a spade");
  for (const person of [ada, ben]) {
    await person.row("Tools").waitFor();
    await person.at("search").fill("quin");
    await person.counts(person.at("row"), 2);
    assert.deepEqual((await person.at("row-title").allTextContents()).sort(), ["Fruit", "Garden"]);
    await person.row("Fruit").getByText("quinces").waitFor();
    await person.at("search").fill("quinces plu");
    await person.counts(person.at("row"), 1);
    await person.row("Fruit").waitFor();
    await person.at("search").fill("\"nothing* AND (");
    await person.at("empty").waitFor();
    await person.counts(person.at("row"), 0);
  }
});

withTwo("everything can be done with the keyboard alone", async ({ ada, ben }) => {
  const { keyboard } = ada.page;
  await keyboard.press("n");
  await ada.focused("title");
  await keyboard.type("Now");
  await keyboard.press("Enter");
  await ada.focused("body");
  await keyboard.type("n / n");
  await keyboard.press("Escape");
  await ada.at("editor").waitFor({ state: "hidden" });
  await ben.row("Now").waitFor();
  await keyboard.press("n");
  await ada.focused("title");
  await keyboard.type("Then");
  await keyboard.press("Escape");
  await ada.row("Then").waitFor();

  await keyboard.press("/");
  await ada.focused("search");
  await keyboard.type("now");
  await ada.counts(ada.at("row"), 1);
  await keyboard.press("Tab");
  await keyboard.press("Escape");
  await keyboard.press("/");
  await ada.focused("search");
  await keyboard.press("Escape");
  await ada.row("Then").waitFor();
  assert.equal(await ada.at("search").inputValue(), "", "Escape takes the search away");

  await keyboard.press("/");
  await keyboard.press("ArrowDown");
  await ada.page.waitForFunction(() => document.activeElement?.matches("li:first-child > .row"));
  await keyboard.press("ArrowDown");
  await ada.page.waitForFunction(() => document.activeElement?.closest("li")?.previousElementSibling);
  await keyboard.press("ArrowUp");
  await ada.page.waitForFunction(() => document.activeElement?.matches("li:first-child > .row"));
  await keyboard.press("Enter");
  await ada.at("editor").waitFor();

  await ada.enter("online");
  await keyboard.press("Space");
  await ada.is("off");
  assert.equal(await ada.at("online").getAttribute("aria-checked"), "false");
  await keyboard.press("Space");
  await ada.is("online");
  assert.equal(await ada.at("online").getAttribute("aria-checked"), "true");
});

const EVIL = `<img src=x onerror="document.title='caught'"><script>document.title='caught'</script>`;

withTwo("whatever people write is shown as text and never as HTML", async ({ folder, program, stage, ada, ben }) => {
  const alone = stage.runs(await Program.alone(join(folder, "evil.db"), program.relay, EVIL));
  const evil = await stage.person(alone.url);
  await evil.visit();
  const { id: notebook } = await evil.api("POST", "notebooks", { name: EVIL });
  const { id: note } = await evil.api("POST", "notes", { title: EVIL, body: EVIL, notebook });
  await evil.api("PUT", `notes/${note}/tags/${encodeURIComponent(EVIL)}`);
  await evil.api("POST", `notes/${note}/items`, { text: EVIL });
  await ada.row(EVIL).waitFor();
  // In conflict, so that the person's name is shown; and in a notebook that waits.
  await Promise.all([evil.goOffline(), ada.goOffline()]);
  await evil.api("PATCH", `notes/${note}`, { title: `${EVIL} 1` });
  await evil.api("POST", "notebooks", { name: `${EVIL} 1` });
  await ada.api("PATCH", `notes/${note}`, { title: `${EVIL} 2` });
  await ada.api("POST", "notebooks", { name: `${EVIL} 1` });
  await Promise.all([evil.goOnline(), ada.goOnline()]);
  for (const person of [evil, ada, ben]) {
    await person.open(note);
    await person.readsAll("title", EVIL);
    await person.reads("body", EVIL);
    await person.at("tag", { hasText: EVIL }).waitFor();
    await person.at("row-excerpt", { hasText: EVIL }).first().waitFor();
    await person.page.locator("[data-testid=filter][data-kind=notebook]", { hasText: EVIL }).first().waitFor();
    await person.at("version", { hasText: `${EVIL} · ` }).waitFor();
    await person.at("parked", { hasText: `${EVIL} 1` }).waitFor();
    if (person !== evil) await person.at("others").getByText(EVIL).waitFor({ state: "attached" });
    await person.at("attention").click();
    await person.at("conflicts-dialog").getByTestId("version").first().waitFor();
    await person.at("search").evaluate((search, text) => {
      search.value = text;
      search.dispatchEvent(new Event("input"));
    }, EVIL);
    await person.counts(person.at("row"), 1);
    assert.equal(await person.page.locator("body img, body script").count(), 0, "nothing became an element");
    assert.doesNotMatch(await person.page.title(), /^caught/);
  }
  await evil.at("person").getByText(EVIL).waitFor();
});

withTwo("a page of somebody else's in the same browser can neither write nor read notes", async ({ t, program, stage, ada }) => {
  const server = createServer((_, response) => response.end("<!doctype html><title>elsewhere</title>"));
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  t.after(() => server.close());
  const page = await stage.page();
  // As another site on this machine, and as another site.
  for (const host of ["127.0.0.1", "localhost"]) {
    await page.goto(`http://${host}:${server.address().port}/`);
    const answered = page.waitForEvent("response", (response) => response.url().endsWith("api/notes"));
    await page.evaluate((url) => {
      // What a browser sends to anywhere without asking first.
      fetch(url, { method: "POST", mode: "no-cors", body: JSON.stringify({ title: "smuggled" }) }).catch(() => {});
    }, `${program.url}a/api/notes`);
    assert.equal((await answered).status(), 403, host);
    const read = await page.evaluate((url) => fetch(url).then(() => "read", () => "refused"), `${program.url}a/api/state`);
    assert.equal(read, "refused", host);
  }
  const { hostname, port } = new URL(program.url);
  const ask = (headers) =>
    new Promise((done, failed) => {
      request({ hostname, port, path: "/a/api/state", headers }, (response) => {
        response.resume();
        done(response.statusCode);
      }).on("error", failed).end();
    });
  assert.equal(await ask({ origin: "https://example.org" }), 403);
  assert.equal(await ask({ origin: "null" }), 403);
  assert.equal(await ask({ host: `notes.example.org:${port}` }), 403, "a name of somebody else's that leads here");
  assert.equal(await ask({ origin: new URL(program.url).origin }), 200);
  await ada.counts(ada.row("smuggled"), 0);
  const { notes } = await ada.api("GET", "notes?limit=1000");
  assert.ok(notes.every(({ title }) => title !== "smuggled"));
});
