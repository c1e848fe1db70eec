// The notes one can choose from: search, filters, rows.

import * as api from "./api.js";
import { byId, each, h, icon, setText, stamp, steadily } from "./dom.js";
import { known } from "./colours.js";
import { ago } from "./words.js";

// So many rows are drawn; more when one scrolls to the end of them.
const PAGE = 100;

// So near to the end, in pixels, the next ones are fetched.
const NEAR = 800;

// Between two refreshes while somebody types: the list need not follow each letter.
const PAUSE_MS = 250;

// Between the last letter of a search and the search.
const SEARCH_MS = 120;

export class List {
  #filter = { kind: "all", value: "" };
  #shown = PAGE;
  #total = 0;
  #open = null;
  #others = [];
  #notes = [];
  #notebooks = new Map();
  #timer = null;

  refresh = steadily(() => this.#load(), PAUSE_MS);

  constructor() {
    byId("search").addEventListener("input", () => this.#search());
    byId("search").addEventListener("keydown", intoList);
    byId("list").addEventListener("keydown", step);
    byId("scroll").addEventListener("scroll", () => this.#more(), { passive: true });
  }

  // What a new note is to be in: the notebook that is looked at.
  get notebook() {
    return this.#filter.kind === "notebook" ? this.#filter.value : null;
  }

  // The chips, from what there is: all, the notebooks, the tags, the archive.
  filters({ notebooks, tags }) {
    this.#notebooks = new Map(notebooks.map(({ id, name }) => [id, name]));
    const chips = [
      { kind: "all", value: "", text: "All" },
      ...notebooks.map(({ id, name, notes }) => ({ kind: "notebook", value: id, text: name, notes })),
      ...tags.map(({ tag, notes }) => ({ kind: "tag", value: tag, text: `#${tag}`, notes })),
      { kind: "archived", value: "", text: "Archive" },
    ];
    if (!chips.some((chip) => same(chip, this.#filter))) this.#choose(chips[0]);
    const name = ({ kind, value }) => `${kind} ${value}`;
    each(byId("filters"), chips, name, (chip) => this.#chip(chip), fillChip(this.#filter));
    this.#drawRows();
  }

  opened(id) {
    const last = this.#open;
    this.#open = id;
    this.#drawRows();
    // Back in the list one goes on where one was.
    if (!id && last) byId("list").querySelector(`[data-id="${CSS.escape(last)}"]`)?.focus();
  }

  others(people) {
    this.#others = people;
    this.#drawRows();
  }

  #chip(chip) {
    const button = h("button", { class: "chip", data: { testid: "filter", kind: chip.kind, value: chip.value } });
    button.append(h("span"), h("small"));
    button.addEventListener("click", () => this.#choose(chip));
    return button;
  }

  #choose({ kind, value }) {
    this.#filter = { kind, value };
    for (const chip of byId("filters").children) {
      chip.setAttribute("aria-pressed", String(same(chip.dataset, this.#filter)));
    }
    this.#fromTop();
  }

  #search() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#fromTop(), SEARCH_MS);
  }

  #fromTop() {
    this.#shown = PAGE;
    byId("scroll").scrollTop = 0;
    this.refresh();
  }

  #more() {
    const { scrollHeight, scrollTop, clientHeight } = byId("scroll");
    const isNear = scrollHeight - scrollTop - clientHeight < NEAR;
    // While more is on its way, more are to be shown than there are.
    if (!isNear || this.#shown >= this.#total || this.#shown > this.#notes.length) return;
    this.#shown += PAGE;
    this.refresh();
  }

  async #load() {
    const { kind, value } = this.#filter;
    const query = { q: byId("search").value.trim(), archived: kind === "archived" ? 1 : 0, limit: PAGE };
    if (kind === "notebook" || kind === "tag") query[kind] = value;
    const offsets = Array.from({ length: this.#shown / PAGE }, (_, page) => page * PAGE);
    const pages = await Promise.all(offsets.map((offset) => api.notes({ ...query, offset })));
    this.#total = pages[0].total;
    // A note that moved up between two requests is in both.
    this.#notes = [...new Map(pages.flatMap((page) => page.notes).map((note) => [note.id, note])).values()];
    this.#drawRows();
    this.#drawEmpty(query.q);
    byId("list").dataset.total = this.#total;
  }

  #drawRows() {
    const fill = (item, note) => this.#fillRow(item.firstElementChild, note);
    each(byId("list"), this.#notes, (note) => note.id, makeRow, fill);
    setText(byId("more"), this.#notes.length < this.#total ? "…" : "");
  }

  #fillRow(row, note) {
    row.dataset.colour = known(note.colour);
    row.classList.toggle("is-pinned", Boolean(note.pinned));
    if (note.id === this.#open) row.setAttribute("aria-current", "true");
    else row.removeAttribute("aria-current");
    setText(row.querySelector(".row-title"), note.title || "Untitled");
    row.querySelector(".row-title").classList.toggle("untitled", !note.title);
    setText(row.querySelector(".row-excerpt"), note.excerpt ?? "");
    const there = this.#others.filter((other) => other.note === note.id);
    each(row.querySelector(".row-who"), there, (other) => other.person, () => h("i"), (dot, other) =>
      dot.style.setProperty("--colour", other.colour));
    each(row.querySelector(".row-meta"), this.#meta(note), (part) => part.key, makePart, fillPart);
  }

  #meta(note) {
    const parts = [];
    const { done, total } = note.items;
    const notebook = this.#notebooks.get(note.notebook);
    if (note.conflicts) parts.push({ key: "conflict", icon: "fork", text: "two versions" });
    parts.push({ key: "time", text: ago(note.edited) });
    if (notebook !== undefined) parts.push({ key: "notebook", text: notebook });
    if (total) parts.push({ key: "items", text: `${done}/${total}`, done: done / total });
    if (note.likes) parts.push({ key: "likes", icon: "heart", text: String(note.likes) });
    for (const tag of note.tags) parts.push({ key: `tag ${tag}`, text: `#${tag}` });
    return parts;
  }

  #drawEmpty(query) {
    const [lead, hint] = byId("empty").children;
    byId("empty").hidden = this.#total > 0;
    if (query) {
      setText(lead, "Nothing found");
      setText(hint, `No note here has “${query}” in it.`);
    } else if (this.#filter.kind === "all") {
      setText(lead, "A clean desk");
      setText(hint, "Press n, or the plus, and write.");
    } else {
      setText(lead, this.#filter.kind === "archived" ? "Nothing archived" : "No notes here");
      setText(hint, "");
    }
  }
}

const same = (one, other) => one.kind === other.kind && one.value === other.value;

const fillChip = (filter) => (button, chip) => {
  setText(button.firstChild, chip.text);
  setText(button.lastChild, chip.notes === undefined ? "" : String(chip.notes));
  button.setAttribute("aria-pressed", String(same(chip, filter)));
};

function makeRow(note) {
  const item = stamp("t-row");
  item.firstElementChild.href = `#note/${encodeURIComponent(note.id)}`;
  item.firstElementChild.dataset.id = note.id;
  return item;
}

function makePart(part) {
  const kind = part.key.split(" ")[0];
  const element = h("span", { class: `part part-${kind}` });
  if (part.icon) element.append(icon(part.icon));
  if (kind === "items") element.append(h("i", { class: "ring", aria: { hidden: "true" } }));
  if (kind === "conflict") element.dataset.testid = "row-conflict";
  element.append(h("span"));
  return element;
}

function fillPart(element, part) {
  setText(element.lastChild, part.text);
  if (part.done !== undefined) element.style.setProperty("--done", part.done);
}

// Down from the search to what it found.
function intoList(event) {
  const first = byId("list").firstElementChild?.firstElementChild;
  if (event.key !== "ArrowDown" || !first) return;
  event.preventDefault();
  first.focus();
}

// Up and down among the rows.
function step(event) {
  const row = event.target.closest("li");
  const next = { ArrowDown: row?.nextElementSibling, ArrowUp: row?.previousElementSibling }[event.key];
  if (!next) return;
  event.preventDefault();
  next.firstElementChild.focus();
}
