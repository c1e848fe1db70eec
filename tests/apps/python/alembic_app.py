"""A bookshop on SQLAlchemy, with Alembic in batch mode. `alembic_app.py FILE KEYS COMMAND …`, see ../README.md."""

import json
import os
import sys
import uuid
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import MetaData, create_engine, event, func, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.automap import automap_base
from sqlalchemy.orm import Session

FILE, KEYS, COMMAND, *ARGUMENTS = sys.argv[1:]
os.environ["SHOP_KEYS"] = KEYS

engine = create_engine(f"sqlite:///{FILE}", connect_args={"timeout": 20})


# The recipe: every transaction has the right to write from its first statement on, and so have Alembic's.
@event.listens_for(engine, "connect")
def no_begin_of_the_driver(connection, _):
    connection.isolation_level = None


@event.listens_for(engine, "begin")
def begin_immediate(connection):
    connection.exec_driver_sql("BEGIN IMMEDIATE")


config = Config()
config.set_main_option("script_location", str(Path(__file__).parent / "alembic_project"))
config.attributes["engine"] = engine


def version():
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision() or ""


def migrate(number):
    before = version()
    if before < number:
        command.upgrade(config, number)
    return [f"{n:04}" for n in range(1, 7) if before < f"{n:04}" <= version()]


class Shop:
    """The operations of the scenarios, with the classes that SQLAlchemy makes of the tables."""

    def __init__(self):
        metadata = MetaData()
        metadata.reflect(engine, only=lambda name, _: not name.startswith("_driftless"))
        base = automap_base(metadata=metadata)
        base.prepare()
        classes = base.classes
        self.author = classes.authors
        self.book = classes.works if "works" in classes else classes.books
        self.shelf = classes.shelf if "shelf" in classes else None
        self.title = "name" if hasattr(self.book, "name") else "title"

    def find(self, session, kind, name):
        kinds = {"author": (self.author, "name"), "shelf": (self.shelf, "label"), "book": (self.book, self.title)}
        model, column = kinds[kind]
        return session.execute(select(model).where(getattr(model, column) == name)).scalar_one()

    def values(self, session, values):
        values = {self.title if key == "title" else key: value for key, value in values.items()}
        refers = {"author": "author_id", "shelf": "shelf_id"}
        return {
            refers.get(key, key): self.find(session, key, value).id if key in refers else value
            for key, value in values.items()
        }

    def add(self, session, kind, values, key=None):
        key = key or (str(uuid.uuid4()) if KEYS == "uuid" else None)
        session.add(getattr(self, kind)(**self.values(session, values), **({"id": key} if key else {})))
        session.flush()

    def edit(self, session, kind, name, values):
        found = self.find(session, kind, name)
        for key, value in self.values(session, values).items():
            setattr(found, key, value)

    def delete(self, session, kind, name):
        session.delete(self.find(session, kind, name))

    def busy(self, name, count):
        """Transactions that read before they write, as fast as they go. Returns how many failed."""
        failed = 0
        for _ in range(count):
            try:
                with Session(engine) as session, session.begin():
                    books = session.execute(select(func.count()).select_from(self.book)).scalar_one()
                    self.find(session, "author", name).seen += 1 if books else 0
            except OperationalError as error:
                print(error, file=sys.stderr)
                failed += 1
        return failed


def main():
    if COMMAND == "migrate":
        return migrate(ARGUMENTS[0])
    if COMMAND == "fake":
        # On a clone: says that the migrations which made the tables that came along are done.
        return command.stamp(config, ARGUMENTS[0])
    if COMMAND == "busy":
        return Shop().busy(ARGUMENTS[0], int(ARGUMENTS[1]))
    shop = Shop()
    with Session(engine) as session, session.begin():
        for name, *arguments in json.loads(ARGUMENTS[0]):
            getattr(shop, name)(session, *arguments)


print(json.dumps(main()))
