"""Two machines, a relay and the built commands: what the scenarios are played on."""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import tempfile
import time
from pathlib import Path

# How long anything may take before a scenario is said to have failed. It is reached only by what never happens.
PATIENCE = float(os.environ.get("DRIFTLESS_APP_PATIENCE", "180"))

# Exit codes of `track --all`: all tables are tracked, and some were left out.
LEFT_OUT = {0, 9}


class Failed(AssertionError):
    """Something is not as it should be."""


class Lab:
    """A relay, and a folder with the machines' files. `commands` is the folder with the built commands."""

    def __init__(self, commands):
        self.commands = Path(commands).resolve()
        self.folder = Path(tempfile.mkdtemp(prefix="driftless-apps-"))
        self.processes = []

    def __enter__(self):
        relay = self._start("driftless-relay", "--listen", "127.0.0.1:0", "--data", self.folder / "relay")
        for line in relay.stderr_lines():
            if found := re.search(r"ws://[\d.]+:\d+", line):
                self.url = found.group() + "/shop"
                return self
        raise Failed(f"the relay did not start: {relay.said()}")

    def __exit__(self, kind, *_):
        for process in self.processes:
            process.end()
        if kind is None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def file(self, name):
        return str(self.folder / f"{name}.db")

    def run(self, *arguments, codes=(0,)):
        """Runs `driftless` to its end and returns what it printed; one of `codes` must be its exit code."""
        done = subprocess.run(
            [self.commands / "driftless", *arguments], capture_output=True, text=True, timeout=PATIENCE * 2
        )
        if done.returncode not in codes:
            words = " ".join(map(str, arguments))
            raise Failed(f"driftless {words}: exit {done.returncode}: {(done.stdout + done.stderr).strip()[-800:]}")
        return done.stdout

    def track(self, name, *more):
        """`track --all`. Which tables are tracked is looked at afterwards, so those that cannot be are no failure here."""
        self.run("track", self.file(name), "--all", *more, codes=LEFT_OUT)

    def once(self, name):
        self.run("sync", self.file(name), self.url, "--once", "--timeout", str(int(PATIENCE)))

    def meet(self, *names):
        """Syncs each file until nothing is new to anybody."""
        for name in [*names, *names, names[0]]:
            self.once(name)

    def sidecar(self, name):
        """A sync that goes on until the end, as beside an app."""
        sidecar = self._start("driftless", "sync", self.file(name), self.url)
        for line in sidecar.stderr_lines():
            if "online with" in line:
                return sidecar
        raise Failed(f"the sidecar of {name} ended: {sidecar.said()}")

    def clone(self, name):
        self.run("clone", self.url, self.file(name))

    def status(self, name):
        return json.loads(self.run("status", self.file(name), "--json"))

    def tracked(self, name):
        return {table["table"] for table in self.status(name)["tables"] if table["state"] == "tracked"}

    def sql(self, name, statement, *values):
        """What plain SQLite says of a file."""
        db = sqlite3.connect(self.file(name), timeout=PATIENCE, isolation_level=None)
        try:
            return db.execute(statement, values).fetchall()
        finally:
            db.close()

    def columns(self, name, table):
        return [row[1] for row in self.sql(name, f'PRAGMA table_info("{table}")')]

    def rows(self, name, table, without=()):
        """The rows of a table with the types of their values, columns in the order of their names."""
        columns = sorted(set(self.columns(name, table)) - set(without))
        shown = ", ".join(f'quote("{column}")' for column in columns)
        return columns, sorted(self.sql(name, f'SELECT {shown} FROM "{table}"'))

    def same(self, tables, *names, without=()):
        """Says how the files differ in these tables, or nothing."""
        for table in tables:
            (columns, one), *others = [self.rows(name, table, without) for name in names]
            for name, (other_columns, other) in zip(names[1:], others):
                if columns != other_columns:
                    return f"{table} has {columns} on {names[0]} and {other_columns} on {name}"
                if one != other:
                    only = [row for row in one if row not in other][:3], [row for row in other if row not in one][:3]
                    return f"{table}: only {names[0]} has {only[0]}, only {name} has {only[1]} of {columns}"
        return None

    def agree(self, tables, *names, without=()):
        """The files have the same rows in these tables."""
        if differs := self.same(tables, *names, without=without):
            raise Failed(differs)

    def eventually(self, what, holds):
        """Asks until `holds()` returns nothing; fails with what it returned last, if that does not come."""
        end = time.monotonic() + PATIENCE
        while differs := holds():
            if time.monotonic() > end:
                raise Failed(f"{what} did not come: {differs}; sidecars: {[p.said()[-600:] for p in self.processes[1:]]}")
            time.sleep(0.1)

    def well(self, *names):
        """SQLite's own checks, and `verify` against everything that the space holds."""
        for name in names:
            if (found := self.sql(name, "PRAGMA integrity_check")) != [("ok",)]:
                raise Failed(f"{name}: integrity_check: {found[:3]}")
            if found := self.sql(name, "PRAGMA foreign_key_check"):
                raise Failed(f"{name}: foreign_key_check: {found[:3]}")
            if parked := json.loads(self.run("parked", self.file(name), "--json"))["parked"]:
                raise Failed(f"{name}: rows are parked: {parked[:3]}")
            self.run("verify", self.file(name), self.url)

    def _start(self, command, *arguments):
        process = Process([self.commands / command, *arguments], self.folder / f"{len(self.processes)}.log")
        self.processes.append(process)
        return process


class Process:
    """A command that goes on running. Everything that it says goes into a file."""

    def __init__(self, command, log):
        self.log = log
        with open(log, "wb") as file:
            self.process = subprocess.Popen(list(map(str, command)), stdout=file, stderr=file, stdin=subprocess.DEVNULL)

    def said(self):
        return self.log.read_text(errors="replace")

    def stderr_lines(self):
        """The lines that it says, as they come, until it ends."""
        seen = 0
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            lines = self.said().split("\n")[:-1]
            yield from lines[seen:]
            seen = len(lines)
            if self.process.poll() is not None:
                return
            time.sleep(0.02)

    def end(self):
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise Failed(f"{self.log} did not end when it was asked to") from None
