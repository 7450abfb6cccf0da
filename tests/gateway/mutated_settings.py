"""Configurations with two values changed at once: whatever `check` accepts, `run` does not end on.

:func:`attack` makes one from its seed. What loads is run as the daemon runs it, without a network: every part is made
and started, every nightly job runs once, and the options of each driver read a sample.
"""

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, NoReturn
from unittest.mock import patch

from drivers import DRIVERS
from drivers.anviz import wire as anviz
from drivers.base import Driver, DriverError, DriverOptions, Terminal
from drivers.line.wire import Message, MessageParser
from gateway import app
from gateway.settings import Settings, load
from gateway.settings_text import SettingsError
from tests.mutation import HOSTILE_NUMBERS, HOSTILE_TEXTS, encode_json, mutate_bytes, mutate_json, mutate_text

SAMPLE: dict[str, Any] = {
    "site": "3602-bkpsdm",
    "gateway": "gw-01",
    "timezone": "Asia/Jakarta",
    "data_dir": "data",
    "mqtt": {
        "url": "mqtt://broker.example.go.id:1883",
        "root": "hadir",
        "protocol": 5,
        "username": "3602-bkpsdm/gw-01",
        "password_file": "password",
        "window": 100,
        "keepalive_s": 30,
    },
    "delivery": {"batch_from": 200, "batch_bytes": "64KiB", "confirm": "auto"},
    "retention": {"days": 90, "max_bytes": "2GiB", "free_floor": "1MiB"},
    "commands": {"allow": ["poll", "reconcile", "replay", "report", "set-clock"]},
    "web": {"listen": "127.0.0.1:0", "token_file": "token"},
    "terminals": [
        {
            "name": "lobby",
            "driver": "zkteco",
            "address": "192.168.1.201",
            "serial": "SYN0000000001",
            "comm_key_file": "comm-key",
            "transport": "tcp",
            "layout": "40",
            "poll": "60s",
            "start": "all",
            "live": True,
            "timezone": "Asia/Makassar",
            "timeout": "10s",
            "bulk_timeout": "120s",
            "clock": {"tolerance": "60s", "set": "nightly"},
            "max_set": "10m",
            "silence": "3h",
        },
        {
            "name": "gudang",
            "driver": "anviz",
            "port": "/dev/serial/by-id/absent",
            "baudrate": 9600,
            "device_id": 1,
            "epoch": "2000-01-02",
            "turnaround": "200ms",
            "poll": "1m",
        },
        {
            "name": "pos-jaga",
            "driver": "line",
            "port": "tcp://192.168.1.70:4001",
            "serial": "POS-JAGA-01",
            "pattern": r"(?P<pin>\d+),(?P<date>\S+) (?P<time>\S+),(?P<state>\d+)",
            "date_format": "%Y-%m-%d",
            "time_format": "%H:%M:%S",
            "framing": "line",
            "checksum": "none",
            "encoding": "ascii",
            "baudrate": 9600,
        },
        {"name": "gate", "driver": "attlog", "path": "/media/absent", "serial": "S4", "number": 1, "settle": "2s"},
    ],
}
SECRETS = {"password": b"hunter2\n", "token": b"0123456789abcdef0123\n", "comm-key": b"123456\n"}
DURATIONS = (
    *(
        "1ms",
        "0.001ms",
        "99ms",
        "100ms",
        "1s",
        "10m",
        "601s",
        "1h",
        "1d",
        "366d",
        "9999999d",
        "5s",
        "10 s",
        "0.1s",
        "0s",
    ),
    *("10", "1e3s", "\u0661s", None),
)
SIZES = ("0B", "1KiB", "1MiB", "1.5GB", "16MiB", "1TiB", "16TiB", "999999999999999TiB", "0.1B", 0, 1024, 2**40, 2**63)
ZONES = (
    *("UTC", "WIT", "Pacific/Kiritimati", "America/St_Johns", "Asia/Kathmandu", "Etc/GMT+7", "Factory", "localtime"),
    *("right/Asia/Jakarta", "zone.tab", "Asia", "Africa/Casablanca", None),
)
ADDRESSES = (
    *("192.168.1.10", "mesin", "mesin.kantor.", "a_b.c", "a" * 63, "xn--", "10.0.0.1:1", "10.0.0.1:65535", "h:0004370"),
    *(
        "192.168.001.010",
        "192.168.1.2O1",
        "0x7f.1",
        "127.1",
        "0.0.0.0:9",
        "[::1]:4370",
        "a:99999",
        "a" * 64,
        "\u00e9.id",
    ),
)
PORTS = (
    *("/dev/null", "/dev/zero", "/dev/full", "/dev/tty", "/dev", "/", "/dev/tty" + "S" * 300, "/proc/self/mem"),
    *(
        "tcp://10.0.0.1:1",
        "tcp://a.b:65535",
        "tcp://",
        "tcp://a:0001",
        "tcp://a",
        "/dev//ttyUSB9",
        "/dev/pts/../ttyUSB9",
    ),
)
URLS = (
    *("mqtt://a", "mqtt://a.", "mqtts://a:1883", "mqtts://[::]:1", "mqtt://[::1]", "mqtt://" + "a." * 126 + "a"),
    *("mqtt://h:000000001883", "mqtt://10.0.0.010", "mqtts://h/", "mqtt://[:::]", "mqtt://-"),
)
FORMATS = (
    *("%Y", "%d%d", "%s", "%", "%%", "%j %Y", "%c", "%Z", "%Y-%m-%d%H", "%I:%M %p", "%f", "dd/mm/yyyy", "%G-%V-%u"),
    *("%d/%m/%y", "%Y%m%d", "%d %b %Y", "%x", "%X", "%H%M", "%H.%M.%S", "%T", "%D", "%Y-%m-%d%z", "\u0661%Y-%m-%d"),
)
PATTERNS = (
    *("(?P<pin>.*)", "(?P<pin>a{99999999999})", "(" * 500, "(?P<card>\\d)(?P<date>.)(?P<time>.)", "[", "(?P<pin>)"),
    *(
        "(?P<pin>\\d+)?.*",
        "(?P<pin>.)(?P<date>.*)(?P<time>)",
        "(?P<pin>\\d+)(?P<state>.)(?P<verify>.)",
        "(?i:(?P<pin>x))",
    ),
)
DAYS = ("2000-01-01", "1970-01-01", "2030-01-01", "0001-01-01", "9999-12-31", "2026-02-30", "20260101", "now", "all")
NUMBERS = (
    0,
    1,
    2,
    5,
    80,
    99,
    255,
    300,
    3600,
    3660,
    9601,
    10_000,
    65535,
    65536,
    268_435_455,
    2**31,
    2**32,
    2**63,
    10**30,
)
NAMES = ("a", "-", "x" * 64, "x" * 65, "x" * 255, "x" * 256, "x" * 70_000, "0", "gudang", "con", "A", "a/b", "a+", "#")
TEXTS = (
    "",
    "x",
    "x" * 65_536,
    "gw 1",
    " gw",
    "\u201cgw\u201d",
    "\u00a0x",
    "a\u0000b",
    "\u202e",
    "x\ud800",
    "\U0001f600",
    "x/+/#",
)
PATHS = (
    "~",
    "",
    ".",
    "/",
    "/dev/null",
    "/proc",
    "data/../data",
    "x" * 300,
    "/" + "x/" * 3000,
    "$HOME",
    "a\u0000",
    "\u00e9",
)
CHOICES: tuple[Any, ...] = (
    None,
    True,
    False,
    [],
    {},
    "never",
    "3.1.1",
    "stx",
    "xor",
    "sum8",
    "crc16",
    "utf-8",
    "latin-1",
    "udp",
    "8-ma300",
    49,
)
KINDS: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(
        ("poll", "timeout", "bulk_timeout", "tolerance", "max_set", "silence", "settle", "turnaround"), DURATIONS
    ),
    **dict.fromkeys(("batch_bytes", "max_bytes", "free_floor"), SIZES),
    **dict.fromkeys(("batch_from", "days", "window", "keepalive_s", "baudrate", "device_id", "number"), NUMBERS),
    **dict.fromkeys(("site", "gateway", "name", "root"), NAMES),
    **dict.fromkeys(("date_format", "time_format"), FORMATS),
    **dict.fromkeys(("username", "serial"), TEXTS),
    **dict.fromkeys(("epoch", "start"), DAYS),
    **dict.fromkeys(("data_dir", "path"), PATHS),
    "timezone": ZONES,
    "address": ADDRESSES,
    "listen": ADDRESSES,
    "port": PORTS,
    "url": URLS,
    "pattern": PATTERNS,
}
ALL = tuple(value for kind in (*KINDS.values(), HOSTILE_TEXTS, HOSTILE_NUMBERS) for value in kind)
PATIENCE_S = 60.0


def attack(seed: int, folder: Path | None = None) -> bool:
    """Run with the configuration of a seed, in an empty folder; whether it could be run. AssertionError: it ended."""
    if folder is None:
        with TemporaryDirectory() as made:
            return attack(seed, Path(made))
    random = Random(seed)
    config = _write(random, folder)
    accepted = False
    for strict in (True, False):
        try:
            settings = load(config, strict=strict)
        except SettingsError:
            continue
        if not accepted:
            _run(settings.model_copy(update={"data_dir": folder / "data"}), f"seed {seed}, strict={strict}")
        accepted = True
    return accepted


def _write(random: Random, folder: Path) -> Path:
    for name, content in SECRETS.items():
        (folder / name).write_bytes(mutate_bytes(content, random, 1) if random.random() < 0.1 else content)
        (folder / name).chmod(0o600)
    config = folder / "gateway.yaml"
    with socket.socket() as probe:  # any port that is free now
        probe.bind(("127.0.0.1", 0))
        sample = {**SAMPLE, "web": {**SAMPLE["web"], "listen": f"127.0.0.1:{probe.getsockname()[1]}"}}
    match random.randrange(8):
        case 0:
            text = mutate_text(json.dumps(sample, indent=1), random)
        case 1:
            text = encode_json(mutate_json(sample, random)).decode()
        case _:
            tree = json.loads(json.dumps(sample))
            for _ in range(2):
                container, key = random.choice(list(_leaves(tree)))
                fitting = random.random() < 0.9
                container[key] = random.choice(KINDS.get(str(key), CHOICES) if fitting else ALL)
            text = json.dumps(tree)
    config.write_bytes(text.encode("utf-8", "surrogatepass"))
    return config


def _leaves(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the container and the key of every value that is no container itself."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        if isinstance(value[key], dict | list):
            yield from _leaves(value[key])
        else:
            yield value, key


def _no_network(*_: Any, **__: Any) -> NoReturn:
    raise OSError(101, "Network is unreachable")


@contextmanager
def _without_network() -> Iterator[None]:
    with (
        patch.object(socket, "create_connection", _no_network),
        patch.object(socket, "getaddrinfo", _no_network),
        patch.object(socket, "gethostbyname", _no_network),
    ):
        yield


def _run(settings: Settings, which: str) -> None:
    _read_samples(settings)
    codes: list[int] = []
    visited: set[str] = set()
    unforeseen: list[Exception] = []
    drivers = {name: _watched(driver, visited, unforeseen) for name, driver in DRIVERS.items()}
    stop = threading.Event()
    with _without_network(), patch.object(app, "DRIVERS", drivers):
        daemon = app.Daemon(settings)
        thread = threading.Thread(target=lambda: codes.append(daemon.run(stop)), name="daemon")
        thread.start()
        try:
            until = time.monotonic() + PATIENCE_S
            while len(visited) < len(settings.terminals) and thread.is_alive() and time.monotonic() < until:
                time.sleep(0.01)
            for work, _ in list(daemon._calendar._jobs.values()):
                work()
            json.dumps(daemon._status())
            failed = daemon._failed_part()
        finally:
            stop.set()
            thread.join(PATIENCE_S)
    assert unforeseen == [], f"{which}: {unforeseen}"
    assert failed is None, f"{which}: {failed}"
    assert codes == [0], f"{which}: it ended with {codes}"


def _watched(driver: Driver, visited: set[str], unforeseen: list[Exception]) -> Driver:
    """Return a driver that notes who was visited, and what it raises that no driver may raise."""

    @contextmanager
    def connect(options: DriverOptions) -> Iterator[Terminal]:
        with ExitStack() as stack:
            try:
                terminal = stack.enter_context(driver.connect(options))
            except DriverError:
                raise
            except Exception as exc:
                unforeseen.append(exc)
                raise
            finally:
                visited.add(options.name)
            yield terminal

    return replace(driver, connect=connect)


def _read_samples(settings: Settings) -> None:
    """Let the options of each driver do what they are for."""
    for entry in settings.terminals:
        settings.zone(entry)
        options = entry.model_dump()
        assert isinstance(entry, DriverOptions)
        entry.place()
        if entry.driver == "line":
            grammar = MessageParser(
                re.compile(options["pattern"]), options["encoding"], options["date_format"], options["time_format"]
            )
            for text in (b"1001,2026-04-10 07:30:00,0", b"", b"x" * 255, b"\xff"):
                grammar.read(Message(text, text, None))
        elif entry.driver == "anviz":
            for raw in (bytes(anviz.RECORD), b"\xff" * anviz.RECORD):
                anviz.decode_record(raw, options["epoch"])
