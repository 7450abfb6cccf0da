"""The command `hadir doctor`, as a person types it."""

import json
import re
import stat
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from drivers.zkteco.simulator import Simulator, build
from gateway.cli.doctor import _advice_lines, _conclude
from gateway.doctor import Outcome, Step
from gateway.findings import FINDINGS
from gateway.ledger import LedgerReader
from gateway.texts import Language, user_language
from tests.broker import Broker, Subscriber, eventually
from tests.control import ask
from tests.gateway.test_cli import HADIR, configuration, environment, hadir

PIN = "198609262015051001"


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Path]:
    """Run a gateway with one terminal, a broker that knows it by a password, and a centre; yield its configuration."""
    password = tmp_path / "mqtt-password"
    password.write_text("hunter2\n")
    password.chmod(0o600)
    terminal = build(records=10)
    terminal.punch(PIN)
    with (
        Simulator(terminal) as simulator,
        Broker(tmp_path, users={"siti": "hunter2", "centre": "x"}) as broker,
        Subscriber(broker.port, username="centre", password="x") as centre,
    ):
        path = configuration(tmp_path, url=broker.url, lobby=simulator.address)
        url = f"url: {broker.url}"
        # The simulator shows this computer's time, whose zone may be any.
        path.write_text(
            path.read_text()
            .replace(url, f"{url}\n  username: siti\n  password_file: mqtt-password")
            .replace("poll: 1s", "poll: 1s\n    clock: {tolerance: 1d}")
        )
        with logged(path, tmp_path / "log"):
            centre.wait_for(lambda _: len(centre.on("punch/lobby")) == 11)
            with closing(LedgerReader(tmp_path / "data")) as ledger:
                receipt = {"stream": ledger.stream, "upto": 11, "missing": [], "at": "2026-09-04T00:31:00.000Z"}
            topic = next(message.topic for message in centre.on("punch/lobby")).partition("/punch/")[0]
            centre.publish(f"{topic}/receipt", receipt, retain=True)
            eventually(lambda: (ask(tmp_path / "data", "status") or {})["terminals"]["lobby"]["state"] == "online")
            yield path


@contextmanager
def logged(config: Path, log: Path) -> Iterator[None]:
    """Run the daemon for the length of a block, with its log in a file."""
    with log.open("w") as file:
        command = [*HADIR, "run", "--assume-synchronised", "-c", str(config)]
        process = subprocess.Popen(command, env=environment(), stderr=file)
        try:
            yield
        finally:
            process.kill()
            process.wait()


def test_nothing_in_the_way(office: Path) -> None:
    """Beside the daemon, in both languages and as JSON: one line a step, and 0."""
    english, indonesian = hadir("doctor", "-c", office, LC_ALL="C.UTF-8"), hadir("doctor", "-c", office, "--lang", "id")
    done = json.loads(hadir("doctor", "-c", office, "--json").stdout)

    assert (english.returncode, english.stderr) == (0, "")
    assert english.stdout.endswith("\nNothing is in the way.\n")
    lines = english.stdout.splitlines()[:-2]
    assert all(re.match(r"[✓\u2013] (gateway|lobby|broker) .* \d+\.\d\d s  .", line) for line in lines), english.stdout
    assert indonesian.stdout.endswith("\nTidak ada yang menghalangi.\n")
    assert done["ok"]
    assert len(done["steps"]) == len(lines)
    assert {step["outcome"] for step in done["steps"]} == {"passed", "skipped"}


def reported_on(*steps: Step, language: Language = Language.ENGLISH) -> str:
    """Return what is concluded from steps."""
    with redirect_stdout(StringIO()) as out:
        _conclude(list(steps), language)
    return out.getvalue()


def step(part: str, name: str, outcome: Outcome, finding: str) -> Step:
    """Return a step that needs few values."""
    return Step(part, name, outcome, finding, {"seconds": "7200", "tolerance": "60", "reason": "why"}, 0.1)


def test_all_is_well_only_where_the_centre_has_confirmed_something() -> None:
    """Without a receipt it is unknown whether punches arrive."""
    confirmed = Step("broker", "receipt", "passed", "receipt_seen", {"upto": 1, "assigned": 1, "missing": 0}, 0.1)
    for other in (
        step("broker", "receipt", "skipped", "no_receipt"),
        step("broker", "receipt", "skipped", "receipt_empty"),
    ):
        assert "confirmed nothing yet" in reported_on(other)
        assert "Pusat belum mengonfirmasi" in reported_on(other, language=Language.INDONESIAN)
    assert reported_on(confirmed) == "\nNothing is in the way.\n"


def test_root_causes_come_first_and_each_step_has_its_advice() -> None:
    """What marks is distinguished from what blocks; what follows from another step points to it."""
    network = step("gateway", "network", "failed", "no_network")
    clock = step("gateway", "clock", "warned", "clock_not_synchronised")
    key = step("lobby", "key", "failed", "key_refused")
    name = step("broker", "name", "failed", "broker_name_unknown")
    steps = [clock, network, key, name]
    under = ["".join(_advice_lines(one, steps, Language.ENGLISH)) for one in steps]
    assert "comes from: gateway, network" in under[0]
    assert "ip address" in under[1]
    assert "comm_key_file" in under[2]
    assert "comes from: gateway, network" in under[3]
    assert re.search(r"In the way \(.\): 3\. To be mended, but nothing stops \(!\): 1\.", reported_on(*steps))
    assert "Begin with: gateway, network" in reported_on(*steps)
    assert "Begin with: lobby, communication key" in reported_on(clock, key)
    assert "Begin with: gateway, this computer's clock" in reported_on(clock)


def test_report_holds_no_secret_and_no_person(office: Path, tmp_path: Path) -> None:
    """Versions, configuration, steps, counts, the end of the log; no password, PIN or user name. Written once only."""
    log = tmp_path / "log"
    with log.open("a") as file:
        file.write(f'{PIN}\t2026-09-04 07:30:00\n{{"event": "x", "level": "debug", "timestamp": "", "pin": "{PIN}"}}\n')
    report = tmp_path / "report.txt"
    done = hadir("doctor", "-c", office, "--report", report, "--log", log)
    again = hadir("doctor", "-c", office, "--report", report)
    text = report.read_text()

    assert done.returncode == 0
    assert str(report) in done.stdout
    assert "Warning" not in done.stderr
    for part in (
        "hadir-gateway 0",
        "== Steps",
        '"password_file"',
        '"username": "(set)"',
        '"sequence": 11',
        "ledger.db",
    ):
        assert part in text
    assert '"event": "gateway_started"' in text
    for private in ("hunter2", PIN, "siti", '"1001"'):
        assert private not in text + done.stdout
    assert again.returncode == 74
    assert "there is such a file already" in again.stderr
    assert report.read_text() == text


def test_first_obstacle_is_named_with_what_to_do(tmp_path: Path) -> None:
    """In the language of the locale; 1 where something is in the way."""
    config = configuration(tmp_path, lobby="127.0.0.1:9")
    done = hadir("doctor", "-c", config, LC_ALL="id_ID.UTF-8", PYTHONIOENCODING="utf-8")
    found = json.loads(hadir("doctor", "-c", config, "--json").stdout)
    failed = [step for step in found["steps"] if step["outcome"] == "failed"]

    assert done.returncode == 1
    assert not found["ok"]
    assert [step["name"] for step in failed][-2:] == ["port", "broker_port"]
    advice = FINDINGS[failed[0]["finding"]].advice
    assert advice is not None
    assert f"Langkah berikut: {advice.into(Language.INDONESIAN)}" in done.stdout
    assert failed[0]["advice"] == advice


def test_configuration_that_is_none(tmp_path: Path) -> None:
    """Ends with 78, and the report shows every mistake."""
    config, report = tmp_path / "gateway.yaml", tmp_path / "report.txt"
    config.write_text("site: Kantor\ngateway: gw-01\ntimezone: WIBB\nmqtt: {url: broker, password: hunter2}\n")
    done = hadir("doctor", "-c", config, "--report", report, "--lang", "en", PYTHONIOENCODING="ascii")

    assert done.returncode == 78
    assert done.stdout.startswith("X gateway  configuration")
    assert "Correct the lines" in done.stdout
    assert len(re.findall(r"gateway\.yaml:\d+:", report.read_text().partition("== Mistakes")[2])) == 5
    assert "hunter2" not in done.stdout + report.read_text()


def test_report_that_cannot_be_written(tmp_path: Path) -> None:
    """Reported as such; the steps were shown all the same."""
    done = hadir("doctor", "-c", configuration(tmp_path, lobby="127.0.0.1:9"), "--report", tmp_path / "no" / "r.txt")
    assert done.returncode == 74
    assert "broker" in done.stdout
    assert "No such file or directory" in done.stderr


@pytest.mark.parametrize(
    ("locale", "language"),
    [("id_ID.UTF-8", "id"), ("in_ID", "id"), ("en_US.UTF-8", "en"), ("C", "en"), ("", "en")],
)
def test_language_follows_the_locale(monkeypatch: pytest.MonkeyPatch, locale: str, language: str) -> None:
    """LC_ALL before LANG; both codes that Indonesian has had."""
    monkeypatch.setenv("LC_ALL", locale)
    monkeypatch.delenv("LC_MESSAGES", raising=False)
    monkeypatch.setenv("LANG", "C")
    assert user_language() == Language(language)


@pytest.mark.parametrize("command", ["check", "run", "status", "doctor"])
def test_the_packages_first_minute(tmp_path: Path, command: str) -> None:
    """The file that the package installs is all comments: every command leads to `sudo hadir init`."""
    packaged = tmp_path / "gateway.yaml"
    packaged.write_text((Path(__file__).parents[2] / "packaging/debian/hadir/gateway.yaml").read_text("utf-8"))
    done = hadir(command, "-c", packaged, LC_ALL="C.UTF-8")
    output = done.stdout + done.stderr
    assert done.returncode == 78
    assert "nothing in this file is in effect" in output
    assert "sudo hadir init" in output.partition("is in effect")[2]
    assert "config/gateway.example.yaml" not in output


def test_report_is_for_its_writer_only(tmp_path: Path) -> None:
    """S25: it names an office's machines and addresses."""
    report = tmp_path / "report.txt"
    hadir("doctor", "-c", configuration(tmp_path, lobby="127.0.0.1:9"), "--report", report)
    assert stat.S_IMODE(report.stat().st_mode) == 0o600
