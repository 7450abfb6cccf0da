"""Every command that takes a database, once on a file and once on a server: the same words, files and exit codes."""

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer
from typer.testing import CliRunner

from central.cli import app
from tests.central.store.office import POLICIES, Centre
from tests.central.stores import STORES, address
from tests.postgres import Server

MONTH = "--from", "2026-08-24", "--to", "2026-08-31"
DECISION = "--by", "Kepala Contoh", "--paper", "Contoh 9/2026"
RETENTION = "retention: {requests: {keep_days: 1, source: Contoh}, access: {keep_days: 1, source: Contoh}}"
MAIL = """mail:
  enabled: false
  server: {host: mail.example.go.id, port: 587, security: starttls}
  sender: presensi@example.go.id
  pages: https://presensi.example.go.id
"""
OF_ONE_STORE = {"partitions", "lanes", "backup", "restore", "transfer", "status"}
"""Commands about what only one of the two stores has, or that name it."""
NOT_RUN = {"inbox", "judge", "serve", "doctor", "init"}
"""They run until they are stopped, or look at a whole machine: their own tests run them on both."""


def office(folder: Path) -> Centre:
    """Return a centre at the end of its first week, with a terminal that was away and a PIN of no person."""
    centre = Centre(folder, datetime(2026, 8, 23, 20, tzinfo=UTC))
    centre.enter_office()
    for day in range(24, 29):
        centre.punched("1001", f"2026-08-{day} 07:{20 + day - 24 * (day < 28)}:00", f"2026-08-{day} 16:05:00")
    centre.punched("1002", "2026-08-24 07:20:00", "2026-08-24 16:01:00")
    centre.punched("77", "2026-08-25 07:21:00")
    centre.at("2026-09-02 05:00")
    return centre


# Longer than 60 lines: a list of commands; each goes on from what those before it stored.
def commands(folder: Path, last: Callable[[], str]) -> Iterator[tuple[object, ...]]:
    """Yield the words of each command, without the database; ``last`` returns what the one before has printed."""
    leave = folder / "leave.csv"
    leave.write_text("person,kind,from,begin,end\nb,annual,2026-08-25,07:00,12:00\n")
    policies = "--policies", POLICIES
    yield ("status", "--json")
    yield ("report", "--json")
    yield ("verify",)
    yield ("serial", "list")
    yield ("pins",)
    yield ("doubts", "--since", "2026-08-24", "--until", "2026-09-01", *policies)
    yield ("days", "--date", "2026-08-25", "--unit", "dinas", *policies)
    yield ("why", "b", "2026-08-25", *policies)
    yield ("why", "a", "2026-08-25", "--known-at", "2026-08-30T00:00:00+07:00", *policies)
    yield ("import", "leave", leave, *DECISION, "--dry-run", *policies)
    yield ("import", "leave", leave, *DECISION, *policies)
    yield ("show", "b", "--on", "2026-09-01")
    yield ("recompute", "--retry", *policies)
    yield ("export", "days", *MONTH, "--format", "json")
    yield ("export", "totals", *MONTH, "--unit", "dinas", *policies)
    yield ("policy", "try", "graded", "starter", *MONTH, "--unit", "dinas", *policies)
    yield ("period", "status", "dinas", "2026-08-31", *policies)
    for kind in ("recap", "annex", "full", "outages"):
        days = MONTH if kind == "outages" else ("2026-08-31",)
        yield ("sheet", kind, "dinas", *days, "--format", "csv", "--output", folder / f"{kind}.csv", *policies)
    yield ("sheet", "discipline", "dinas", "2026-08-31", "--format", "csv", "--output", folder / "d.csv", *policies)
    yield ("sheet", "history", "a", *MONTH, "--format", "csv", "--output", folder / "history.csv")
    yield ("period", "close", "dinas", "2026-08-31", *DECISION, "--with-open", *policies)
    yield ("period", "list", "--json")
    closing = str(json.loads(last())[0]["id"])
    yield ("period", "show", closing)
    yield ("period", "file", closing, "totals.csv", folder / "closed.csv")
    yield (
        *("request", "enter", "leave", "person=b", "kind=annual", "from=2026-08-26"),
        *("--by", "Contoh Dua", "--reason", "keluarga", *policies),
    )
    yield ("request", "list", "--json")
    request = str(json.loads(last())[0]["id"])
    yield ("request", "approve", request, *DECISION, *policies)
    yield ("request", "withdraw", request, "--by", "x", "--reason", "y")
    yield ("request", "refuse", request, "--by", "x", "--reason", "y")
    yield ("rebuild", *policies)
    yield ("serial", "assign", "S1", "3602-bkpsdm/gw-02", "--from", "2026-08-25", *DECISION)
    yield ("hold", "set", "--case", "Contoh", "--person", "a", *DECISION)
    yield ("hold", "list", "--json")
    yield ("hold", "lift", "1", *DECISION)
    retention = folder / "retention.yaml"
    retention.write_text(RETENTION)
    yield ("retention", "plan", "--settings", retention)
    yield ("retention", "apply", "--settings", retention, "--yes", *DECISION)
    yield ("retention", "show", "--settings", retention)
    yield ("person", "export", "b", "--by", "x", "--out", folder / "person.json", *policies)
    yield ("access", "verify")
    yield ("access", "list")
    accounts = folder / "accounts.yaml"
    accounts.write_text("accounts:\n")
    accounts.chmod(0o600)
    (folder / "mail.yaml").write_text(MAIL)
    for name in ("run", "preview"):
        yield ("mail", name, "--accounts", accounts, "--settings", folder / "mail.yaml", *policies)
    yield ("mail", "status")
    yield ("mail", "retry")
    yield ("partitions", "list")
    yield ("partitions", "make", "--ahead", "4")
    yield ("partitions", "detach", "--before", "2026-08", *DECISION)
    yield ("lanes", "show")
    yield ("lanes", "set", "2")
    yield ("backup", folder / "copies")
    yield ("restore", folder)
    yield ("transfer", "postgresql://hadir@127.0.0.1:1/none")


def run(folder: Path) -> dict[str, tuple[int, str]]:
    """Run every command; return exit code and output of each, and the content of each file that one has made."""
    centre = office(folder)
    db = address(folder / "centre.db")
    found: dict[str, tuple[int, str]] = {}
    printed = [""]
    for words in commands(folder, lambda: printed[0]):
        result = CliRunner().invoke(app, [*map(str, words), "--db", db], obj=lambda: centre.now)
        assert result.exception is None or isinstance(result.exception, SystemExit), (words, result.exception)
        printed[0] = result.stdout
        name = " ".join(str(word).replace(str(folder), "") for word in words)
        text = (result.stdout + result.stderr).replace(str(folder), "").replace(db, "DB")
        found[re.sub(r"\b\d{8}\b", "N", name)] = result.exit_code, re.sub(r"\b\d{8}\b", "N", text)
    centre.close()
    for file in sorted([*folder.rglob("*.csv"), folder / "person.json"]):
        found[str(file.relative_to(folder))] = 0, re.sub(r"\b\d{8}\b", "N", file.read_text("utf-8-sig"))
    return found


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the commands that take a database."""
    for name, below in getattr(command, "commands", {}).items():
        yield from leaves(below, (*path, name))
    if path and any(option.name == "db" for option in command.params):
        yield " ".join(path)


def test_each_command_works_on_a_server_as_on_a_file_or_says_why_not(postgres: Server, tmp_path: Path) -> None:
    """None ends with a traceback, none is left out."""
    folders = [tmp_path / name for name in ("file", "server")]
    for folder in folders:
        folder.mkdir()
    at_file = run(folders[0])
    with STORES.on(postgres):
        at_server = run(folders[1])

    every = set(leaves(typer.main.get_command(app))) - NOT_RUN
    assert every <= {" ".join(name.split()[:count]) for name in at_file for count in (1, 2)}
    shared = [name for name in at_file if name.split()[0] not in OF_ONE_STORE]
    assert {name: at_server[name] for name in shared} == {name: at_file[name] for name in shared}
    of_one_store = {name: one for name, one in at_server.items() if name not in shared}
    refused = {" ".join(name.split()[:2]): code for name, (code, _) in of_one_store.items() if code}
    assert refused == {
        "status --json": 3,  # no inbox is connected
        "lanes set": 2,
        "backup /copies": 1,
        "restore": 1,
        "transfer postgresql://hadir@127.0.0.1:1/none": 1,
    }
    for name, words in {
        "backup /copies": "is on a server: copy it there with `pg_dump",
        "restore ": "is on a server: copy it there with `pg_dump",
        "transfer postgresql://hadir@127.0.0.1:1/none": "is on a server already; name the SQLite file",
        "lanes show": "no worker has begun: hadir-central inbox --lanes N",
        "partitions make --ahead 4": "Made: 2026-12, 2027-01",
    }.items():
        assert words in of_one_store[name][1]
    assert {code for name, (code, _) in at_file.items() if name.split()[0] in ("lanes", "partitions")} == {1, 2}
