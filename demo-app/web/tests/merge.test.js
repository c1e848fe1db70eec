import assert from "node:assert/strict";
import { test } from "node:test";
import { apply, edits, merge, moved, whole } from "../merge.js";

// Where the caret, written as "|", is after the text became `after`.
function caret(before, after) {
  const offset = before.indexOf("|");
  const list = edits(before.replace("|", ""), after);
  const to = moved(offset, list);
  return `${after.slice(0, to)}|${after.slice(to)}`;
}

// Numbers from a seed, the same each time.
function random(seed) {
  return (below) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
}

const text = (below, letters = "ab \n😀") => Array.from({ length: below(24) }, () => [...letters][below(5)]).join("");

test("edits make one text of the other, in order and apart from each other", () => {
  for (let seed = 0; seed < 3000; seed++) {
    const below = random(seed);
    const from = text(below);
    const to = text(below);
    const list = edits(from, to);
    assert.equal(apply(from, list), to, `seed ${seed}`);
    list.slice(1).forEach((edit, index) => assert.ok(edit.at > list[index].at + list[index].remove, `seed ${seed}`));
  }
});

test("edits say what changed and no more", () => {
  assert.deepEqual(edits("one two three", "one 2 three four"), [
    { at: 4, remove: 3, insert: "2" },
    { at: 13, remove: 0, insert: " four" },
  ]);
  assert.deepEqual(edits("same", "same"), []);
  assert.deepEqual(edits("", "new"), [{ at: 0, remove: 0, insert: "new" }]);
});

test("two long texts that have little in common are one edit, found at once", () => {
  const from = "ab".repeat(100_000);
  const to = "cd".repeat(100_000);
  assert.deepEqual(edits(from, to), [{ at: 0, remove: 200_000, insert: to }]);
});

test("edits of both in different places are both in it", () => {
  assert.equal(merge("one two three", "one 2 three", "one two three four"), "one 2 three four");
  assert.equal(merge("My world here", "My small world here", "My world here, dear"), "My small world here, dear");
  assert.equal(merge("gone, and it stays", "and it stays", "gone, and it stays here"), "and it stays here");
});

test("where one did nothing, the other's text stands", () => {
  assert.equal(merge("a", "a", "b"), "b");
  assert.equal(merge("a", "b", "a"), "b");
});

test("what both changed in one place is left to the server", () => {
  assert.equal(merge("a cat", "a dog", "a cow"), null);
  assert.equal(merge("ab", "aXb", "aYb"), null);
  assert.equal(merge("the quick fox", "the fox", "the quicker fox"), null);
});

test("what is typed side by side is left to the server, too: which comes first is not known here", () => {
  assert.equal(merge("abcdef", "abcXdef", "abYdef"), null);
});

test("what both typed alike is left to the server, too: it may be one of them whose answer was lost, or two", () => {
  assert.equal(merge("shopping: bread", "shopping: bread, milk", "our shopping: bread, milk"), null);
  assert.equal(merge("a", "a<", "a<"), null);
});

test("a merge does not depend on whose text is called mine", () => {
  for (let seed = 0; seed < 3000; seed++) {
    const below = random(seed);
    const [base, one, other] = [text(below), text(below), text(below)];
    assert.equal(merge(base, one, other), merge(base, other, one), `seed ${seed}`);
  }
});

test("the caret stays at its letters", () => {
  assert.equal(caret("My |world", "Oh my! My world"), "Oh my! My |world");
  assert.equal(caret("My |world", "My world, dear"), "My |world, dear");
  assert.equal(caret("one |two three", "ONE two 3"), "ONE |two 3");
  assert.equal(caret("one (gone)| two", "one  two"), "one | two");
});

test("what others write just where the caret is goes behind it", () => {
  assert.equal(caret("Hello|", "Hello Ben"), "Hello| Ben");
  assert.equal(caret("|Hello", "Dear Hello"), "|Dear Hello");
});

test("a caret in what is replaced stays inside of the new text", () => {
  const after = moved(5, [{ at: 2, remove: 6, insert: "x" }]);
  assert.ok(after >= 2 && after <= 3);
});

test("a selection does not grow by what is written at its ends", () => {
  const list = [
    { at: 2, remove: 0, insert: "XX" },
    { at: 5, remove: 0, insert: "YY" },
  ];
  assert.equal(moved(2, list, true), 4);
  assert.equal(moved(5, list), 7);
});

test("a caret never stands within a letter of two units", () => {
  assert.equal(whole("😀", 1), 2);
  assert.equal(whole("a😀", 1), 1);
  assert.equal(whole("", 0), 0);
});
