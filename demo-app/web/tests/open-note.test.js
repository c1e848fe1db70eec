import assert from "node:assert/strict";
import { test } from "node:test";
import { OpenNote } from "../open-note.js";

// A server with one note. It answers when told to: `answer()` lets the next request through, `fail()` breaks it.
class Server {
  constructor(body = "", title = "") {
    this.row = { id: "1", title, body };
    this.requests = [];
    this.log = [];
    // What a title that is saved comes to.
    this.merged = (title) => title;
  }

  #request(name, work) {
    this.log.push(name);
    return new Promise((done, failed) => {
      this.requests.push({
        answer: () => done(work()),
        // What is lost is the answer: the work is done.
        lose: () => (work(), failed(new TypeError("no network"))),
        fail: (status) => failed(Object.assign(new Error("refused"), status ? { status } : {})),
      });
    });
  }

  note() {
    return this.#request("load", () => ({ ...this.row }));
  }

  saveBody(_id, { base, text, save }) {
    return this.#request(`body ${base}→${text}`, () => {
      const from = this.saved?.save === save ? this.saved.text : base;
      this.saved = { save, text };
      this.row.body = this.row.body === from ? text : together(from, text, this.row.body);
      return { body: this.row.body };
    });
  }

  patchNote(_id, change) {
    const { title_bases, ...columns } = change;
    this.sent = change;
    return this.#request(`patch ${Object.values(columns)}`, () => {
      Object.assign(this.row, columns);
      if (columns.title) this.row.title = this.merged(columns.title);
      return { ...this.row };
    });
  }

  async next(how, argument) {
    const request = this.requests.shift();
    assert.ok(request, `a request is under way; so far: ${this.log.join(", ")}`);
    request[how](argument);
    await settled();
  }

  async all() {
    while (this.requests.length) await this.next("answer");
  }
}

// Enough of a merge for these tests: what was added at the end by each, once.
function together(base, text, now) {
  const mine = text.slice(base.length);
  const theirs = now.slice(base.length);
  return base + theirs + (mine.startsWith(theirs) ? mine.slice(theirs.length) : mine);
}

const settled = () => new Promise((done) => setImmediate(done));

function open(server) {
  const shown = { body: server.row.body, title: server.row.title, notes: [], states: [], gone: [], troubles: [] };
  const note = new OpenNote({ ...server.row }, server, {
    note: (note) => shown.notes.push(note),
    title: (text) => (shown.title = text),
    body: (text) => (shown.body = text),
    state: (word) => shown.states.push(word),
    gone: (unsaved) => shown.gone.push(unsaved),
    trouble: (error) => shown.troubles.push(error.message),
  });
  const type = (text) => note.typeBody((shown.body = text));
  return { note, shown, type };
}

function clock(context) {
  context.mock.timers.enable({ apis: ["setTimeout", "Date"] });
  return async (ms) => {
    context.mock.timers.tick(ms);
    await settled();
  };
}

test("typing is saved a quarter of a second after the last key", async (context) => {
  const pass = clock(context);
  const server = new Server();
  const { type, shown } = open(server);
  type("a");
  await pass(200);
  type("ab");
  await pass(200);
  assert.deepEqual(server.log, []);
  await pass(50);
  assert.deepEqual(server.log, ["body →ab"]);
  await server.all();
  assert.equal(shown.states.at(-1), "saved");
});

test("who does not stop typing is saved each second", async (context) => {
  const pass = clock(context);
  const server = new Server();
  const { type } = open(server);
  for (let count = 1; count <= 10; count++) {
    type("x".repeat(count));
    await pass(100);
  }
  assert.equal(server.log.length, 1);
});

test("one save is under way at a time, and what was typed meanwhile follows from what was sent", async () => {
  const server = new Server();
  const { note, type, shown } = open(server);
  type("a");
  note.flush();
  type("ab");
  note.flush();
  assert.deepEqual(server.log, ["body →a"]);
  await server.next("answer");
  assert.deepEqual(server.log, ["body →a", "body a→ab"]);
  await server.all();
  assert.equal(server.row.body, "ab");
  assert.equal(shown.body, "ab");
});

test("what somebody else wrote is shown, and not undone by the next save", async () => {
  const server = new Server("milk");
  const { note, type, shown } = open(server);
  server.row.body = "bread, milk";
  type("milk, eggs");
  note.changed();
  await server.next("answer");
  assert.equal(shown.body, "bread, milk, eggs");
  note.flush();
  await server.all();
  assert.equal(server.row.body, "bread, milk, eggs");
});

test("an answer to a save brings what others wrote, and keeps what was typed meanwhile", async () => {
  const server = new Server("list:");
  const { note, type, shown } = open(server);
  type("list: milk");
  note.flush();
  server.row.body = "list: bread,";
  type("My list: milk");
  await server.next("answer");
  assert.equal(shown.body, "My list: bread, milk");
  note.flush();
  await server.all();
  assert.equal(shown.body, "My list: bread, milk");
});

test("texts that changed in one place are saved at once, for the server to merge", async () => {
  const server = new Server("list:");
  const { note, type, shown } = open(server);
  type("list: mine");
  server.row.body = "list: theirs";
  note.changed();
  await server.next("answer");
  assert.equal(shown.body, "list: mine", "what is being typed is not torn apart");
  assert.deepEqual(server.log, ["load", "body list:→list: mine"]);
  await server.all();
  assert.equal(server.row.body, "list: theirs mine");
  assert.equal(shown.body, "list: theirs mine");
});

test("a change that comes during a save is looked at after it", async () => {
  const server = new Server("a");
  const { note, type } = open(server);
  type("ab");
  note.flush();
  note.changed();
  note.changed();
  assert.deepEqual(server.log, ["body a→ab"]);
  await server.next("answer");
  assert.deepEqual(server.log, ["body a→ab", "load"]);
});

test("a save whose answer was lost is tried again and not written twice", async (context) => {
  const pass = clock(context);
  const server = new Server("");
  const { note, type, shown } = open(server);
  type("once");
  note.flush();
  await server.next("lose");
  assert.equal(shown.states.at(-1), "trouble");
  type("once only");
  await pass(500);
  await server.all();
  assert.equal(server.row.body, "once only");
  assert.equal(shown.states.at(-1), "saved");
});

test("a refused save is told and not repeated until something is typed", async (context) => {
  const pass = clock(context);
  const server = new Server("");
  const { note, type, shown } = open(server);
  type("too long");
  note.flush();
  await server.next("fail", 413);
  await pass(60_000);
  assert.deepEqual(shown.troubles, ["refused"]);
  assert.equal(server.log.length, 1);
  type("short");
  await pass(250);
  assert.equal(server.log.length, 2);
});

test("a title that is being typed is not overwritten, one that is not is", async () => {
  const server = new Server("", "Old");
  const { note, shown } = open(server);
  server.row.title = "Theirs";
  note.changed();
  await server.all();
  assert.equal(shown.title, "Theirs");
  note.typeTitle((shown.title = "Mine"));
  server.row.title = "Theirs again";
  note.changed();
  await server.next("answer");
  assert.equal(shown.title, "Mine");
  note.flush();
  await server.all();
  assert.equal(server.row.title, "Mine");
});

test("a title is saved when its writer pauses, and now and then if they do not", async (context) => {
  const pass = clock(context);
  const server = new Server();
  const { note } = open(server);
  const type = async (letters) => {
    for (let count = 1; count <= letters; count++) {
      note.typeTitle(note.title.mine + "x");
      await pass(500);
    }
  };
  await type(5);
  assert.deepEqual(server.log, []);
  await pass(100);
  assert.deepEqual(server.log, ["patch xxxxx"]);
  await server.all();
  await type(7);
  assert.equal(server.log.at(-1), `patch ${"x".repeat(11)}`, "three seconds after the first");
});

test("what a title came to is shown with the answer to its save, so that the next letter is typed into that", async () => {
  const server = new Server("", "Party");
  const { note, shown } = open(server);
  note.typeTitle((shown.title = "Party on"));
  note.flush();
  server.merged = (title) => `Big ${title}`;
  await server.next("answer");
  assert.equal(shown.title, "Big Party on");
});

test("while a word is composed in a title it stays as it is, and afterwards it has what its save came to", async () => {
  const server = new Server("", "Party");
  const { note, shown } = open(server);
  server.merged = (title) => `Big ${title}`;
  note.compose(true);
  note.typeTitle((shown.title = "Party n"));
  note.flush();
  await server.all();
  assert.equal(shown.title, "Party n");
  note.compose(false);
  await server.all();
  assert.equal(shown.title, "Big Party n");
});

test("what is typed into a title while it is saved waits for the next pause", async (context) => {
  const pass = clock(context);
  const server = new Server();
  const { note } = open(server);
  note.typeTitle("a");
  note.flush();
  note.typeTitle("ab");
  await server.all();
  assert.deepEqual(server.log, ["patch a", "load"]);
  await pass(600);
  assert.deepEqual(server.log, ["patch a", "load", "patch ab"]);
});

test("the save of a title says what it was made of, with all that was sent and not answered", async (context) => {
  const pass = clock(context);
  const server = new Server("", "Party");
  const { note } = open(server);
  note.typeTitle("Party on");
  note.flush();
  await server.next("lose");
  note.typeTitle("Party on Friday");
  await pass(500);
  await server.next("lose");
  await pass(1000);
  await server.next("fail");
  note.typeTitle("Party on Friday at 7");
  await pass(2000);
  const title_bases = ["Party", "Party on", "Party on Friday"];
  assert.deepEqual(server.sent, { title: "Party on Friday at 7", title_bases });
  await server.all();
  note.typeTitle("Party");
  note.flush();
  assert.deepEqual(server.sent.title_bases, ["Party on Friday at 7"]);
});

// The caret jumped where a title was set while its first letter was being composed: nothing was typed yet, as far as one could see.
test("a word that is begun while the note is loaded finds title and text as they were, until it is done", async () => {
  const server = new Server("milk", "Shopping");
  const { note, shown } = open(server);
  Object.assign(server.row, { title: "Breakfast", body: "bread" });
  note.changed();
  note.compose(true);
  await server.next("answer");
  assert.deepEqual([shown.title, shown.body], ["Shopping", "milk"]);
  assert.equal(shown.notes.at(-1).title, "Breakfast", "the rest of the note is drawn");
  assert.deepEqual(server.log, ["load"], "it is not asked again and again meanwhile");
  note.compose(false);
  await server.all();
  assert.deepEqual([shown.title, shown.body], ["Breakfast", "bread"]);
});

test("while a word is composed the text stays as it is; afterwards it has what came in", async () => {
  const server = new Server("text");
  const { note, shown } = open(server);
  note.compose(true);
  server.row.body = "more text";
  note.changed();
  await server.all();
  assert.equal(shown.body, "text");
  note.compose(false);
  await server.all();
  assert.equal(shown.body, "more text");
});

test("what is done to a note waits for the save before it", async () => {
  const server = new Server("a");
  const { note, type } = open(server);
  type("ab");
  note.flush();
  note.perform(() => server.patchNote("1", { pinned: true }));
  assert.deepEqual(server.log, ["body a→ab"]);
  await server.next("answer");
  assert.deepEqual(server.log, ["body a→ab", "patch true"]);
});

test("what is done to a note is not drawn over by how it was before", async () => {
  const server = new Server();
  const { note, shown } = open(server);
  note.changed();
  note.perform(() => server.patchNote("1", { pinned: true }));
  note.perform(() => server.patchNote("1", { archived: true }));
  shown.notes = [];
  await server.all();
  assert.deepEqual(server.log, ["load", "patch true", "patch true", "load"]);
  assert.ok(shown.notes.length > 0);
  for (const { pinned, archived } of shown.notes) assert.ok(pinned && archived);
});

test("a note that was deleted elsewhere is given up with what was not saved", async () => {
  const server = new Server("a");
  const { note, type, shown } = open(server);
  type("ab");
  note.flush();
  await server.next("fail", 404);
  assert.deepEqual(shown.gone, [{ title: "", body: "ab" }]);
});

test("a note that is left saves its last words and shows nothing any more", async () => {
  const server = new Server("a");
  const { note, type, shown } = open(server);
  type("ab");
  note.close();
  shown.body = "another note";
  await server.all();
  assert.equal(server.row.body, "ab");
  assert.equal(shown.body, "another note");
});

test("a note that is deleted here asks and saves nothing any more", async () => {
  const server = new Server("a");
  const { note, type } = open(server);
  type("ab");
  note.drop();
  note.changed();
  await note.flush();
  assert.deepEqual(server.log, []);
});
