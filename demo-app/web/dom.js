// Small things for building the page. Text gets into it as text only, never as HTML.

export const byId = (id) => document.getElementById(id);

// An element with properties; `class`, `data` and `aria` as one would think. Strings among the children become text.
export function h(tag, { data = {}, aria = {}, ...rest } = {}, ...children) {
  const element = document.createElement(tag);
  Object.assign(element.dataset, data);
  for (const [name, value] of Object.entries(aria)) element.setAttribute(`aria-${name}`, value);
  const { class: names, ...properties } = rest;
  if (names) element.className = names;
  Object.assign(element, properties);
  element.append(...children.filter((child) => child != null));
  return element;
}

// What a <template> of index.html holds.
export const stamp = (id) => byId(id).content.firstElementChild.cloneNode(true);

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  svg.classList.add("icon");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

// Only what differs is written: a screen reader would say it again, a caret would jump.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// field → what it was last set to, and what it is to show when nobody is in it.
const fields = new WeakMap();

// Shows `text` in a field, but never under the hands of who is in it: then it is shown when they leave it, unless they have
// typed.
export function showIn(field, text) {
  if (!fields.has(field)) {
    fields.set(field, {});
    field.addEventListener("blur", () => {
      const { set, text } = fields.get(field);
      if (field.value === set && set !== text) field.value = fields.get(field).set = text;
    });
  }
  const state = fields.get(field);
  state.text = text;
  if (document.activeElement === field && field.value !== text) return;
  state.set = text;
  if (field.value !== text) field.value = text;
}

// Makes the children of `parent` one for each thing, in order, and keeps those that are there already, with their
// focus. `make(thing)` builds one, `fill(element, thing)` shows the thing as it is now.
export function each(parent, things, key, make, fill) {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const names = things.map((thing) => String(key(thing)));
  const staying = new Set(names);
  // What goes, goes first: to move what stays around it would take the focus from it.
  for (const [name, child] of old) if (!staying.has(name)) child.remove();
  const focused = [...parent.children].find((child) => child.contains(document.activeElement));
  let next = parent.firstElementChild;
  for (const [index, thing] of things.entries()) {
    const child = old.get(names[index]) ?? make(thing);
    child.dataset.key = names[index];
    fill(child, thing);
    // A browser takes focus and caret from an element that is moved: the others are moved out of its way, and are put into
    // their places when it is their turn.
    while (child === focused && next !== child) {
      const other = next;
      next = next.nextElementSibling;
      parent.append(other);
    }
    if (child === next) next = next.nextElementSibling;
    else parent.insertBefore(child, next);
  }
}

const TOAST_MS = 7000;

export function toast(sentence) {
  const shown = h("p", { class: "toast", data: { testid: "toast" } }, sentence);
  byId("toasts").append(shown);
  setTimeout(() => shown.remove(), TOAST_MS);
}

// How long a question on a button waits for the second press.
const ARMED_MS = 3500;

// For what cannot be taken back: the first press of the button asks, the second one does it. Returns a function that takes
// the question back.
export function pressedTwice(button, act) {
  let timer = null;
  let label = null;
  const disarm = () => {
    clearTimeout(timer);
    if (!("armed" in button.dataset)) return;
    delete button.dataset.armed;
    button.setAttribute("aria-label", label);
  };
  button.append(h("span", { class: "sure", aria: { hidden: "true" } }, "Delete?"));
  button.addEventListener("click", () => {
    if ("armed" in button.dataset) {
      disarm();
      return act();
    }
    label = button.getAttribute("aria-label");
    button.dataset.armed = "";
    button.setAttribute("aria-label", `${label}? Press again`);
    timer = setTimeout(disarm, ARMED_MS);
  });
  return disarm;
}

// For what the person asked for: if it fails, say so.
export async function attempt(promise) {
  try {
    return await promise;
  } catch (error) {
    toast(error.status ? error.message : "The notes program does not answer. Is it running?");
    return undefined;
  }
}

// At most one run at a time, and one more if it was asked for meanwhile; `pause` ms between two.
export function steadily(run, pause) {
  let running = false;
  let again = false;
  return async function ask() {
    if (running) {
      again = true;
      return;
    }
    running = true;
    again = false;
    await run().catch(() => {});
    await new Promise((done) => setTimeout(done, pause));
    running = false;
    if (again) ask();
  };
}
