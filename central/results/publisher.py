"""Publishes the messages that wait in the outbox, on the inbox's connection: some in flight, deleted after the PUBACK.

On a server any number of processes have an outbox's publisher, and one of them publishes: that which has the turn
(:mod:`central.store.turns`). When it ends, is killed or loses the database, another one takes over within some seconds,
and sends again what has no PUBACK.

A message that the broker refuses for good, or that cannot be made, is set aside; it is tried again when the program
starts. Another refusal (no right, a quota) holds the unit's topics for a while. Neither stops what is behind.
"""

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

import structlog
from sqlalchemy import Connection

from central.results.messages import Message, adjustment_message, closed_message, day_message, summary_message
from central.store import closings, outbox, results
from central.store.engine import Database, Lock, utc
from central.store.outbox import Waiting
from central.store.results import Revision
from central.store.turns import PUBLISHING

MAX_IN_FLIGHT = 100
"""Messages that the broker has not acknowledged."""
INTERVAL_S = 1.0
"""How often the outbox is looked at, while nothing is acknowledged."""
HOLD_S = 60.0, 600.0
"""How long a unit is held after its first refusal, and after many."""
TURN_S = 5.0
"""How often another process's turn is looked at, and how long after its loss this one may go on."""
MAX_HELD = 1_000
"""Units held; with more, everything waits."""
FOR_GOOD = {0x90: "topic_name_invalid", 0x95: "packet_too_large", 0x99: "payload_format_invalid"}
"""Refusals that are about the one message."""

log = structlog.get_logger("results")


@dataclass(slots=True)
class _Hold:
    """A unit whose topics the broker refused."""

    until_s: float
    pause_s: float


@dataclass(slots=True)
class Publisher:
    """What is in flight on one connection, and what is held. Every method raises StoreError where the file fails."""

    database: Database
    root: str = "hadir"
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    monotonic_s: Callable[[], float] = time.monotonic
    max_packet: int | None = None
    """Bytes of a packet that the broker takes; None: any."""
    _in_flight: dict[int, Waiting] = field(default_factory=dict)
    """By message id."""
    _acknowledged: list[int] = field(default_factory=list)
    _holds: dict[str, _Hold] = field(default_factory=dict)
    _logged: set[int] = field(default_factory=set)
    """Refusals that this connection has logged."""
    _next_s: float = 0.0
    _turn: Lock | None = None
    _turn_s: float = 0.0
    """When the turn is looked at next."""

    def begin(self) -> None:
        """Let what was set aside wait again; once, when the program starts."""
        with self.database.writing(alone=False) as connection:
            outbox.retry(connection)

    def connected(self, max_packet: int | None) -> None:
        """Begin anew on another connection: what was in flight is sent again."""
        self.max_packet = max_packet
        self._in_flight.clear()
        self._logged.clear()
        self._holds.clear()
        self._next_s = 0.0

    def step(self, publish: Callable[[Message], int]) -> None:
        """Delete what was acknowledged and send more; ``publish`` returns the message id."""
        now_s = self.monotonic_s()
        if now_s < self._next_s and len(self._acknowledged) < MAX_IN_FLIGHT // 2:
            return
        self._next_s = now_s + INTERVAL_S
        if not self._has_turn(now_s):
            return
        self.settle()
        for waiting, message in self._next(now_s):
            if self.max_packet is not None and len(message.payload) + len(message.topic) + 256 > self.max_packet:
                self._set_aside(waiting, FOR_GOOD[0x95])
            else:
                try:
                    self._in_flight[publish(message)] = waiting
                except Exception as exc:  # noqa: BLE001 - it costs this message only
                    self._set_aside(waiting, _place(exc))

    def published(self, mid: int, code: int) -> bool:
        """Take the broker's answer; return whether the message was one of these."""
        waiting = self._in_flight.pop(mid, None)
        if waiting is None:
            return False
        if code < 0x80:
            self._acknowledged.append(waiting.id)
            self._holds.pop(waiting.unit, None)
        elif code in FOR_GOOD:
            self._set_aside(waiting, FOR_GOOD[code])
        else:
            self._hold(waiting.unit, code)
        return True

    def settle(self) -> None:
        """Delete what was acknowledged; at the end of a connection."""
        done, self._acknowledged = self._acknowledged, []
        if done:
            with self.database.writing(alone=False) as connection:
                outbox.finish(connection, done)

    def release(self) -> None:
        """Let another process publish; at the end of the program."""
        if self._turn is not None:
            self._turn.release()
            self._turn = None

    def _has_turn(self, now_s: float) -> bool:
        """Return whether this process may publish; take the turn where no other one has it."""
        if now_s >= self._turn_s:
            self._turn_s = now_s + TURN_S
            had = self._turn is not None
            if self._turn is not None and not self._turn.is_held():
                self.release()
            if self._turn is None:
                self._turn = self.database.place.turn(PUBLISHING)
            if had and self._turn is None:
                self._in_flight.clear()  # another one sends it again
        return self._turn is not None

    def _next(self, now_s: float) -> list[tuple[Waiting, Message]]:
        held = [unit for unit, hold in self._holds.items() if hold.until_s > now_s]
        room = MAX_IN_FLIGHT - len(self._in_flight)
        if room <= 0 or len(held) > MAX_HELD:
            return []
        sent = [waiting.id for waiting in self._in_flight.values()]
        found: list[tuple[Waiting, Message]] = []
        failed: list[tuple[Waiting, Exception]] = []
        with self.database.reading() as connection:
            waiting = outbox.take(connection, room, sent, held)
            keys = [(one.person, one.date, one.revision) for one in waiting if one.person and one.closing is None]
            revisions = results.exactly(connection, keys)
            for one in waiting:
                unit = one.unit or None
                people, newest = [], False
                if one.closing is None and not one.person:
                    people = results.of_unit(connection, unit, one.date)
                    newest = one.date == results.newest_date(connection, unit)
                try:
                    if one.closing is None:
                        found.append((one, self._message(one, revisions, people, newest=newest)))
                    else:
                        found.append((one, self._of_closing(connection, one, one.closing)))
                except Exception as exc:  # noqa: BLE001 - it costs this message only
                    failed.append((one, exc))
        for one, error in failed:
            self._set_aside(one, _place(error))
        return found

    def _message(
        self,
        waiting: Waiting,
        revisions: dict[tuple[str, date, int], Revision],
        people: list[Revision],
        *,
        newest: bool,
    ) -> Message:
        if waiting.person:
            return day_message(revisions[waiting.person, waiting.date, waiting.revision], self.root)
        moment = utc(self.now())
        return summary_message(waiting.unit or None, waiting.date, waiting.id, people, moment, self.root, retain=newest)

    def _of_closing(self, connection: Connection, waiting: Waiting, number: int) -> Message:
        closing = closings.find(connection, number)
        if closing is None:
            raise LookupError(number)
        if not waiting.person:
            return closed_message(closing, *closings.counts_of(connection, number), self.root)
        adjustment = closings.adjustment_of(connection, number, waiting.person, waiting.date)
        if adjustment is None:
            raise LookupError(number, waiting.date)
        return adjustment_message(closing, adjustment, self.root)

    def _set_aside(self, waiting: Waiting, reason: str) -> None:
        with self.database.writing(alone=False) as connection:
            outbox.set_aside(connection, waiting.id, reason)
        log.error(
            "result_set_aside", message=waiting.id, unit=waiting.unit, date=waiting.date.isoformat(), reason=reason
        )

    def _hold(self, unit: str, code: int) -> None:
        now_s = self.monotonic_s()
        hold = self._holds.get(unit)
        if hold is None:
            self._holds[unit] = _Hold(now_s + HOLD_S[0], HOLD_S[0])
        elif hold.until_s <= now_s:
            hold.pause_s = min(2 * hold.pause_s, HOLD_S[1])
            hold.until_s = now_s + hold.pause_s
        if code not in self._logged:
            self._logged.add(code)
            log.warning(
                "result_refused",
                unit=unit,
                reason_code=code,
                reason="the broker does not take results from this client; they wait: check its access list and quota",
            )


def _place(error: Exception) -> str:
    """Return type and place of an exception, without its text, which may repeat what was published."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {Path(frame.filename).name}:{frame.lineno}"
