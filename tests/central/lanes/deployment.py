"""A centre with lanes: workers as processes, gateways of several sites that publish all the time, and what is held."""

import os
import signal
import socket
import subprocess
import threading
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self
from uuid import uuid4

import psycopg

from central.lanes.assignment import lane_of
from central.lanes.lease import WORKER_LOCKS
from tests.broker import WAIT_S, Broker, Subscriber, eventually
from tests.central.sealing import Source, payload
from tests.command import drained, run, start

SITES = ("3602-bkpsdm", "dinas-contoh", "kota-x", "dinas-b", "dinas-c")


class Gateways:
    """One gateway at each site; they publish in turns, from a thread of their own, until they are stopped."""

    def __init__(self, broker: Broker, sites: tuple[str, ...] = SITES, pause_s: float = 0.01) -> None:
        self.sources = [Source(str(uuid4()), f"{site}/gw-01") for site in sites]
        self._broker = broker
        self._pause_s = pause_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._publish)
        self._subscriber = Subscriber(broker.port, "hadir/v1/+/+/receipt")

    def __enter__(self) -> Self:
        for source in self.sources:
            self._subscriber.publish(f"hadir/v1/{source.gateway}/info", source.info(), retain=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._subscriber.close()

    def begin(self) -> None:
        """Begin to publish events."""
        self._thread.start()

    def stop(self) -> None:
        """Publish no more; what was published is at the broker."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _publish(self) -> None:
        number = 0
        while not self._stopped.wait(self._pause_s):
            source = self.sources[number % len(self.sources)]
            number += 1
            event = source.punch(len(source.events) + 1, serial=f"SERIAL-{source.gateway[:12]}")
            self._subscriber.publish(f"hadir/v1/{source.gateway}/punch/lobby", payload(event))

    def check(self, url: str) -> None:
        """Assert that every event is held once, that receipts say so, and that none has stated less than one before."""
        whole = {source.gateway: len(source.events) for source in self.sources}
        eventually(lambda: held(url) == whole, what=f"storing {whole} once")
        eventually(lambda: self.confirmed() == whole, what=f"receipts for {whole}")
        stated: defaultdict[str, list[int]] = defaultdict(list)
        for message in self._subscriber.on("/receipt"):
            assert message.payload["missing"] == []
            stated[message.topic].append(message.payload["upto"])
        assert all(one == sorted(one) for one in stated.values()), stated

    def confirmed(self) -> dict[str, int]:
        """Return what the last receipt to each gateway states."""
        found = {message.topic: message.payload["upto"] for message in self._subscriber.on("/receipt")}
        return {topic.removeprefix("hadir/v1/").removesuffix("/receipt"): upto for topic, upto in found.items()}


@dataclass
class Workers:
    """Workers of one database, by name."""

    broker: Broker
    url: str
    running: dict[str, subprocess.Popen[str]] = field(default_factory=dict)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.running.values():
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.communicate()

    def start(self, name: str, lanes: int = 2, *, url: str | None = None) -> None:
        """Start a worker."""
        options = ("--lanes", lanes, "--broker", self.broker.url, "--db", url or self.url)
        started = start("central.cli", "inbox", *options, env=os.environ)
        self.running[name] = drained(started)

    def set_lanes(self, number: int) -> None:
        """Change the number of lanes by the command."""
        done = run("central.cli", "lanes", "set", number, "--db", self.url, env=os.environ)
        assert done.returncode == 0, done.stderr

    def kill(self, name: str) -> None:
        """End a worker as a power cut does."""
        process = self.running.pop(name)
        process.kill()
        process.communicate()

    def freeze(self, name: str) -> None:
        """Stop a worker where it is."""
        os.kill(self.running[name].pid, signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        """Let it go on."""
        os.kill(self.running[name].pid, signal.SIGCONT)

    def stop(self, name: str) -> str:
        """Stop a worker in good order; return its log."""
        process = self.running.pop(name)
        process.terminate()
        _, errors = process.communicate(timeout=WAIT_S)
        assert process.returncode == 0, errors
        return errors

    def wait_for_shares(self, *shares: int) -> float:
        """Wait until so many workers hold so many lanes each; return how long that took."""
        begin_s = time.monotonic()
        eventually(lambda: self.shares() == sorted(shares), what=f"shares of {shares}, not {self.shares()}")
        return time.monotonic() - begin_s

    def shares(self) -> list[int]:
        """Return how many lanes the live workers hold."""
        rows = query(
            self.url,
            "SELECT count(*) FILTER (WHERE lane.objid IS NOT NULL) FROM pg_locks AS worker LEFT JOIN pg_locks AS lane "
            "ON lane.pid = worker.pid AND lane.classid = worker.classid::bigint - 1 AND lane.granted "
            "WHERE worker.locktype = 'advisory' AND worker.classid = %s "
            "AND worker.database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
            "GROUP BY worker.pid",
            WORKER_LOCKS,
        )
        return sorted(count for (count,) in rows)

    def wait_for_sites(self, lanes: int, sites: tuple[str, ...] = SITES) -> None:
        """Wait until each site has the owner that so many lanes give it, and is in that one's session alone."""
        wanted = sorted((site, lane_of(site, lanes), lane_of(site, lanes), True) for site in sites)
        statement = (
            "SELECT site, owner.lane, session.lane, granted FROM lane_site AS owner JOIN lane_session AS session "
        )
        statement += "USING (site) ORDER BY site, session.lane"
        eventually(lambda: query(self.url, statement) == wanted, what=f"{wanted}")


class Line:
    """A line to a server that can be cut without a word: connections stay open, and nothing passes any more."""

    def __init__(self, port: int) -> None:
        self.server = port
        """Where new connections lead."""
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._open = threading.Event()
        self._open.set()
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.heal()
        self._listening.close()

    def cut(self) -> None:
        """Let nothing pass."""
        self._open.clear()

    def heal(self) -> None:
        """End what was cut, as routers do, and let new connections pass."""
        ends, self._ends = self._ends, []
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._open.set()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                self._open.wait()
                try:
                    server = socket.create_connection(("127.0.0.1", self.server))
                except ConnectionError:  # it does not run at the moment
                    client.close()
                    continue
                self._ends += [client, server]
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=self._pass_on, args=(source, target), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError), source:
            while part := source.recv(65536):
                self._open.wait()
                target.sendall(part)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)


def query(url: str, statement: str, *values: object) -> list[Any]:
    """Return the rows of a statement; none while there are no tables."""
    try:
        with psycopg.connect(url, autocommit=True) as connection:
            return connection.execute(statement.encode(), values or None).fetchall()
    except psycopg.errors.UndefinedTable:
        return []


def held(url: str) -> dict[str, int]:
    """Return how many events of each gateway are stored; doubled ones are counted doubly, and gaps are an error."""
    rows = query(
        url,
        "SELECT gateway.name, count(*), max(sequence), count(DISTINCT sequence) FROM event "
        "JOIN stream ON stream.id = event.stream JOIN gateway ON gateway.id = stream.gateway GROUP BY 1",
    )
    assert all(count == distinct for _, count, _, distinct in rows), rows
    return {name: count for name, count, highest, _ in rows if count == highest}
