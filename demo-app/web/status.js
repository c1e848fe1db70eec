// The bar at the top: who writes here, whether it travels, and who else is here.

import * as api from "./api.js";
import { attempt, byId, each, h, setText } from "./dom.js";
import { ago, count, span } from "./words.js";

const NAMES = {
  online: "Online",
  connecting: "Connecting…",
  offline: "No connection",
  refused: "Refused",
  off: "Offline",
  lost: "The notes program does not answer",
};

// "last contact" grows old without any event.
const REFRESH_MS = 10_000;

export class StatusBar {
  #status = null;
  #lost = false;

  constructor() {
    byId("online").addEventListener("click", () => this.#turn());
    setInterval(() => this.#draw(), REFRESH_MS);
  }

  person({ name, colour }) {
    document.documentElement.style.setProperty("--person", colour);
    document.title = `${name}’s notes`;
    setText(byId("person"), name);
    setText(byId("avatar"), name.slice(0, 1));
  }

  show(status) {
    this.#status = status;
    this.#draw();
  }

  lost(lost) {
    this.#lost = lost;
    this.#draw();
  }

  // Who else is here: `[{person, colour, note}]`.
  others(people) {
    each(byId("others"), people, (other) => other.person, makeFace, fillFace);
  }

  async #turn() {
    const status = await attempt(api.setOnline(this.#status?.state === "off"));
    if (status) this.show(status);
  }

  #draw() {
    const status = this.#status;
    if (!status) return;
    const state = this.#lost ? "lost" : status.state;
    const bar = document.querySelector(".bar");
    bar.dataset.state = state;
    byId("online").setAttribute("aria-checked", String(status.state !== "off"));
    setText(byId("state"), NAMES[state] ?? state);
    setText(byId("detail"), this.#lost ? "what you type is sent when it does" : detail(status));
    byId("detail").dataset.unsent = status.unsent;
    this.#drawAttention(status);
  }

  #drawAttention({ conflicts, parked }) {
    const parts = [conflicts && count(conflicts, "conflict"), parked && `${parked} waiting`].filter(Boolean);
    byId("attention").hidden = parts.length === 0;
    setText(byId("attention").querySelector("span"), parts.join(", "));
  }
}

function detail(status) {
  const { state, why, unsent, lag_ms: lag, last_contact: contact, waiting } = status;
  const parts = [];
  if (why && (state === "offline" || state === "refused")) parts.push(why);
  parts.push(unsent ? `${count(unsent, "change")} unsent` : "all sent");
  if (waiting) parts.push(`${count(waiting, "change")} waiting`);
  if (state === "online" && lag >= 1) parts.push(`lag ${span(lag)}`);
  if (state !== "online") parts.push(contact ? `last contact ${ago(contact)}` : "no contact yet");
  return parts.join(" · ");
}

// A person as a disc with the first letter of the name; the whole name is for screen readers.
export function makeFace() {
  const letter = h("span", { aria: { hidden: "true" } });
  return h("li", { class: "face", data: { testid: "other" } }, letter, h("span", { class: "sr" }));
}

export function fillFace(face, { person, colour, note }) {
  face.style.setProperty("--colour", colour);
  face.title = note ? `${person} has a note open` : `${person} is here`;
  face.dataset.person = person;
  if (note) face.dataset.note = note;
  else delete face.dataset.note;
  setText(face.firstChild, person.slice(0, 1));
  setText(face.lastChild, person);
}
