"""Findings of one batch: forks, broken links, contradictions and used-up quotas, each once by place and kind."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, bindparam, delete, select

from central.store.engine import insert_missing
from central.store.remarks import Remark
from central.store.streams import Stream
from central.store.tables import findings

Finding = dict[str, Any]
"""A row."""


class Findings:
    """What a batch has found; of one place and kind the first one stays, whenever it was found."""

    def __init__(self, received: str) -> None:
        self._received = received
        self._rows: dict[tuple[int, int, str], Finding] = {}
        self._mended: set[tuple[int, int]] = set()
        """Streams and places whose break is none any more."""
        self._first: dict[tuple[int, str], tuple[Stream, Finding]] = {}
        """The first finding of each stream and kind, for the log."""

    def note(self, stream: Stream, sequence: int, kind: str, expected: str, found: str) -> None:
        """Record a finding."""
        row = {"stream": stream.key, "sequence": sequence, "kind": kind, "expected": expected, "found": found}
        row = self._rows.setdefault((stream.key, sequence, kind), row | {"at": self._received})
        self._first.setdefault((stream.key, kind), (stream, row))

    def mend(self, stream: Stream, sequence: int) -> None:
        """Remove the break at a place."""
        self._rows.pop((stream.key, sequence, "break"), None)
        self._mended.add((stream.key, sequence))

    def write(self, connection: Connection) -> list[Remark]:
        """Write the rows; return the lines of the log, one for the first finding of a kind in a stream."""
        remarks = list(self._remarks(connection))
        for stream, sequence in self._mended:
            connection.execute(_MEND, {"b_stream": stream, "b_sequence": sequence})
        if self._rows:
            connection.execute(insert_missing(findings), list(self._rows.values()))
        return remarks

    def _remarks(self, connection: Connection) -> Iterator[Remark]:
        for (key, kind), (stream, row) in self._first.items():
            if connection.execute(_KNOWN, {"stream": key, "kind": kind}).first() is None:
                fields = {"gateway": stream.gateway.name, "stream": stream.name, "sequence": row["sequence"]}
                fields |= {"expected": row["expected"], "found": row["found"]}
                yield (*_EVENTS[kind], fields) if kind in _EVENTS else (*_QUOTA, fields | {"reason": kind})


_KNOWN = (
    select(findings.c.stream)
    .where(findings.c.stream == bindparam("stream"), findings.c.kind == bindparam("kind"))
    .limit(1)
)
_MEND = delete(findings).where(
    findings.c.stream == bindparam("b_stream"),
    findings.c.sequence == bindparam("b_sequence"),
    findings.c.kind == "break",
)
_EVENTS = {
    "fork": ("error", "fork_found"),
    "break": ("error", "chain_broken"),
    "misidentified": ("error", "punch_misidentified"),
    "claimed_twice": ("error", "punch_claimed_twice"),
    "predecessor": ("error", "predecessor_differs"),
    "watermark_back": ("error", "watermark_went_back"),
    "watermark_unplaced": ("warning", "watermark_unplaced"),
    "watermark_ahead": ("error", "watermark_ahead_of_clock"),
}
_QUOTA = ("error", "quota_reached")
