"""How a page is written: what it may see, what it reports to the access log, and how it is shown.

A module of ``central/web/pages`` holds ``PAGES``, a list of :class:`Page`, and ``TEXTS``, its texts by key (also those
of its templates); its name stands in ``central/web/app.py``. A page's function gets a :class:`Look` and returns what
:meth:`Look.show` returns. It runs in a thread, within one read transaction, and reads through ``look.connection`` and
``look.registers``; it writes nothing.

Units and people are reached through :meth:`Look.unit`, :meth:`Look.people` and :meth:`Look.person` alone: these refuse
what is foreign to the viewer exactly as what does not exist, and report the look at people to the access log, which is
stored before anything is sent. A page that shows people's data says so (``watched``) and is refused where it reported
nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, tzinfo
from functools import cached_property
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

from markupsafe import Markup
from sqlalchemy import Connection

from central.registers.kinds import Person as PersonRecord
from central.registers.statements import records_of
from central.sheets.settings import Settings
from central.store.accesses import Access
from central.store.engine import utc
from central.store.registers import Registers
from central.texts import Language, Text
from central.web.access import ALL_UNITS, Action, Role, Scope, Tree, Unit, Viewer
from central.web.messages import Messages

FIRST_DAY, LAST_DAY = date(2000, 1, 1), date(2100, 12, 31)
"""Dates that an address may name."""


class Refusal(Exception):  # noqa: N818 - it is shown, and named by what it is
    """Ends a page with another status; ``what`` is the key of its text, ``what_do`` that of what to do next."""

    def __init__(self, status: int, what: str, **values: object) -> None:
        super().__init__(what)
        self.status = status
        self.what = what
        self.values = values


class Missing(Refusal):
    """What is requested does not exist, or is foreign to the viewer: the answer is the same."""

    def __init__(self) -> None:
        super().__init__(404, "error_missing")


class Wrong(Refusal):
    """The address or the form holds something that cannot be read; ``what`` is the key of a text that says what."""

    def __init__(self, what: str, **values: object) -> None:
        super().__init__(400, what, **values)


class Shown(NamedTuple):
    """A page as it is sent, without what all pages have around it."""

    title: str
    main: Markup
    live: Markup | None
    units: frozenset[str] | None
    """Whose results the live part shows; None: any."""
    moment: str
    """As of when."""
    status: int = 200


FAR_S = 60.0
"""Data of a standby that are older than this get a notice: the morning's punches may be missing."""


class Age(NamedTuple):
    """How old the data of a page are."""

    as_of: datetime | None
    """None: not known."""
    now: datetime

    @property
    def behind(self) -> bool:
        """Return whether they are too old for a reader who is not warned."""
        return self.as_of is None or (self.now - self.as_of).total_seconds() > FAR_S

    @property
    def minutes(self) -> int:
        """Return by how many minutes they are behind, at least one where they are."""
        return 0 if self.as_of is None else max(1, int((self.now - self.as_of).total_seconds()) // 60)


class Sent(NamedTuple):
    """A file that is sent as it is, for the browser to store."""

    name: str
    media_type: str
    content: bytes


class Done(NamedTuple):
    """What a form leads to: changes, and the page that is shown then."""

    to: str
    """Path and query of the page; from :meth:`Look.url`."""
    change: Callable[[Connection], None] | None = None
    """Runs within a writing transaction, after all checks; may raise :class:`Refusal`, and nothing is changed."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page: its address, its function, and who may see it."""

    path: str
    """As starlette has it, such as ``/today/{unit:path}``: keys of units and people may hold slashes."""
    name: str
    """Of its address in :meth:`Look.url`, and in the access log."""
    title: Text
    show: "Callable[[Look], Shown | Sent]"
    action: Action = Action.SEE
    in_menu: bool = False
    watched: bool = True
    """It shows data of people, or what people can be inferred from."""
    live: bool = False
    """Its live part, see :meth:`Look.show`, is sent anew when a result changes."""
    post: "Callable[[Look, Mapping[str, str]], Done] | None" = None
    """What a form of the page does; called when its origin and token are verified."""
    again: "Callable[[Look, Mapping[str, str], Refusal], Shown] | None" = None
    """Shows the form once more with what was typed into it and why it was refused; None: a page that only says why.

    It raises the refusal, or another one, where there is no form to show.
    """
    roles: frozenset[Role] = frozenset(Role)
    """Roles that have the page, of those that have the action."""

    def is_for(self, viewer: Viewer) -> bool:
        """Return whether a viewer has the page."""
        return viewer.role in self.roles and viewer.may(self.action)


@dataclass(frozen=True, slots=True)
class SeenPerson:
    """A person, on the dates on which the viewer sees her."""

    key: str
    rows: tuple[PersonRecord, ...]
    """What the register states, by date."""
    scope: Scope

    def row(self, on: date) -> PersonRecord | None:
        """Return what the register states of a date that the viewer sees; None: not seen, or nothing stated."""
        for row in self.rows:
            if row.since <= on and (row.until is None or on <= row.until):
                return row if self.scope.holds(row.unit, self.key, on) else None
        return None

    def is_seen(self, on: date) -> bool:
        """Return whether the viewer sees the person on a date."""
        return self.row(on) is not None


_PLACE = Markup('<div id="live" data-live>{}</div>')
"""Where the script puts each new live part."""
Render = Callable[[str, Mapping[str, Any]], Markup]
"""Renders a template of ``central/web/templates``."""
Cached = Callable[[tuple[Any, ...], Callable[[], Any]], Any]
"""Returns what was made under a key while nothing has changed in the database, or makes it."""


@dataclass
class Look:
    """One request of a viewer: what it requests, what the viewer sees, and what was shown of people."""

    page: Page
    viewer: Viewer
    t: Messages
    now: datetime
    """Aware."""
    address: str
    parameters: Mapping[str, str]
    """Of the path."""
    query: Mapping[str, str]
    connection: Connection
    age: "Age | None"
    """Of the data, where they are a standby's; None: they are the present ones."""
    tree: Tree
    policies: Any
    """The office's policies, :class:`central.policy.office.OfficePolicies`."""
    policies_version: int
    """Another one for each time that they were read."""
    settings: Settings
    """What the office sets for its sheets."""
    own_days: bool
    """Accounts with the role *person* are switched on."""
    render: Render
    cached: Cached
    form_token: str
    paths: Mapping[str, str]
    accesses: list[Access] = field(default_factory=list)

    @property
    def language(self) -> Language:
        """Return the language of the page."""
        return self.t.language

    @cached_property
    def registers(self) -> Registers:
        """Return the registers as they are now."""
        return Registers(self.connection)

    @cached_property
    def scope(self) -> Scope:
        """Return what the viewer sees."""
        return Scope(self.viewer, self.tree)

    # --- what the address names ---------------------------------------------------------------------------------

    def zone(self, unit: str | None = None) -> tzinfo | None:
        """Return the zone of a unit, else the one that all units share; None: this computer's."""
        day = self.now.date()
        if unit is not None and (found := self.tree.zone(unit, day)) is not None:
            return ZoneInfo(found)
        zones = {one.zone for one in self.tree.on(day).values()} - {None}
        return ZoneInfo(str(zones.pop())) if len(zones) == 1 else None

    def today(self, unit: str | None = None) -> date:
        """Return the date that it is in a unit's zone."""
        return self.now.astimezone(self.zone(unit)).date()

    def day_of(self, name: str, default: date) -> date:
        """Return a date of the query; raises :class:`Wrong`."""
        text = self.query.get(name, "")
        if not text:
            return default
        try:
            found = date.fromisoformat(text)
        except ValueError:
            raise Wrong("date_form") from None
        if not FIRST_DAY <= found <= LAST_DAY:
            raise Wrong("date_form")
        return found

    def month_of(self, name: str, default: date) -> date:
        """Return the first day of a month of the query, written YYYY-MM; raises :class:`Wrong`."""
        text = self.query.get(name, "")
        if not text:
            return default.replace(day=1)
        try:
            found = date.fromisoformat(f"{text}-01")
        except ValueError:
            raise Wrong("month_form") from None
        if not FIRST_DAY <= found <= LAST_DAY:
            raise Wrong("month_form")
        return found

    def url(self, page: str, /, **values: object) -> str:
        """Return the address of a page: parameters of its path are filled in, the other values are its query."""
        path, query = self.paths[page], {}
        for name, value in values.items():
            filled = path.replace(f"{{{name}:path}}", quote(str(value), safe="/"))
            filled = filled.replace(f"{{{name}}}", quote(str(value), safe=""))
            if filled == path and value is not None:
                query[name] = str(value)
            path = filled
        return f"{path}?{urlencode(query)}" if query else path

    # --- what the viewer sees -----------------------------------------------------------------------------------

    def unit(self, key: str, on: date) -> Unit:
        """Return a unit of a date; raises :class:`Missing` for one that the viewer does not see, or that is none.

        The attempt is reported to the access log then.
        """
        if key not in self.scope.units(on):
            self.report(unit=key, first=on, last=on, refused=True)
            raise Missing
        return self.tree.on(on)[key]

    def units(self, on: date) -> list[Unit]:
        """Return all units that the viewer sees on a date, in the order of their names."""
        seen = self.scope.units(on)
        return [unit for key, unit in self.tree.on(on).items() if key in seen]

    def people(self, unit: str, on: date, *, below: bool = True) -> list[PersonRecord]:
        """Return the people of a unit on a date, with those of the units below it, by name; raises :class:`Missing`.

        The look is reported to the access log.
        """
        self.unit(unit, on)
        keys = self.tree.below(frozenset({unit}), on) if below else {unit}

        def make() -> list[PersonRecord]:
            rows = self.registers.rows("people", [f"unit:{key}" for key in sorted(keys)], on, on, by="other")
            return sorted((row.record for row in rows), key=lambda one: (one.name.casefold(), one.key))

        found: list[PersonRecord] = self.cached(("people", unit, on, below), make)
        self.report(unit=unit, first=on, last=on, people=len(found))
        return found

    def people_in_no_unit(self, on: date) -> list[PersonRecord]:
        """Return the people of a date who are in no unit, or in one that does not exist then, by name.

        For viewers whose scope is everything: others do not see them. The look is reported to the access log.
        """
        if self.viewer.role not in ALL_UNITS:
            raise Missing
        units = self.tree.on(on)
        rows = self.registers.rows("people", None, on, on)
        found = [row.record for row in rows if row.record.unit is None or row.record.unit not in units]
        self.report(first=on, last=on, people=len(found))
        return sorted(found, key=lambda one: (one.name.casefold(), one.key))

    def person(self, key: str, first: date | None = None, last: date | None = None) -> SeenPerson:
        """Return a person whom the viewer sees on any date; raises :class:`Missing`.

        The look, at the dates from ``first`` to ``last``, is reported to the access log.
        """
        found = self.registers.statements("people", [f"person:{key}"])
        records = tuple(records_of("people", one.content)[0] for one in found)
        if not any(self._is_ever_seen(record) for record in records):
            self.report(person=key, first=first, last=last, refused=True)
            raise Missing
        self.report(person=key, first=first, last=last, people=1)
        return SeenPerson(key, records, self.scope)

    def sees(self, key: str) -> bool:
        """Return whether the viewer sees a person on any date; nothing is reported."""
        rows = self.registers.statements("people", [f"person:{key}"])
        return any(self._is_ever_seen(records_of("people", one.content)[0]) for one in rows)

    def _is_ever_seen(self, row: PersonRecord) -> bool:
        """Return whether the viewer sees a person on any date of a row: it can begin where a unit's row begins."""
        dates = {row.since} | {one.since for one in self.tree.versions}
        return any(
            self.scope.holds(row.unit, row.key, on)
            for on in dates
            if row.since <= on and (row.until is None or on <= row.until)
        )

    def report(
        self,
        *,
        unit: str | None = None,
        person: str | None = None,
        first: date | None = None,
        last: date | None = None,
        people: int | None = None,
        refused: bool = False,
    ) -> None:
        """Report a look at people to the access log; it is stored before the page is sent."""
        self.accesses.append(
            Access(
                utc(self.now),
                self.viewer.account,
                self.viewer.role.value,
                self.address,
                self.page.name,
                unit,
                person,
                None if first is None else first.isoformat(),
                None if last is None else last.isoformat(),
                people,
                refused,
            )
        )

    # --- how it is shown ----------------------------------------------------------------------------------------

    def show(
        self,
        template: str,
        values: Callable[[], Mapping[str, Any]],
        *,
        key: Sequence[Any] | None = None,
        title: str | None = None,
        live: str | None = None,
        units: frozenset[str] | None = None,
    ) -> Shown:
        """Return the page: a template with values, which are computed only where they are not cached.

        ``key``: what the values depend on besides the database and the language, where they do not depend on the
        viewer; None: they are never shared. Checks stand before this call. ``live``: the template of the live part,
        which gets the same values; the page's own template places it by ``{{ live }}``. ``units``: whose results it
        shows. Templates have ``t``, ``url`` and ``language``.
        """

        def make() -> tuple[Markup, Markup | None, str]:
            given = {"t": self.t, "url": self.url, "language": self.language, **values()}
            part = None if live is None else self.render(live, given)
            placed = None if part is None else _PLACE.format(part)
            return self.render(template, {**given, "live": placed}), part, utc(self.now)

        shared = key is not None
        main, part, moment = (
            self.cached((self.page.name, template, self.language, *(key or ())), make) if shared else make()
        )
        return Shown(title or self.t.into(self.page.title), main, part, units, moment)
