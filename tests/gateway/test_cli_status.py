"""The command `hadir status` shows what the page shows: what to look at, room, alarms."""

import json
import re
import subprocess
import sys
import urllib.request
from contextlib import closing
from datetime import date, datetime
from html import unescape
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from typer.main import get_group

from drivers.zkteco.simulator import Simulator, build
from gateway.advice import obstacle
from gateway.cli import status
from gateway.cli.direct import status_options
from gateway.control_server import Control
from gateway.findings import FINDINGS
from gateway.ledger import LedgerReader
from gateway.office import running_office
from gateway.page.attention import attention
from gateway.page.messages import Messages
from gateway.settings import load
from gateway.texts import Language
from tests.broker import Broker, eventually, free_port
from tests.control import ask
from tests.gateway.test_cli import configuration, environment, hadir, running


def test_a_full_disk_is_seen(tmp_path: Path) -> None:
    """Reading has stopped: it stands in the fields, in what to look at, and among the alarms; the exit code stays 0."""
    with Broker(tmp_path) as broker, Simulator(build(records=10)) as simulator:
        config = configuration(tmp_path, url=broker.url, lobby=simulator.address)
        config.write_text(config.read_text() + "retention:\n  free_floor: 1000TiB\n")
        with running("run", "-c", config, "--assume-synchronised"):
            eventually(lambda: (ask(tmp_path / "data", "status") or {}).get("alarms"), 60)
            done = hadir("status", "-c", config)
            found = json.loads(hadir("status", "-c", config, "--lang", "id", "--json").stdout)
    assert done.returncode == 0
    assert re.search(r"disk +[\d,]+ MiB free.*; FULL: READING HAS STOPPED", done.stdout)
    assert "!! The disk is full: reading has stopped\n   Make room." in done.stdout
    assert "disk_floor: there is no room on the gateway's disk" in done.stdout
    assert {"room_none"} <= {item["code"] for item in found["attention"]}
    (item,) = [item for item in found["attention"] if item["code"] == "room_none"]
    assert (item["urgent"], item["what"]) == (True, "Disk penuh: pembacaan berhenti")


HEAVY = ("sqlalchemy", "structlog", "pydantic", "ruamel.yaml", "drivers", "gateway.settings", "gateway.ledger")
"""What takes most of the time of every other command."""


def lightly(*arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command in an interpreter of its own, which adds to the errors the modules it imported of those above."""
    script = "import atexit, sys; import gateway.cli; "
    script += f"atexit.register(lambda: print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)); "
    command = [sys.executable, "-c", f"{script} gateway.cli.main()", *map(str, arguments)]
    return subprocess.run(command, env=environment(**env), capture_output=True, text=True, check=False, timeout=300)


def test_status_imports_neither_ledger_nor_configuration_where_it_knows_both(tmp_path: Path) -> None:
    """Of a gateway that never ran, that runs, that was stopped: the second look shows what the first one did."""

    def looked_twice() -> str:
        first, again = (lightly("status", "-c", config, "--days", 2) for _ in range(2))
        assert "'pydantic'" in first.stderr.splitlines()[-1]
        assert again.stderr.splitlines()[-1] == "[]"
        assert (first.returncode, first.stdout) == (again.returncode, again.stdout)
        assert first.stderr.splitlines()[:-1] == again.stderr.splitlines()[:-1]
        assert again.returncode == 3
        return again.stdout

    config = configuration(tmp_path, lobby="127.0.0.1:9")
    assert "ledger   none yet" in looked_twice()
    with Simulator(build(records=40)) as simulator:
        config = configuration(tmp_path, lobby=simulator.address)
        with running("run", "-c", config, "--assume-synchronised") as gateway:
            eventually(
                lambda: (ask(tmp_path / "data", "status") or {"health": {"backlog": 0}})["health"]["backlog"] >= 40
            )
            shown = lightly("status", "-c", config)
            assert (shown.returncode, shown.stderr.splitlines()) == (0, ["[]"])
            gateway.terminate()
            gateway.wait(60)
    assert re.search(r"^lobby +unknown .* 40 *$", looked_twice(), re.MULTILINE)
    shown = json.loads(lightly("status", "-c", config, "--json").stdout)
    with closing(LedgerReader(tmp_path / "data")) as ledger:
        stored = ledger.summary(3, date.min)
    assert (shown["ledger"], shown["terminals"], shown["tallies"]) == (
        stored["counts"],
        stored["terminals"],
        stored["tallies"],
    )


def test_a_running_gateway_that_read_the_same_file_reports_what_is_shown_of_it(tmp_path: Path) -> None:
    """A change of the file is read, checked and shown as before the gateway takes it."""
    config = configuration(tmp_path, lobby="127.0.0.1:9")
    with running("run", "-c", config):
        eventually_answered(tmp_path / "data")
        office = running_office(config)
        assert office == load(config).office
        shown = json.loads(hadir("status", "-c", config, "--json").stdout)
        assert shown["running"] is True
        config.write_text(config.read_text().replace("lobby", "gudang"))
        assert running_office(config) is None
        assert hadir("reload", "-c", config).returncode == 0
        office = running_office(config)
        assert office is not None
        assert set(office.tolerances) == {"gudang"}
        config.write_text(config.read_text() + "retention: {days: 7}\n")
        assert hadir("reload", "-c", config).returncode == 0
        assert running_office(config) is None, "the days take effect at the next start"
        config.write_text(config.read_text() + "nonsense: 1\n")
        done = hadir("status", "-c", config)
    assert done.returncode == 78
    assert "nonsense: unknown key" in done.stderr


def test_a_gateway_without_the_newest_command_is_shown_with_its_ledger(tmp_path: Path) -> None:
    """A gateway of the version before answers ``status`` only; its ledger is read here."""
    config = configuration(tmp_path, lobby="127.0.0.1:9")
    folder = tmp_path / "data"
    with running("run", "-c", config):
        answer = eventually_answered(folder)
    before = json.loads(hadir("status", "-c", config, "--json").stdout)
    server = Control(folder, {"status": lambda _: answer})
    try:
        shown = json.loads(hadir("status", "-c", config, "--json").stdout)
    finally:
        server.close()
    assert shown["running"] is True
    assert shown["ledger"] == before["ledger"]
    assert shown["ledger"]["waiting"] >= 0


def eventually_answered(folder: Path) -> dict[str, Any]:
    """Return the status of a gateway that starts."""
    eventually(lambda: ask(folder, "status"), 60)
    answer: dict[str, Any] = ask(folder, "status")
    return answer


def test_status_and_page_have_one_list(tmp_path: Path) -> None:
    """A terminal that is away, one whose clock is off, a broker that is not there."""
    port = free_port()
    with Simulator(build(records=10, clock_offset_s=420)) as simulator:
        config = configuration(tmp_path, url="mqtt://127.0.0.1:9", lobby=simulator.address, gudang="127.0.0.1:9")
        config.write_text(config.read_text().replace("web: null", f"web: {{listen: '127.0.0.1:{port}'}}"))
        with running("run", "-c", config, "--assume-synchronised"):

            def settled() -> bool:
                done = ask(tmp_path / "data", "status") or {"terminals": {}, "broker_status": {"cause": None}}
                known = [state for state in done["terminals"].values() if state["cause"] or state["clock"]]
                return len(known) == 2 and done["broker_status"]["cause"] is not None

            eventually(settled, 60)
            done = ask(tmp_path / "data", "status")
            assert done is not None
            shown = hadir("status", "-c", config, "--lang", "id").stdout
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/?lang=id", timeout=30) as answer:
                page = unescape(answer.read().decode())
    settings = load(config)
    items = attention(done, {}, Messages("id", reported_at(settings.timezone)))
    assert {"no_broker", "terminal_offline"} <= {item.code for item in items}
    for what in ("Broker tidak terhubung", "gudang tidak menjawab sejak"):
        assert what in shown
        assert what in page
    # The technical reason stays English, behind its meaning.
    assert re.search(r"^  gateway +kantor/gw-01, hadir \S+, berjalan selama ", shown, re.MULTILINE)
    assert re.search(r"^  broker +mqtt://127.0.0.1:9, tidak tersambung: [a-z ]+ broker \(.*\); ", shown, re.MULTILINE)
    reason = done["terminals"]["gudang"]["reason"]
    meaning = FINDINGS[obstacle("unavailable", done["reason_codes"]["gudang"]).name].text
    line = meaning.into(Language.INDONESIAN, reason=reason)
    assert line != reason
    assert f"gudang: {line}" in shown
    assert line in page
    for advice in re.findall(r"^!+ .*\n   (.*)$", shown, re.MULTILINE):
        assert advice in page


def reported_at(zone: str) -> datetime:
    """Return now in the office's zone."""
    return datetime.now(ZoneInfo(zone))


def test_a_simulated_terminal_shows_the_offices_time_on_any_machine(tmp_path: Path) -> None:
    """As the smallest configuration of the README has it: nothing is seven hours off."""
    with running("simulate", "zkteco", "--port", 0, "--records", 5, TZ="UTC") as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        address = re.search(r"at (127\.0\.0\.1:\d+), TCP and UDP\. Its clock shows Asia/Jakarta\.", line)
        assert address, line
        config = configuration(tmp_path, lobby=address[1])
        found = json.loads(hadir("probe", "lobby", "-c", config, "--json", TZ="UTC").stdout)
    assert abs(found["clock"]["offset_ms"]) < 60_000


@pytest.mark.parametrize(
    ("arguments", "read"),
    [
        ([], True),
        (["-c", "a.yaml"], True),
        (["-ca.yaml", "--json"], True),
        (["--config=a.yaml", "--days=7", "--lang", "id"], True),
        (["--days", "0", "--config", "b.yaml", "--config", "a.yaml"], True),
        (["--watch"], False),
        (["-w"], False),
        (["-h"], False),
        (["--help"], False),
        (["--conf", "a.yaml"], False),
        (["--days", "-1"], False),
        (["--days", "x"], False),
        (["--days"], False),
        (["--lang", "nl"], False),
        (["--json", "more"], False),
        (["--json=1"], False),
    ],
)
def test_options_are_read_as_typer_reads_them(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], *, read: bool
) -> None:
    """What is not written in full, or is wrong, is left to Typer; both read the same values."""
    monkeypatch.setenv("HADIR_CONFIG", "/from/environment.yaml")
    options = status_options(arguments)
    assert (options is not None) is read
    if options is not None:
        command = get_group(status.app).commands["status"]
        with command.make_context("status", list(arguments)) as context:
            given = context.params
        lang = given["lang"] and Language(given["lang"])
        typed = {"config": Path(given["config"]), "days": int(given["days"]), "as_json": given["as_json"], "lang": lang}
        assert {"days": 3, "lang": None, "as_json": False, **options} == typed
