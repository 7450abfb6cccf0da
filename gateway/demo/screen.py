"""What a person sees of the demo: the table of the day while punches arrive, or lines where there is no terminal."""

import time
from collections.abc import Iterable, Mapping

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from gateway.demo.clock import ReplayedTime
from gateway.demo.office import ZONE, Office, Terminals
from gateway.demo.script import KINDS, Difference, Key, Kind, Verdict, counts
from gateway.demo.subscriber import Judged, Subscriber
from gateway.texts import Count, Language, Message, _
from gateway.texts import Text as Translatable

LINE_EVERY_S = 2.0
ROWS = 14
BESIDE_ROWS = 9
"""Lines of the screen beside the rows of the table."""
WIDE = 100
"""Columns from which the unit and the time from the finger to the verdict are shown."""

_KINDS: Mapping[Kind, Translatable] = {
    "on_time": _("on time"),
    "late": _("late"),
    "early": _("left early"),
    "missing": _("a punch is missing"),
    "absent": _("absent"),
    "excused": _("on leave"),
    "off": _("off duty"),
    "expected": _("expected"),
}
_COLOURS: Mapping[Kind, str] = {
    "on_time": "green",
    "late": "yellow",
    "early": "yellow",
    "missing": "red",
    "absent": "red",
}
_DOUBTS: Mapping[str, Translatable] = {
    "drift": _("the terminal's clock is wrong"),
    "unattributed": _("a punch of an unknown PIN"),
    "unread": _("a terminal is not read yet"),
    "outage": _("a terminal was away"),
    "gap": _("events are missing at the centre"),
    "unenrolled": _("a PIN is not entered yet"),
    "quarantined": _("a record could not be read"),
    "unconfirmed": _("a punch is not in the terminal's log"),
}


class Words:
    """Verdicts as texts in a language."""

    def __init__(self, language: Language) -> None:
        self._language = language

    def text(self, text: Translatable, **values: object) -> str:
        """Return a text."""
        return text.into(self._language, **values)

    def message(self, message: Message) -> str:
        """Return a message."""
        return message.into(self._language)

    def kind(self, kind: Kind) -> str:
        """Return the name of a kind of verdict."""
        return self.text(_KINDS[kind])

    def verdict(self, verdict: Verdict) -> str:
        """Return a verdict with its minutes."""
        parts = []
        if verdict.kind in ("missing", "absent", "excused", "off", "on_time", "expected"):
            parts.append(self.kind(verdict.kind))
        if verdict.late_min:
            parts.append(self.text(_("late {minutes} min"), minutes=verdict.late_min))
        if verdict.early_min:
            parts.append(self.text(_("left {minutes} min early"), minutes=verdict.early_min))
        return ", ".join(parts)

    def why(self, verdict: Verdict, doubts: Iterable[str], *, short: bool = False) -> str:
        """Return why a verdict is provisional; empty where it is not. ``short``: one reason, and how many more."""
        if not verdict.provisional:
            return ""
        known = [self.text(_DOUBTS[doubt]) if doubt in _DOUBTS else doubt for doubt in doubts]
        if short and len(known) > 1:
            known = [f"{known[0]} +{len(known) - 1}"]
        return self.text(_("provisional: {why}"), why=", ".join(known)) if known else self.text(_("provisional"))

    def counts(self, verdicts: Iterable[Verdict]) -> str:
        """Return how many people are what."""
        counted = counts(verdicts)
        parts = [f"{self.kind(kind)} {counted[kind]}" for kind in KINDS if counted[kind]]
        if counted["provisional"]:
            parts.append(self.text(_("of them provisional {count}"), count=counted["provisional"]))
        return " · ".join(parts)


class Screen:
    """The live table on a terminal, otherwise a line every two seconds."""

    def __init__(
        self,
        console: Console,
        office: Office,
        terminals: Terminals,
        clock: ReplayedTime,
        subscriber: Subscriber,
        words: Words,
        *,
        plain: bool,
    ) -> None:
        self._console = console
        self._office = office
        self._terminals = terminals
        self._clock = clock
        self._subscriber = subscriber
        self._words = words
        self._parts = {part.key: part for part in office.script}
        self._phase = ""
        self._live = None if plain else Live(console=console, refresh_per_second=4, get_renderable=self._picture)
        self._next_line_s = 0.0
        self._last_line = ""

    def __enter__(self) -> None:
        if self._live:
            self._live.start()

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, phase: str) -> None:
        """Say what is done now."""
        self._phase = phase
        if self._live is None and time.monotonic() >= self._next_line_s:
            self._next_line_s = time.monotonic() + LINE_EVERY_S
            line = f"{self._state()}; {self._counts()}"
            if line != self._last_line:
                self._console.print(line, highlight=False, soft_wrap=True)
            self._last_line = line

    def _picture(self) -> RenderableType:
        return Group(self._table(), Text(self._counts(), style="bold"), Text(self._state()))

    def _state(self) -> str:
        shown = f"{self._clock.local(ZONE):%H:%M}"
        in_terminals = sum(terminal.count for terminal in self._terminals.values())
        punches = self._words.text(
            _("{terminals} punches in the terminals, {subscriber} at the subscriber"),
            terminals=Count(in_terminals),
            subscriber=Count(len(self._subscriber.ids)),
        )
        return f"{self._phase}: {shown}, {punches}"

    def _judged(self) -> list[Judged]:
        return [one for one in self._subscriber.judged() if (one.person, one.date) in self._parts]

    def _counts(self) -> str:
        judged = {(one.person, one.date): one.verdict for one in self._judged()}
        return self._words.counts(judged.get(key, Verdict("expected")) for key in self._parts)

    def _table(self) -> Table:
        words, wide = self._words, self._console.width >= WIDE
        day = self._office.day
        table = Table(
            title=words.text(_("An invented office on {date}, replayed"), date=day.isoformat()),
            title_justify="left",
            expand=wide,
        )
        table.add_column(words.text(_("person")), no_wrap=True)
        table.add_column(words.text(_("terminal")), no_wrap=True)
        table.add_column(words.text(_("in")), no_wrap=True)
        table.add_column(words.text(_("out")), no_wrap=True)
        table.add_column(words.text(_("verdict")))
        if wide:
            table.add_column(words.text(_("finger to verdict")), justify="right", no_wrap=True)
        for one in self._newest(wide=wide):
            table.add_row(*self._row(one, wide=wide))
        return table

    def _newest(self, *, wide: bool) -> list[Judged]:
        """Return the verdicts that were received last and fit on the screen, in order."""
        lines = max(3, min(ROWS, self._console.height - BESIDE_ROWS))
        found: list[Judged] = []
        for one in reversed(self._judged()):
            if one.verdict.kind not in ("expected", "off"):
                lines -= 2 if one.verdict.provisional and not wide else 1  # a reason takes a second line
                if lines < 0:
                    break
                found.insert(0, one)
        return found

    def _row(self, one: Judged, *, wide: bool) -> list[RenderableType]:
        words = self._words
        verdict = Text(words.verdict(one.verdict), style=_COLOURS.get(one.verdict.kind, ""))
        why = words.why(one.verdict, one.doubts, short=not wide)
        if why:
            verdict = Text.assemble(verdict, "; ", (why, "magenta"))
        part = self._parts[one.person, one.date]
        row: list[RenderableType] = [
            self._office.names[one.person],
            part.terminal,
            *(shown or "" for shown in one.times),
        ]
        latency = [] if not wide else ["" if one.latency_ms is None else f"{one.latency_ms:,} ms"]
        return [*row, verdict, *latency]


def print_result(
    console: Console,
    words: Words,
    office: Office,
    stored: Mapping[Key, Verdict],
    doubts: Mapping[Key, tuple[str, ...]],
    differing: list[Difference],
) -> None:
    """Print what the script means and what the centre has stored, by kind, then what is no plain *on time*."""
    meant = counts(part.meant for part in office.script)
    found = counts(stored[part.key] for part in office.script if part.key in stored)
    table = Table(title=words.text(_("The verdicts on {date}"), date=office.day.isoformat()), title_justify="left")
    for heading in (_("verdict"), _("meant"), _("stored")):
        table.add_column(words.text(heading), justify="left" if heading == "verdict" else "right")
    names = [(kind, words.kind(kind)) for kind in KINDS]
    for kind, name in [*names, ("provisional", words.text(_("of them provisional {count}"), count="").strip())]:
        if meant[kind] or found[kind]:
            style = "" if meant[kind] == found[kind] else "bold red"
            table.add_row(name, str(meant[kind]), str(found[kind]), style=style)
    console.print(table)
    for part in office.script:
        verdict = stored.get(part.key)
        if verdict is not None and verdict.kind not in ("on_time", "excused", "off"):
            why = words.why(verdict, doubts.get(part.key, ()))
            line = f"{office.names[part.person]}: {words.verdict(verdict)}{f'; {why}' if why else ''}"
            console.print(line, highlight=False, soft_wrap=True)
    for one in differing:
        line = words.text(
            _("{person} on {date}: the script means {meant}, the centre has {found}"),
            person=f"{one.part.person} {office.names[one.part.person]}",
            date=one.part.date.isoformat(),
            meant=_with_why(words, one.part.meant, () if one.part.why is None else (one.part.why,)),
            found="-" if one.found is None else _with_why(words, one.found, one.why),
        )
        console.print(line, style="red", highlight=False, soft_wrap=True)


def _with_why(words: Words, verdict: Verdict, doubts: Iterable[str]) -> str:
    return "; ".join(filter(None, (words.verdict(verdict), words.why(verdict, doubts))))
