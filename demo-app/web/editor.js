// The note that is open, on the page: every control of it is wired here to the OpenNote behind it.

import * as api from "./api.js";
import { COLOURS, known } from "./colours.js";
import { drawConflicts } from "./conflicts.js";
import { byId, each, h, icon, pressedTwice, setText, showIn, stamp, toast } from "./dom.js";
import { OpenNote } from "./open-note.js";
import { fillFace, makeFace } from "./status.js";
import { TextField } from "./text-field.js";
import { ago } from "./words.js";

const STATES = { saved: "Saved", unsaved: "Edited", saving: "Saving…", trouble: "Not saved yet" };

const ABSENT = "absent";

// Presence is forgotten by the others unless it is said again.
const PRESENCE_MS = 20_000;

// Somebody who types is announced once in a while, not with every letter.
const ANNOUNCE_MS = 8000;

// Who has typed so lately is writing, though all of it may be saved.
const WRITING_MS = 4000;

export class Editor {
  #open = null;
  #wanted = null;
  // The note that was deleted and goes on as another, until that is there.
  #moving = null;
  // Takes back what "Delete" asks.
  #disarm;
  #note = null;
  #notebooks = new Map();
  #others = [];
  #known = new Map();
  #announced = 0;
  // A title is one line: what is pasted into it loses its line breaks.
  #title = new TextField(byId("title"), (text) => this.#type(() => this.#open?.typeTitle(oneLine(text))));
  #body = new TextField(byId("body"), (text) => this.#type(() => this.#open?.typeBody(text)));
  #typed = 0;
  #composing = false;
  #go;

  // `go` is called with the id of the note that is open from now on, or with null where the open one is no longer there.
  constructor(go) {
    this.#go = go;
    this.#wireTexts();
    this.#wireButtons();
    this.#wireLists();
    setInterval(() => this.#open && this.#tell(this.#open.id), PRESENCE_MS);
    addEventListener("pagehide", () => this.#goAway());
    // The browser asks whether to leave what could not be saved yet.
    addEventListener("beforeunload", (event) => byId("editor").dataset.saved === "trouble" && event.preventDefault());
    document.addEventListener("visibilitychange", () => document.hidden && this.#open?.flush());
  }

  get id() {
    return this.#open?.id ?? null;
  }

  // Opens a note; throws what the server says if it is not there.
  async open(id, focus) {
    this.#wanted = id;
    if (this.id === id || this.#moving === id) return;
    const note = await api.note(id);
    // Another one was chosen while this was on its way.
    if (this.#wanted !== id) return;
    // It was asked for twice, since it changed while it was on its way, and the other answer came first. To open it again
    // would take away what has been typed into it; so it is loaded like any note that changed.
    if (this.id === id) return this.#open.changed();
    this.close();
    this.#wanted = id;
    byId("blank").hidden = true;
    byId("editor").hidden = false;
    byId("editor").dataset.note = id;
    this.#title.open(note.title ?? "");
    this.#body.open(note.body ?? "");
    byId("page").scrollTop = 0;
    byId("tag-new").value = byId("item-new").value = "";
    setText(byId("remote"), "");
    this.#state("saved");
    this.#open = new OpenNote(note, api, this.#view(id));
    this.#drawHere();
    this.#tell(id);
    if (focus) byId("title").focus();
    // Where the list is not there any more, the focus went with it.
    else if (document.activeElement === document.body) byId("editor").focus({ preventScroll: true });
  }

  close() {
    this.#wanted = null;
    this.#open?.close();
    this.#clear();
  }

  #clear() {
    if (!this.#open && !this.#moving) return;
    this.#open = this.#note = null;
    this.#disarm();
    byId("editor").hidden = true;
    byId("blank").hidden = false;
    delete byId("editor").dataset.note;
    this.#tell(null);
  }

  // The note may have changed, here or (`remote`) elsewhere.
  changed(remote) {
    this.#open?.changed();
    if (remote) this.#announce();
  }

  others(people) {
    this.#others = people;
    for (const other of people) this.#known.set(other.person, other);
    this.#drawHere();
  }

  notebooks(notebooks) {
    this.#notebooks = new Map(notebooks.map(({ id, name }) => [id, name]));
    const none = { id: "", name: "No notebook" };
    // One that a note is in and that is not here waits for a name, or was deleted elsewhere.
    const absent = { id: ABSENT, name: "A notebook that is not here" };
    each(byId("notebook"), [none, ...notebooks, absent], ({ id }) => id, () => h("option"), (option, { id, name }) => {
      option.value = id;
      option.hidden = option.disabled = id === ABSENT;
      setText(option, name);
    });
    if (this.#note) this.#drawNotebooks(this.#note);
  }

  #view(id) {
    return {
      note: (note) => this.#draw(note),
      title: (text) => this.#title.show(text, this.#elsewhere().colour),
      body: (text) => this.#body.show(text, this.#elsewhere().colour),
      state: (word) => this.#state(word),
      gone: (unsaved) => this.#gone(id, unsaved),
      trouble: (error) => toast(error.status ? error.message : "The notes program does not answer. Is it running?"),
    };
  }

  #state(word) {
    byId("editor").dataset.saved = word;
    setText(byId("saved"), STATES[word]);
  }

  #type(call) {
    this.#typed = Date.now();
    call();
  }

  // Deleted elsewhere. What was typed into it meanwhile is not thrown away, and nobody is stopped in the middle of a word.
  async #gone(id, unsaved) {
    if (this.id === id) {
      if (unsaved || Date.now() - this.#typed < WRITING_MS) return this.#goOn(id);
      this.close();
      this.#go(null);
    }
    if (!unsaved?.title && !unsaved?.body) return toast("This note was deleted.");
    await api.addNote(unsaved).then(
      () => toast("This note was deleted while you wrote. Your text is in a new one."),
      (error) => toast(error.message),
    );
  }

  // The note that is no longer there goes on as a new one, with all that it had. What is typed until that is there stays
  // in the texts.
  async #goOn(id) {
    const { notebook, colour, pinned, tags, items } = this.#note;
    const begun = { title: oneLine(byId("title").value), body: byId("body").value };
    this.#open = null;
    this.#moving = id;
    try {
      const note = await api.addNote({ ...begun, notebook: notebook ?? undefined });
      await api.patchNote(note.id, { colour, pinned: Boolean(pinned) });
      for (const tag of tags) await api.addTag(note.id, tag);
      for (const { text } of items) await api.addItem(note.id, text);
      const made = await api.note(note.id);
      for (const [at, { done }] of items.entries()) if (done) await api.patchItem(made.items[at].id, { done: true });
      toast("This note was deleted while you wrote. It goes on as a new one.");
      if (this.#wanted !== id) return;
      this.#wanted = note.id;
      byId("editor").dataset.note = note.id;
      this.#open = new OpenNote({ ...made, ...begun }, api, this.#view(note.id));
      if (this.#composing) this.#open.compose(true);
      this.#go(note.id);
      this.#tell(note.id);
      const now = { title: oneLine(byId("title").value), body: byId("body").value };
      if (now.title !== begun.title) this.#open.typeTitle(now.title);
      if (now.body !== begun.body) this.#open.typeBody(now.body);
      this.#open.changed();
    } catch (error) {
      toast(error.message);
    } finally {
      this.#moving = null;
    }
  }

  #goAway() {
    this.#open?.leave();
    if (this.#open) this.#tell(null);
  }

  // Not worth a word to the person if it fails: it is said again in a moment.
  #tell(note) {
    api.setPresence(note).catch(() => {});
  }

  // Who it probably was: the one who has this note open, or else the only other one who has been here. (After a time
  // offline the edits come in before it is known who is here.)
  #elsewhere() {
    const here = this.#others.filter((other) => other.note === this.id);
    const likely = here.length ? here : [...this.#known.values()];
    return likely.length === 1 ? likely[0] : { person: "Somebody", colour: "var(--ink-2)" };
  }

  #announce() {
    const now = Date.now();
    if (now - this.#announced < ANNOUNCE_MS) return;
    this.#announced = now;
    setText(byId("remote"), `${this.#elsewhere().person} edited this note`);
    setTimeout(() => setText(byId("remote"), ""), ANNOUNCE_MS - 1000);
  }

  #wireTexts() {
    const title = byId("title");
    const body = byId("body");
    title.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.isComposing) return;
      event.preventDefault();
      body.focus();
    });
    for (const area of [title, body]) {
      area.addEventListener("compositionstart", () => this.#compose(true));
      area.addEventListener("compositionend", () => this.#compose(false));
      area.addEventListener("blur", () => this.#open?.flush());
    }
  }

  #compose(active) {
    this.#composing = active;
    this.#open?.compose(active);
  }

  #wireButtons() {
    const click = (id, call) => byId(id).addEventListener("click", () => this.#do(call));
    click("like", (note) => api.like(note.id));
    click("pin", (note) => api.patchNote(note.id, { pinned: !note.pinned }));
    click("archive", (note) => api.patchNote(note.id, { archived: !note.archived }));
    this.#disarm = pressedTwice(byId("delete"), () => this.#delete());
    byId("notebook").addEventListener("change", (event) => {
      const notebook = event.target.value || null;
      // What redraws the names before the answer comes keeps the choice.
      this.#note = { ...this.#note, notebook };
      this.#do((note) => api.patchNote(note.id, { notebook }));
    });
    byId("swatches").append(...COLOURS.map((colour) => this.#swatch(colour)));
  }

  #wireLists() {
    byId("tag-form").addEventListener("submit", (event) => {
      const tag = taken(event, "tag-new").replace(/^#/, "");
      if (tag) this.#do((note) => api.addTag(note.id, tag));
    });
    byId("item-form").addEventListener("submit", (event) => {
      const text = taken(event, "item-new");
      if (text) this.#do((note) => api.addItem(note.id, text));
    });
  }

  #swatch(colour) {
    const data = { testid: "colour", colour };
    const button = h("button", { class: "swatch", title: colour, data, aria: { label: colour } });
    button.addEventListener("click", () => this.#do((note) => api.patchNote(note.id, { colour })));
    return button;
  }

  #do(call) {
    const note = this.#note;
    return this.#open?.perform(() => call(note));
  }

  #delete() {
    const open = this.#open;
    this.#do(async (note) => {
      await api.deleteNote(note.id);
      open.drop();
      if (this.#open !== open) return;
      this.#clear();
      this.#go(null);
    });
  }

  // Everything of the note but its two texts, which have their own way onto the page.
  #draw(note) {
    this.#note = note;
    byId("editor").dataset.colour = known(note.colour);
    setText(byId("likes"), note.likes ? String(note.likes) : "");
    byId("like").setAttribute("aria-label", `Like. ${note.likes} so far`);
    byId("pin").setAttribute("aria-pressed", String(Boolean(note.pinned)));
    byId("archive").setAttribute("aria-pressed", String(Boolean(note.archived)));
    for (const swatch of byId("swatches").children) {
      swatch.setAttribute("aria-pressed", String(swatch.dataset.colour === known(note.colour)));
    }
    setText(byId("dates"), `Written ${ago(note.created)}, edited ${ago(note.edited)}`);
    each(byId("tags"), note.tags, (tag) => tag, (tag) => this.#makeTag(tag), () => {});
    each(byId("items"), note.items, (item) => item.id, (item) => this.#makeItem(item), fillItem);
    this.#drawNotebooks(note);
  }

  // What of the note has names of notebooks in it.
  #drawNotebooks({ notebook, conflicts }) {
    byId("notebook").value = this.#notebooks.has(notebook) ? notebook : notebook ? ABSENT : "";
    inPlace(() => drawConflicts(byId("conflicts"), conflicts ?? [], this.#notebooks, true));
  }

  #drawHere() {
    const here = this.#others.filter((other) => other.note === this.id);
    each(byId("here"), here, (other) => other.person, makeFace, fillFace);
  }

  #makeTag(tag) {
    const label = `Remove the tag ${tag}`;
    const remove = h("button", { data: { testid: "tag-remove" }, aria: { label } }, icon("close"));
    remove.addEventListener("click", () => this.#do((note) => api.removeTag(note.id, tag)));
    return h("li", { class: "tag", data: { testid: "tag", tag } }, `#${tag}`, remove);
  }

  #makeItem({ id }) {
    const item = stamp("t-item");
    const [done, text, remove] = item.children;
    done.addEventListener("change", () => this.#do(() => api.patchItem(id, { done: done.checked })));
    text.addEventListener("change", () => {
      const { value } = text;
      this.#do(() => api.patchItem(id, { text: value }));
    });
    text.addEventListener("keydown", (event) => this.#itemKey(event, id));
    remove.addEventListener("click", () => this.#do(() => api.deleteItem(id)));
    return item;
  }

  // Enter goes on to the next; Alt with an arrow moves the item past its neighbour.
  #itemKey(event, id) {
    if (event.key === "Enter") byId("item-new").focus();
    const by = event.altKey && { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const { items } = this.#note;
    const to = items.findIndex((item) => item.id === id) + by;
    if (!items[to]) return;
    // Between two others there is always room, and nobody else's place has to change.
    const beyond = items[to + by]?.position ?? items[to].position + 2 * by;
    this.#do(() => api.patchItem(id, { position: (items[to].position + beyond) / 2 }));
  }
}

const oneLine = (text) => text.replace(/\n/g, " ");

// Changes something above the texts, and leaves the one that is being written where it is on the screen.
function inPlace(change) {
  const text = document.activeElement;
  if (text !== byId("title") && text !== byId("body")) return change();
  const before = text.getBoundingClientRect().top;
  change();
  byId("page").scrollTop += text.getBoundingClientRect().top - before;
}

function fillItem(item, { text, done }) {
  const [box, field, remove] = item.children;
  item.classList.toggle("is-done", Boolean(done));
  box.checked = Boolean(done);
  box.setAttribute("aria-label", `Done: ${text}`);
  field.setAttribute("aria-label", text || "Empty item");
  remove.setAttribute("aria-label", `Delete ${text}`);
  // Saved when the field is left.
  showIn(field, text);
}

// What was typed into a form's one field, which is empty afterwards.
function taken(event, id) {
  event.preventDefault();
  const value = byId(id).value.trim();
  byId(id).value = "";
  return value;
}
