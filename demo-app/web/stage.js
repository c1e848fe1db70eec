// Opens the same note on both sides, so that the first thing one sees is two people in one paragraph.

const sides = ["a", "b"];

async function get(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.json();
}

// The name and colour of each, on its tab.
async function name(side) {
  const { person } = await get(`${side}/api/state`);
  const tab = document.getElementById(`tab-${side}`);
  tab.textContent = person.name;
  tab.style.setProperty("--person", person.colour);
  document.getElementById(`frame-${side}`).title = `${person.name}’s notes`;
}

// The one that is at the top of the list.
async function firstNote() {
  const { notes } = await get("a/api/notes?limit=1").catch(() => ({ notes: [] }));
  return notes.length ? `#note/${encodeURIComponent(notes[0].id)}` : "";
}

function show(side) {
  document.body.dataset.shown = side;
  for (const one of sides) {
    const tab = document.getElementById(`tab-${one}`);
    tab.setAttribute("aria-selected", String(one === side));
    tab.tabIndex = one === side ? 0 : -1;
  }
}

for (const side of sides) {
  const tab = document.getElementById(`tab-${side}`);
  tab.addEventListener("click", () => show(side));
  tab.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    const other = side === "a" ? "b" : "a";
    show(other);
    document.getElementById(`tab-${other}`).focus();
  });
  name(side).catch(() => {});
}

show("a");
const hash = await firstNote();
for (const side of sides) document.getElementById(`frame-${side}`).src = `${side}/${hash}`;
