// Two people's changes of one text, brought together without asking anybody.
//
// Pure functions over strings. An edit is `{at, remove, insert}`: in the old text, at the offset `at`, `remove` letters
// go and the letters `insert` come. Offsets count as the textarea's selection does, in UTF-16 units.

// Beyond so many letters of difference, one edit that replaces the lot is as good and does not keep the page waiting.
const MOST_STEPS = 300;

// Equal letters between two edits, fewer than this, are chance: "cat" to "oak" keeps no "a" that anybody meant to keep.
const CHANCE = 4;

// The edits that make `to` of `from`, in the order of their offsets, as few letters as possible.
export function edits(from, to) {
  if (from === to) return [];
  const head = sameAtStart(from, to);
  const tail = sameAtEnd(from, to, head);
  const old = from.slice(head, from.length - tail);
  const now = to.slice(head, to.length - tail);
  const found = (old && now && shortest(old, now)) || [{ at: 0, remove: old.length, insert: now }];
  return found.map((edit) => ({ ...edit, at: edit.at + head }));
}

export function apply(text, list) {
  let done = "";
  let from = 0;
  for (const { at, remove, insert } of list) {
    done += text.slice(from, at) + insert;
    from = at + remove;
  }
  return done + text.slice(from);
}

// What `mine` and `theirs`, both made of `base`, come to; null where both changed one place. That is for the server to
// merge: it knows who wrote what, and does it the same way on every copy.
export function merge(base, mine, theirs) {
  if (mine === base) return theirs;
  if (theirs === base) return mine;
  const ours = coarse(base, edits(base, mine));
  const others = coarse(base, edits(base, theirs));
  if (others.some((edit) => ours.some((our) => touch(our, edit)))) return null;
  return apply(base, [...ours, ...others].sort((one, other) => one.at - other.at));
}

// Where a caret at `offset` stands after the edits: at the same letters. What is inserted just there goes behind the
// caret; `before` puts it in front, as at the start of a selection, which must not grow.
export function moved(offset, list, before = false) {
  let shift = 0;
  for (const { at, remove, insert } of list) {
    if (at + remove < offset || (at + remove === offset && (remove > 0 || before))) shift += insert.length - remove;
    else if (at < offset) return at + shift + Math.min(offset - at, insert.length);
    else break;
  }
  return offset + shift;
}

// Never between the two halves of a letter that takes two units.
export function whole(text, offset) {
  const cut = /[\ud800-\udbff]/.test(text[offset - 1] ?? "") && /[\udc00-\udfff]/.test(text[offset] ?? "");
  return cut ? offset + 1 : offset;
}

function sameAtStart(one, other) {
  const most = Math.min(one.length, other.length);
  let count = 0;
  while (count < most && one.charCodeAt(count) === other.charCodeAt(count)) count++;
  return count;
}

function sameAtEnd(one, other, head) {
  const most = Math.min(one.length, other.length) - head;
  let count = 0;
  while (count < most && one.charCodeAt(one.length - 1 - count) === other.charCodeAt(other.length - 1 - count)) count++;
  return count;
}

// Side by side counts: who is to be first is not known here.
const touch = (one, other) => one.at <= other.at + other.remove && other.at <= one.at + one.remove;

// The edits with what is only chance between them taken along.
function coarse(text, list) {
  const joined = [];
  for (const edit of list) {
    const last = joined.at(-1);
    const end = last && last.at + last.remove;
    if (last && edit.at - end < CHANCE) {
      last.insert += text.slice(end, edit.at) + edit.insert;
      last.remove = edit.at + edit.remove - last.at;
    } else {
      joined.push({ ...edit });
    }
  }
  return joined;
}

// E. W. Myers, "An O(ND) Difference Algorithm and Its Variations", 1986: the furthest points that can be reached with
// 0, 1, 2, … letters inserted or deleted. Null if it takes more than MOST_STEPS.
function shortest(from, to) {
  const middle = MOST_STEPS + 1;
  const reached = new Int32Array(2 * MOST_STEPS + 3);
  const past = [];
  for (let steps = 0; steps <= MOST_STEPS; steps++) {
    past.push(reached.slice());
    for (let line = -steps; line <= steps; line += 2) {
      const down = line === -steps || (line !== steps && reached[middle + line - 1] < reached[middle + line + 1]);
      let x = down ? reached[middle + line + 1] : reached[middle + line - 1] + 1;
      while (x < from.length && x - line < to.length && from.charCodeAt(x) === to.charCodeAt(x - line)) x++;
      reached[middle + line] = x;
      if (x >= from.length && x - line >= to.length) return walkBack(from, to, past, middle);
    }
  }
  return null;
}

function walkBack(from, to, past, middle) {
  const list = [];
  let x = from.length;
  let y = to.length;
  for (let steps = past.length - 1; steps > 0; steps--) {
    const reached = past[steps];
    const line = x - y;
    const down = line === -steps || (line !== steps && reached[middle + line - 1] < reached[middle + line + 1]);
    const earlier = down ? line + 1 : line - 1;
    x = reached[middle + earlier];
    y = x - earlier;
    prepend(list, down ? { at: x, remove: 0, insert: to[y] } : { at: x, remove: 1, insert: "" });
  }
  return list;
}

// Single letters, from the last to the first, become edits again.
function prepend(list, edit) {
  const first = list[0];
  if (first && edit.at + edit.remove === first.at) {
    list[0] = { at: edit.at, remove: edit.remove + first.remove, insert: edit.insert + first.insert };
  } else {
    list.unshift(edit);
  }
}
