"""The configuration changes while the daemon runs: real terminals, a real broker, signals."""

import json
import os
import pty
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from drivers.zkteco import wire
from drivers.zkteco.simulator import SimulatedTerminal, Simulator
from gateway import app
from gateway.app import Daemon
from gateway.commands import Refusal
from gateway.ledger import LedgerReader
from gateway.reload import Difference, applied, difference
from gateway.settings import Settings, load
from gateway.settings_text import Problem
from tests import contract, control
from tests.broker import WAIT_S, Broker, Subscriber, eventually
from tests.gateway.test_app import ZONE, here, punches
from tests.gateway.test_app import daemon as process_of
from tests.gateway.test_cli import hadir

PREFIX = "hadir/v1/office/gw/"
NOTHING: dict[str, Any] = {"added": [], "changed": {}, "removed": [], "receiver": [], "restart": []}


def connects(terminal: SimulatedTerminal) -> int:
    """Return how many conversations have been begun."""
    return terminal.commands[wire.CMD_CONNECT]


def listens(terminal: SimulatedTerminal) -> bool:
    """Return whether punches are received as they happen."""
    return any(conversation.listening for conversation in list(terminal._conversations))


def threads() -> int:
    """Return how many there are; the daemon begins a few late, what is left by each reload would be a hundred."""
    return threading.active_count()


def descriptors() -> int:
    """Return how many files and sockets are open; a few come and go, what is left by each reload would be a hundred."""
    return len(list(Path("/proc/self/fd").iterdir()))


# --- the difference of two configurations -------------------------------------------------------------------------


def settings(*terminals: dict[str, Any], **changes: object) -> Settings:
    """Return settings of an office."""
    office = {"site": "office", "gateway": "gw", "timezone": ZONE.key, "mqtt": {"url": "mqtt://127.0.0.1"}}
    return Settings.model_validate(office | changes | {"terminals": list(terminals)})


LOBBY = {"name": "lobby", "driver": "zkteco", "address": "10.0.0.1"}
GUDANG = {"name": "gudang", "driver": "zkteco", "address": "10.0.0.2"}


def test_nothing_has_changed() -> None:
    """Neither the order of the terminals nor a default that is written out is a change."""
    assert difference(settings(LOBBY, GUDANG), settings(GUDANG | {"poll": "60s"}, LOBBY)) == Difference()


def test_terminals_come_go_and_change() -> None:
    """Each is named once, a changed one with its keys; a new driver brings keys of its own."""
    found = difference(
        settings(LOBBY, GUDANG, LOBBY | {"name": "gate"}),
        settings(LOBBY | {"poll": "5s", "clock": {"tolerance": "5s"}}, LOBBY | {"name": "kantin"}, GATE),
    )

    assert found.payload() == {
        "added": ["kantin"],
        "changed": {"lobby": ["poll", "clock"], "gate": ["driver"]},
        "removed": ["gudang"],
        "receiver": [],
        "restart": [],
    }


GATE = {"name": "gate", "driver": "line", "port": "tcp://10.0.0.3:4000", "serial": "G1", "pattern": "(?P<pin>[0-9]+)"}


def test_what_waits_for_a_restart_stays_as_it_is() -> None:
    """Sections are reported key by key, at each reload until a restart; only what can be is in effect."""
    running = settings(LOBBY)
    wanted = settings(GUDANG, timezone="Asia/Jayapura", mqtt={"url": "mqtt://10.0.0.9", "window": 5}, web=None)
    found = difference(running, wanted)
    running = applied(running, wanted)

    assert found.restart == ("timezone", "mqtt.url", "mqtt.window", "web")
    assert (running.timezone, running.terminals) == (ZONE.key, wanted.terminals)
    assert difference(running, wanted) == Difference(restart=found.restart)


# --- a daemon that runs -------------------------------------------------------------------------------------------


@dataclass
class Office:
    """A configuration that is written again and again, and a daemon that runs with it in this process."""

    folder: Path
    broker: Broker
    entries: dict[str, dict[str, object]] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        """Where the configuration is."""
        return self.folder / "gateway.yaml"

    def write(self, more: str = "") -> None:
        """Write the configuration as the test wants it."""
        terminals = [
            {"name": name, "driver": "zkteco", "poll": "100ms"} | entry for name, entry in self.entries.items()
        ]
        self.file.write_text(
            f"site: office\ngateway: gw\ntimezone: {ZONE.key}\ndata_dir: data\n"
            f"mqtt: {{url: '{self.broker.url}'}}\nterminals: {json.dumps(terminals)}\n{more}"
        )

    @contextmanager
    def running(self) -> Iterator[Daemon]:
        """Run a daemon."""
        self.write()
        daemon, stop = Daemon(load(self.file), load=lambda: load(self.file)), threading.Event()
        running = threading.Thread(target=daemon.run, args=(stop,))
        running.start()
        try:
            yield daemon
        finally:
            stop.set()
            running.join(WAIT_S)
            assert not running.is_alive()


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    """Open an office with a broker, whose daemon looks after its parts more often than once a second."""
    monkeypatch.setattr(app, "TICK_S", 0.02)
    with Broker(tmp_path) as broker:
        yield Office(tmp_path, broker)


def test_others_are_not_touched(office: Office) -> None:
    """Terminals come, change and go; the one beside them keeps its conversation, and live goes on."""
    lobby, gudang = SimulatedTerminal(serial="S1", now=here), SimulatedTerminal(serial="S2", now=here)
    with Simulator(lobby) as at_lobby, Simulator(gudang) as at_gudang, Subscriber(office.broker.port) as centre:
        office.entries = {"lobby": {"address": at_lobby.address, "poll": "1h"}}
        with office.running() as daemon:
            (worker,) = daemon._workers

            def still_live(number: int) -> None:
                lobby.punch(f"100{number}")
                centre.wait_for(lambda _: f"100{number}" in punches(centre).values())
                assert next(iter(daemon._workers)) is worker
                assert connects(lobby) == 1

            eventually(lambda: listens(lobby))
            still_live(0)
            changes: list[dict[str, object]] = [{}, {"poll": "200ms"}, {"live": False}]
            for number, change in enumerate(changes, 1):
                office.entries["gudang"] = {"address": at_gudang.address} | change
                office.write()
                done = daemon.reload()
                assert (done["added"], list(done["changed"])) == ((["gudang"], []), ([], ["gudang"]))[number > 1]
                gudang.punch(f"200{number}")
                centre.wait_for(lambda _: f"200{number}" in punches(centre).values())  # noqa: B023 - done with at once
                still_live(number)
            assert {"night-gudang", "tally-gudang"} < set(daemon._calendar.next_runs())
            eventually(
                lambda: [one["name"] for one in centre.on("/info")[-1].payload["terminals"]] == [*office.entries]
            )
            del office.entries["gudang"]
            office.write()
            assert daemon.reload()["removed"] == ["gudang"]
            eventually(lambda: centre.on("gudang/state")[-1].payload is None)
            eventually(lambda: [one["name"] for one in centre.on("/info")[-1].payload["terminals"]] == ["lobby"])
            still_live(9)
            assert set(daemon._calendar.next_runs()) == {"backup", "settings", "night-lobby", "tally-lobby"}
            assert daemon.reload() == NOTHING
            with Subscriber(office.broker.port, f"{PREFIX}terminal/+/state") as late:
                eventually(lambda: late.on("lobby/state"))
                assert late.on("gudang/state") == []
        for message in centre.messages:
            contract.check(message.topic.removeprefix(PREFIX), message.text)

    assert [message.payload["state"] for message in centre.on("gw/state")] == ["online", "offline"]
    with closing(LedgerReader(office.folder / "data")) as reader:
        assert reader.verify().breach is None
        assert reader.punches() == 8


def test_what_is_retained_of_a_terminal_goes_also_where_it_was_removed_before_the_start(office: Office) -> None:
    """The ledger remembers it, and the next connection clears what the broker still retains of it."""
    with Simulator(SimulatedTerminal(serial="S1", now=here)) as simulator:
        office.entries = {"lobby": {"address": simulator.address}}
        with Subscriber(office.broker.port) as centre:
            with office.running():
                eventually(lambda: [m for m in centre.on("lobby/state") if m.payload["serial"] == "S1"])
            office.entries = {"aula": {"address": "127.0.0.1:9"}}
            with office.running():
                eventually(lambda: centre.on("lobby/state")[-1].payload is None)
                eventually(lambda: centre.on("aula/state"))


def test_an_outage_that_a_person_mends_in_the_configuration_is_one_outage(office: Office) -> None:
    """A wrong serial is refused; with the right one the terminal is found, since when it was lost."""
    with Simulator(SimulatedTerminal(serial="S1", now=here)) as simulator, Subscriber(office.broker.port) as centre:
        office.entries = {"lobby": {"address": simulator.address, "serial": "S9"}}
        with office.running() as daemon:
            centre.wait_for(lambda _: centre.on("note/lobby"))
            office.entries["lobby"]["serial"] = "S1"
            office.write()
            assert daemon.reload()["changed"] == {"lobby": ["serial"]}
            centre.wait_for(lambda _: [m for m in centre.on("lobby/state") if m.payload["state"] == "online"])
            eventually(lambda: [m for m in centre.on("note/lobby") if "found" in m.payload["type"]])
        notes = {m.payload["type"]: m.payload["data"] for m in centre.on("note/lobby")}

    assert notes["hadir.terminal.found.v1"]["from"] == notes["hadir.terminal.lost.v1"]["from"]


def test_two_terminals_that_change_places_are_never_spoken_to_by_two(office: Office) -> None:
    """No worker begins before all stopped ones have ended."""
    one, two = (SimulatedTerminal(serial=serial, one_conversation=True, now=here) for serial in ("S1", "S2"))
    with Simulator(one) as at_one, Simulator(two) as at_two, Subscriber(office.broker.port) as centre:
        places = [at_one.address, at_two.address]
        office.entries = {"a": {"address": places[0], "serial": "S1"}, "b": {"address": places[1], "serial": "S2"}}
        with office.running() as daemon:
            eventually(lambda: listens(one) and listens(two))
            office.entries = {"a": {"address": places[1], "serial": "S2"}, "b": {"address": places[0], "serial": "S1"}}
            office.write()
            assert set(daemon.reload()["changed"]) == {"a", "b"}
            eventually(lambda: connects(one) == connects(two) == 2)
            one.punch("1001")
            eventually(lambda: centre.on("punch/b"))
        assert centre.on("gw/alarm") == []


def test_a_hundred_reloads_leave_nothing_behind(office: Office) -> None:
    """A terminal comes, changes and goes: no thread, no open file, no job of it is left."""
    lobby, gudang = SimulatedTerminal(serial="S1", now=here), SimulatedTerminal(serial="S2", now=here)
    with Simulator(lobby) as at_lobby, Simulator(gudang) as at_gudang:
        office.entries = {"lobby": {"address": at_lobby.address}}
        with office.running() as daemon:
            eventually(lambda: listens(lobby))
            eventually(lambda: daemon._publisher.connected and daemon._calendar._scheduler is not None)
            before = threads(), descriptors()
            for number in range(34):
                for visit in (1, 2):
                    office.entries["gudang"] = {"address": at_gudang.address, "poll": f"{visit}h", "live": False}
                    office.write()
                    daemon.reload()
                    eventually(lambda: connects(gudang) == 2 * number + visit)  # noqa: B023 - it is done with at once
                del office.entries["gudang"]
                office.write()
                daemon.reload()
            eventually(lambda: threads() <= before[0] + 10, what=f"{before[0]} threads, not {threads()}")
            eventually(lambda: descriptors() <= before[1] + 5, what=f"{before[1]} descriptors, not {descriptors()}")
            assert set(daemon._calendar.next_runs()) == {"backup", "settings", "night-lobby", "tally-lobby"}
            assert connects(lobby) == 1
        with closing(LedgerReader(office.folder / "data")) as reader:
            assert reader.verify().breach is None


def test_a_worker_that_is_stopped_before_its_start_never_starts(office: Office) -> None:
    """Reloads that come faster than workers end leave the last word standing."""
    with Simulator(SimulatedTerminal(serial="S1", now=here)) as simulator:
        office.entries = {"lobby": {"address": simulator.address}}
        with office.running() as daemon:
            eventually(lambda: listens(simulator.terminal))
            for number in range(100):
                office.entries = {"lobby": {"address": simulator.address, "poll": f"{number + 1}s"}}
                office.write()
                daemon.reload()
            eventually(lambda: listens(simulator.terminal) and connects(simulator.terminal) > 1)
            (worker,) = daemon._workers
            assert worker.settings.poll == 100.0
            assert connects(simulator.terminal) <= 100


def test_mistakes_leave_everything_as_it_is_and_are_reported(office: Office) -> None:
    """The log, an alarm and the answer name the wrong line, without its text; then that it is well."""
    with (
        Simulator(SimulatedTerminal(serial="S1", now=here)) as simulator,
        Subscriber(office.broker.port) as centre,
        capture_logs() as logs,
    ):
        office.entries = {"lobby": {"address": simulator.address}}
        with office.running() as daemon:
            eventually(lambda: centre.on("lobby/state"))
            office.entries["gudang"] = {"address": "127.0.0.1:9"}
            office.write("wobsite: rahasia\n")
            with pytest.raises(Refusal, match=r"gateway\.yaml:7:1: wobsite: unknown key"):
                daemon.reload()
            assert [worker.name for worker in daemon._workers] == ["lobby"]
            office.write()
            assert (control.ask(office.folder / "data", "reload") or {})["added"] == ["gudang"]
            eventually(lambda: len(centre.on("gw/alarm")) == 2)
            alarms = centre.on("gw/alarm")
            assert [alarm.payload["alarm"] for alarm in alarms] == ["settings_refused", "settings_reloaded"]
            assert [worker.name for worker in daemon._workers] == ["lobby", "gudang"]
    (refused,) = (line for line in logs if line["event"] == "settings_refused")
    assert "gateway.yaml:7:1: wobsite" in refused["problems"][0]
    assert "rahasia" not in str(logs) + str(alarms)


# --- a process ----------------------------------------------------------------------------------------------------


def test_a_hang_up_and_the_command_reload(office: Office) -> None:
    """SIGHUP is obeyed, `hadir reload` reports what has come of it, and neither ends the process."""
    data, log = office.folder / "data", office.folder / "daemon.log"
    config = "--config", str(office.file)
    with Simulator(SimulatedTerminal(serial="S1", now=here)) as simulator:
        office.entries = {"lobby": {"address": simulator.address}}
        office.write()
        assert hadir("reload", *config).returncode == 3
        with process_of(office.file) as process:

            def terminals() -> list[str]:
                status = control.ask(data, "status")
                return list(status["terminals"]) if status else []

            eventually(lambda: terminals() == ["lobby"])
            office.entries["gudang"] = {"address": "127.0.0.1:9"}
            office.write()
            done = hadir("reconcile", "gudang", *config)
            assert (done.returncode, "does not know gudang yet" in done.stderr) == (2, True)
            process.send_signal(signal.SIGHUP)
            eventually(lambda: terminals() == ["lobby", "gudang"])
            office.entries["gudang"]["poll"] = "5s"
            office.write("retention: {days: 5}\n")
            done = hadir("reload", *config)
            assert (done.returncode, done.stdout.split()) == (0, ["changed", "gudang", "(poll)"])
            assert "after a restart only: retention.days" in done.stderr
            done = hadir("reload", "--json", *config)
            assert json.loads(done.stdout) == {
                "added": [],
                "changed": {},
                "removed": [],
                "receiver": [],
                "restart": ["retention.days"],
            }
            assert hadir("reload", *config).stdout == "no terminal has changed\n"
            office.write("wobsite: 1\n")
            process.send_signal(signal.SIGHUP)
            eventually(lambda: "settings_refused" in log.read_text())
            done = hadir("reload", *config)
            assert (done.returncode, "wobsite: unknown key" in done.stderr) == (78, True)
            assert terminals() == ["lobby", "gudang"]
            process.send_signal(signal.SIGTERM)
            assert process.wait(WAIT_S) == 0


def test_a_terminal_window_that_is_closed_ends_it(office: Office) -> None:
    """Where a person watches, a hang-up is no wish to reload."""
    office.entries = {"lobby": {"address": "127.0.0.1:9"}}
    office.write()
    window, screen = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway.cli", "run", "--config", str(office.file)], stderr=screen, stdout=screen
    )
    os.close(screen)
    try:
        eventually(lambda: control.ask(office.folder / "data", "status"))
        process.send_signal(signal.SIGHUP)
        assert process.wait(WAIT_S) == 0
    finally:
        process.kill()
        process.wait()
        os.close(window)


def test_a_newly_refused_value_is_used_and_logged_every_day(office: Office) -> None:
    """An office that runs today keeps running: a line in the log at the start, and an alarm every night."""
    with Subscriber(office.broker.port) as centre, capture_logs() as logs:
        office.entries = {"lobby": {"address": "127.0.0.01:9"}}
        with office.running() as daemon:
            assert daemon._settings.terminals[0].model_dump()["address"] == "127.0.0.01:9"
            eventually(lambda: [line for line in logs if line["event"] == "settings_outdated"])
            eventually(lambda: daemon._calendar._scheduler is not None)
            assert "settings" in daemon._calendar.next_runs()
            daemon._warn_of_settings(alarm=True)
            eventually(lambda: "settings_outdated" in str([message.payload for message in centre.on("gw/alarm")]))
    output = next(line for line in logs if line["event"] == "settings_outdated")
    assert any("terminals[0].address: its numbers have leading zeros" in problem for problem in output["problems"])


def test_a_setting_that_reduces_safety_is_logged_every_day(office: Office) -> None:
    """`mqtt.strict_certificates: false`: a line in the log at the start, and an alarm every night."""
    office.entries = {"lobby": {"address": "127.0.0.1:9"}}
    with Subscriber(office.broker.port) as centre, capture_logs() as logs, office.running() as daemon:
        problem = Problem(4, 3, "mqtt.strict_certificates", "incomplete certificates are accepted", "weakening")
        daemon._settings._problems = (problem,)
        daemon._warn_of_settings(alarm=True)
        eventually(lambda: "certificates_not_strict" in str([message.payload for message in centre.on("gw/alarm")]))
    output = next(line for line in logs if line["event"] == "certificates_not_strict")  # the start may warn too
    assert output["problems"] == ["line 4: mqtt.strict_certificates: incomplete certificates are accepted"]


@pytest.mark.parametrize("found_by", ["backup", "verify"])
def test_an_altered_event_that_was_sent_is_set_aside_and_copies_are_made_again(office: Office, found_by: str) -> None:
    """Once, with an alarm; the next copy is whole again, and what was found is still in the ledger."""
    office.entries = {"lobby": {"address": "127.0.0.1:9"}}
    with Subscriber(office.broker.port) as centre, capture_logs() as logs, office.running() as daemon:
        ledger = daemon._ledger
        ledger.record_note("hadir.gateway.resumed.v1", None, datetime(2026, 9, 7, tzinfo=UTC), {"until": "CANARY"})
        eventually(lambda: not ledger.counts().waiting)
        with closing(sqlite3.connect(ledger.path, timeout=30)) as other, other:
            other.execute("UPDATE event SET body = replace(body, 'CANARY', 'SPARROW')")
        if found_by == "verify":
            assert hadir("verify", "-c", office.file).returncode == 1
        else:
            daemon._back_up()
            assert "backup_failed" in str(logs)
        eventually(lambda: "body_altered" in str([message.payload for message in centre.on("gw/alarm")]))
        assert ledger.counts().altered == 1
        daemon._back_up()
        assert [line for line in logs if line["event"] == "backup_made"]
        assert hadir("verify", "-c", office.file).returncode == 1
        assert len([line for line in logs if line["event"] == "body_altered"]) == 1
        assert daemon._check_event({"sequence": 2}) == {"set_aside": 0}
        assert "SPARROW" not in str([message.payload for message in centre.messages])
