// The dialog in which notebooks are added, renamed and deleted.

import * as api from "./api.js";
import { attempt, byId, each, h, icon, pressedTwice, showIn } from "./dom.js";
import { count } from "./words.js";

export function setUpNotebooks() {
  byId("notebooks").addEventListener("click", () => byId("notebooks-dialog").showModal());
  byId("notebook-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const input = byId("notebook-new");
    const typed = input.value;
    if (!typed.trim() || (await attempt(api.addNotebook(typed.trim()))) === undefined) return;
    // The next name may have been begun while this one was on its way.
    if (input.value === typed) input.value = "";
  });
}

export function drawNotebooks(notebooks) {
  each(byId("notebook-list"), notebooks, ({ id }) => id, make, fill);
}

function make({ id }) {
  const name = h("input", { class: "item-text", data: { testid: "notebook-name" }, aria: { label: "Name" } });
  const remove = h("button", { class: "plain", data: { testid: "notebook-delete" } }, icon("trash"));
  const row = h("li", { class: "item", data: { testid: "notebook", id } }, icon("books"), name, h("small"), remove);
  name.addEventListener("change", async () => {
    const typed = name.value;
    if (typed.trim() && (await attempt(api.renameNotebook(id, typed.trim()))) !== undefined) return;
    // Refused. What was typed since is not taken away.
    if (name.value === typed) name.value = row.dataset.name;
  });
  pressedTwice(remove, () => attempt(api.deleteNotebook(id)));
  return row;
}

function fill(row, { name, notes }) {
  showIn(row.querySelector("input"), name);
  row.dataset.name = name;
  row.querySelector("small").textContent = count(notes, "note");
  const remove = row.querySelector("button");
  if (!("armed" in remove.dataset)) remove.setAttribute("aria-label", `Delete ${name}`);
}
