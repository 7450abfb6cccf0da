"""`hadir-central status` and `/metrics`: figures that are true, without people, and files for Grafana that fit them."""

import json
import re
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from central.operation.metrics import Metrics, serve_metrics
from central.operation.tasks import TASKS, read_tasks
from central.policy.document import parse
from central.store import Message
from central.store.condition import LATE_S, MOST_TERMINALS, read_condition
from central.texts import Language
from central.web.database import Source
from tests import command
from tests.broker import Broker, eventually, free_port
from tests.central.store.office import Centre
from tests.central.test_cli import environment
from tests.central.test_cli import running as inbox
from tests.central.web.site import write_accounts
from tests.test_links import anchors

ROOT = Path(__file__).parents[3]
MONITORING = ROOT / "docs" / "monitoring"
Samples = dict[str, float]


def central(*arguments: object, **more: str) -> tuple[int, str]:
    """Run a command to its end; return its exit code and what it printed."""
    done = command.run("central.cli", *arguments, env=environment() | more)
    return done.returncode, done.stdout + done.stderr


def scraped(port: int) -> str:
    """Return what `/metrics` answers."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
        text: str = answer.read().decode()
    return text


def samples(text: str) -> Samples:
    """Return the samples by name and labels."""
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {f"{name.removeprefix('hadir_central_')}": float(value) for name, _, value in lines}


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    """Fill an office with a bit of everything that is counted."""
    centre = Centre(tmp_path, datetime(2026, 9, 6, 3, tzinfo=UTC))
    centre.enter_office()
    centre.at("2026-09-08 00:10")
    centre.punched("1001", "2026-09-07 07:31:00", "2026-09-07 16:05:00")
    centre.receive(centre.note("hadir.record.quarantined.v1", "lobby", reason="x", record="AA=="))
    centre.note("hadir.terminal.lost.v1", "lobby")
    centre.receive(centre.note("hadir.terminal.lost.v1", "gate"))
    centre.store.ingest([Message(f"{centre.source.gateway}/batch", b"no JSON"), Message("x/y/batch", b"no JSON")])
    for number in range(MOST_TERMINALS + 2):
        centre.state(f"hall{number:02d}", f"H{number}", "2026-09-07 20:00")
    centre.at("2026-09-08 09:00")
    centre.state("gate", "G1", "2026-09-08 08:30")
    centre.recompute.run()
    yield centre
    centre.close()


# Longer than 60 lines: one centre with something of each kind; making it takes longer than a look at it.
def test_what_is_counted_is_true_names_no_person_and_is_bounded(centre: Centre) -> None:
    """In both languages, as JSON and over HTTP; the database that goes away is a figure of its own."""
    with centre.database.writing() as connection:
        connection.exec_driver_sql(
            "INSERT INTO affected (subject, first, last, cause, entered) VALUES "
            "('person:a', '2026-09-07', '2026-09-07', '{}', '2026-09-08T01:00:00.000Z')"
        )
    path, tasks = centre.folder / "centre.db", centre.folder / "tasks"
    ends = {"SERVICE_RESULT": "exit-code", "EXIT_STATUS": "1"}
    assert central("ended", "check", "--tasks", tasks, **ends)[0] == 0
    assert central("ended", "nonsense", "--tasks", tasks)[0] == 2
    source = Source(path)
    collector = Metrics(source.reading, lambda: read_tasks(tasks), "9", lambda: centre.now, centre.folder)
    port, close = serve_metrics(collector, "127.0.0.1", 0)
    try:
        found = samples(text := scraped(port))
        assert found == found | {
            "database_readable": 1,
            "lanes": 1,
            "lanes_held": 0,
            "events_held": 4,
            "events_missing": 1,
            "records_quarantined": 1,
            "gateways": 1,
            'events_total{kind="punch"}': 0,
            "terminals": MOST_TERMINALS + 3,
            "terminals_late": MOST_TERMINALS + 2,
            "watermark_age_seconds": 13 * 3600,
            "marks_waiting": 1,
            "marks_failed": 0,
            "mark_age_seconds": 3600,
            "standbys": 0,
            'task_failed{task="check"}': 1,
        }
        assert found['messages_rejected{reason="not_json"}'] == 2
        assert found['database_bytes{kind="sqlite"}'] > 100_000
        assert found["disk_free_bytes"] > 0
        days = {name: found[f'days{{status="{name}"}}'] for name in ("final", "provisional", "open")}
        assert sum(days.values()) == 2
        assert found["provisional_ratio"] == pytest.approx(1 - days["final"] / 2)
        late = [name for name in found if name.startswith("terminal_watermark_age_seconds")]
        assert len(late) == MOST_TERMINALS
        assert 'terminal="gate"' not in "".join(late)
        assert not re.search(r"1001|1002|Contoh|\ba\b=", text)

        centre.punched("1002", "2026-09-08 07:20:00")
        collector._read_s = float("-inf")
        assert samples(scraped(port))['events_total{kind="punch"}'] == 1
        path.rename(path.with_suffix(".gone"))
        collector._read_s = float("-inf")
        found = samples(scraped(port))
        path.with_suffix(".gone").rename(path)
        assert found["database_readable"] == 0
        assert 'task_failed{task="check"}' in found
        assert "events_held" not in found
    finally:
        close()
        source.close()
    with centre.database.reading() as connection:
        now = read_condition(connection, centre.now)
        assert read_condition(connection, centre.now - timedelta(hours=12, seconds=1)).terminals_late == 0
    assert now.late[0].age_s == 13 * 3600 > LATE_S
    for language, words in (
        (Language.ENGLISH, "set aside: not_json 2"),
        (Language.INDONESIAN, "disisihkan: not_json 2"),
    ):
        code, output = central("status", "--db", path, "--lang", language, "--tasks", tasks)
        assert code == 3, output
        assert words in output
        assert "exit-code 1" in output
    code, output = central("status", "--db", path, "--json")
    assert code == 3
    assert json.loads(output)["rejected"] == {"not_json": 2}


def test_a_running_centre_exposes_what_dashboard_and_rules_read(tmp_path: Path) -> None:
    """Every metric of a panel or rule exists, every rule has a runbook; exit code 0 while an inbox is connected."""
    write_accounts(tmp_path / "accounts.yaml")
    port = free_port()
    settings = {
        "data": str(tmp_path),
        "broker": {"url": "mqtt://127.0.0.1:1"},
        "pages": {"listen": f"127.0.0.1:{free_port()}"},
        "metrics": {"listen": f"127.0.0.1:{port}"},
    }
    config = tmp_path / "centre.yaml"
    with Broker(tmp_path) as broker:
        settings["broker"] = {"url": broker.url}
        config.write_text(json.dumps(settings))
        with inbox("--broker", broker.url, "--db", tmp_path / "centre.db"):
            eventually(lambda: central("-c", config, "status")[0] == 0)
            process = command.drained(command.start("central.cli", "-c", config, "serve", env=environment()))
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == f"http://127.0.0.1:{port}/metrics\n"
                text = scraped(port)
                assert process.stdout.readline().startswith("http://127.0.0.1:")  # signals end it in order from here on
            finally:
                process.terminate()
                process.communicate()
    assert process.returncode == 0
    assert samples(text)["lanes_held"] == 1
    exposed = set(re.findall(r"^# TYPE (hadir_central_\w+)", text, re.MULTILINE))
    named = re.compile(r"\bhadir_central_[a-z_]+")
    dashboard = json.loads((MONITORING / "dashboard.json").read_text("utf-8"))
    panels = {panel["title"]: [one["expr"] for one in panel.get("targets", ())] for panel in dashboard["panels"]}
    rules = parse((MONITORING / "rules.yaml").read_text("utf-8"), "rules.yaml").plain()["groups"][0]["rules"]
    for where, expressions in [*panels.items(), *((rule["alert"], [rule["expr"]]) for rule in rules)]:
        for expression in expressions:
            assert (used := set(named.findall(expression))), where
            assert used <= exposed, where
    for rule in rules:
        page, _, heading = rule["annotations"]["runbook"].partition("#")
        assert heading in anchors(ROOT / page), rule["alert"]
    cells = re.findall(r"^\| (`[^|]*) \|", (ROOT / "docs/monitoring.md").read_text("utf-8"), re.MULTILINE)
    assert exposed == {f"hadir_central_{name}" for cell in cells for name in re.findall(r"`([a-z_]+)[`{]", cell)}
    assert 'targets: ["127.0.0.1:9464"]' in (MONITORING / "prometheus.yaml").read_text("utf-8")
    refused = central("-c", config, "serve", "--metrics", "0.0.0.0:9464")
    assert (refused[0], "only this computer" in refused[1]) == (2, True)


def test_each_task_of_systemd_says_how_it_ended() -> None:
    """The units that timers start, and no other."""
    timers = {path.stem.removeprefix("hadir-central-") for path in (ROOT / "systemd").glob("hadir-central-*.timer")}
    assert timers == set(TASKS)
    for name in TASKS:
        unit = (ROOT / f"systemd/hadir-central-{name}.service").read_text("ascii")
        assert re.search(rf"^ExecStopPost=-.* ended {name}$", unit, re.MULTILINE), name
