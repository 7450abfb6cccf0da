"""zkteco-js, a client in another language that nobody here wrote, against the simulator; ``make clients`` runs this.

It reads the 40-byte layout and knows no communication key. Where it errs, the check states how and why.
"""

import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from drivers.base import RawPunch
from drivers.zkteco import wire
from drivers.zkteco.simulator import SimulatedTerminal, Simulator, build
from drivers.zkteco.terminal import connect
from tests.broker import WAIT_S, eventually
from tests.drivers.zkteco.foreign_services import free_port, listening
from tests.drivers.zkteco.scripted import options

HERE = Path(__file__).parent
END = datetime(2026, 9, 4, 12, 30, 5)  # noqa: DTZ001 - a terminal's wall clock has no zone
PAUSE_S = 0.03
"""Between two packets. The client looks for one packet in each piece it receives: where an announcement, its data and
the end arrive as one piece, as on a fast machine, it waits in vain for more. Real terminals are slower than that."""


def frozen() -> datetime:
    """Return the same moment always."""
    return END


@contextmanager
def unhurried(simulator: Simulator) -> Iterator[int]:
    """Pass on what ``simulator`` sends, packet by packet; yield the port where it does so."""

    def relay(connection: socket.socket) -> None:
        def upwards() -> None:
            with suppress(OSError):
                while data := connection.recv(65536):
                    terminal.sendall(data)
                terminal.shutdown(socket.SHUT_RDWR)

        with socket.create_connection((simulator.host, simulator.port)) as terminal:
            thread = threading.Thread(target=upwards, daemon=True)
            thread.start()
            reader = wire.StreamReader()
            while data := terminal.recv(65536):
                for bare in reader.feed(data):
                    connection.sendall(wire.TCP_MAGIC + len(bare).to_bytes(4, "little") + bare)
                    time.sleep(PAUSE_S)
            thread.join()

    port = free_port()
    with listening("127.0.0.1", port, relay):
        yield port


def node(what: str, port: int, folder: Path) -> subprocess.Popen[str]:
    """Start the client; it writes a log of its own into ``folder``."""
    program = shutil.which("node")
    assert program, "node is missing; make clients installs it"
    return subprocess.Popen(
        [program, HERE / "zkteco.js", what, "127.0.0.1", str(port)],
        cwd=folder,
        env={**os.environ, "TZ": "UTC"},  # no hour of a terminal's wall clock is left out
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def values(process: subprocess.Popen[str]) -> list[Any]:
    """Wait for its end; return what it printed."""
    out, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, err
    print(f"\n{out[:400]}{'…' if len(out) > 400 else ''}")  # noqa: T201 - whoever runs this wants to see what it said
    return [json.loads(line) for line in out.splitlines()]


def output(terminal: SimulatedTerminal) -> list[list[Any]]:
    """Return what the terminal's memory holds: PIN, time, verify code, state."""
    return [
        [found.pin, found.local_time.isoformat(), found.verify, found.state]
        for found in terminal.records()
        if isinstance(found, RawPunch)
    ]


@pytest.mark.parametrize(("people", "records"), [(5, 20), (50, 4000)], ids=["one packet", "chunks"])
def test_reads_what_was_put_in(tmp_path: Path, people: int, records: int) -> None:
    """Identity, clock, sizes, people and log are the simulator's own."""
    terminal = build(
        people=people, records=records, clock_offset_s=420, capacity=50_000, serial="A8N5230560263", now=frozen
    )
    with Simulator(terminal) as simulator, unhurried(simulator) as port:
        (found,) = values(node("read", port, tmp_path))
    assert (found["serial"], found["model"], found["firmware"]) == (
        "A8N5230560263",
        terminal.model,
        terminal.firmware,
    )
    assert found["time"] == (END + timedelta(minutes=7)).isoformat()
    assert found["info"] == {"userCounts": people, "logCounts": records, "logCapacity": 50_000}
    assert dict(found["users"]) == terminal.users
    assert found["attendance"] == output(terminal)
    assert len(found["attendance"]) == records
    # It ends option names without the NUL that other clients send, and its checksums are right.
    assert simulator.bad_checksums == 0
    assert terminal.refused_writes == 0
    assert terminal.conversations == 0


def test_sees_a_punch_as_it_happens(tmp_path: Path) -> None:
    """It receives a live event, and never acknowledging one disturbs nothing."""
    terminal = build(people=10, records=10, now=frozen)
    with Simulator(terminal) as simulator, unhurried(simulator) as port:
        process = node("live", port, tmp_path)
        eventually(lambda: any(client.listening for client in terminal._conversations), what="registering for events")
        terminal.punch("1003", 1, 15)
        (event,) = values(process)
    assert event == ["1003", END.isoformat()]
    assert terminal.commands[wire.CMD_ACK_OK] == 0
    assert terminal.conversations == 0


def test_long_pins_are_cut_by_the_client(tmp_path: Path) -> None:
    """It takes nine characters of the twenty-four that the record has room for; our driver takes them all."""
    terminal = build(people=1, now=frozen)
    terminal.append("198503122010", END)
    with Simulator(terminal) as simulator, unhurried(simulator) as port:
        (found,) = values(node("read", port, tmp_path))
        with connect(options(simulator.port)) as driver:
            (record,) = driver.read().records
    assert [pin for pin, *_ in found["attendance"]] == ["198503122"]
    assert isinstance(record, RawPunch)
    assert record.pin == "198503122010"


def test_a_key_keeps_the_client_out(tmp_path: Path) -> None:
    """It does not notice that the terminal requires a key, and takes each refusal for an answer."""
    terminal = build(people=10, records=10, comm_key=4711, now=frozen)
    with Simulator(terminal) as simulator, unhurried(simulator) as port:
        process = node("read", port, tmp_path)
        out, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == 1
    assert out == ""
    assert terminal.conversations == 0
    assert terminal.commands[wire.CMD_AUTH] == 0
