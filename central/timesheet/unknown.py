"""What may have been recorded and is not known here, as doubts of one person. Pure.

Whose doubt it is follows from where the person is enrolled on each date: at single terminals, or at a site, which means
all terminals of the site; without those that a decision has declared out of use. A doubt that concerns a person on some
dates only is cut there.

* A gap of a gateway's stream concerns the people enrolled where that gateway reads. An announced end of it that stays
  away concerns them where terminals have no log: a watermark waits for its sequence anyway.
* A log that is not known to be complete (``unread``) concerns the people of its terminal from there on. Of a person
  with several terminals the one that was read least far counts. A terminal whose log can be read to its end, and that
  was never said to be, is unread since a week before it was first named; one that nothing here names, since ever.
* An outage is a doubt: whether the terminal stood without power or only the network was down, no event says. The log
  of a terminal proves when it worked: where there is such a log, and the outage has ended, the doubt ends at the first
  punch in it that proves so, and begins again where the log is silent for longer than :data:`SILENCE_S`: a terminal on
  its battery works at first. A punch proves that the terminal worked where its clock was measured and it was recorded
  behind the loss; its true time counts. A gateway's own outage is a doubt of such terminals only where it is longer
  than a restart takes.
* A gateway that its own state names offline, or that is out of contact since the centre had no connection, is a doubt
  where terminals have no log; with a log they are unread.
* A record that is no punch, a live event that the log did not hold, and records from before the chosen start of a
  gateway, which it does not publish, are doubts at their terminal. So is a log that was cleared, shrank or wrapped:
  from when it was last known to be complete until that was seen.
* A PIN that belongs to no person is a doubt of the people of its site who are not enrolled at that terminal, or to whom
  no punch of that date is attributed; the date is that of the plan's clock, whatever zone the terminals are in.
* A person without an enrolment, or without a terminal in use, is ``unenrolled``: nothing is known there.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple

from central.timesheet.attribution import EnrolmentRow, Reader
from central.timesheet.model import Doubt

FOREVER = 1 << 62
"""After every instant."""
OUTAGES = ("lost", "found", "resumed")
"""Kinds of incidents during which a terminal may have been out of order."""
RECORDS = ("quarantined", "unconfirmed", "unpublished", "log_lost")
"""Kinds of incidents that speak of records, which are no known punches here."""
RESTART_S = 300
"""A gateway that starts again sooner was restarted: its site had power."""
SILENCE_S = 900
"""How long a terminal that works may have no punch in an outage: a shorter cut of its power leaves time to return."""
NEW_TERMINAL_S = 7 * 86_400
"""How long before its gateway first names it a terminal may have been in use."""


class Gap(NamedTuple):
    """Sequences that a stream lacks, with the instants between which their events were recorded."""

    gateway: str
    """``site/gateway``."""
    stream: str
    first: int
    last: int
    start: int
    end: int


class UnknownPunch(NamedTuple):
    """A punch of a PIN that belonged to no person."""

    reader: Reader
    terminal: str
    pin: str
    on: date
    """Of the terminal's clock."""
    instant: int
    id: str


class Incident(NamedTuple):
    """What an event says of a time in which a punch may exist that is not known."""

    gateway: str
    """``site/gateway``."""
    kind: str
    """``lost``, ``found``, ``resumed``, ``not_held``, or one of :data:`RECORDS`."""
    terminal: str | None
    """Its name; None: all terminals of the gateway."""
    serial: str | None
    """None: unknown, or all terminals of the gateway."""
    start: int
    end: int
    stream: str
    sequence: int


class Proof(NamedTuple):
    """A punch that proves when its terminal worked: its clock was measured."""

    first: int
    """With ``last``: the instants between which it was made, by the measured clock."""
    last: int
    recorded: int
    """When its gateway recorded it."""
    gateway: str
    stream: str
    sequence: int


class Log(NamedTuple):
    """What is known of the log of a serial number."""

    found: int
    """When its gateway first named it."""
    readable: bool
    """It can be read to its end, and its gateway can say so."""
    until: int | None
    """Everything that it held until then is known here; None: that was never said."""


class Enrolled(NamedTuple):
    """Where a person is enrolled on one date."""

    terminals: frozenset[str]
    """Serial numbers at which the person has an enrolment of their own."""
    sites: frozenset[str]
    """Sites at all terminals of which the person is enrolled."""
    not_concerned: frozenset[str]
    """Serial numbers whose doubts a decision has ended for the person on this date."""


class Day(NamedTuple):
    """One date of a person, by the clock of the plan's zone."""

    date: date
    start: int
    """Its first instant."""
    end: int
    """Its last instant."""
    enrolled: Enrolled


class _View(NamedTuple):
    """What one place of enrolment means on one date."""

    in_use: frozenset[str]
    """Serial numbers of terminals that concern the person."""
    sites: frozenset[str]
    """Sites of the enrolments and of the terminals."""
    own_sites: frozenset[str]
    without_log: frozenset[str]
    """Gateways of those terminals that have no log which can be read to its end."""
    read_until: int | None
    """None: all logs are known for ever."""
    nowhere: bool
    """No terminal in use is known."""
    ended: frozenset[str]
    """Serial numbers whose doubts a decision has ended for the person."""


class Tail(NamedTuple):
    """The end of a stream, up to a sequence that was announced, which has stayed away since an instant."""

    gateway: str
    """``site/gateway``."""
    stream: str
    assigned: int
    start: int


class Offline(NamedTuple):
    """A gateway that is not known to run since an instant."""

    gateway: str
    """``site/gateway``."""
    start: int
    why: str = "offline"
    """``offline``: by its own state; ``out of contact``: the centre had no connection to the broker."""


@dataclass(slots=True)
class Unknown:
    """What is not known at some sites around some dates; answers are kept, as many people are enrolled alike."""

    gaps: list[Gap] = field(default_factory=list)
    tails: list[Tail] = field(default_factory=list)
    offline: list[Offline] = field(default_factory=list)
    incidents: list[Incident] = field(default_factory=list)
    punches: list[UnknownPunch] = field(default_factory=list)
    owners: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Gateways of each serial number by the date from which on it is theirs, empty: from the beginning; in order."""
    logs: Mapping[str, Log] = field(default_factory=dict)
    """By serial number: of those that a gateway has named."""
    readers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Names of each serial number by the gateways that have named it."""
    out_of_use: Mapping[str, Collection[tuple[date, date | None]]] = field(default_factory=dict)
    """By serial number: first and last dates."""
    settled: Mapping[str, Collection[tuple[date, date | None]]] = field(default_factory=dict)
    """By serial number: first and last dates on which a decision has ended its doubts for every person."""
    _views: dict[tuple[Enrolled, date], _View] = field(default_factory=dict)
    _at: dict[tuple[str, date], frozenset[str]] = field(default_factory=dict)
    _doubts: dict[tuple[Day, ...], tuple[Doubt, ...]] = field(default_factory=dict)

    def doubts(self, days: tuple[Day, ...], dates_with_punches: Collection[date]) -> Sequence[Doubt]:
        """Return the doubts of a person on dates in order.

        ``dates_with_punches``: those on which a punch of the person lies, by the clock of the days.
        """
        common = self._doubts.get(days)
        if common is None:
            common = self._doubts[days] = tuple(self._common(days))
        if not self.punches:
            return common
        return [*common, *self._unattributed(days, dates_with_punches)]

    def least_read(self, enrolled: Enrolled, on: date) -> tuple[list[str], int | None]:
        """Return the terminals whose logs are known least far, of those that concern a person, and how far that is."""
        view = self._view(enrolled, on)
        least = view.read_until
        return sorted(serial for serial in view.in_use if self._read_until(serial) == least is not None), least

    def _common(self, days: tuple[Day, ...]) -> Iterator[Doubt]:
        views = [self._view(day.enrolled, day.date) for day in days]
        for gap in self.gaps:
            site = gap.gateway.partition("/")[0]
            detail = f"stream {gap.stream} sequences {gap.first}-{gap.last}"
            for start, end in _where(days, views, gap.start, gap.end, lambda view, site=site: site in view.sites):  # type: ignore[misc]  # mypy sees no default of a lambda
                yield Doubt(start, end, "gap", None, detail)
        for tail in self.tails:
            detail = f"stream {tail.stream} up to sequence {tail.assigned}"
            behind: Callable[[_View], bool] = lambda view, one=tail: one.gateway in view.without_log  # type: ignore[misc]  # noqa: E731 - mypy sees no default of a lambda
            for start, end in _where(days, views, tail.start, FOREVER, behind):
                yield Doubt(start, end, "gap", None, detail)
        for away in self.offline:
            out: Callable[[_View], bool] = lambda view, one=away: one.gateway in view.without_log  # type: ignore[misc]  # noqa: E731 - likewise
            for start, end in _where(days, views, away.start, FOREVER, out):
                yield Doubt(start, end, "outage", None, f"gateway {away.gateway} {away.why}")
        seen = set()
        for incident in self.incidents:
            concerns: Callable[[_View], bool] = lambda view, one=incident: self._concerns(view, one)  # type: ignore[misc]  # noqa: E731 - likewise
            why = incident.kind if incident.kind in RECORDS else "outage"
            for start, end in _where(days, views, incident.start, incident.end, concerns):
                if (key := (start, end, why, incident.terminal)) not in seen:  # lost and found state the same outage
                    seen.add(key)
                    detail = f"stream {incident.stream} sequence {incident.sequence}"
                    yield Doubt(start, end, why, incident.terminal, detail)
        unread = [
            (max(view.read_until + 1, day.start), day.end)
            for day, view in zip(days, views, strict=True)
            if view.read_until is not None and view.read_until < day.end
        ]
        for start, end in _joined(unread):
            yield Doubt(start, FOREVER if end == days[-1].end else end, "unread")
        nowhere = [(day.start, day.end) for day, view in zip(days, views, strict=True) if view.nowhere]
        for start, end in _joined(nowhere):
            yield Doubt(start, end, "unenrolled")

    def _concerns(self, view: _View, incident: Incident) -> bool:
        if incident.kind in RECORDS:
            if incident.serial is None:
                return incident.gateway.partition("/")[0] in view.sites
            return self._is_read_by(view, incident.serial, incident)
        if incident.terminal is None:
            return incident.gateway in view.without_log
        if incident.serial is None:
            named = {serial for serial, by in self.readers.items() if by.get(incident.gateway) == incident.terminal}
            if named and named <= view.ended:
                return False
            return incident.gateway.partition("/")[0] in view.own_sites
        if incident.kind == "not_held" and self._is_readable(incident.serial):
            return False  # what the gateway could not hold is still in the log
        return self._is_read_by(view, incident.serial, incident)

    def _is_read_by(self, view: _View, serial: str, incident: Incident) -> bool:
        """Return whether a gateway's incident is one of a person's terminal, whoever else is judged with the person.

        Gateways elsewhere count for the terminals that they have named; not with their own outages, which mark days of
        their own site.
        """
        if serial not in view.in_use:
            return False
        if incident.gateway.partition("/")[0] in view.sites:
            return True
        return incident.kind != "resumed" and incident.gateway in self.readers.get(serial, ())

    def _unattributed(self, days: tuple[Day, ...], dates_with_punches: Collection[date]) -> Iterator[Doubt]:
        for punch in self.punches:
            day = next((day for day in days if day.start <= punch.instant <= day.end), None)
            if day is None:
                continue
            view = self._view(day.enrolled, day.date)
            if punch.reader.site not in view.sites or punch.reader.serial in day.enrolled.not_concerned:
                continue
            enrolled = punch.reader.serial in day.enrolled.terminals or punch.reader.site in day.enrolled.sites
            if not enrolled or day.date not in dates_with_punches:
                yield Doubt(punch.instant, punch.instant, "unattributed", punch.terminal, f"punch {punch.id}")

    def _view(self, enrolled: Enrolled, on: date) -> _View:
        found = self._views.get((enrolled, on))
        if found is None:
            found = self._views[enrolled, on] = self._seen_from(enrolled, on)
        return found

    def _seen_from(self, enrolled: Enrolled, on: date) -> _View:
        serials = set(enrolled.terminals)
        for site in enrolled.sites:
            serials |= self._serials_at(site, on)
        used = {serial for serial in serials if not _holds(self.out_of_use.get(serial, ()), on)}
        settled = {serial for serial in used if _holds(self.settled.get(serial, ()), on)}
        in_use = frozenset(used - settled - enrolled.not_concerned)
        owners = {serial: owner for serial in serials if (owner := self.owner(serial, on)) is not None}
        read = [until for serial in in_use if (until := self._read_until(serial)) is not None]
        return _View(
            in_use=in_use,
            sites=enrolled.sites | {owner.partition("/")[0] for owner in owners.values()},
            own_sites=enrolled.sites,
            without_log=frozenset(
                owners[serial] for serial in in_use if serial in owners and not self._is_readable(serial)
            ),
            read_until=min(read, default=None),
            nowhere=not used,
            ended=enrolled.not_concerned | settled,
        )

    def owner(self, serial: str, on: date) -> str | None:
        """Return the gateway to which a serial number belongs on a date; None where nothing here names it."""
        owners = self.owners.get(serial)
        if not owners:
            return None
        before = [gateway for since, gateway in owners.items() if since <= on.isoformat()]
        return before[-1] if before else next(iter(owners.values()))

    def _serials_at(self, site: str, on: date) -> frozenset[str]:
        found = self._at.get((site, on))
        if found is None:
            found = self._at[site, on] = frozenset(
                serial for serial in self.owners if (self.owner(serial, on) or "").partition("/")[0] == site
            )
        return found

    def _is_readable(self, serial: str) -> bool:
        return _has_log(self.logs, serial)

    def _read_until(self, serial: str) -> int | None:
        """Return up to when a terminal's log is known here; None where it has none that can be read to its end."""
        log = self.logs.get(serial)
        if log is None:
            return None if serial in self.owners else -FOREVER
        if not log.readable:
            return None
        return log.found - NEW_TERMINAL_S if log.until is None else log.until


def with_proofs(
    incidents: Iterable[Incident],
    logs: Mapping[str, Log],
    terminals: Mapping[str, Mapping[str, str]],
    proofs: Callable[[str, int, int], Iterable[Proof]],
) -> Iterator[Incident]:
    """Yield incidents, of the outages of terminals that have a log the parts in which nothing proves that they worked.

    ``terminals``: names by serial number of the terminals of a gateway. ``proofs`` returns what a serial number's log
    proves between two instants.
    """
    every = list(incidents)
    losses = {(one.gateway, one.terminal, one.start): one for one in every if one.kind == "lost"}
    for one in every:
        if one.kind not in OUTAGES or (one.serial is None and one.terminal is not None):
            yield one
            continue
        concerned = {one.serial: one.terminal} if one.serial is not None else dict(terminals.get(one.gateway, {}))
        if one.serial is None or not _has_log(logs, one.serial):
            yield one
        if one.serial is None and one.end - one.start <= RESTART_S:
            continue
        for serial, terminal in concerned.items():
            if serial is None or not _has_log(logs, serial):
                continue
            # A terminal is read before it is stated to be found.
            loss = losses.get((one.gateway, one.terminal, one.start)) if one.kind == "found" else one
            found = [] if one.end >= FOREVER else proofs(serial, one.start, one.end)
            behind = (proof for proof in found if loss is None or _follows(proof, loss))
            for start, end in _unproven(one, behind):
                yield one._replace(terminal=terminal, serial=serial, start=start, end=end)


def _unproven(outage: Incident, proofs: Iterable[Proof]) -> Iterator[tuple[int, int]]:
    """Yield the parts of an outage before the first proof, and those without one for longer than :data:`SILENCE_S`."""
    start, silence = outage.start, 0
    for proof in sorted(proofs):
        if proof.first <= outage.start or proof.last > outage.end or proof.recorded < outage.start:
            continue
        if proof.last - start > silence:
            yield start, proof.last - 1
        start, silence = max(start, proof.first + 1), SILENCE_S
    if not silence or outage.end - start > silence:
        yield start, outage.end


def _follows(proof: Proof, loss: Incident) -> bool:
    """Return whether a punch was recorded behind the begin of an outage."""
    same = (proof.gateway, proof.stream) == (loss.gateway, loss.stream)
    return not same or proof.sequence > loss.sequence


def _has_log(logs: Mapping[str, Log], serial: str) -> bool:
    return serial in logs and logs[serial].readable


def _holds(dates: Iterable[tuple[date, date | None]], on: date) -> bool:
    return any(since <= on and (until is None or on <= until) for since, until in dates)


def _where(
    days: tuple[Day, ...], views: list[_View], start: int, end: int, concerns: Callable[[_View], bool]
) -> list[tuple[int, int]]:
    """Return the parts of a time that lie on dates on which it concerns a person; whole where it concerns them all."""
    touched = [number for number, day in enumerate(days) if day.start <= end and day.end >= start]
    parts: list[tuple[int, int]] = []
    before = None
    for number in touched:
        if concerns(views[number]):
            begin = start if number == touched[0] else max(start, days[number].start)
            stop = end if number == touched[-1] else min(end, days[number].end)
            if before == number - 1 and parts:
                parts[-1] = parts[-1][0], stop
            else:
                parts.append((begin, stop))
            before = number
    return parts


def _joined(parts: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return parts in order, those that follow each other without a second between as one."""
    found: list[tuple[int, int]] = []
    for start, end in parts:
        if found and found[-1][1] + 1 >= start:
            found[-1] = found[-1][0], end
        else:
            found.append((start, end))
    return found


def enrolled_on(rows: Iterable[EnrolmentRow], on: date, not_concerned: Collection[str] = ()) -> Enrolled:
    """Return where a person is enrolled on a date."""
    terminals, sites = set(), set()
    for row in rows:
        if row.since > on or (row.until is not None and row.until < on):
            continue
        if row.record.terminal is not None:
            terminals.add(row.record.terminal)
        elif row.record.site is not None:
            sites.add(row.record.site)
    return Enrolled(frozenset(terminals), frozenset(sites), frozenset(not_concerned))
