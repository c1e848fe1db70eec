// Rows that wait: two people's writes that were each allowed break a rule together, such as two notebooks of one name.

import * as api from "./api.js";
import { attempt, byId, each, h, setText, stamp } from "./dom.js";

export async function showParked() {
  const rows = await attempt(api.parked());
  if (rows) drawParked(byId("parked"), rows);
}

export function drawParked(parent, rows) {
  each(parent, rows, (row) => `${row.table} ${row.key}`, makeParked, (section, row) => {
    setText(section.querySelector("h3 span"), `“${row.name}” is waiting`);
    setText(section.querySelector("p"), inWords(row));
    setText(section.querySelector("small"), row.reason);
  });
}

function inWords({ table, repair }) {
  if (table !== "notebooks" || repair.length === 0) {
    return "It does not fit with what somebody else wrote. Nothing of it is lost, and it comes back when it fits.";
  }
  return (
    "Somebody made a notebook of this name while you were apart, and two cannot have one name. " +
    "Nothing in it is lost: rename it, or put the two together."
  );
}

function makeParked(row) {
  const section = stamp("t-parked");
  section.dataset.table = row.table;
  section.dataset.parkedKey = row.key;
  section.querySelector(".repair").append(...row.repair.map(makeRepair));
  return section;
}

// A button that repairs it; where a new name would, with the name that is suggested, to be changed first.
function makeRepair({ label, method, path, body }) {
  const form = h("form");
  const name =
    typeof body?.name === "string" &&
    h("input", { value: body.name, data: { testid: "parked-name" }, aria: { label: "New name" } });
  if (name) form.append(name);
  form.append(h("button", { class: "soft", data: { testid: "repair", label } }, label));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(api.call(method, path, name ? { ...body, name: name.value } : body ?? undefined));
  });
  return form;
}
