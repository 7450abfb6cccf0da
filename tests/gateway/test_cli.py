"""The command as people and scripts use it: each time a process of its own, on real simulators and a real broker."""

import csv
import io
import json
import os
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jsonschema
import pytest

from drivers.zkteco import layouts, wire
from drivers.zkteco.simulator import SimulatedTerminal, Simulator, build
from gateway.cli import hint_lines
from gateway.cli.app import COMMANDS, LazyCommand
from gateway.settings import load
from tests import command
from tests.broker import WAIT_S, Broker, Subscriber, eventually, free_port
from tests.control import ask
from tests.drivers.zkteco import foreign_services

HADIR = [sys.executable, "-m", "gateway.cli"]
NOON = datetime(2026, 9, 4, 12)  # noqa: DTZ001 - a terminal's wall clock has no zone


CACHE = TemporaryDirectory(prefix="hadir-cache-")
"""What commands keep in the cache of a user, in these tests."""


def environment(**more: str) -> dict[str, str]:
    """Return an environment without any configuration."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HADIR_")}
    return kept | {"TERM": "dumb", "COLUMNS": "240", "XDG_CACHE_HOME": CACHE.name, **more}


def hadir(*arguments: object, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return command.run("gateway.cli", *arguments, stdin=stdin, env=environment(**env))


@contextmanager
def running(*arguments: object, **env: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command for the length of a block."""
    process = command.drained(command.start("gateway.cli", *arguments, env=environment(**env)))
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def configuration(folder: Path, *, url: str = "mqtt://127.0.0.1:9", more: str = "", **addresses: str) -> Path:
    """Write a configuration with a terminal for each address."""
    text = "site: kantor\ngateway: gw-01\ntimezone: Asia/Jakarta\ndata_dir: data\nweb: null\n"
    text += f"mqtt:\n  url: {url}\nterminals:\n"
    for name, address in addresses.items():
        text += f"  - name: {name}\n    driver: zkteco\n    address: '{address}'\n    poll: 1s\n"
    path = folder / "gateway.yaml"
    path.write_text(text + more)
    return path


@contextmanager
def answering(with_bytes: bytes) -> Iterator[str]:
    """Be something else that answers at an address: with the same bytes, or never."""

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                connections.append(connection)
                connection.recv(1024)
                if with_bytes:
                    connection.sendall(with_bytes)

    connections: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
    for connection in connections:
        connection.close()


# --- in general ---------------------------------------------------------------------------------------------------


def test_help_names_every_command_and_exit_code() -> None:
    """The help lists what there is."""
    result = hadir("--help")
    assert result.returncode == 0
    for word in (
        "init",
        "doctor",
        "run",
        "check",
        "schema",
        "status",
        "tail",
        "probe",
        "discover",
        "read",
        "demo",
        "simulate",
    ):
        assert f" {word} " in result.stdout
    for code in (0, 1, 2, 3, 69, 70, 74, 75, 76, 77, 78):
        assert f" {code} " in result.stdout


def test_start_is_fast_because_nothing_heavy_is_imported() -> None:
    """On a small computer each of these would be felt at every command."""
    heavy = "pydantic", "structlog", "zk", "sqlalchemy", "paho", "ruamel.yaml", "apscheduler", "rich.console"
    script = f"import sys, gateway.cli; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_a_command_imports_its_own_module_only() -> None:
    """The list of commands shows all of them without importing any."""
    script = (
        "import sys, gateway.cli\n"
        "sys.argv[1:] = ['--help']\n"
        "try:\n    gateway.cli.main()\n"
        "except SystemExit:\n    print(sorted(name for name in sys.modules if name.startswith('gateway.cli.')))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == str([f"gateway.cli.{name}" for name in ("app", "base", "loading")])


def test_the_daemon_loads_no_library_that_it_does_not_use() -> None:
    """Rich is for the screen, Alembic for the centre, the others for the status page."""
    unused = "rich", "pygments", "alembic", "jinja2", "starlette", "uvicorn", "cryptography"
    script = f"import sys, gateway.cli.run; print([name for name in {unused} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_repeats_their_first_sentence(name: str) -> None:
    """The table stands in for modules that are not imported."""
    command = LazyCommand(name).load()
    first = " ".join((command.help or "").split("\n\n")[0].split())

    assert COMMANDS[name].summary in (first, command.help)


def test_installed_command_tells_its_version() -> None:
    """The script that pip installs is this module."""
    script = Path(sys.executable).with_name("hadir")
    result = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert result.stdout == f"hadir {version('hadir-gateway')}\n"


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["proeb"], "No such command"),
        (["probe"], "Missing argument"),
        (["probe", "a b"], "not an address"),
        (["probe", "10.0.0.1", "--timeout", "3"], "such as 10s"),
        (["probe", "10.0.0.1", "--timeout", "0s"], "more than 0s"),
        (["discover", "10.0.0.0-9"], "no IPv4 network"),
        (["discover", "10.0.0.0/24", "--rate", "5000"], "less than or equal to 200"),
        (["discover", "10.0.0.0/24", "--driver", "soap"], "write zkteco"),
        (["discover", "10.0.0.0/24", "--yaml", "--json"], "choose one"),
        (["probe", "10.0.0.1", "--driver", "anvis"], "line or push or soap or webhook or zkteco"),
        (["probe", "10.0.0.1", "--driver", "anviz"], "write a device file such as /dev/ttyUSB0"),
        (["probe", "10.0.0.1", "--comm-key-file", "/nonexistent"], "cannot be read (No such file or directory)"),
        (["read", "10.0.0.1", "--format", "xml"], "csv"),
        (["simulate", "zkteco", "--layout", "41"], "no layout '41'"),
        (["simulate", "zkteco", "--clock-offset", "soon"], "not a duration"),
        (["simulate", "zkteco", "--fault", "earthquake"], "no fault 'earthquake'"),
        (["simulate", "zkteco", "--fault", "trickle=soon"], "not a duration"),
        (["simulate", "anviz", "--port", "5010"], "write pty, or tcp:"),
        (["simulate", "anviz", "--epoch", "soon"], "YYYY-MM-DD"),
        (["simulate", "anviz", "--fault", "fire"], "no fault 'fire'"),
        (["simulate", "push", "--fault", "fire"], "no fault 'fire'"),
        (["simulate", "push", "--server", "https://127.0.0.1"], "write http://HOST:PORT"),
        (["simulate", "soap", "--fault", "fire"], "no fault 'fire'"),
        (["probe", "10.0.0.1", "--driver", "push"], "cannot be called; it calls the gateway"),
    ],
)
def test_wrong_usage_is_2_and_says_what_is_right(arguments: list[str], advice: str) -> None:
    """A mistake on the command line is distinguished from a failure."""
    result = hadir(*arguments)
    assert result.returncode == 2
    assert advice in " ".join(result.stderr.replace("│", " ").split())


def test_output_that_takes_ascii_only_or_nothing() -> None:
    """A console of another century, and none at all, are no reason to fail."""
    ascii_only = environment(PYTHONIOENCODING="ascii")
    assert subprocess.run([*HADIR, "--help"], env=ascii_only, capture_output=True, check=False).returncode == 0
    closed = subprocess.run(["sh", "-c", '"$@" >&- 2>&-', "sh", *HADIR, "schema"], env=environment(), check=False)
    assert closed.returncode == 0


def patched(patch: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command in which something is replaced."""
    script = f"import sys\nfrom gateway.cli import main\nsys.argv[1:] = {arguments!r}\n{patch}\nmain()"
    return subprocess.run(
        [sys.executable, "-c", script], env=environment(**env), capture_output=True, text=True, check=False
    )


def test_internal_error_is_70_without_a_traceback() -> None:
    """A traceback, or the words of an exception, may hold a password; a developer can ask for it."""
    patch = (
        "import gateway.settings\n"
        "def load(path):\n    password = 'hunter2'\n    raise ValueError(password)\n"
        "gateway.settings.load = load"
    )
    result = patched(patch, "status")
    assert result.returncode == 70
    assert "internal error: ValueError" in result.stderr
    assert hint_lines("internal")[1] in result.stderr
    assert "Traceback" not in result.stderr
    assert "hunter2" not in result.stderr
    assert "Traceback" in patched(patch, "status", HADIR_DEBUG="1").stderr


def test_demo_passes_on_what_it_found() -> None:
    """1 where the numbers differ; the duration arrives as seconds."""
    patch = "import gateway.demo.run as run\nrun.demo = lambda *given, **named: print(*given, *named.values()) or 1"
    result = patched(patch, "demo", "--for", "2m", "--plain", "--lang", "id", "--date", "2026-10-01", "--hold", "10:10")
    assert (result.returncode, result.stdout) == (1, "120.0 True id 2026-10-01 10:10:00 0\n")


def test_demo_without_its_broker() -> None:
    """The package for offices leaves the demo's library out: the command names it and how to install it."""
    without = patched("import sys\nsys.modules['iotcore'] = None", "demo", "--for", "1s")
    assert without.returncode == 1
    assert without.stderr.splitlines() == [
        "hadir: the demo needs the library iotcore, which is not installed here",
        *(f"  {line}" for line in hint_lines("demo")),
    ]


# --- configuration ------------------------------------------------------------------------------------------------

BROKEN = "site: Kantor\ngateway: gw-01\ntimezone: Jakarta\nmqtt:\n  url: broker\n  password: hunter2\nterminals: []\n"


def test_check_says_ok_and_what_is_configured(tmp_path: Path) -> None:
    """A good configuration is summed up."""
    path = configuration(tmp_path, lobby="192.168.1.201")
    for result in (hadir("check", path), hadir("check", "-c", path), hadir("check", HADIR_CONFIG=str(path))):
        assert result.returncode == 0
        assert result.stdout.startswith(f"OK: {path}\n")
        assert "1: lobby (zkteco, 192.168.1.201)" in result.stdout
        assert result.stderr == ""
    found = json.loads(hadir("check", path, "--json").stdout)
    assert (found["ok"], found["broker"]) == (True, "mqtt://127.0.0.1:9")


@pytest.mark.parametrize("command", ["check", "run", "status", "tail"])
def test_all_mistakes_of_a_configuration_at_once(tmp_path: Path, command: str) -> None:
    """Whatever needs the configuration shows each mistake with its line, and ends with 78."""
    path = tmp_path / "gateway.yaml"
    path.write_text(BROKEN)
    result = hadir(command, "-c", path)
    lines = result.stderr.splitlines()
    assert result.returncode == 78
    assert [line.split(":")[1] for line in lines[:5]] == ["1", "3", "5", "6", "7"]
    assert lines[5:] == ["hadir: 5 mistakes in the configuration", *(f"  {line}" for line in hint_lines("config"))]
    assert "hunter2" not in result.stderr
    assert result.stdout == ""


def test_mistakes_as_json(tmp_path: Path) -> None:
    """A script gets place and message of each."""
    path = tmp_path / "gateway.yaml"
    path.write_text(BROKEN)
    result = hadir("check", path, "--json")
    found = json.loads(result.stdout)
    assert result.returncode == 78
    assert not found["ok"]
    assert [(error["line"], error["path"]) for error in found["errors"]][:2] == [(1, "site"), (3, "timezone")]


def test_missing_configuration(tmp_path: Path) -> None:
    """A first start without a configuration states where to name one."""
    result = hadir("run", "-c", tmp_path / "none.yaml")
    assert result.returncode == 78
    assert "no such file" in result.stderr
    assert hint_lines("no_config")[0] in result.stderr


def test_schema_is_a_json_schema() -> None:
    """An editor can use it."""
    result = hadir("schema")
    assert result.returncode == 0
    jsonschema.Draft202012Validator.check_schema(json.loads(result.stdout))


# --- terminals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", list(layouts.LAYOUTS))
def test_probe_finds_every_layout(layout: str) -> None:
    """Serial, model, clock, log and its layout; in JSON, and little travels."""
    terminal = build(layout=layout, records=500, clock_offset_s=420, serial="CEXA193960001")
    with Simulator(terminal) as simulator:
        result = hadir("probe", simulator.address, "--json")
        found = json.loads(result.stdout)
    assert result.returncode == 0
    assert result.stderr == ""
    assert found["address"] == simulator.address
    assert (found["serial"], found["model"]) == ("CEXA193960001", "Simulated F18")
    assert (found["records"], found["capacity"], found["layout"]) == (500, 100_000, layout)
    assert found["by_uid"] == layout.startswith("8")
    assert abs(found["clock"]["offset_ms"] - 420_000) <= found["clock"]["bound_ms"]
    last = list(terminal.records())[-1]
    assert isinstance(last, tuple)
    assert found["newest"] == last.local_time.isoformat()  # type: ignore[union-attr]  # no bad record was made
    assert wire.CMD_USERTEMP_RRQ not in terminal.commands


def test_probe_in_words() -> None:
    """What a technician reads."""
    with Simulator(build(records=300, clock_offset_s=-90, capacity=1000)) as simulator:
        result = hadir("probe", simulator.address)
    assert result.returncode == 0
    assert "SIM0000000001" in result.stdout
    assert "1 min 30 s behind this computer" in result.stdout
    assert "300 of 1,000 records (30 %), layout 40" in result.stdout


def test_probe_of_an_empty_log() -> None:
    """No record, no layout, no time."""
    with Simulator(build()) as simulator:
        result = hadir("probe", simulator.address, "--udp")
    assert result.returncode == 0
    assert "0 of 100,000 records (0 %)\n" in result.stdout
    assert "the same as this computer" in result.stdout


def test_probe_with_and_without_the_key(tmp_path: Path) -> None:
    """A refused key is 77 and states where to find the right one; the key itself is never printed."""
    (tmp_path / "right").write_text("4711\n")
    (tmp_path / "wrong").write_text("1174\n")
    with Simulator(build(comm_key=4711)) as simulator:
        refused = hadir("probe", simulator.address, "--comm-key-file", tmp_path / "wrong", "--json")
        admitted = hadir("probe", simulator.address, "--comm-key-file", tmp_path / "right")
    assert refused.returncode == 77
    assert json.loads(refused.stdout)["error"]["code"] == "refused"
    assert "Comm. > PC connection" in refused.stderr
    assert hint_lines("key")[1] in refused.stderr
    assert "1174" not in refused.stderr + refused.stdout
    assert admitted.returncode == 0


@pytest.mark.parametrize(
    ("answer", "code", "hint"),
    [
        (b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n\r\n", 76, "protocol"),
        (bytes.fromhex("aa01c80000b43f55"), 77, "panel"),
        (wire.SECURE_MAGIC + bytes(12), 77, "encrypted"),
        (b"", 69, "unavailable"),
    ],
    ids=["web server", "access panel", "secure firmware", "silence"],
)
def test_probe_of_something_else(answer: bytes, code: int, hint: str) -> None:
    """Plain words in two languages about what is not a terminal we can read."""
    with answering(answer) as address:
        result = hadir("probe", address, "--timeout", "1s")
    assert result.returncode == code
    assert result.stdout.startswith("Ways to read 127.0.0.1:")
    what, *advice = result.stderr.splitlines()
    assert what.startswith(f"hadir: {address}: ")
    assert advice == [f"  {line}" for line in hint_lines(hint)]


def test_probe_of_a_terminal_that_calls(tmp_path: Path) -> None:
    """Nothing reaches it from here, so the hint names what shows it, and no cable."""
    more = "  - {name: loket-3, driver: push, serial: SYN0000000001}\nreceiver: {listen: '127.0.0.1:8088'}\n"
    config = configuration(tmp_path, lobby="127.0.0.1:9", more=more)
    result = hadir("probe", "loket-3", "--config", config)
    assert result.returncode == 69
    assert result.stderr.startswith("hadir: loket-3: a terminal of this kind cannot be called")
    assert "`hadir doctor`" in result.stderr
    assert "cable" not in result.stderr


def test_probe_and_read_of_a_closed_port() -> None:
    """A closed port and an unknown name are both 69, with advice of their own; what is no name is 2."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        refused, udp = hadir("read", f"127.0.0.1:{port}"), hadir("probe", f"127.0.0.1:{port}", "--udp")
    unknown, impossible = hadir("probe", "nosuch.invalid"), hadir("probe", "kantor..local")
    assert [result.returncode for result in (refused, udp, unknown, impossible)] == [69, 69, 69, 2]
    assert refused.stderr.startswith(f"hadir: 127.0.0.1:{port}: cannot be reached (Connection refused)\n")
    assert hint_lines("unavailable")[1] in udp.stderr
    assert hint_lines("name")[1] in unknown.stderr
    assert "or a host name" in " ".join(impossible.stderr.replace("│", " ").split())


@pytest.fixture(scope="module")
def neighbourhood() -> Iterator[int]:
    """Be a network, 127.45.1.0/28, of terminals and others; return the port where all of them listen."""
    terminals = {
        1: build(serial="0000123456", records=20, clock_offset_s=420),
        2: build(serial="CEXA193960001", layout="8", records=10),
        3: build(serial="CEXA193960001", records=5),
        4: build(comm_key=4711),
    }
    terminals[1].model = "X100-C/ID"
    terminals[3].model = "K 14 #3: \xe9"  # no model that could be believed
    port = foreign_services.free_port()
    with ExitStack() as stack:
        for number, terminal in terminals.items():
            stack.enter_context(Simulator(terminal, f"127.45.1.{number}", port))
        datagrams = build(serial="UDP1", comm_key=4711)
        stack.enter_context(foreign_services.datagrams_only(datagrams, "127.45.1.5", port))
        for number, answer in (
            (6, foreign_services.PANEL),
            (7, foreign_services.SECURE),
            (8, b"SSH-2.0-OpenSSH_9.2\r\n"),
        ):
            stack.enter_context(foreign_services.listening(f"127.45.1.{number}", port, foreign_services.saying(answer)))
        stack.enter_context(foreign_services.listening("127.45.1.9", port, foreign_services.hanging_up))
        yield port


def loaded(entries: str, folder: Path) -> list[Any]:
    """Paste lines into a configuration and load it, as the gateway does."""
    path = configuration(folder)
    path.write_text(path.read_text() + entries)
    return list(load(path).terminals)


def test_discover_prints_a_table_and_lines_to_paste(neighbourhood: int, tmp_path: Path) -> None:
    """Everybody who answers is in the table; whom the gateway can read, in lines that it takes as they are."""
    result = hadir("discover", "127.45.1.0/28", "--port", neighbourhood, COLUMNS="200")
    assert result.returncode == 0
    table, _, entries = result.stdout.partition("\nFor the configuration, under terminals:\n\n")
    rows = {row.split()[0].removeprefix("127.45.1.").split(":")[0]: row for row in table.splitlines()[1:]}
    assert set(rows) == set("123456789")
    for word in ("0000123456", "X100-C/ID", "Ver 6.60", "7 min", "ahead", "20 of 100,000"):
        assert word in rows["1"]
    assert " UDP" in rows["5"]
    for number, remark in (("4", "key"), ("5", "key"), ("6", "panel"), ("7", "encrypted"), ("9", "breaks off")):
        assert remark in rows[number]
    assert f"  # 127.45.1.6:{neighbourhood}: door access panel\n" in entries
    terminals = loaded(entries, tmp_path)
    # The two with one serial cannot both be read under it: a person decides, the second waits as a comment.
    assert [terminal.name for terminal in terminals] == ["x100-c-id-1", "simulated-f18-2", "terminal-4", "terminal-5"]
    assert [terminal.serial for terminal in terminals] == ["0000123456", "CEXA193960001", None, None]
    assert [terminal.address for terminal in terminals] == [f"127.45.1.{n}:{neighbourhood}" for n in (1, 2, 4, 5)]
    assert [terminal.transport for terminal in terminals] == ["tcp", "tcp", "tcp", "udp"]
    assert "  # - name: terminal-3\n" in entries
    assert entries.count("  # comm_key_file: ") == 2
    for hint in ("key", "panel", "encrypted", "unavailable", "protocol"):
        assert result.stderr.count(hint_lines(hint)[1]) == 1


def test_discover_with_the_key_as_lines_alone(neighbourhood: int, tmp_path: Path) -> None:
    """The key opens those that ask for it, and its file stands in their lines; the key itself nowhere."""
    key_file = tmp_path / "kunci pintu"
    key_file.write_text("4711")
    key_file.chmod(0o600)
    result = hadir("discover", "127.45.1.4/31", "--port", neighbourhood, "--comm-key-file", key_file, "--yaml")
    assert (result.returncode, result.stderr) == (0, "")
    assert "4711" not in result.stdout
    terminals = loaded(result.stdout, tmp_path)
    assert [(terminal.serial, terminal.transport) for terminal in terminals] == [
        ("SIM0000000001", "tcp"),
        ("UDP1", "udp"),
    ]
    assert {terminal.comm_key_file for terminal in terminals} == {key_file}


def test_discover_as_json(neighbourhood: int) -> None:
    """A script gets everything; addresses named twice are tried once."""
    result = hadir("discover", "127.45.1.0/28", "127.45.1.1", "127.45.1.3/28", "--port", neighbourhood, "--json")
    assert (result.returncode, result.stderr) == (0, "")
    found = json.loads(result.stdout)
    assert (found["addresses"], found["tried"], found["asked"], len(found["found"])) == (14, 14, 14, 9)
    first, panel = found["found"][0], found["found"][5]
    assert (first["name"], first["serial"], first["records"], first["error"]) == ("x100-c-id-1", "0000123456", 20, None)
    assert abs(first["clock"]["offset_ms"] - 420_000) <= first["clock"]["bound_ms"]
    assert (panel["name"], panel["error"]["code"]) == (None, "refused")


def test_discover_names_tell_terminals_apart() -> None:
    """Where two networks use one last number, as much of the address as is needed."""
    port = foreign_services.free_port()
    with ExitStack() as stack:
        for host in ("127.45.2.9", "127.45.3.9", "127.46.3.9"):
            stack.enter_context(Simulator(build(serial=f"SN{host}"), host, port))
        result = hadir("discover", "127.45.2.8/30", "127.45.3.8/30", "127.46.3.8/30", "--port", port, "--json")
    names = [row["name"] for row in json.loads(result.stdout)["found"]]
    assert names == ["simulated-f18-45-2-9", "simulated-f18-45-3-9", "simulated-f18-46-3-9"]


def test_discover_without_terminals_ends_with_1(neighbourhood: int) -> None:
    """No terminal there, or only others, is a negative result with advice."""
    for network in ("127.45.1.10", "127.45.1.6"):
        result = hadir("discover", network, "--port", neighbourhood)
        assert result.returncode == 1
        assert f"no terminal answers in {network}" in result.stderr
        assert hint_lines("no_terminal")[1] in result.stderr
        assert "For the configuration" not in result.stdout


@pytest.mark.parametrize(
    ("network", "words", "hint"),
    [
        ("10.20.0.0/16", "65,534 addresses: asking them all takes 21 min", "large"),
        ("8.8.8.0/24", "8.8.8.0/24 is not a private network", "public"),
        ("0.0.0.0/0", "0.0.0.0/0 is not a private network", "public"),
    ],
)
def test_discover_refuses_to_be_rude(network: str, words: str, hint: str) -> None:
    """Large and foreign networks are not searched by accident."""
    result = hadir("discover", network)
    assert (result.returncode, result.stdout) == (2, "")
    assert words in result.stderr
    assert hint_lines(hint)[1] in result.stderr


def test_discover_with_yes_searches_any_network() -> None:
    """An unreachable address is no finding; the output states that there is no way."""
    result = hadir("discover", "255.255.255.255", "--yes")
    assert (result.returncode, result.stdout) == (69, "")
    assert hint_lines("no_route")[1] in result.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_discover_ends_with_what_it_found(number: signal.Signals) -> None:
    """Ctrl-C or SIGTERM: who was found is printed, conversations are ended, the rest is not tried."""
    terminal, port = SimulatedTerminal(serial="FOUND1"), foreign_services.free_port()
    with (
        Simulator(terminal, "127.47.0.1", port),
        running("discover", "127.47.0.0/23", "--rate", "1", "--port", port) as process,
    ):
        eventually(lambda: terminal.commands[wire.CMD_EXIT], what="the terminal's farewell")
        process.send_signal(number)
        out, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 128 + number
    assert "FOUND1" in out
    assert "of 510 addresses were asked" in err
    assert terminal.conversations == 0


@pytest.fixture(scope="module")
def short_log() -> Iterator[Simulator]:
    """Serve a terminal that names people by internal numbers, one of whom it no longer knows."""
    terminal = SimulatedTerminal(layout="8", users={1: "1001", 2: "1002"})
    for minute, pin in enumerate(("1001", "1002", "77", "1001")):
        terminal.append(pin, NOON + timedelta(minutes=minute), state=minute)
    del terminal.users[3]
    with Simulator(terminal) as simulator:
        yield simulator


def test_read_csv_resolves_people(short_log: Simulator) -> None:
    """An 8-byte log holds internal numbers; the PINs come from the user table, the unknown one stays a number."""
    result = hadir("read", short_log.address, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert result.returncode == 0
    assert [(row["position"], row["pin"], row["uid"]) for row in rows] == [
        ("0", "1001", "1"),
        ("1", "1002", "2"),
        ("2", "", "3"),
        ("3", "1001", "1"),
    ]
    assert rows[0]["local_time"] == "2026-09-04T12:00:00"
    assert (rows[1]["state_label"], rows[1]["verify_label"], rows[1]["bad"]) == ("check_out", "fingerprint", "")
    assert result.stderr.startswith(f"4 of the 4 records of {short_log.address}, layout 8")


def test_read_table_from_a_position(short_log: Simulator) -> None:
    """Positions stay those of the whole log."""
    result = hadir("read", short_log.address, "--from", 2)
    _, first, second = result.stdout.splitlines()
    assert first.split()[:4] == ["2", "2026-09-04", "12:02:00", "uid:3"]
    assert second.split()[:4] == ["3", "2026-09-04", "12:03:00", "1001"]
    assert result.stderr.startswith("2 of the 4 records")


def test_read_shows_bad_records_as_such(tmp_path: Path) -> None:
    """One unreadable record costs one line, in every format; the file's ending chooses the format."""
    terminal = build(records=50)
    terminal.append_raw(bytes(24) + b"\xff" * 16)
    with Simulator(terminal) as simulator:
        table = hadir("read", simulator.address)
        written = hadir("read", simulator.address, "--output", tmp_path / "log.json")
        failed = hadir("read", simulator.address, "--output", tmp_path / "none" / "log.csv")
    assert "UNREADABLE: impossible date" in table.stdout.splitlines()[-1]
    assert "1 of them unreadable" in table.stderr
    records = [json.loads(line) for line in (tmp_path / "log.json").read_text().splitlines()]
    assert written.stdout == ""
    assert [record["position"] for record in records] == list(range(51))
    assert records[-1]["bad"].startswith("impossible date")
    assert records[0]["pin"].startswith("10")
    assert failed.returncode == 74
    assert hint_lines("output")[1] in failed.stderr


def test_read_by_name_uses_the_configuration(tmp_path: Path) -> None:
    """A name stands for address, key and transport; a simulator sees that nothing was written to it."""
    key = tmp_path / "key"
    key.write_text("4711")
    key.chmod(0o600)
    terminal = build(records=30, comm_key=4711)
    with Simulator(terminal) as simulator:
        path = configuration(tmp_path, lobby=simulator.address, more="    comm_key_file: key\n    transport: udp\n")
        result = hadir("read", "lobby", "-c", path, "--format", "json")
    assert result.returncode == 0
    assert len(result.stdout.splitlines()) == 30
    assert terminal.refused_writes == 0
    assert not (tmp_path / "data").exists()


def test_reader_that_leaves_is_no_error() -> None:
    """`| head` ends quietly."""
    with Simulator(build(records=20_000)) as simulator, running("read", simulator.address) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(WAIT_S) == 128 + signal.SIGPIPE
        assert process.stderr.read() == ""


# --- simulated terminals ------------------------------------------------------------------------------------------


def test_simulate_obeys_its_input_and_outlives_it(tmp_path: Path) -> None:
    """Lines typed are answered, the end of the input ends nothing, SIGTERM ends in good order."""
    attlog = tmp_path / "attlog.dat"
    attlog.write_text("1001\t2026-09-04 07:29:59\t1\t0\t1\t0\n")
    options: list[object] = [
        "--port",
        0,
        "--serial",
        "OFFICE1",
        "--model",
        "K40",
        "--clock-offset",
        "-30s",
        "--capacity",
        500,
    ]
    options += ["--layout", "16", "--attlog", attlog]
    with running("simulate", "zkteco", *options) as process:
        assert process.stdin
        assert process.stdout
        address = process.stdout.readline().split("hadir probe ")[1].strip()
        for command, answer in [
            ("punch 1001", "1001 punched at"),
            ("rush 3", "3 punches made; the log holds 5."),
            ("clock +7m", "390 s ahead"),
            ("status", "OFFICE1"),
            ("dance", "no command"),
        ]:
            process.stdin.write(f"{command}\n")
            process.stdin.flush()
            assert answer in process.stdout.readline()
        process.stdin.write("help")  # without an end of line
        process.stdin.close()
        assert process.stdout.readline().startswith("Commands:")
        found = json.loads(hadir("probe", address, "--json").stdout)
        assert (found["serial"], found["model"], found["records"]) == ("OFFICE1", "K40", 5)
        assert (found["layout"], found["capacity"]) == ("16", 500)
        taken = hadir("simulate", "zkteco", "--port", address.rpartition(":")[2])
        assert taken.returncode == 2
        assert "--port 0" in taken.stderr
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == 0
        process.stdin = None


def test_simulate_calls_a_receiver() -> None:
    """Its punches wait while the receiver is not there; lines typed are answered."""
    server = f"http://127.0.0.1:{free_port()}"
    with running("simulate", "push", "--server", server, "--records", 7, "--pace", 0.01) as process:
        assert process.stdin
        assert process.stdout
        assert "with 7 records, firmware 2.4, calls http://127.0.0.1:" in process.stdout.readline()
        for command, answer in [
            ("punch 0042", "0042 punched at"),
            ("fault lost-reply=2", "lost-reply is 2."),
            ("status", "offline, 8 records, 0 acknowledged"),
        ]:
            process.stdin.write(f"{command}\n")
            process.stdin.flush()
            assert answer in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == 0


def test_simulate_posts_like_an_app(tmp_path: Path) -> None:
    """Its records wait while the receiver is not there; a secret that is too short is refused."""
    secret = tmp_path / "secret"
    secret.write_text("0123456789abcdef\n")
    server = f"http://127.0.0.1:{free_port()}"
    with running("simulate", "webhook", "--server", server, "--secret-file", secret, "--records", 7) as process:
        assert process.stdin
        assert process.stdout
        assert f"with 7 records posts to {server}/hook/presensi." in process.stdout.readline()
        for command, answer in [
            ("punch 0042 1", "0042 punched at"),
            ("fault lost-reply=2", "lost-reply is 2."),
            ("clock +1h", "The clock shows"),
            ("status", "8 records, 0 delivered"),
        ]:
            process.stdin.write(f"{command}\n")
            process.stdin.flush()
            assert answer in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == 0
    secret.write_text("short")
    refused = hadir("simulate", "webhook", "--secret-file", secret)
    assert refused.returncode == 2
    assert "16 or more" in " ".join(refused.stderr.replace("│", " ").split())


def test_simulate_has_the_faults_of_its_options() -> None:
    """Faults are listed, given at the start, and typed; the gateway's own tools then say what they meet."""
    listed = hadir("simulate", "zkteco", "--faults").stdout.splitlines()
    assert any("hang-up=any" in line and "hangs up" in line for line in listed)
    faults = ["--fault", "serial=SWAPPED1", "--fault", "secure=2032"]
    with running("simulate", "zkteco", "--port", 0, *faults) as process:
        assert process.stdin
        assert process.stdout
        address = process.stdout.readline().split("hadir probe ")[1].strip()
        assert hadir("probe", address).returncode == 77
        process.stdin.write("fault secure off\n")
        process.stdin.flush()
        assert process.stdout.readline() == "secure is off.\n"
        assert json.loads(hadir("probe", address, "--json").stdout)["serial"] == "SWAPPED1"


def test_simulate_makes_punches_by_itself() -> None:
    """For who wants to see something happen."""
    with running("simulate", "zkteco", "--port", 0, "--punch-every", "50ms", "--people", 3) as process:
        assert process.stdin
        assert process.stdout
        process.stdout.readline()

        def punched() -> int:
            assert process.stdin
            assert process.stdout
            process.stdin.write("status\n")
            process.stdin.flush()
            return int(process.stdout.readline().partition(": ")[2].split()[0])

        eventually(lambda: punched() >= 3)
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT_S) == 0


# --- the daemon ---------------------------------------------------------------------------------------------------


@dataclass
class Office:
    """A running gateway with everything around it."""

    folder: Path
    config: Path
    terminal: SimulatedTerminal
    broker: Broker
    subscriber: Subscriber

    def health(self) -> dict[str, Any]:
        """Ask the daemon how it is."""
        result = ask(self.folder / "data", "status")
        assert result is not None
        health: dict[str, Any] = result["health"]
        return health


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """Run a gateway with a terminal that answers and one that does not; a subscriber has the first import."""
    folder = tmp_path_factory.mktemp("office")
    terminal = build(records=40, serial="CEXA193960001")
    with Broker(folder) as broker, Subscriber(broker.port) as subscriber, Simulator(terminal) as simulator:
        config = configuration(folder, url=broker.url, lobby=simulator.address, gudang="127.0.0.1:9")
        with running("run", "-c", config, "--assume-synchronised"):
            subscriber.wait_for(lambda _: len(subscriber.on("punch/lobby")) == 40)
            subscriber.wait_for(lambda _: subscriber.on("note/gudang"))
            yield Office(folder, config, terminal, broker, subscriber)


def test_status_of_a_running_daemon(office: Office) -> None:
    """How it is: the terminals, the broker, what waits; a terminal that is lost states why."""
    eventually(lambda: office.health()["backlog"] == 0)
    result = hadir("status", "-c", office.config)
    assert result.returncode == 0
    assert f"mqtt://127.0.0.1:{office.broker.port}, connected; 0 events wait" in result.stdout
    assert "clock    synchronised" in result.stdout
    row = next(line for line in result.stdout.splitlines() if line.startswith("lobby"))
    assert "online" in row
    assert "CEXA193960001" in row
    assert "gudang: 127.0.0.1:9 cannot be reached" in result.stdout
    found = json.loads(hadir("status", "-c", office.config, "--json").stdout)
    assert found["running"]
    assert found["ledger"]["sent"] == found["ledger"]["sequence"] >= 41
    assert found["terminals"]["gudang"]["state"] == "offline"
    days = found["tallies"]["lobby"]
    assert 0 < len(days) <= 3
    assert all(day["in_log"] == day["in_ledger"] == day["sent"] > day["confirmed"] == 0 for day in days)
    newest = [str(days[-1][key]) for key in ("day", "in_log", "in_ledger", "sent", "confirmed")]
    assert ["lobby", *newest] in [line.split() for line in result.stdout.splitlines()]
    assert "in its log" not in hadir("status", "-c", office.config, "--days", 0).stdout


def test_second_daemon_is_75(office: Office) -> None:
    """One ledger, one daemon."""
    result = hadir("run", "-c", office.config)
    assert result.returncode == 75
    assert "another hadir is running" in result.stderr
    assert hint_lines("locked")[1] in result.stderr


def test_tail_masks_pins(office: Office) -> None:
    """The last two characters are enough to recognise a known person; more is shown on request only."""
    office.terminal.punch("190123456789")
    office.subscriber.wait_for(lambda _: len(office.subscriber.on("punch/lobby")) > 40)
    count = office.health()["sequence"]
    masked = hadir("tail", "-c", office.config, "-n", 100)
    whole = hadir("tail", "-c", office.config, "-n", 100, "--pins")
    assert masked.returncode == 0
    assert len(masked.stdout.splitlines()) == count
    assert "***89 " in masked.stdout
    assert "190123456789" not in masked.stdout
    assert "190123456789" in whole.stdout
    assert " sent " in masked.stdout


def test_tail_as_json(office: Office) -> None:
    """With PINs the very bytes that are published; without, neither the PIN nor the raw record that holds it."""
    published = {message.text for message in office.subscriber.messages}
    whole = hadir("tail", "-c", office.config, "--json", "--pins", "-n", 41).stdout.splitlines()
    assert set(whole) <= published
    lines = hadir("tail", "-c", office.config, "--json", "-n", 30).stdout.splitlines()
    assert len(lines) == 30
    for line in lines:
        data = json.loads(line)["data"]
        assert data.get("raw") is None
        assert data.get("pin", "***").startswith("***")


def test_replay_through_the_running_daemon(office: Office) -> None:
    """The events come again, in `batch`, with the bytes they had; what cannot be requested is explained."""
    eventually(lambda: office.health()["backlog"] == 0)
    result = hadir("replay", "-c", office.config, "--sequence", "3-5")
    assert (result.returncode, result.stdout) == (0, "3 events will be sent again\n")
    office.subscriber.wait_for(lambda _: office.subscriber.on("/batch"))
    again = [event["sequence"] for message in office.subscriber.on("/batch") for event in message.payload]
    assert [int(sequence) for sequence in again] == [3, 4, 5]
    result = hadir("replay", "-c", office.config, "--day", "2001-01-01", "--terminal", "lobby", "--json")
    assert json.loads(result.stdout) == {"events": 0, "forgotten": 0}


def test_replay_says_what_is_wrong_with_the_question(tmp_path: Path) -> None:
    """Before any request: wrong usage is 2."""
    config = configuration(tmp_path, lobby="127.0.0.1:9")
    for arguments, why in (
        ([], "write what to send again"),
        (["--sequence", "5-3"], "first and the last"),
        (["--sequence", "x"], "such as 1150-1163"),
        (["--terminal", "kitchen"], "no terminal is named 'kitchen'"),
        (["--sequence", "1-2", "--day", "2026-09-04"], "not both"),
    ):
        result = hadir("replay", "-c", config, *arguments)
        assert result.returncode == 2, arguments
        assert why in " ".join(result.stderr.replace("│", " ").split()), arguments


def test_replay_without_a_daemon(tmp_path: Path) -> None:
    """It is noted in the ledger and sent at the next start; without a ledger there is nothing to send."""
    with Broker(tmp_path) as broker, Subscriber(broker.port) as subscriber, Simulator(build(records=10)) as simulator:
        config = configuration(tmp_path, url=broker.url, lobby=simulator.address)
        result = hadir("replay", "-c", config, "--sequence", "1")
        assert result.returncode == 74
        assert hint_lines("no_ledger")[0] in result.stderr
        with running("run", "-c", config) as process:
            subscriber.wait_for(lambda _: len(subscriber.on("punch/lobby")) == 10)
            process.send_signal(signal.SIGTERM)
            process.wait(WAIT_S)
        result = hadir("replay", "-c", config, "--terminal", "lobby")
        assert (result.returncode, result.stdout) == (0, "10 events will be sent again\n")
        with running("run", "-c", config):
            subscriber.wait_for(lambda _: sum(len(message.payload) for message in subscriber.on("/batch")) == 10)


def test_tail_follows(office: Office) -> None:
    """What happens shows up while it is watched."""
    with running("tail", "-c", office.config, "-f", "-n", 1) as process:
        assert process.stdout
        process.stdout.readline()
        office.terminal.punch("5567")
        assert "***67" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT_S) == 0


def test_run_ends_within_five_seconds_of_sigterm(tmp_path: Path) -> None:
    """Offline is published, the ledger is closed, the exit code is 0; status ends with 3 and shows what it knows."""
    with (
        Broker(tmp_path) as broker,
        Subscriber(broker.port) as subscriber,
        Simulator(build(records=10)) as simulator,
    ):
        config = configuration(tmp_path, url=broker.url, lobby=simulator.address)
        with running("run", "-c", config) as process:
            subscriber.wait_for(lambda _: len(subscriber.on("punch/lobby")) == 10)
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            _, logged = process.communicate(timeout=WAIT_S)
            assert time.monotonic() - began < 25, "it was ended by its own deadline"
        assert process.returncode == 0
        subscriber.wait_for(lambda _: subscriber.on("gw-01/state")[-1].payload["state"] == "offline")
    lines = [json.loads(line) for line in logged.splitlines()]
    assert lines[0]["event"] == "gateway_started"
    assert lines[-1]["event"] == "gateway_stopped"
    with sqlite3.connect(tmp_path / "data" / "ledger.db") as ledger:
        assert ledger.execute("SELECT clean FROM gateway").fetchone() == (1,)
    result = hadir("status", "-c", config)
    assert result.returncode == 3
    assert "not running" in result.stdout
    assert "lobby" in result.stdout
    assert hint_lines("not_running")[1] in result.stderr
    found = json.loads(hadir("status", "-c", config, "--json").stdout)
    assert (found["running"], found["ledger"]["waiting"], found["terminals"]["lobby"]["records"]) == (False, 0, 10)


def test_before_the_first_run(tmp_path: Path) -> None:
    """No daemon and no ledger yet: each command states which of the two it misses."""
    config = configuration(tmp_path, lobby="192.168.1.201")
    state, events = hadir("status", "-c", config), hadir("tail", "-c", config)
    assert (state.returncode, events.returncode) == (3, 74)
    assert "none yet" in state.stdout
    assert hint_lines("no_ledger")[1] in events.stderr


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            lambda path: sqlite3.connect(path).execute("CREATE TABLE x (y)").connection.close(),
            "database of something else",
        ),
        (lambda path: sqlite3.connect(path).execute("PRAGMA user_version = 99").connection.close(), "newer version"),
    ],
    ids=["foreign", "newer"],
)
def test_unusable_ledger_is_74(tmp_path: Path, spoil: Callable[[Path], object], words: str) -> None:
    """The daemon does not start on a ledger it cannot trust, and states why."""
    config = configuration(tmp_path, lobby="127.0.0.1:9")
    (tmp_path / "data").mkdir()
    spoil(tmp_path / "data" / "ledger.db")
    result = hadir("run", "-c", config)
    assert result.returncode == 74
    assert words in result.stderr
    assert hint_lines("ledger")[1] in result.stderr


def test_simulate_says_what_a_file_does_not_give(tmp_path: Path) -> None:
    """Lines that are no punches are counted aloud; a file without any punch is refused."""
    export = tmp_path / "1_attlog.dat"
    export.write_text("1001\t2026-09-04 07:29:59\t1\t0\t1\t77\n1002\t2026-13-01 07:30:00\t1\t0\t1\t0\n")
    with running("simulate", "zkteco", "--port", 0, "--attlog", export, "--timezone", "Asia/Jayapura") as process:
        assert process.stdout is not None
        address = process.stdout.readline().split("hadir probe ")[1].strip()
        records = [json.loads(line) for line in hadir("read", address, "--format", "json").stdout.splitlines()]
        probed = json.loads(hadir("probe", address, "--json").stdout)
        process.terminate()
        _, output = process.communicate(timeout=WAIT_S)
    assert "1 lines of" in output
    assert [record["work_code"] for record in records] == ["77"]
    assert probed["clock"] is not None

    export.write_text("root:x:0:0\n")
    refused = hadir("simulate", "zkteco", "--port", "0", "--attlog", export)
    assert refused.returncode == 2
    assert "holds no punches" in " ".join(refused.stderr.replace("│", " ").split())
    assert hadir("simulate", "zkteco", "--timezone", "Asia/Nowhere").returncode == 2


# --- the ledger's file --------------------------------------------------------------------------------------------


def test_verify_backup_restore(tmp_path: Path) -> None:
    """A ledger is verified and copied while the daemon runs, altered, found out, and brought back."""
    with Broker(tmp_path) as broker, Simulator(build(records=10)) as simulator:
        config = configuration(tmp_path, url=broker.url, lobby=simulator.address)
        with running("run", "-c", config) as process:
            eventually(lambda: (result := ask(tmp_path / "data", "status")) and result["health"]["sequence"] >= 10)
            verified, copied = hadir("verify", "-c", config), hadir("ledger", "backup", "-c", config)
            locked = hadir("ledger", "restore", "-c", config)
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=WAIT_S)
        assert (verified.returncode, verified.stdout) == (0, "OK: 10 events in 1 stream, 10 of them punches\n")
        assert copied.returncode == 0
        assert locked.returncode == 75
        assert hint_lines("locked")[1] in locked.stderr

        path = tmp_path / "data" / "ledger.db"
        with sqlite3.connect(path) as ledger:
            ledger.execute("UPDATE event SET body = replace(body, 'Jakarta', 'Makassar') WHERE sequence = 4")
        altered = hadir("verify", "-c", config)
        assert altered.returncode == 1
        assert "sequence 4 of stream" in altered.stderr
        assert "the digest does not fit the content" in altered.stderr
        assert hint_lines("altered")[1] in altered.stderr
        found = json.loads(hadir("verify", "-c", config, "--json").stdout)
        assert (found["ok"], found["breach"]["sequence"]) == (False, 4)

        [copy] = (tmp_path / "data" / "backups").glob("ledger-*.db")
        spoilt = tmp_path / "spoilt.db"
        for waiting in (False, True):
            shutil.copy(copy, spoilt)
            with sqlite3.connect(spoilt) as ledger:
                ledger.execute("UPDATE event SET body = replace(body, 'Jakarta', 'Makassar') WHERE sequence IN (3, 7)")
                ledger.execute("UPDATE event SET sent_ms = ?", (None if waiting else 1,))
            altered = hadir("ledger", "restore", spoilt, "-c", config)
            assert altered.returncode == 1
            assert f"restored: {spoilt} is the ledger now" in altered.stdout
            assert "2 places not as written, in 10 events" in altered.stdout
            assert ("ledger.db.damaged-" in altered.stdout) is waiting
            listed = [line for line in altered.stderr.splitlines() if line.startswith("hadir: sequence ")]
            assert [line.split()[2] for line in listed] == ["3", "7"]
            assert all("the digest does not fit the content" in line for line in listed)
            assert hint_lines("altered")[1] in altered.stderr
            if not waiting:
                found = json.loads(hadir("verify", "-c", config, "--json").stdout)
                assert [breach["sequence"] for breach in found["breaches"]] == [3, 7]

        restored = hadir("ledger", "restore", "-c", config)
        assert restored.returncode == 0, restored.stderr
        assert "behind sequence 10 of" in restored.stdout
        assert hadir("verify", "-c", config).stdout == "OK: 11 events in 2 streams, 10 of them punches\n"


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_other_users_cannot_read_the_data_folder(tmp_path: Path, mask: int) -> None:
    """Evidence and identities are 0640 or less, whatever the umask; a file of an older version is tightened."""
    data = tmp_path / "data"
    earlier = os.umask(mask)
    try:
        with Broker(tmp_path) as broker, Simulator(build(records=10)) as simulator:
            config = configuration(tmp_path, url=broker.url, lobby=simulator.address)
            for _ in range(2):
                with running("run", "-c", config) as process:
                    eventually(lambda: (done := ask(data, "status")) and done["health"]["sequence"] >= 10)
                    assert hadir("ledger", "backup", "-c", config).returncode == 0
                    seen = {path: path.stat() for path in data.rglob("*") if not path.is_symlink()}
                    assert {"ledger.db", "ledger.db-wal", "ledger.db-shm", "ledger.lock"} <= {p.name for p in seen}
                    files = [path for path, found in seen.items() if stat.S_ISREG(found.st_mode)]
                    assert [path for path in files if seen[path].st_mode & 0o037] == []
                    process.kill()
                    process.wait(WAIT_S)
                for path in data.glob("ledger.db*"):
                    path.chmod(0o644)
                shutil.copy(data / "ledger.db", data / "ledger.db.replaced-20260101T000000Z")
                (data / "ledger.db.replaced-20260101T000000Z").chmod(0o644)
        assert hadir("ledger", "restore", "-c", config).returncode == 0
        assert [path for path in data.rglob("*") if path.is_file() and path.stat().st_mode & 0o037] == []
    finally:
        os.umask(earlier)


def test_copies_that_are_not_there(tmp_path: Path) -> None:
    """Without a ledger there is nothing to copy or verify, and without a copy nothing to restore."""
    config = configuration(tmp_path, lobby="192.168.1.201")
    for words, hint in ((["verify"], "no_ledger"), (["ledger", "backup"], "no_ledger")):
        result = hadir(*words, "-c", config)
        assert result.returncode == 74
        assert hint_lines(hint)[1] in result.stderr
    for more in ([], [tmp_path / "nowhere.db"]):
        result = hadir("ledger", "restore", *more, "-c", config)
        assert result.returncode == 74
        assert hint_lines("no_backup")[1] in result.stderr


# ---------------------------------------------------------------- reconcile and replay


def test_reconcile_reads_the_whole_log_and_prints_its_result(tmp_path: Path) -> None:
    """The request goes to the running daemon; the answer is the reconciliation's."""
    terminal = SimulatedTerminal(serial="S1")
    for minute in range(12):
        terminal.punch("1001", moment=NOON + timedelta(minutes=minute))
    with Simulator(terminal) as simulator:
        config = configuration(tmp_path, lobby=simulator.address)
        with running("run", "-c", config):
            eventually(lambda: (ask(tmp_path / "data", "status") or {}).get("health", {}).get("sequence") == 12)
            result = hadir("reconcile", "lobby", "-c", config)
            as_json = hadir("reconcile", "lobby", "-c", config, "--json")

    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "lobby: 12 records: 0 new, 0 missed, 0 invented, 0 reordered, 0 unconfirmed\n"
    assert json.loads(as_json.stdout)["reconciliation"]["records"] == 12


def test_reconcile_of_a_terminal_that_is_away_is_queued(tmp_path: Path) -> None:
    """With a short wait the message states why there is no result yet; the reading is done all the same."""
    with socket.create_server(("127.0.0.1", 0)) as unserved:
        address = f"127.0.0.1:{unserved.getsockname()[1]}"
    config = configuration(tmp_path, lobby=address)
    with running("run", "-c", config):
        eventually(lambda: ask(tmp_path / "data", "status"))
        result = hadir("reconcile", "lobby", "-c", config, "--wait", "100ms")
        with Simulator(SimulatedTerminal(serial="S1"), port=int(address.rpartition(":")[2])):
            eventually(lambda: (ask(tmp_path / "data", "status") or {})["terminals"]["lobby"]["last_full_reading"])

    assert result.returncode == 0
    assert result.stdout.startswith("lobby: requested; ")


def test_reconcile_needs_a_daemon_and_a_known_name(tmp_path: Path) -> None:
    """Each mistake has its exit code and states what is right."""
    config = configuration(tmp_path, lobby="127.0.0.1:9")

    alone, stranger = hadir("reconcile", "lobby", "-c", config), hadir("reconcile", "gudang", "-c", config)

    assert (alone.returncode, stranger.returncode) == (3, 2)
    assert "no gateway is running" in alone.stderr
    assert "there are lobby" in stranger.stderr


@pytest.mark.parametrize("daemon_runs", [True, False])
def test_replay_releases_what_was_withheld(tmp_path: Path, daemon_runs: bool) -> None:
    """With and without a daemon: the days requested, then the rest, then nothing is left."""
    terminal = SimulatedTerminal(serial="S1")
    for day in range(3):
        terminal.punch("1001", moment=NOON + timedelta(days=day))
    with Simulator(terminal) as simulator:
        config = configuration(tmp_path, more="    start: now\n", lobby=simulator.address)
        with running("run", "-c", config) as process:
            eventually(lambda: (ask(tmp_path / "data", "status") or {}).get("health", {}).get("sequence") == 1)
            if not daemon_runs:
                process.send_signal(signal.SIGTERM)
                process.wait(WAIT_S)
            some = hadir("replay", "--terminal", "lobby", "--withheld", "--from", "2026-09-05", "--to", "2026-09-05",
                         "-c", config)  # fmt: skip
            rest = hadir("replay", "--terminal", "lobby", "--withheld", "-c", config, "--json")
            shown = hadir("tail", "--json", "--pins", "-c", config)

    assert some.stdout == "lobby: 1 withheld record released\n"
    assert json.loads(rest.stdout) == {"released": 2}
    times = [json.loads(line)["data"].get("local_time") for line in shown.stdout.splitlines()]
    assert times[1:] == ["2026-09-05T12:00:00", "2026-09-04T12:00:00", "2026-09-06T12:00:00"]


def test_replay_without_saying_what_is_wrong_usage(tmp_path: Path) -> None:
    """No surprise of thousands of events."""
    config = configuration(tmp_path, lobby="127.0.0.1:9")

    assert hadir("replay", "--withheld", "-c", config).returncode == 2
    nothing = hadir("replay", "--terminal", "lobby", "--withheld", "-c", config)
    assert (nothing.returncode, "no ledger here yet" in nothing.stderr) == (74, True)


# --- a serial line ------------------------------------------------------------------------------------------------


def typed(process: subprocess.Popen[str], command: str) -> str:
    """Type a command to a simulator and return its answer."""
    assert process.stdin
    assert process.stdout
    process.stdin.write(f"{command}\n")
    process.stdin.flush()
    return process.stdout.readline()


@pytest.mark.parametrize("port", ["pty", "tcp:0"])
def test_simulate_probe_and_read_an_anviz(tmp_path: Path, port: str) -> None:
    """A terminal on a line of its own is found by its port alone; its log is read, and stays marked as it was."""
    options = ["--port", port, "--records", 30, "--device-id", 4711, "--serial", "ANV7", "--model", "A300"]
    with running("simulate", "anviz", *options) as process:
        assert process.stdout
        place = process.stdout.readline().split("hadir probe ")[1].split(" --driver")[0]
        for command, answer in [
            ("punch 77 1 8", "77 punched at"),
            ("rush 3", "3 punches made; the logs hold 34."),
            ("clock +7m", "The clock shows"),
            ("fault crc=1", "crc is 1."),
            ("faults", "crc=1"),
            ("fault crc=off", "crc is 0."),
            ("fault slow=20ms", "slow is 0.02"),
            ("fault fire", "no fault"),
            ("punch nobody", "Not done"),
            ("status", "34 of 50000 records (34 new)"),
            ("dance", "no command"),
        ]:
            assert answer in typed(process, command)
        found = json.loads(hadir("probe", place, "--driver", "anviz", "--json").stdout)
        assert (found["serial"], found["model"], found["records"], found["new"]) == ("ANV7", "A300", 34, 34)
        assert (found["layout"], found["days_off"]) == ("14", 0)
        result = hadir("probe", place, "--driver", "anviz").stdout
        assert "34 records, 34 of them new" in result
        copy = tmp_path / "log.csv"
        assert hadir("read", place, "--driver", "anviz", "-o", copy).returncode == 0
        rows = list(csv.DictReader(copy.open(encoding="utf-8")))
        assert len(rows) == 34
        assert (rows[30]["pin"], rows[30]["state"], rows[30]["verify_label"]) == ("77", "1", "card")
        assert "(34 new)" in typed(process, "status")
        assert "unplugged" in typed(process, "unplug")
        gone = hadir("probe", place, "--driver", "anviz", "--timeout", "1s")
        assert gone.returncode == 69
        assert "cannot be opened" in gone.stderr
        assert "baudrate dan nomor mesin" in gone.stderr
        assert "plugged in at" in typed(process, "plug")
        assert hadir("probe", place, "--driver", "anviz").returncode == 0


@pytest.mark.parametrize(
    ("epoch", "ago", "days_off"),
    [("2000-01-02", "0s", 0), ("2000-01-01", "0s", 1), ("2000-01-02", "1d", -1), ("2000-01-02", "2d", 0)],
)
def test_probe_doubts_the_day_from_which_records_count(epoch: str, ago: str, days_off: int) -> None:
    """After a test punch, records that are a day away from the terminal's own clock are pointed out."""
    with running("simulate", "anviz", "--port", "tcp:0", "--epoch", epoch) as process:
        assert process.stdout
        place = process.stdout.readline().split("hadir probe ")[1].split(" --driver")[0]
        typed(process, f"clock -{ago}")
        typed(process, "punch 77")
        typed(process, f"clock +{ago}")
        found = json.loads(hadir("probe", place, "--driver", "anviz", "--json").stdout)
        assert found["days_off"] == days_off
        assert ("Check `epoch`" in hadir("probe", place, "--driver", "anviz").stdout) == bool(days_off)


def test_probe_by_name_on_a_shared_line(tmp_path: Path) -> None:
    """Where several terminals share a line, the configuration selects one; no request goes to all of them at once."""
    with running("simulate", "anviz", "--device-id", 1, "--device-id", 2, "--serial", "ANV") as process:
        assert process.stdout
        place = process.stdout.readline().split(" at ")[1].split(". ")[0]
        path = tmp_path / "gateway.yaml"
        path.write_text(
            "site: kantor\ngateway: gw-01\ntimezone: Asia/Jakarta\nmqtt: {url: 'mqtt://127.0.0.1:9'}\nterminals:\n"
            f"  - {{name: gudang, driver: anviz, port: {place}}}\n"
            f"  - {{name: loket, driver: anviz, port: {place}, device_id: 2}}\n"
        )
        for name, serial in (("gudang", "ANV1"), ("loket", "ANV2")):
            result = hadir("probe", name, "-c", path, "--json")
            assert result.returncode == 0, result.stderr
            assert json.loads(result.stdout)["serial"] == serial
        alone = hadir("probe", place, "--driver", "anviz", "--timeout", "1s")
        assert alone.returncode == 77
        assert "several terminals answer at once" in alone.stderr


@pytest.mark.parametrize("arguments", [("--help",), ("run", "--help"), ("schema",)])
def test_reader_that_has_had_enough(arguments: tuple[str, ...]) -> None:
    """T6: 141, as everywhere, whichever part of the program was writing."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as out:
        command = [*HADIR, *arguments]
        done = subprocess.run(command, env=environment(), stdout=out, stderr=subprocess.PIPE, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (141, b"")


def test_ctrl_c_while_the_program_is_loaded() -> None:
    """T6: no traceback, whenever it comes."""
    script = (
        "import builtins, os, signal, sys\n"
        "before = builtins.__import__\n"
        "def load(name, *more):\n"
        "    if name == 'gateway.cli.base':\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "    return before(name, *more)\n"
        "builtins.__import__ = load\n"
        "from gateway.cli import main\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment(), capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (-signal.SIGINT, b"")


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (("probe", "192.168.001.010"), "write 192.168.1.10"),
        (("probe", "http://192.168.1.201"), "write the terminal's address alone, 192.168.1.201"),
        (("probe", "tcp://192.168.1.010", "--driver", "anviz"), "write 192.168.1.10"),
        (("probe", "127.0.0.1", "--timeout", "9999999d"), "too long; write 366d or less"),
    ],
)
def test_address_and_duration_that_are_typed(arguments: tuple[str, ...], advice: str) -> None:
    """T1, T4, T5 on the command line: refused before anything is sent."""
    result = hadir(*arguments)
    assert result.returncode == 2, result.stderr
    assert advice in " ".join(result.stderr.replace("│", " ").split())
