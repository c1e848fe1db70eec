// The notes of one person: puts list, editor and status bar together and tells each what happened.
//
// Read on in: api.js (the server), open-note.js with draft.js and merge.js (saving as one types, while others type),
// editor.js, list.js, status.js, conflicts.js, parked.js.

import * as api from "./api.js";
import { showAllConflicts } from "./conflicts.js";
import { attempt, byId, steadily, toast } from "./dom.js";
import { Editor } from "./editor.js";
import { List } from "./list.js";
import { drawNotebooks, setUpNotebooks } from "./notebooks.js";
import { drawParked, showParked } from "./parked.js";
import { StatusBar } from "./status.js";

const STATE_PAUSE_MS = 400;

const status = new StatusBar();
const list = new List();
const editor = new Editor(go);
let notebooks = new Map();
let conflicts = 0;
let parked = 0;
let fresh = false;

// The note that is open is in the address, after the "#": so it is there after a reload, and "back" works.
const wanted = () => /^#note\/(.+)$/.exec(location.hash)?.[1] ?? null;

function go(id) {
  const hash = id === null ? "#" : `#note/${encodeURIComponent(id)}`;
  if (location.hash !== hash) location.hash = hash;
}

async function route() {
  const id = wanted() && decodeURIComponent(wanted());
  document.body.dataset.screen = id ? "note" : "list";
  byId("conflicts-dialog").close();
  list.opened(id);
  if (!id) return editor.close();
  try {
    await editor.open(id, fresh);
  } catch (error) {
    // Perhaps it is still on its way here: `changed` tries again.
    if (error.status !== 404) toast(error.message);
    document.body.dataset.screen = "list";
  }
  fresh = false;
}

const refreshState = steadily(async () => {
  const state = await api.state();
  notebooks = new Map(state.notebooks.map(({ id, name }) => [id, name]));
  status.person(state.person);
  list.filters(state);
  editor.notebooks(state.notebooks);
  drawNotebooks(state.notebooks);
  showStatus(state.status);
}, STATE_PAUSE_MS);

function showStatus(now) {
  status.show(now);
  if (now.parked !== parked) parkedChanged();
  if (now.conflicts !== conflicts) conflictsChanged();
  ({ parked, conflicts } = now);
}

// Where one's own version is the one that shows, nothing of the note has changed: no event tells that there is another.
function conflictsChanged() {
  editor.changed(false);
  list.refresh();
  if (byId("conflicts-dialog").open) showAllConflicts(notebooks);
}

function parkedChanged() {
  showParked();
  if (byId("conflicts-dialog").open) showAllConflicts(notebooks);
}

function changed({ origin, notes, tables }) {
  const id = wanted() && decodeURIComponent(wanted());
  if (id && (notes === null || notes.includes(id))) {
    if (editor.id === id) editor.changed(origin === "remote");
    else route();
  }
  list.refresh();
  refreshState();
  if (parked && tables?.includes("notebooks")) showParked();
}

function reload() {
  editor.changed(false);
  list.refresh();
  refreshState();
}

async function newNote() {
  const note = await attempt(api.addNote({ notebook: list.notebook ?? undefined }));
  if (!note) return;
  byId("search").value = "";
  fresh = true;
  go(note.id);
}

// Keys work where nobody is typing; Escape works everywhere.
function key(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.key === "Escape" && !event.isComposing) return back();
  if (event.target.closest("input, textarea, select")) return;
  const act = { n: newNote, "/": () => byId("search").focus() }[event.key];
  if (!act) return;
  event.preventDefault();
  act();
}

function back() {
  const search = byId("search");
  if (document.activeElement === search) {
    search.value = "";
    search.dispatchEvent(new Event("input"));
    search.blur();
    return;
  }
  go(null);
}

byId("new").addEventListener("click", newNote);
byId("back").addEventListener("click", back);
byId("attention").addEventListener("click", () => showAllConflicts(notebooks));
byId("conflicts-dialog").addEventListener("close", () => drawParked(byId("all-parked"), []));
addEventListener("hashchange", route);
addEventListener("keydown", key);
setUpNotebooks();

api.listen({
  changed,
  status: showStatus,
  presence(people) {
    status.others(people);
    list.others(people);
    editor.others(people);
  },
  missed: reload,
  lost(lost) {
    status.lost(lost);
    if (!lost) reload();
  },
});

refreshState();
list.refresh();
route();
