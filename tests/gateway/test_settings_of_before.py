"""Configurations that offices run today and that this version refuses: `check` reports it, `run` goes on as before."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gateway.settings import Settings, load
from gateway.settings_text import SettingsError
from tests.gateway.test_cli import hadir
from tests.gateway.test_settings import GOOD, changed

Value = Callable[[Settings], Any]


class Office(NamedTuple):
    """A configuration as it lies on a machine today."""

    text: str
    refused: str
    """What `check` reports: the key and part of the message."""
    value: Value
    used: Any
    """What the gateway goes on with."""


def terminal(line: str) -> str:
    """Return the good file with one more line at its terminal."""
    return f"{GOOD}    {line}\n"


def line_terminal(option: str) -> str:
    """Return the good file with a terminal on a serial line."""
    pattern = r"pattern: '(?P<pin>\d+) (?P<date>\S+) (?P<time>\S+)'"
    return f"{GOOD}  - {{name: pos, driver: line, port: /dev/ttyUSB9, serial: POS-1, {pattern}, {option}}}\n"


def anviz(option: str, port: str = "/dev/ttyUSB9") -> str:
    """Return the good file with an Anviz terminal."""
    return f"{GOOD}  - {{name: pos, driver: anviz, port: {port}, {option}}}\n"


def last(option: str) -> Value:
    """Return what reads an option of the last terminal."""
    return lambda settings: getattr(settings.terminals[-1], option)


OFFICES = {
    "octal": Office(
        changed("192.168.1.201", "192.168.001.010"),
        "terminals[0].address: its numbers have leading zeros",
        last("address"),
        "192.168.001.010",
    ),
    "short address": Office(
        changed("192.168.1.201", "192.168.201"), "terminals[0].address: not an address", last("address"), "192.168.201"
    ),
    "letter": Office(
        changed("192.168.1.201", "192.168.1.2O1"), "write 192.168.1.201", last("address"), "192.168.1.2O1"
    ),
    "broker": Office(
        changed("mqtt://broker", "mqtt://10.0.0.010"),
        "mqtt.url: its numbers have leading zeros",
        lambda settings: settings.mqtt.host,
        "10.0.0.010",
    ),
    "spelled twice": Office(
        terminal("serial: A\n  - {name: b, driver: zkteco, address: '192.168.1.201:04370'}"),
        "terminals[1].address: the same place as that of terminals[0]",
        last("address"),
        "192.168.1.201:04370",
    ),
    "one port": Office(
        line_terminal("baudrate: 9600") + "  - {name: gudang, driver: anviz, port: /dev//ttyUSB9, device_id: 7}\n",
        "terminals[2].port: the port of terminals[1], which is of another family",
        last("port"),
        "/dev//ttyUSB9",
    ),
    "converter": Office(
        anviz("device_id: 1", "tcp://192.168.1.010"), "leading zeros", last("port"), "tcp://192.168.1.010"
    ),
    "sign": Office(
        changed("Asia/Jakarta", "Etc/GMT+7"),
        "timezone: the signs of these zones are the other way round",
        lambda settings: settings.timezone,
        "Etc/GMT+7",
    ),
    "abbreviation": Office(terminal("timezone: EST"), "an abbreviation", last("timezone"), "EST"),
    "factory": Office(terminal("timezone: Factory"), "not a zone of its own", last("timezone"), "Factory"),
    "poll": Office(terminal("poll: 1ms"), "terminals[0].poll: too short; write 1s or more", last("poll"), 0.001),
    "poll for ever": Office(terminal("poll: 9999999d"), "too long; write 366d or less", last("poll"), 366 * 86400),
    "timeout": Office(terminal("timeout: 2h"), "terminals[0].timeout: too long; write 10m", last("timeout"), 7200),
    "tolerance": Office(
        terminal("clock: {tolerance: 400d}"), "write 366d or less", lambda s: s.terminals[0].clock.tolerance, 31622400
    ),
    "date format": Office(
        line_terminal("date_format: dd/mm/yyyy"), "write %d/%m/%Y", last("date_format"), "dd/mm/yyyy"
    ),
    "time format": Office(line_terminal("time_format: 'HH:mm'"), "write %H:%M", last("time_format"), "HH:mm"),
    "no year": Office(line_terminal("date_format: '%d/%m'"), "write %Y-%m-%d", last("date_format"), "%d/%m"),
    "directive twice": Office(line_terminal("date_format: '%d%d'"), "write %Y-%m-%d", last("date_format"), "%d%d"),
    "speed": Office(line_terminal("baudrate: 9601"), "not a speed of serial lines", last("baudrate"), 9601),
    "epoch": Office(
        anviz("epoch: 1900-01-01"), "no terminal counts from this day", lambda s: s.terminals[1].name, "pos"
    ),
    "keepalive": Office(
        changed("mqtt://broker", "mqtt://broker\n  keepalive_s: 1"),
        "mqtt.keepalive_s: too small; write 5",
        lambda settings: settings.mqtt.keepalive_s,
        1,
    ),
    "days": Office(
        GOOD + "retention: {days: 36500}\n",
        "retention.days: too large; write 3660",
        lambda settings: settings.retention.days,
        36500,
    ),
    "curly": Office(
        changed("mqtt://broker", "mqtt://broker\n  username: \u201cgw-01\u201d"),
        "mqtt.username: curly quotes",
        lambda settings: settings.mqtt.username,
        "\u201cgw-01\u201d",
    ),
    "home": Office(GOOD + "data_dir: ~/hadir\n", "data_dir: ~ and $", lambda s: s.data_dir.parts[-2:], ("~", "hadir")),
    "folder": Office(
        GOOD + "  - {name: pos, driver: attlog, path: absen, serial: S1}\n",
        "not a whole path",
        last("path"),
        Path("absen"),
    ),
    "long name": Office(changed("lobby", "l" * 65), "write 64 characters or fewer", last("name"), "l" * 65),
}


@pytest.mark.parametrize("office", OFFICES.values(), ids=OFFICES)
def test_check_refuses_and_run_goes_on(tmp_path: Path, office: Office) -> None:
    """The same value as before, and a problem that is named."""
    config = tmp_path / "gateway.yaml"
    config.write_text(office.text, encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        load(config, strict=True)
    assert office.refused in str(caught.value)
    assert {problem.severity for problem in caught.value.problems} == {"newly_refused"}

    settings = load(config)
    assert office.value(settings) == office.used
    assert [problem for problem in settings.problems if problem.severity == "newly_refused"] == list(
        caught.value.problems
    )


@pytest.mark.parametrize(
    ("content", "refused"),
    [
        (b"hunter2 \n", "begins or ends with a blank"),
        (b"hun\0ter2", "has a NUL"),
        (b"hunter2\nother\n", "has several lines"),
        (b"hun\tter2", "an invisible character"),
    ],
    ids=["blank", "nul", "lines", "tab"],
)
def test_password_files_that_no_login_can_use(tmp_path: Path, content: bytes, refused: str) -> None:
    """T3: the broker refused them, and the gateway read its terminals all the same."""
    (tmp_path / "pw").write_bytes(content)
    (tmp_path / "pw").chmod(0o600)
    config = tmp_path / "gateway.yaml"
    config.write_text(changed("mqtt://broker", "mqtt://broker\n  username: gw\n  password_file: pw"))
    with pytest.raises(SettingsError, match=refused) as caught:
        load(config, strict=True)
    assert "hun" not in str(caught.value)
    assert load(config).mqtt.password_file == tmp_path / "pw"


def test_mistakes_of_old_and_new_are_shown_at_once(tmp_path: Path) -> None:
    """By `check`, for whoever must mend one mends the other too; `run` names what stops it."""
    config = tmp_path / "gateway.yaml"
    config.write_text(terminal("poll: 1ms\n    live: 7"))
    with pytest.raises(SettingsError) as caught:
        load(config, strict=True)
    assert [problem.severity for problem in caught.value.problems] == ["newly_refused", "mistake"]
    with pytest.raises(SettingsError) as caught:
        load(config)
    assert [problem.severity for problem in caught.value.problems] == ["mistake"]


def test_check_ends_with_78_and_says_what_07_30_is(tmp_path: Path) -> None:
    """T2: the exit code of a configuration, and a number that everybody in an office can judge."""
    config = tmp_path / "gateway.yaml"
    config.write_text(changed("Asia/Jakarta", "Etc/GMT+7"))
    assert hadir("check", config).returncode == 78
    config.write_text(changed("Asia/Jakarta", "WITA"))
    done = hadir("check", config)
    assert done.returncode == 0
    assert "is 23:30 UTC of the day before (Asia/Makassar)" in done.stdout


@pytest.mark.parametrize(
    ("text", "doubt"),
    [
        (changed("Asia/Jakarta", "Asia/Tokyo"), None),
        (changed("Asia/Jakarta", "America/New_York"), "3:11: timezone: a zone outside of Indonesia: 07:30"),
        (changed("mqtt://broker", "mqtt://broker:8883"), "5:8: mqtt.url: 8883 is the port for TLS"),
        (changed("mqtt://broker", "mqtts://broker:1883"), "5:8: mqtt.url: 1883 is the port without TLS"),
        (
            changed("mqtt://broker", "mqtt://broker\n  username: gw\n  password_file: pw"),
            "5:8: mqtt.url: the password and all punches cross the network unencrypted",
        ),
        (changed("mqtt://broker", "mqtt://localhost\n  username: gw\n  password_file: pw"), None),
        (GOOD + "retention: {free_floor: 1TB}\n", "10:25: retention.free_floor: more than the whole disk holds"),
        (terminal("start: 2999-01-01"), "10:12: terminals[0].start: a day in the future"),
        (anviz("start: now"), None),
        (line_terminal("start: now"), "terminals[1].start: driver line has no log with places to start at"),
    ],
)
def test_what_may_be_meant_is_a_warning(tmp_path: Path, text: str, doubt: str | None) -> None:
    """T2, T5, S19: exit code 0, and a line on standard error."""
    (tmp_path / "pw").touch(0o600)
    (tmp_path / "pw").write_text("hunter2\n")
    config = tmp_path / "gateway.yaml"
    config.write_text(text)
    done = hadir("check", config)
    assert done.returncode == 0
    warnings = [line for line in done.stderr.splitlines() if line.startswith(f"warning: {config}:")]
    assert (len(warnings) == 1 and doubt in warnings[0]) if doubt else warnings == []
