"""Two machines run one app of a framework, and its migrations, on files that Driftless keeps in agreement.

    scenarios.py COMMANDS FRAMEWORK…        COMMANDS is the folder with the built commands

Each framework has an app in its own language, the same small bookshop in five versions, which is run as its users would run
it: as a program of its own, on the machine's own file. README.md says what it is asked to do. One line is printed for each
scenario.
"""

import json
import random
import subprocess
import sys
import threading
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path

from lab import PATIENCE, Failed, Lab

HERE = Path(__file__).parent
PYTHON = str(HERE / "python" / ".venv" / "bin" / "python")


@dataclass
class Framework:
    """An app, and what its framework calls things."""

    command: list
    # What remembers which migrations are done: each file has its own.
    bookkeeping: set
    prefix: str = ""
    plural: str = "s"
    # Tables of the framework that travel if integer keys are allowed.
    extra: dict = field(default_factory=dict)

    def table(self, word):
        return f"{self.prefix}{word}{'' if word == 'shelf' and self.plural else self.plural}"


FRAMEWORKS = {
    "django": Framework(
        [PYTHON, "python/django_app.py"],
        {"django_migrations", "django_session"},
        prefix="shop_",
        plural="",
        extra={
            "integer": {"django_content_type", "auth_user", "auth_group", "auth_permission", "auth_user_groups"}
            | {"auth_group_permissions", "auth_user_user_permissions"}
        },
    ),
    "alembic": Framework([PYTHON, "python/alembic_app.py"], {"alembic_version"}),
    "sqlite-utils": Framework([PYTHON, "python/sqlite_utils_app.py"], {"_sqlite_migrations"}),
    "knex": Framework(["node", "node/knex.mjs"], {"knex_migrations", "knex_migrations_lock"}),
    "drizzle": Framework(["node", "node/drizzle.mjs"], {"__drizzle_migrations"}),
    "activerecord": Framework(["ruby", "ruby/app.rb"], {"schema_migrations", "ar_internal_metadata"}),
}


class Machine:
    """A file, and the app that writes to it."""

    def __init__(self, lab, framework, keys, name):
        self.lab, self.framework, self.keys, self.name = lab, framework, keys, name
        self.version = 0

    def app(self, *arguments):
        command = [*self.framework.command, self.lab.file(self.name), self.keys, *map(str, arguments)]
        done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=PATIENCE)
        if done.returncode:
            raise Failed(f"{self.name}: {' '.join(map(str, arguments))}: {(done.stdout + done.stderr).strip()[-1500:]}")
        return json.loads(done.stdout.strip().split("\n")[-1])

    def migrate(self, version):
        """Runs the framework's migrations up to this one. Returns the names of those that were not done before."""
        self.version = version
        return self.app("migrate", f"{version:04}")

    def fake(self, version):
        """Says that they are done, as the recipe has it for a clone."""
        self.version = version
        self.app("fake", f"{version:04}")

    def do(self, *operations):
        """One transaction of the app. With integer keys what is added has a key that was drawn, as the recipe says."""
        drawn = [
            [*operation, random.getrandbits(52)] if operation[0] == "add" and self.keys == "integer" else operation
            for operation in operations
        ]
        self.app("do", json.dumps(drawn))

    @property
    def book(self):
        return self.framework.table("work" if self.version >= 5 else "book")

    @property
    def title(self):
        return "name" if self.version >= 3 else "title"

    def titles(self):
        return {row[0] for row in self.lab.sql(self.name, f'SELECT {self.title} FROM "{self.book}"')}

    def tables(self):
        """The tables of the app that travel, at this version."""
        names = {self.framework.table("author"), self.book} | self.framework.extra.get(self.keys, set())
        return names | ({self.framework.table("shelf")} if self.version >= 4 else set())


def book(title, price=5, author="Ann", **more):
    return ["add", "book", {"title": title, "price": price, "author": author, **more}]


class Story:
    """What happens to the two machines, from the first migration to the last."""

    def __init__(self, lab, framework, keys, live):
        self.lab, self.keys, self.live = lab, keys, live
        self.flags = ["--allow-integer-key"] if keys == "integer" else []
        self.a, self.b = (Machine(lab, framework, keys, name) for name in "ab")
        self.framework = framework
        self.books = set()

    def settle(self, alike=True):
        """Everything gets everywhere. `alike`: both have the same version, so that whole tables can be compared."""

        def differs():
            for machine in (self.a, self.b):
                if (found := machine.titles()) != self.books:
                    more, less = sorted(found - self.books), sorted(self.books - found)
                    return f"{machine.name} has the books {more} too many and lacks {less}"
            return self.lab.same(self.a.tables(), "a", "b") if alike else None

        if self.live:
            self.lab.eventually("agreement", differs)
        else:
            self.lab.meet("a", "b")
            if found := differs():
                raise Failed(found)

    def tracks(self, machine):
        expected, found = machine.tables(), self.lab.tracked(machine.name)
        if found != expected:
            return f"{machine.name}: tracked are {sorted(found)}, and should be {sorted(expected)}"
        return None

    def expect_tracked(self, *machines):
        for machine in machines:
            self.lab.eventually("tracking", lambda machine=machine: self.tracks(machine)) if self.live else None
            if found := self.tracks(machine):
                raise Failed(found)

    def begins(self):
        """One machine has the data; the other gets a clone, whose migrations are then said to be done."""
        self.a.migrate(1)
        self.a.app("do", json.dumps([["add", "author", {"name": "Ann"}], ["add", "author", {"name": "Ben"}]]))
        first = [book(f"book {n}", n) for n in range(1, 9)]
        self.a.app("do", json.dumps([*first, book("free a", -1), book("gone before"), book("gone after")]))
        self.books = {f"book {n}" for n in range(1, 9)} | {"free a", "gone before", "gone after"}
        self.lab.track("a", *self.flags)
        self.expect_tracked(self.a)
        self.lab.once("a")
        self.lab.clone("b")
        came = {row[0] for row in self.lab.sql("b", "SELECT name FROM sqlite_master WHERE type = 'table'")}
        if found := came & self.framework.bookkeeping:
            raise Failed(f"the clone has {sorted(found)}, which is each machine's own")
        self.b.fake(1)
        if found := [name for name in self.b.migrate(1) if not name.startswith(("sessions.", "auth.", "contenttypes."))]:
            raise Failed(f"the clone's migrations were done already, but {found} were done again")
        self.lab.track("b", *self.flags)
        if self.live:
            self.lab.sidecar("a"), self.lab.sidecar("b")
        self.settle()

    def write(self):
        """Both write, each into rows of its own and into rows of the other."""
        self.a.do(book("by a"), ["edit", "book", "book 1", {"note": "a"}], ["delete", "book", "book 8"])
        self.b.do(book("by b", author="Ben"), book("free b", -2), ["edit", "book", "book 2", {"note": "b", "price": 20}])
        self.books = self.books - {"book 8"} | {"by a", "by b", "free b"}
        self.settle()

    def rebuild_with_deletes(self):
        """A migration makes the table anew and deletes in the same go; rows are deleted before and after it."""
        self.b.do(book("late b"), ["edit", "book", "book 3", {"note": "b, before the migration"}])
        self.a.do(["delete", "book", "gone before"])
        self.a.migrate(2)
        self.a.do(["delete", "book", "gone after"], ["edit", "book", "book 4", {"note": "a, after"}], book("new after"))
        self.books = self.books - {"gone before", "gone after", "free a", "free b"} | {"late b", "new after"}
        self.settle(alike=False)
        self.b.migrate(2)
        self.settle()
        for machine in (self.a, self.b):
            prices = self.lab.sql(machine.name, f"SELECT DISTINCT typeof(price) FROM {machine.book}")
            if prices != [("text",)]:
                raise Failed(f"{machine.name}: the prices are {prices}")
        self.noted("book 3", "b, before the migration"), self.noted("book 4", "a, after")

    def noted(self, title, note):
        for machine in (self.a, self.b):
            found = self.lab.sql(machine.name, f"SELECT note FROM {machine.book} WHERE {machine.title} = ?", title)
            if found != [(note,)]:
                raise Failed(f"{machine.name}: the note of {title} is {found}")

    def rename_and_drop_columns(self):
        """A column is renamed, and nobody tells; one is dropped, one added, on one machine first; the other goes on with the old version."""
        self.a.migrate(3)
        self.a.do(book("with pages", pages=300), ["edit", "book", "book 5", {"title": "book five"}])
        self.b.do(["edit", "book", "book 6", {"title": "book six"}], ["delete", "book", "book 7"], book("old version"))
        self.books = self.books - {"book 5", "book 6", "book 7"} | {"book five", "book six", "with pages", "old version"}
        self.settle(alike=False)
        self.b.migrate(3)
        self.settle()

    def new_table(self):
        """A later migration makes a table, and lets rows refer to it: on one machine, and then on the other."""
        self.a.migrate(4)
        self.a.do(["add", "shelf", {"label": "high"}])
        self.a.do(book("on the high one", shelf="high"), ["edit", "book", "book 1", {"shelf": "high"}])
        self.books |= {"on the high one"}
        self.settle(alike=False)
        self.expect_tracked(self.a)
        self.b.migrate(4)
        self.settle()
        self.expect_tracked(self.b)
        self.b.do(["add", "shelf", {"label": "low"}])
        self.b.do(book("on the low one", shelf="low"))
        self.books |= {"on the low one"}
        self.settle()

    def rename_table(self):
        """The table is renamed, on one machine and then on the other."""
        self.a.migrate(5)
        self.a.do(book("a work"), ["delete", "book", "with pages"])
        self.b.do(book("a book"), ["edit", "book", "book 2", {"pages": 2}])
        self.books = self.books - {"with pages"} | {"a work", "a book"}
        self.settle(alike=False)
        self.b.migrate(5)
        self.settle()

    def add_constraint(self):
        """The table gets a constraint, for which it is made anew, on both machines at once; both delete right after it."""
        for machine in (self.a, self.b):
            machine.migrate(6)
        self.a.do(["delete", "book", "a work"], ["edit", "book", "by b", {"pages": 11}])
        self.b.do(["delete", "book", "a book"], ["edit", "book", "by a", {"pages": 12}])
        self.books -= {"a work", "a book"}
        self.settle()

    def busy(self):
        """Both apps write as fast as they can, beside their sidecars: no transaction fails, and none is lost."""
        count = 100
        failed = {}

        def run(machine, author):
            try:
                failed[machine.name] = machine.app("busy", author, count)
            except (Failed, subprocess.TimeoutExpired) as error:
                failed[machine.name] = str(error)

        threads = [threading.Thread(target=run, args=each) for each in ((self.a, "Ann"), (self.b, "Ben"))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failed != {"a": 0, "b": 0}:
            raise Failed(f"of {count} transactions on each machine failed {failed}")
        self.settle()
        seen = self.lab.sql("b", f"SELECT name, seen FROM {self.framework.table('author')} ORDER BY name")
        if seen != [("Ann", count), ("Ben", count)]:
            raise Failed(f"seen is {seen}")

    def ends(self):
        """All is there: on both, at the relay, and in a file that is cloned now."""
        self.settle()
        self.lab.well("a", "b")
        self.lab.clone("c")
        self.lab.agree(self.a.tables(), "a", "c")
        # With AUTOINCREMENT SQLite remembers the highest number; a clone goes on from there.
        if self.keys == "integer":
            author = self.framework.table("author")
            key = self.lab.sql("c", f"INSERT INTO {author} (name, seen) VALUES ('Cleo', 0) RETURNING id")[0][0]
            if key in {row[0] for row in self.lab.sql("a", f"SELECT id FROM {author}")}:
                raise Failed(f"the clone hands out {key} again")

    STEPS = [begins, write, rebuild_with_deletes, rename_and_drop_columns, new_table, rename_table, add_constraint]

    def play(self):
        for step in [*self.STEPS, *([Story.busy] if self.live else []), Story.ends]:
            try:
                step(self)
            except (Failed, subprocess.TimeoutExpired) as error:
                raise Failed(f"{step.__name__}: {error}") from error


SCENARIOS = [
    ("UUID keys, now and then a sync", "uuid", False),
    ("UUID keys, beside running sidecars", "uuid", True),
    ("integer keys, beside running sidecars", "integer", True),
]


def main():
    commands, *names = sys.argv[1:]
    seed = int(__import__("os").environ.get("DRIFTLESS_SEED", time.time_ns() % 1_000_000))
    failures = 0
    for name in names:
        for claim, keys, live in SCENARIOS:
            random.seed(seed)
            begun = time.monotonic()
            lab = Lab(commands)
            try:
                with lab:
                    Story(lab, FRAMEWORKS[name], keys, live).play()
                outcome = "ok  "
                why = ""
            except Exception as error:  # noqa: BLE001 - whatever it was, the other scenarios are still told about
                outcome, failures = "FAIL", failures + 1
                why = f"\n      {error if isinstance(error, Failed) else traceback.format_exc()}"
                why += f"\n      the files are in {lab.folder}; again with DRIFTLESS_SEED={seed}"
            print(f"{outcome}  {name}: {claim} ({time.monotonic() - begun:.1f} s){why}", flush=True)
    print(f"{len(names) * len(SCENARIOS) - failures} of {len(names) * len(SCENARIOS)} scenarios are as they should be")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
