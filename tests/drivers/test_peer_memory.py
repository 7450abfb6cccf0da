"""What one hostile peer can make a driver hold: measured in a process of its own, over real sockets."""

import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from drivers.anviz import wire as anviz
from drivers.zkteco import wire
from drivers.zkteco.simulator import SimulatedTerminal, Simulator

MOST_MB = 32
ROOT = Path(__file__).parents[2]

MEASURE = """
import re, sys, time
from pathlib import Path
from drivers import DRIVERS
from drivers.base import DriverError
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
driver = DRIVERS[sys.argv[1]]
{warm}
before = peak()
try:
    {work}
    outcome = "read"
except DriverError as exc:
    outcome = type(exc).__name__
print(peak() - before, outcome)
"""
READ = """
    with driver.connect(driver.options({options})) as terminal:
        for record in terminal.read().records: pass
"""
LISTEN = """
    with driver.connect(driver.options({options})) as terminal:
        while not Path({sent!r}).exists():
            time.sleep(0.05)
        for event in terminal.events(1): pass
"""


def measured(driver: str, work: str, options: str) -> tuple[float, str]:
    """Return by how many MB a fresh process grew at most, and how its conversation ended."""
    program = MEASURE.format(warm="", work=work.format(options=options).strip())
    ended = subprocess.run(
        [sys.executable, "-c", program, driver],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    grown, outcome = ended.stdout.split()
    return float(grown), outcome


@pytest.mark.timeout(300)
def test_a_log_of_noise(tmp_path: Path) -> None:
    """As long as is believed: it is fetched whole, judged, and its beginning kept."""
    terminal = SimulatedTerminal(serial="N", layout="40", capacity=10**6)
    terminal.append_raw(os.urandom(wire.MAX_TABLE // 40 * 40 - 40))
    with Simulator(terminal) as simulator:
        grown, outcome = measured("zkteco", READ, f'name="n", address="{simulator.address}"')
    assert outcome == "UnreadableLog"
    assert grown < MOST_MB


@pytest.mark.timeout(300)
def test_an_answer_in_one_piece(tmp_path: Path) -> None:
    """A terminal that prepares nothing sends its log in one packet, as long as a packet may be."""
    body = struct.pack("<I", wire.MAX_PACKET - 64) + os.urandom(wire.MAX_PACKET - 64)
    with peer(lambda connection: serve_zk(connection, body)) as address:
        grown, outcome = measured("zkteco", READ, f'name="n", address="{address}"')
    assert outcome in ("UnreadableLog", "ProtocolError")
    assert grown < MOST_MB


@pytest.mark.timeout(300)
def test_rows_that_have_nothing_in_common(tmp_path: Path) -> None:
    """A web service sends rows of noise, which cannot be compressed, as long as anything is received."""
    with peer(serve_web) as address:
        host, port = address.split(":")
        options = f'name="n", address="{host}:9", web_port={port}, serial="S1"'
        grown, outcome = measured("soap", READ, options)
    assert outcome == "ProtocolError"
    assert grown < MOST_MB


@pytest.mark.timeout(300)
def test_live_records_that_are_no_records(tmp_path: Path) -> None:
    """An Anviz device floods its line with real-time frames as long as a frame may be."""
    sent = tmp_path / "sent"
    with peer(lambda connection: flood_anviz(connection, sent)) as address:
        work = LISTEN.replace("{sent!r}", repr(str(sent)))
        grown, outcome = measured("anviz", work, f'name="n", port="tcp://{address}", timeout="1s"')
    assert (sent.exists(), outcome) == (True, "read")
    assert grown < MOST_MB


def serve_zk(connection: socket.socket, body: bytes) -> None:
    """Answer as a terminal that knows no preparing: the log comes in one packet."""
    reader = wire.StreamReader()
    while data := connection.recv(65536):
        for bare in reader.feed(data):
            requested = wire.Packet.from_bytes(bare)
            command, answer = wire.CMD_ACK_OK, b""
            if requested.command == wire.CMD_GET_FREE_SIZES:
                answer = bytes(4)
            elif requested.command == wire.CMD_PREPARE_BUFFER:
                command = wire.CMD_UNKNOWN
            elif requested.command == wire.CMD_ATTLOG_RRQ:
                command, answer = wire.CMD_DATA, body
            connection.sendall(wire.Packet(command, 7, requested.reply, answer).to_tcp())


def serve_web(connection: socket.socket) -> None:
    """Answer any request with rows without end."""
    connection.recv(4096)
    connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n<GetAttLogResponse>\r\n")
    while True:
        noise = b"".join(b"<Row>%b</Row>\r\n" % os.urandom(2000).replace(b"<", b"") for _ in range(100))
        connection.sendall(noise)


def flood_anviz(connection: socket.socket, sent: Path) -> None:
    """Send twice as much of live records as may be held, then make the file ``sent``, and go on."""
    frame = anviz.Frame(1, anviz.CMD_REAL_TIME + anviz.ANSWER, bytes(anviz.MAX_DATA - 1)).to_bytes()
    for _ in range(2 * MOST_MB * 1024**2 // len(frame)):
        connection.sendall(frame)
    sent.touch()
    while True:
        connection.sendall(frame)


@contextmanager
def peer(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """Listen at a port and serve each connection."""

    def converse(connection: socket.socket) -> None:
        with connection:
            try:
                serve(connection)
            except OSError:
                return

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=converse, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
