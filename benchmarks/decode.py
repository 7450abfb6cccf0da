"""Decoding a log, and reading every field: ours against pyzk's own ``get_attendance`` on the same bytes.

The limit beside it is ``struct.iter_unpack`` alone: the fields as numbers and bytes, without times, texts or records.
Records of 8 bytes are 42 times as quick as pyzk's: they have fewer fields, so more of the time is making one record for
each (a named tuple and a datetime), which is the same for every layout.
"""

import struct
import time
from collections import deque
from collections.abc import Callable, Iterator
from operator import attrgetter
from statistics import median
from typing import Any

from zk import ZK
from zk.user import User

from benchmarks.figures import TIMES, Figure, Plan, times, yes_no
from benchmarks.rig import LOG, office
from drivers.base import RawPunch
from drivers.zkteco import layouts

FORMS = {"8": "<HBIB", "16": "<IIBB2xI", "40": "<2x24sBIBI4x", "49": "<2x24sBIBI13x"}
"""Layout → the form of its records."""
RUNS = 5
AIM = 45
MAX_PYZK_S = 60.0
"""pyzk's time grows with the square of the log; where that would take longer, a smaller log is measured."""
_OURS = attrgetter(*RawPunch._fields)
_PYZK = attrgetter("uid", "user_id", "timestamp", "status", "punch")


class PyzkOnBytes(ZK):  # type: ignore[misc]  # pyzk has no type information
    """pyzk with the network taken out: ``get_attendance`` is its own, the bytes that it would fetch are given."""

    def __init__(self, log: bytes, count: int, users: dict[int, str]) -> None:
        super().__init__("127.0.0.1", ommit_ping=True)
        self._table = struct.pack("<I", len(log)) + log
        self._count = count
        self._users = [User(uid, "", 0, user_id=pin) for uid, pin in users.items()]

    def read_sizes(self) -> None:
        """Set the count of records."""
        self.records = self._count

    def get_users(self) -> list[Any]:
        """Return the enrolled users."""
        return self._users

    def read_with_buffer(self, _command: int, _fct: int = 0, _ext: int = 0) -> tuple[bytes, int]:
        """Return the log as it would have come over the wire."""
        return self._table, len(self._table)


def cpu_s(work: Callable[[], object], runs: int) -> float:
    """Return the median CPU time of ``work``."""
    spent = []
    for _ in range(runs):
        begun = time.process_time()
        work()
        spent.append(time.process_time() - begun)
    return median(spent)


def run(plan: Plan) -> Iterator[Figure]:
    """Measure each layout."""
    for layout in FORMS:
        yield _compared(layout, plan.size(LOG))


def _compared(layout: str, count: int) -> Figure:
    aim = f"≥ {AIM}{TIMES}"
    what = f"decode {count:,} records of {layout} bytes, CPU"
    mine = _ours_s(layout, count)
    limit = f"; limit {_limit_s(layout, count):.3f} s"
    try:
        small = _pyzk_s(layout, count // 10)
        if small * 100 > MAX_PYZK_S:
            ratio = small / _ours_s(layout, count // 10)
            baseline = f"pyzk {small:.2f} s for only {count // 10:,}{limit}"
            return Figure(what, baseline, f"{mine:.3f} s", f"{times(ratio)} at {count // 10:,}", aim, "see ratio")
        theirs = _pyzk_s(layout, count)
    except ValueError as exc:
        return Figure(what, f"pyzk fails: {exc}{limit}", f"{mine:.3f} s", aim=aim, met="nothing to compare")
    ratio = theirs / mine
    return Figure(what, f"pyzk {theirs:.2f} s{limit}", f"{mine:.3f} s", times(ratio), aim, yes_no(ratio >= AIM))


def _ours_s(layout: str, count: int) -> float:
    log = office(count, layout).log
    if _decoded(log, count) != count:
        raise RuntimeError(f"layout {layout}: not every record was decoded as a punch")
    return cpu_s(lambda: _decoded(log, count), RUNS)


def _decoded(log: bytes, count: int) -> int:
    """Find the layout, decode every record and read its fields; return how many are punches."""
    records = layouts.Records(log, layouts.choose_layout(layouts.Sample.whole(log), count))
    return sum(isinstance(record, RawPunch) and bool(_OURS(record)) for record in records)


def _limit_s(layout: str, count: int) -> float:
    log, form = office(count, layout).log, FORMS[layout]
    return cpu_s(lambda: deque(struct.iter_unpack(form, log), maxlen=0), RUNS)


def _pyzk_s(layout: str, count: int) -> float:
    made = office(count, layout)
    pyzk = PyzkOnBytes(made.log, count, made.users)
    found: list[list[Any]] = []
    spent = cpu_s(lambda: found.append([_PYZK(record) for record in pyzk.get_attendance()]), 1)
    if len(found[0]) != count:
        raise ValueError(f"{len(found[0]):,} records found where {count:,} are")
    return spent
