"""Rejected messages: kept with their beginning as far as there is room, else counted by gateway and reason."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, bindparam, func, select, update

from central.event import Rejected, gateway_of
from central.store.engine import chunks, count_again
from central.store.remarks import Remark
from central.store.tables import gateways, rejected, rejected_counted

KEPT_BYTES = 65_536
"""Of a rejected message so much is kept; of all of it the size and the SHA-256."""
MAX_REJECTED, MAX_REJECTED_BYTES = 1_000, 8 * 1024 * 1024
"""Rejected messages of one gateway that are kept, and their bytes together; the rest is counted."""
MAX_REJECTED_OF_ALL, MAX_REJECTED_BYTES_OF_ALL = 20_000, 256 * 1024 * 1024


@dataclass(slots=True)
class _Kept:
    """Rejected messages that are kept, of one gateway or of all."""

    messages: int = 0
    size: int = 0

    def has_room(self, size: int, messages: int, most: int) -> bool:
        return self.messages < messages and self.size + size <= most

    def add(self, size: int) -> None:
        self.messages += 1
        self.size += size


@dataclass(slots=True)
class Rejections:
    """How much is kept, for the one process that keeps it."""

    _kept: dict[str | None, _Kept] = field(default_factory=dict)
    """By gateway; None: topics of no gateway that has sent an event."""
    _of_all: _Kept = field(default_factory=_Kept)
    _logged: set[tuple[str | None, str]] = field(default_factory=set)
    """Gateways and reasons that the log has named."""

    def load(self, connection: Connection) -> None:
        """Count what the table holds."""
        found = connection.execute(select(rejected.c.gateway, func.length(rejected.c.payload))).all()
        known = _known(connection, {gateway for gateway, _ in found})
        for gateway, size in found:
            self._keep(gateway if gateway in known else None, size)

    def write(self, connection: Connection, found: Iterable[tuple[str, Rejected]], received: str) -> list[Remark]:
        """Keep or count messages, each with its topic; return what the log should name."""
        remarks: list[Remark] = []
        rejections = [(topic, gateway_of(topic), one) for topic, one in found]
        known = _known(connection, {gateway for _, gateway, _ in rejections})
        for topic, gateway, one in rejections:
            bucket = gateway if gateway in known else None
            self._write_one(connection, topic, gateway, bucket, one, received)
            if (bucket, one.reason) not in self._logged:
                self._logged.add((bucket, one.reason))
                shown = topic if gateway is not None else ascii(topic[:200])
                fields = {"topic": shown, "reason": one.reason, "detail": one.detail}
                remarks.append(("warning", "message_rejected", fields))
        return remarks

    def _write_one(
        self, connection: Connection, topic: str, gateway: str | None, bucket: str | None, one: Rejected, received: str
    ) -> None:
        digest, size = sha256(one.payload).hexdigest(), min(len(one.payload), KEPT_BYTES)
        again = connection.execute(_AGAIN, {"b_topic": topic, "b_sha256": digest, "last": received})
        if again.rowcount:
            return
        row: dict[str, Any] = {"gateway": bucket or "", "reason": one.reason, "last": received}
        if self._has_room(bucket, size):
            self._keep(bucket, size)
            row |= {"topic": topic, "sha256": digest, "gateway": gateway, "detail": one.detail, "first": received}
            row |= {"size": len(one.payload), "payload": one.payload[:KEPT_BYTES], "times": 1}
            connection.execute(_KEEP, row)
        else:
            connection.execute(_COUNT, row | {"times": 1, "first": received})

    def _has_room(self, bucket: str | None, size: int) -> bool:
        kept = self._kept.setdefault(bucket, _Kept())
        return kept.has_room(size, MAX_REJECTED, MAX_REJECTED_BYTES) and self._of_all.has_room(
            size, MAX_REJECTED_OF_ALL, MAX_REJECTED_BYTES_OF_ALL
        )

    def _keep(self, bucket: str | None, size: int) -> None:
        self._kept.setdefault(bucket, _Kept()).add(size)
        self._of_all.add(size)


def _known(connection: Connection, names: set[str | None]) -> set[str]:
    """Return the names of gateways that have sent an event."""
    return {
        name
        for part in chunks(sorted(name for name in names if name is not None))
        for name in connection.execute(_NAMES, {"names": part}).scalars()
    }


_NAMES = select(gateways.c.name).where(gateways.c.name.in_(bindparam("names", expanding=True)))
_AGAIN = (
    update(rejected)
    .where(rejected.c.topic == bindparam("b_topic"), rejected.c.sha256 == bindparam("b_sha256"))
    .values(times=rejected.c.times + 1, last=bindparam("last"))
)
_KEEP = count_again(rejected)
_COUNT = count_again(rejected_counted)
