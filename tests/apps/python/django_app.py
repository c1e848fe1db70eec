"""A bookshop in Django: its default apps and settings, with what the recipe says. `django_app.py FILE KEYS COMMAND …`, see ../README.md."""

import json
import os
import sys
from pathlib import Path

FILE, KEYS, COMMAND, *ARGUMENTS = sys.argv[1:]
sys.path.insert(0, str(Path(__file__).parent / "django_project"))
os.environ["SHOP_KEYS"] = KEYS

import django  # noqa: E402
from django.conf import settings  # noqa: E402

settings.configure(
    SECRET_KEY="a test",
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions", "shop"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": FILE,
            # The recipe.
            "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20},
        }
    },
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
)
django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import OperationalError, connection, transaction  # noqa: E402
from django.db.migrations.executor import MigrationExecutor  # noqa: E402

# The apps whose tables a clone has: with UUIDs the shop's, else Django's own too. (Sessions never travel.)
TRAVELS = {"uuid": ["shop"], "integer": ["contenttypes", "auth", "shop"]}[KEYS]


def version():
    """The number of the last migration of the shop that this file has."""
    applied = MigrationExecutor(connection).loader.applied_migrations
    return max(name for app, name in applied if app == "shop")


def models():
    """The models as they are at this version."""
    return MigrationExecutor(connection).loader.project_state(("shop", version())).apps


def applied():
    return {f"{app}.{name}" for app, name in MigrationExecutor(connection).loader.applied_migrations}


def migrate(number):
    before = applied()
    call_command("migrate", verbosity=0, app_label="shop", migration_name=number)
    if number != "0000":
        for app in ["contenttypes", "auth", "sessions"]:
            call_command("migrate", app, verbosity=0)
    return sorted(applied() - before)


def fake(number):
    """On a clone: says that the migrations which made the tables that came along are done."""
    for app in TRAVELS:
        target = [number] if app == "shop" else []
        call_command("migrate", app, *target, fake=True, verbosity=0)


class Shop:
    """The operations of the scenarios."""

    def __init__(self):
        apps = models()
        self.author = apps.get_model("shop", "Author")
        self.book = apps.get_model("shop", "Work" if version() >= "0005" else "Book")
        self.shelf = apps.get_model("shop", "Shelf") if version() >= "0004" else None
        self.title = "name" if version() >= "0003" else "title"

    def find(self, kind, name):
        model = getattr(self, kind)
        return model.objects.get(**{{"author": "name", "shelf": "label", "book": self.title}[kind]: name})

    def values(self, values):
        values = {self.title if key == "title" else key: value for key, value in values.items()}
        return {key: self.find(key, value) if key in ("author", "shelf") else value for key, value in values.items()}

    def add(self, kind, values, key=None):
        getattr(self, kind).objects.create(**self.values(values), **({"pk": key} if key else {}))

    def edit(self, kind, name, values):
        found = self.find(kind, name)
        for key, value in self.values(values).items():
            setattr(found, key, value)
        found.save(update_fields=self.values(values).keys())

    def delete(self, kind, name):
        self.find(kind, name).delete()

    def busy(self, name, count):
        """Transactions that read before they write, as fast as they go. Returns how many failed."""
        failed = 0
        for _ in range(count):
            try:
                with transaction.atomic():
                    books = self.book.objects.count()
                    author = self.author.objects.get(name=name)
                    author.seen += 1 if books >= 0 else 0
                    author.save(update_fields=["seen"])
            except OperationalError as error:
                print(error, file=sys.stderr)
                failed += 1
        return failed


def main():
    if COMMAND == "migrate":
        return migrate(ARGUMENTS[0])
    if COMMAND == "fake":
        return fake(ARGUMENTS[0])
    if COMMAND == "busy":
        return Shop().busy(ARGUMENTS[0], int(ARGUMENTS[1]))
    with transaction.atomic():
        shop = Shop()
        for name, *arguments in json.loads(ARGUMENTS[0]):
            getattr(shop, name)(*arguments)


print(json.dumps(main()))
