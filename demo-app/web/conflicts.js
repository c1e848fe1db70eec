// What was changed twice, apart: every version with who wrote it and when, and a button that settles it.

import * as api from "./api.js";
import { attempt, byId, each, h, setText, stamp } from "./dom.js";
import { known } from "./colours.js";
import { drawParked } from "./parked.js";
import { ago, count } from "./words.js";

const WHAT = {
  title: (number) => `${count(number, "version")} of the title`,
  colour: (number) => count(number, "colour"),
  pinned: () => "Pinned or not?",
  archived: () => "Archived or not?",
  notebook: (number) => count(number, "notebook"),
  other: (number, column) => `${count(number, "version")} of “${column}”`,
};

// Draws `conflicts` into `parent`. `within` is true in the note itself, which needs no link to it; `notebooks` has the
// names, since a note knows its notebook by id.
export function drawConflicts(parent, conflicts, notebooks, within) {
  const name = (conflict) => `${conflict.note} ${conflict.column}`;
  each(parent, conflicts, name, () => stamp("t-conflict"), (section, conflict) => {
    const versions = [{ ...conflict.shown, shown: true }, ...conflict.kept];
    const seen = versions.map(({ value }) => value);
    section.dataset.column = conflict.column;
    section.dataset.note = conflict.note;
    const what = (WHAT[conflict.column] ?? WHAT.other)(versions.length, conflict.column);
    setText(section.querySelector("h3 span"), within ? what : `${what}: “${conflict.title || "Untitled"}”`);
    const fill = (item, version) => draw(item, conflict, version, notebooks, seen);
    each(section.querySelector("ul"), versions, ({ value, at }) => JSON.stringify([value, at]), () => stamp("t-version"), fill);
    section.querySelector(".open").hidden = within;
    section.querySelector(".open").href = `#note/${encodeURIComponent(conflict.note)}`;
  });
}

// All that somebody should look at: conflicts, and rows that wait.
export async function showAllConflicts(notebooks) {
  const [conflicts, parked] = await Promise.all([attempt(api.conflicts()), attempt(api.parked())]);
  if (!conflicts || !parked) return;
  drawConflicts(byId("all-conflicts"), conflicts, notebooks, false);
  drawParked(byId("all-parked"), parked);
  if (conflicts.length + parked.length === 0) byId("conflicts-dialog").close();
  else if (!byId("conflicts-dialog").open) byId("conflicts-dialog").showModal();
}

function draw(item, conflict, { value, at, who, colour, shown }, notebooks, seen) {
  item.dataset.shown = String(Boolean(shown));
  item.style.setProperty("--colour", colour ?? "var(--ink-2)");
  item.querySelector(".value").replaceChildren(...inWords(conflict.column, value, notebooks));
  const parts = [who ?? (shown ? null : "Somebody"), at && ago(at), shown && "shown now"];
  setText(item.querySelector(".by"), parts.filter(Boolean).join(" · "));
  const button = item.querySelector("button");
  button.setAttribute("aria-label", `Keep “${item.querySelector(".value").textContent}”`);
  button.onclick = () => attempt(api.choose(conflict.note, conflict.column, value, seen));
}

function inWords(column, value, notebooks) {
  if (column === "colour") return [h("i", { class: "dot", data: { colour: known(value) } }), known(value)];
  if (column === "notebook") return [value == null ? "no notebook" : notebooks.get(value) ?? "a notebook that is gone"];
  if (column === "pinned" || column === "archived") return [value ? column : `not ${column}`];
  return [value == null || value === "" ? "(empty)" : String(value)];
}
