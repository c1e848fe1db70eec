"""A bookshop on sqlite-utils, with its migrations and `transform`. `sqlite_utils_app.py FILE KEYS COMMAND …`, see ../README.md."""

import json
import sqlite3
import sys
import uuid

from sqlite_utils import Database, Migrations

FILE, KEYS, COMMAND, *ARGUMENTS = sys.argv[1:]
KEY = str if KEYS == "uuid" else int

# The recipe: wait for others who write. Transactions that read first begin with "begin immediate", below.
db = Database(sqlite3.connect(FILE, timeout=20))

migrations = Migrations("shop")


@migrations()
def m0001(db):
    not_null = {"id", "name", "seen"}
    db["authors"].create({"id": KEY, "name": str, "seen": int}, pk="id", not_null=not_null, defaults={"seen": 0})
    db["authors"].create_index(["name"], unique=True)
    columns = {"id": KEY, "title": str, "price": int, "note": str, "author_id": KEY}
    db["books"].create(
        columns, pk="id", not_null={"id", "title"}, foreign_keys=[("author_id", "authors", "id")]
    )
    db["books"].create_index(["price"])


@migrations()
def m0002(db):
    db["books"].delete_where("price < 0")
    db["books"].transform(types={"price": str})


@migrations()
def m0003(db):
    db["books"].transform(rename={"title": "name"}, drop={"note"})
    db["books"].add_column("pages", int, not_null_default=0)


@migrations()
def m0004(db):
    db["shelf"].create({"id": KEY, "label": str}, pk="id", not_null={"id", "label"})
    db["books"].add_column("shelf_id", KEY)
    db["books"].add_foreign_key("shelf_id", "shelf", "id")


@migrations()
def m0005(db):
    db.rename_table("books", "works")


@migrations()
def m0006(db):
    db["works"].transform(not_null={"author_id": True})


def names():
    return [migration.name for migration in migrations.applied(db)]


def migrate(number):
    before = names()
    later = [migration.name for migration in migrations.pending(db) if migration.name > f"m{number}"]
    migrations.apply(db, stop_before=later)
    return [name for name in names() if name not in before]


def fake(number):
    """On a clone: says that the migrations which made the tables that came along are done."""
    migrations.ensure_migrations_table(db)
    for migration in migrations.pending(db):
        if migration.name <= f"m{number}":
            row = {"migration_set": "shop", "name": migration.name, "applied_at": "when it was cloned"}
            db["_sqlite_migrations"].insert(row)


class Shop:
    """The operations of the scenarios."""

    def __init__(self):
        self.book = "works" if db["works"].exists() else "books"
        self.title = "name" if "name" in db[self.book].columns_dict else "title"

    def find(self, kind, name):
        table, column = {"author": ("authors", "name"), "shelf": ("shelf", "label"), "book": (self.book, self.title)}[kind]
        [row] = db[table].rows_where(f"{column} = ?", [name])
        return table, row["id"]

    def values(self, values):
        values = {self.title if key == "title" else key: value for key, value in values.items()}
        refers = {"author": "author_id", "shelf": "shelf_id"}
        return {
            refers.get(key, key): self.find(key, value)[1] if key in refers else value for key, value in values.items()
        }

    def add(self, kind, values, key=None):
        table = {"author": "authors", "shelf": "shelf", "book": self.book}[kind]
        drawn = {"id": key or str(uuid.uuid4())} if key or KEYS == "uuid" else {}
        db[table].insert({**drawn, **self.values(values)})

    def edit(self, kind, name, values):
        table, key = self.find(kind, name)
        db[table].update(key, self.values(values))

    def delete(self, kind, name):
        table, key = self.find(kind, name)
        db[table].delete(key)

    def busy(self, name, count):
        """Transactions that read before they write, as fast as they go. Returns how many failed."""
        failed = 0
        for _ in range(count):
            try:
                with immediate():
                    [author] = db["authors"].rows_where("name = ?", [name])
                    db["authors"].update(author["id"], {"seen": author["seen"] + (1 if db[self.book].count else 0)})
            except sqlite3.OperationalError as error:
                print(error, file=sys.stderr)
                failed += 1
        return failed


class immediate:
    """The recipe: a transaction that has the right to write from its first statement on."""

    def __enter__(self):
        db.conn.execute("begin immediate")

    def __exit__(self, kind, *_):
        db.conn.rollback() if kind else db.conn.commit()


def main():
    if COMMAND == "migrate":
        return migrate(ARGUMENTS[0])
    if COMMAND == "fake":
        return fake(ARGUMENTS[0])
    if COMMAND == "busy":
        return Shop().busy(ARGUMENTS[0], int(ARGUMENTS[1]))
    with immediate():
        shop = Shop()
        for name, *arguments in json.loads(ARGUMENTS[0]):
            getattr(shop, name)(*arguments)


print(json.dumps(main()))
