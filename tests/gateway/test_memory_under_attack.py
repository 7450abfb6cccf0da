"""Attacks at once, from the office's network, on the daemon as it is installed: it stays below its memory limit.

Measured as the highest resident memory of the process (VmHWM), never as a time.
"""

import random
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from itertools import combinations
from pathlib import Path

import pytest
import urllib3

from drivers.zkteco.simulator import SimulatedTerminal, Simulator, build
from tests.broker import CONNECT, Closing, FakeBroker, Packet, connack, eventually, free_port
from tests.drivers.test_peer_memory import flood_anviz, peer
from tests.gateway.test_cli import running

ROOT = Path(__file__).parents[2]
MIB = 1024**2
PEER_MIB = 32
"""What a single peer may cost."""
NOISE = random.Random(10).randbytes(12 * MIB)
TERMINALS = 4


def memory_max() -> int:
    """Return the limit of the service, in bytes."""
    (limit,) = re.findall(r"^MemoryMax=(\d+)M$", (ROOT / "systemd" / "hadir.service").read_text("utf-8"), re.MULTILINE)
    return int(limit) * MIB


def highest(pid: int) -> int:
    """Return the most memory that a process has had, in bytes."""
    (kib,) = re.findall(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text("ascii"), re.MULTILINE)
    return int(kib) * 1024


class Attacked:
    """A gateway whose page, terminals and broker belong to others."""

    def __init__(self, pid: int, port: int, terminals: list[SimulatedTerminal]) -> None:
        self.pid = pid
        self.port = port
        self.terminals = terminals
        self.flooding = threading.Event()
        """Set while the broker sends what was not requested."""
        self.flooded = 0
        """Connections to the broker that were flooded."""

    def healthy(self) -> bool:
        """Ask the page from an address that attacks nothing."""
        with suppress(urllib3.exceptions.HTTPError):
            return urllib3.request("GET", f"http://127.0.0.1:{self.port}/healthz", timeout=30).status in (200, 401)
        return False


@contextmanager
def attacked(folder: Path, count: int = TERMINALS, others: str = "") -> Iterator[Attacked]:
    """Run the daemon; its terminals serve noise from the moment it is requested. ``others``: further entries."""
    terminals = [build(serial=f"SIM{number}", records=5) for number in range(count)]
    port = free_port()
    there = Attacked(0, port, terminals)

    def answer(packet: Packet) -> bytes | None:
        if packet.kind == CONNECT:
            return connack()
        if there.flooding.is_set():
            there.flooded += 1
            # A PUBLISH of 255 MiB, of which as much comes as the other side takes.
            raise Closing(b"\x30\xff\xff\xff\x7f\x00\x07receipt" + bytes(128 * MIB))
        return None

    with FakeBroker(answer) as broker, ExitStack() as stack:
        entries = "".join(
            f"  - {{name: t{number}, driver: zkteco, address: '{stack.enter_context(Simulator(terminal)).address}', "
            "poll: 1s}\n"
            for number, terminal in enumerate(terminals)
        )
        token = folder / "token"
        token.write_text("correct-horse-battery\n")
        token.chmod(0o600)
        config = folder / "gateway.yaml"
        config.write_text(
            "site: kantor\ngateway: gw-01\ntimezone: Asia/Jakarta\ndata_dir: data\n"
            f"mqtt: {{url: 'mqtt://127.0.0.1:{broker.port}'}}\n"
            f"web: {{listen: '127.0.0.1:{port}', token_file: token}}\nterminals:\n{entries}{others}"
        )
        process = stack.enter_context(running("run", "-c", config, "--assume-synchronised"))
        there.pid = process.pid
        eventually(there.healthy)
        yield there
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)


def connect(port: int, peer: int) -> socket.socket:
    """Connect from one of this machine's addresses, each of which is a peer."""
    return socket.create_connection(("127.0.0.1", port), timeout=5, source_address=(f"127.0.0.{peer}", 0))


def through_the_page(there: Attacked, peers: range = range(2, 6), rounds: int = 6) -> None:
    """Hold all places that these peers get: endless heads and bodies, unread answers, feeds, wrong cookies."""
    head = b"GET /?lang=id HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    login = b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 999999999\r\n\r\n"
    sent = (
        head + b"X: " + b"x" * MIB,
        login + b"token=" + b"x" * MIB,
        b"GET /login HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 20_000,
        (head + b'Cookie: hadir="' + b"\\" * 3000 + b'"\r\n\r\n') * 200,
        b"GET /feed HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer correct-horse-battery\r\n\r\n",
    )
    for _ in range(rounds):
        with ExitStack() as held:
            for peer in peers:
                for number in range(20):
                    with suppress(OSError):
                        connection = held.enter_context(closing(connect(there.port, peer)))
                        connection.settimeout(0.2)
                        connection.sendall(sent[number % len(sent)])


def through_the_terminals(there: Attacked) -> None:
    """Give noise where a log was; return when each has been requested it."""
    requested = [0] * len(there.terminals)

    def noise(number: int) -> Callable[[], bytes]:
        def body() -> bytes:
            requested[number] += 1
            return NOISE

        return body

    for number, terminal in enumerate(there.terminals):
        terminal.log_body = noise(number)  # type: ignore[method-assign]  # a terminal of an attacker
        terminal.punch("1001")
    eventually(lambda: all(requested), 300, "the logs are asked for")


def through_the_broker(there: Attacked) -> None:
    """Send a packet that is larger than any that was allowed, at each connection."""
    there.flooding.set()
    there.terminals[0].punch("1002")  # so that the gateway publishes something now
    eventually(lambda: there.flooded >= 2, 120, "the broker is connected to again")


ATTACKS = {"page": through_the_page, "terminals": through_the_terminals, "broker": through_the_broker}


@pytest.mark.parametrize("names", list(combinations(ATTACKS, 2)), ids="+".join)
def test_two_attacks_at_once_stay_below_the_services_limit(tmp_path: Path, names: tuple[str, str]) -> None:
    """And the daemon goes on: its page answers from elsewhere, and it ends on request."""
    with attacked(tmp_path) as there:
        attackers = [threading.Thread(target=ATTACKS[name], args=(there,)) for name in names]
        for attacker in attackers:
            attacker.start()
        for attacker in attackers:
            attacker.join(300)
        eventually(there.healthy)
        assert highest(there.pid) < memory_max()


def test_one_peer_of_the_page_costs_little(tmp_path: Path) -> None:
    """Whatever it sends and does not read, less than 32 MiB."""
    with attacked(tmp_path) as there:
        before = highest(there.pid)
        through_the_page(there, peers=range(2, 3))
        eventually(there.healthy)
        assert highest(there.pid) - before < PEER_MIB * MIB


ZKTECO, ANVIZ = 8, 4
"""Fake devices of the test below, twelve together."""


def test_twelve_fake_devices_at_once_stay_below_the_services_limit(tmp_path: Path) -> None:
    """Eight serve logs of noise, four flood their lines, at the same time; never are all the logs in memory at once."""
    flooded = [tmp_path / f"flooded{number}" for number in range(ANVIZ)]
    with ExitStack() as stack:
        ports = [stack.enter_context(peer(partial(flooding, sent=sent))) for sent in flooded]
        others = "".join(
            f"  - {{name: a{number}, driver: anviz, port: 'tcp://{port}', poll: 1s, timeout: 1s}}\n"
            for number, port in enumerate(ports)
        )
        there = stack.enter_context(attacked(tmp_path, ZKTECO, others))
        before = highest(there.pid)
        through_the_terminals(there)
        eventually(lambda: all(sent.exists() for sent in flooded), 300, "the floods are read")
        eventually(there.healthy)
        assert highest(there.pid) - before < ZKTECO * len(NOISE)
        assert highest(there.pid) < memory_max()


def flooding(connection: socket.socket, sent: Path) -> None:
    """Flood an Anviz line, at each connection anew."""
    with suppress(OSError):
        flood_anviz(connection, sent)
