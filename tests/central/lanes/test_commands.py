"""What the commands refuse, and what they show."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

from central.lanes.assignment import lane_of
from central.store import Database, lanes
from central.store.lanes import Plan
from tests.command import run

BROKER = ("--broker", "mqtt://127.0.0.1:1")


def test_a_file_has_no_lanes(tmp_path: Path) -> None:
    """It is refused with a sentence that names what they need, and no file is made."""
    file = tmp_path / "centre.db"

    done = run("central.cli", "inbox", *BROKER, "--lanes", 2, "--db", file, env=os.environ | {"COLUMNS": "300"})
    shown = run("central.cli", "lanes", "show", "--db", file, env=os.environ)

    assert (done.returncode, "lanes need a PostgreSQL database" in done.stderr) == (2, True), done.stderr
    assert (shown.returncode, "lanes need a PostgreSQL" in shown.stderr) == (2, True), shown.stderr
    assert not file.exists()


def test_workers_of_one_database_have_one_client_id(database_url: str) -> None:
    """Another one would receive everything a second time; `lanes show` names the right one, `lanes set` the number."""
    with Database(database_url, create=True) as database, database.writing() as connection:
        plan = Plan(2, "hadir", "hadir-central")
        lanes.begin_plan(connection, plan, lambda site: lane_of(site, 2), datetime(2026, 9, 1, tzinfo=UTC))
        lanes.add_site(connection, "dinas-contoh", lane_of("dinas-contoh", 2))
    options = ("--db", database_url)

    done = run("central.cli", "inbox", *BROKER, "--lanes", 2, "--client-id", "other", *options, env=os.environ)
    changed = run("central.cli", "lanes", "set", 4, *options, env=os.environ)
    shown = run("central.cli", "lanes", "show", "--json", *options, env=os.environ)
    printed = run("central.cli", "lanes", "show", "--lang", "id", *options, env=os.environ)

    assert "jalur 2  tidak dipegang worker    1 lokasi, 1 akan pindah" in printed.stdout, printed.stdout
    assert (done.returncode, "--client-id hadir-central" in done.stderr) == (78, True), done.stderr
    assert changed.returncode == 0, changed.stderr
    found = json.loads(shown.stdout)
    assert (found["lanes"], found["client_id"]) == (4, "hadir-central")
    assert [(one["lane"], one["worker"], one["moving"]) for one in found["held"] if one["sites"]] == [(2, None, 1)]
