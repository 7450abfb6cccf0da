"""Terminals to serve: an invented office from a seed, or the log of a file that a terminal wrote to a flash disk."""

import random
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from drivers.attlog.terminal import survey_export
from drivers.attlog.wire import NotAnExport
from drivers.base import RawPunch, TerminalUnavailable
from drivers.zkteco import layouts
from drivers.zkteco.simulator.memory import local_now
from drivers.zkteco.simulator.terminal import SimulatedTerminal


class Generated(NamedTuple):
    """An invented office: its people and their log."""

    users: dict[int, str]
    log: bytes


def generate(seed: int, records: int, people: int, end: datetime, layout: str = "40") -> Generated:
    """Invent the last ``records`` punches, up to ``end``, of an office with ``people`` people; same seed, same office.

    People arrive on working days between 06:45 and 08:15 and leave between 15:45 and 17:30; some go out at midday, some
    omit a punch, some punch twice. The log is in the order of time. Raises ValueError where so few people would have to
    begin before the year 2000.
    """
    if people < 1 or records < 0:
        raise ValueError("an office needs at least one person and a log no negative number of records")
    chance = random.Random(seed)  # noqa: S311 - an office, not a secret
    users = {uid: str(1000 + uid) for uid in range(1, people + 1)}
    habits = {uid: (chance.uniform(0.1, 0.8), 15 if chance.random() < 0.15 else 1) for uid in users}
    midnight = end.replace(hour=0, minute=0, second=0, microsecond=0)
    days: list[list[tuple[datetime, int, int, int]]] = []
    missing = records
    while missing > 0:
        if midnight.year < 2000:
            raise ValueError(f"{people} people do not make {records} punches since the year 2000")
        if midnight.weekday() < 5:
            day = [
                (midnight + timedelta(seconds=second), uid, state, habits[uid][1])
                for second, uid, state in _working_day(chance, habits)
            ]
            # Sorted by time alone: people in the same second stay in the order in which they arrived.
            day = sorted((punch for punch in day if punch[0] <= end), key=lambda punch: punch[0])[-missing:]
            days.append(day)
            missing -= len(day)
        midnight -= timedelta(days=1)
    punches = [punch for day in reversed(days) for punch in day]
    log = b"".join(
        layouts.encode_record(layout, pin=users[uid], uid=uid, moment=moment, state=state, verify=verify, index=index)
        for index, (moment, uid, state, verify) in enumerate(punches, 1)
    )
    return Generated(users, log)


def _working_day(chance: random.Random, habits: Mapping[int, tuple[float, int]]) -> Iterator[tuple[int, int, int]]:
    """Yield (second of the day, uid, state) of all punches of a day, in no particular order."""
    morning, midday, afternoon = (24300, 29700), (42300, 47700), (56700, 63000)
    for uid, (lateness, _) in habits.items():
        if chance.random() < 0.06:
            continue  # leave, illness, a field trip
        if chance.random() < 0.97:
            second = int(chance.triangular(*morning, morning[0] + lateness * (morning[1] - morning[0])))
            yield second, uid, 0
            if chance.random() < 0.03 and second + 5 <= morning[1]:
                yield second + chance.randint(2, 5), uid, 0
        if chance.random() < 0.12:
            out = chance.randint(midday[0], midday[1] - 2400)
            yield out, uid, 2
            yield out + chance.randint(900, 2400), uid, 3
        if chance.random() < 0.95:
            yield int(chance.triangular(*afternoon, afternoon[0] + 1800)), uid, 1


def build(
    *,
    serial: str = "SIM0000000001",
    layout: str = "40",
    people: int = 50,
    records: int = 0,
    seed: int = 1,
    attlog: Path | None = None,
    comm_key: int = 0,
    clock_offset_s: float = 0,
    capacity: int = 100_000,
    event_length: int = 32,
    one_conversation: bool = False,
    now: Callable[[], datetime] = local_now,
) -> SimulatedTerminal:
    """Return a terminal from plain values: its log invented from ``seed``, or taken from the file ``attlog``.

    Raises ValueError with a sentence for the person who chose the values.
    """
    offset = timedelta(seconds=clock_offset_s)
    office = Generated({}, b"") if attlog else generate(seed, records, people, now() + offset, layout)
    terminal = SimulatedTerminal(
        serial=serial,
        layout=layout,
        event_length=event_length,
        capacity=capacity,
        users=office.users,
        log=office.log,
        comm_key=comm_key,
        clock_offset=offset,
        one_conversation=one_conversation,
        now=now,
    )
    if attlog:
        try:
            export = survey_export(attlog)
        except (NotAnExport, TerminalUnavailable) as exc:
            raise ValueError(f"{attlog} holds no punches of a terminal: {exc}") from exc
        for punch in export.records():
            if isinstance(punch, RawPunch):
                work_code = int(punch.work_code) if punch.work_code and punch.work_code.isdecimal() else 0
                terminal.append(punch.pin or "", punch.local_time, punch.state or 0, punch.verify or 0, work_code)
        terminal.unusable_lines = export.lines - export.punches
    return terminal
