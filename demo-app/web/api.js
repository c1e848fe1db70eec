// The server's HTTP API, one function a call. Addresses are relative: a node is served at "/", "/a/" or "/b/".

// A request may outlive its page, so that the last words are saved; browsers allow that up to 64 KB, and a letter of
// what is sent takes up to three bytes.
const OUTLIVES_PAGE = 20_000;

export class ApiError extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

export async function call(method, path, body) {
  const text = body === undefined ? undefined : JSON.stringify(body);
  const response = await fetch(path, {
    method,
    body: text,
    headers: text === undefined ? {} : { "content-type": "application/json" },
    keepalive: method !== "GET" && (text ?? "").length < OUTLIVES_PAGE,
  });
  const answer = await response.json().catch(() => null);
  if (!response.ok) throw new ApiError(response.status, answer?.error ?? `The server answered ${response.status}.`);
  return answer;
}

const at = (strings, ...parts) => String.raw({ raw: strings }, ...parts.map(encodeURIComponent));

export const state = () => call("GET", "api/state");
export const notes = (query) => call("GET", `api/notes?${new URLSearchParams(query)}`);
export const note = (id) => call("GET", at`api/notes/${id}`);
export const addNote = (note) => call("POST", "api/notes", note);
export const patchNote = (id, change) => call("PATCH", at`api/notes/${id}`, change);
export const deleteNote = (id) => call("DELETE", at`api/notes/${id}`);
export const like = (id) => call("POST", at`api/notes/${id}/like`);

// `base` is the text that the editor had from the server, `text` what became of it here; the answer has what the two
// come to with everybody else's edits.
export const saveBody = (id, written) => call("PUT", at`api/notes/${id}/body`, written);

export const addTag = (id, tag) => call("PUT", at`api/notes/${id}/tags/${tag}`);
export const removeTag = (id, tag) => call("DELETE", at`api/notes/${id}/tags/${tag}`);
export const addItem = (id, text) => call("POST", at`api/notes/${id}/items`, { text });
export const patchItem = (item, change) => call("PATCH", at`api/items/${item}`, change);
export const deleteItem = (item) => call("DELETE", at`api/items/${item}`);

export const addNotebook = (name) => call("POST", "api/notebooks", { name });
export const renameNotebook = (id, name) => call("PATCH", at`api/notebooks/${id}`, { name });
export const deleteNotebook = (id) => call("DELETE", at`api/notebooks/${id}`);

export const conflicts = () => call("GET", "api/conflicts");
// `seen` are the values that the person chooses between.
export const choose = (note, column, value, seen) =>
  call("POST", "api/conflicts/choose", { note, column, value, seen });
export const parked = () => call("GET", "api/parked");
export const setOnline = (online) => call("POST", "api/online", { online });
export const setPresence = (note) => call("PUT", "api/presence", { note });

// What happens from now on: `on` has a function for each kind of event, and `lost`, called with true when the server
// cannot be reached and with false when it is back (then anything may have changed).
export function listen(on, broken = false) {
  const source = new EventSource("api/events");
  for (const kind of ["changed", "status", "presence", "missed"]) {
    source.addEventListener(kind, (event) => on[kind](event.data ? JSON.parse(event.data) : null));
  }
  source.addEventListener("open", () => {
    // Before it listened nothing told it what changed.
    if (broken) on.lost(false);
    else on.missed();
    broken = false;
  });
  source.addEventListener("error", () => {
    broken = true;
    on.lost(true);
    // The browser tries again by itself unless it got an answer that is no stream.
    if (source.readyState === EventSource.CLOSED) setTimeout(() => listen(on, true), 1000);
  });
}
