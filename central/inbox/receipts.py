"""Publishes receipts on one connection: where something has changed, and again where the broker refused one."""

import json
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import structlog
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from central.coverage import HeldRange
from central.store import Receipt

RECEIPT_INTERVAL_S = 1.0
"""Minimum time between two rounds of receipts."""
RECEIPT_RETRY_S = 60.0
"""A receipt that the broker refused is published again after this time."""

log = structlog.get_logger("inbox")


class ReceiptWriter:
    """What the receipts of one connection have said, and which of them the broker has acknowledged."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._last: dict[str, tuple[str, HeldRange]] = {}
        """The last receipt to each gateway on this connection."""
        self._in_flight: dict[str, int] = {}
        """The message id of the unacknowledged receipt to each gateway."""
        self._gateway_of: dict[int, str] = {}
        """The inverse of ``_in_flight``."""
        self._retry_at_s: dict[str, float] = {}
        """Gateways whose last receipt the broker refused, with the time of the next attempt."""
        self._refused: set[str] = set()
        self._incomplete: set[str] = set()
        self.next_s = 0.0
        """When the next round is due, by the monotonic clock."""

    @property
    def in_flight(self) -> frozenset[str]:
        """Gateways whose last receipt the broker has not acknowledged."""
        return frozenset(self._in_flight)

    def connected(self) -> None:
        """Begin anew on another connection: the broker may have forgotten what it retained."""
        self._last.clear()
        self._in_flight.clear()
        self._gateway_of.clear()
        self._retry_at_s.clear()
        self.next_s = 0.0

    def write(
        self,
        receipts: Callable[[], Iterable[Receipt]],
        publish: Callable[[str, str], int],
        held: Callable[[], bool],
        *,
        at_once: bool = False,
    ) -> None:
        """Publish a receipt to each gateway whose held range has changed, at most once in ``RECEIPT_INTERVAL_S``.

        ``publish`` takes a gateway and the content, and returns the message id. Nothing is published while ``held``
        returns False: what is stored is not yet wherever it has to be.
        """
        now_s = time.monotonic()
        if now_s < self.next_s and not at_once:
            return
        self.next_s = now_s + RECEIPT_INTERVAL_S
        if not held():
            return
        for gateway, stream, held_range in receipts():
            if self._last.get(gateway) == (stream, held_range):
                continue
            if gateway in self._in_flight or now_s < self._retry_at_s.get(gateway, 0.0):
                continue  # the broker has not accepted the previous receipt; the next one will cover more
            self._last[gateway] = (stream, held_range)
            self._log_missing(gateway, stream, held_range)
            at = self._now().astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            receipt = {"stream": stream, "upto": held_range.upto, "missing": held_range.missing, "at": at}
            mid = publish(gateway, json.dumps(receipt, separators=(",", ":")))
            self._in_flight[gateway] = mid
            self._gateway_of[mid] = gateway

    def published(self, mid: int, code: int) -> None:
        """Take the broker's answer to a message."""
        gateway = self._gateway_of.pop(mid, None)
        if gateway is None:
            return
        del self._in_flight[gateway]
        if code < 0x80:
            self._refused.discard(gateway)
            self._retry_at_s.pop(gateway, None)
            return
        self._last.pop(gateway, None)
        self._retry_at_s[gateway] = time.monotonic() + RECEIPT_RETRY_S
        if gateway not in self._refused:
            self._refused.add(gateway)
            log.warning(
                "receipt_refused",
                gateway=gateway,
                reason_code=code,
                reason="the broker does not accept receipts from this client; check its access list",
            )

    def _log_missing(self, gateway: str, stream: str, held_range: HeldRange) -> None:
        fields = {"gateway": gateway, "stream": stream, "upto": held_range.upto}
        if held_range.missing and gateway not in self._incomplete:
            self._incomplete.add(gateway)
            events = sum(last - first + 1 for first, last in held_range.missing)
            log.warning("events_missing", **fields, events=events, first=held_range.missing[0][0])
        elif not held_range.missing and gateway in self._incomplete:
            self._incomplete.discard(gateway)
            log.info("events_complete", **fields)


PLAIN = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho leaves these untyped
PLAIN.ContentType = "application/json"
PLAIN.PayloadFormatIndicator = 1
