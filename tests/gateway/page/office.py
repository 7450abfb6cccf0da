"""An office for the page to show: real terminals on sockets, a real broker, the daemon in this process."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import urllib3

from drivers.zkteco.simulator import SimulatedTerminal, Simulator, build
from gateway.app import Daemon
from gateway.settings import load
from tests.broker import WAIT_S, Broker, Subscriber, eventually, free_port

ZONE = ZoneInfo("Asia/Jakarta")
TUESDAY = datetime(2026, 11, 24, 10, 12, tzinfo=ZONE)
"""When it is in the office: people have come."""


class OfficeClock:
    """A trusted clock that goes on from TUESDAY."""

    def __init__(self) -> None:
        self._off = TUESDAY - datetime.now(UTC)

    def now(self) -> datetime:
        """Return the office's time."""
        return datetime.now(UTC) + self._off

    def local(self) -> datetime:
        """Return what a terminal shows."""
        return self.now().astimezone(ZONE).replace(tzinfo=None)

    def synchronised(self) -> bool:
        """Vouch for it."""
        return True


@dataclass
class Office:
    """What a test needs of it."""

    url: str
    daemon: Daemon
    lobby: SimulatedTerminal
    clock: OfficeClock
    broker: Broker

    def get(self, path: str = "/", **headers: str) -> urllib3.BaseHTTPResponse:
        """Ask for a page as a browser would, without following where it leads."""
        return urllib3.request("GET", self.url + path, headers=headers, redirect=False, retries=False, timeout=WAIT_S)


def configuration(folder: Path, broker: Broker, terminals: dict[str, str], web: str) -> Path:
    """Write a configuration and return its path."""
    entries = "".join(
        f"  - {{name: {name}, driver: zkteco, address: '{address}', poll: 500ms}}\n"
        for name, address in terminals.items()
    )
    file = folder / "gateway.yaml"
    file.write_text(
        f"site: 3602-bkpsdm\ngateway: gw-01\ntimezone: {ZONE.key}\ndata_dir: data\nmqtt: {{url: '{broker.url}'}}\n"
        f"web: {web}\nterminals:\n{entries}"
    )
    return file


@contextmanager
def office(
    folder: Path,
    *,
    token_file: str | None = None,
    people: int = 40,
    history: int = 0,
    more: int = 0,
    name: str = "loket",
) -> Iterator[Office]:
    """Run an office: a lobby with so many old punches, so ``more`` others, and an unreachable terminal.

    Of the others each second one's clock is seven minutes ahead.
    """
    clock, port = OfficeClock(), free_port()
    with ExitStack() as stack:
        broker = stack.enter_context(Broker(folder))
        stack.enter_context(Subscriber(broker.port))
        lobby = build(serial="CEXA193960001", people=people, records=history, now=clock.local)
        others = [
            build(
                serial=f"CEXA19396{number:04}",
                people=people // 4,
                records=history // 4,
                seed=number,
                capacity=3000,
                clock_offset_s=420 * (number % 2),
                now=clock.local,
            )
            for number in range(2, more + 2)
        ]
        addresses = {"lobby": stack.enter_context(Simulator(lobby)).address}
        for number, terminal in enumerate(others, 1):
            addresses[f"{name}-{number}"] = stack.enter_context(Simulator(terminal)).address
        addresses["gudang"] = "127.0.0.1:9"
        token = f", token_file: {token_file}" if token_file else ""
        file = configuration(folder, broker, addresses, f"{{listen: '127.0.0.1:{port}'{token}}}")
        daemon, stop = Daemon(load(file), clock=clock), threading.Event()
        running = threading.Thread(target=daemon.run, args=(stop,))
        running.start()
        try:
            there = Office(f"http://127.0.0.1:{port}", daemon, lobby, clock, broker)
            eventually(lambda: _serves(there), what="the page")
            eventually(lambda: daemon._ledger.punches() == lobby.count + sum(other.count for other in others))
            eventually(lambda: daemon._ledger.counts().waiting == 0, what="an empty backlog")
            yield there
        finally:
            stop.set()
            running.join(WAIT_S)


def _serves(there: Office) -> bool:
    try:
        return there.get("/page.css").status == 200
    except urllib3.exceptions.HTTPError:
        return False
