"""`hadir status --watch`: the gateway's status on a screen that is redrawn continuously.

It is redrawn every two seconds and when the window changes its size, until q or Ctrl-C. Rows that do not fit are left
out from the bottom; online terminals are left out before offline ones.
"""

import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from gateway.cli.output import local_text
from gateway.cli.screen import rich_console
from gateway.cli.status_tables import COLOURS
from gateway.page.attention import Item, percent
from gateway.page.messages import Messages

REDRAWN_S = 2.0
ALARMS = 3
ITEMS = 5
LEAST_ROWS = 3
"""Rows for terminals, however small the window is."""
WIDE = 100
"""Window width, in columns, from which serial numbers are shown."""


@dataclass(frozen=True, slots=True)
class Picture:
    """All values that one drawing of the screen shows."""

    messages: Messages
    """The language, the zone and the time."""
    fields: Mapping[str, str]
    terminals: Mapping[str, Mapping[str, Any]]
    today: Mapping[str, Mapping[str, Any]]
    """Terminal → counts of its newest day."""
    alarms: Sequence[Mapping[str, Any]]
    attention: Sequence[Item]
    """Items that need a person's attention, urgent ones first."""


def can_watch() -> bool:
    """Return whether input and output are a terminal that supports cursor movement."""
    return sys.stdin.isatty() and sys.stdout.isatty() and not rich_console().is_dumb_terminal


def draw_repeatedly(look: Callable[[], Picture]) -> None:
    """Draw what ``look`` returns, repeatedly, until q is typed or SIGINT or SIGTERM arrives."""
    console = rich_console()
    with (
        suppress(KeyboardInterrupt),
        _window() as woken,
        Live(console=console, screen=True, auto_refresh=False) as live,
    ):
        while True:
            live.update(draw(look(), console), refresh=True)
            ready, _, _ = select.select([sys.stdin, woken], [], [], REDRAWN_S)
            if woken in ready:
                os.read(woken, 1024)
            if sys.stdin in ready and os.read(sys.stdin.fileno(), 1024).lower()[:1] in (b"q", b"\x03", b""):
                return


@contextmanager
def _window() -> Iterator[int]:
    """Switch the terminal to single-key input; yield a descriptor that becomes readable on SIGWINCH."""
    before = termios.tcgetattr(sys.stdin)
    woken, wake = os.pipe2(os.O_NONBLOCK)
    handlers = {
        signal.SIGWINCH: signal.signal(signal.SIGWINCH, lambda *_: None),
        signal.SIGTERM: signal.signal(signal.SIGTERM, signal.default_int_handler),
    }
    signal.set_wakeup_fd(wake)
    try:
        tty.setcbreak(sys.stdin)
        yield woken
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
        os.close(woken)
        os.close(wake)


def draw(picture: Picture, console: Console) -> RenderableType:
    """Return the picture, laid out for the console's current size."""
    width, height = console.size
    head = _fields(picture.fields)
    t = picture.messages
    foot = Text(f"{datetime.now(t.zone):%H:%M:%S}  {t('quit')}", style="dim")
    # Lines that are always needed: the fields, an empty line after each part, the table's header and the last line.
    room = height - len(picture.fields) - 4
    least = min(LEAST_ROWS, len(picture.terminals))
    items = [_item(item) for item in picture.attention[: max(0, min(ITEMS, room - least - 1))]]
    room -= len(items) + 1 if items else 0
    alarms = [_alarm(alarm, t) for alarm in picture.alarms[: max(0, min(ALARMS, room - least - 1))]]
    rows = max(least, room - (len(alarms) + 1 if alarms else 0))
    parts: list[RenderableType] = [head, Text()]
    if items:
        parts += [*items, Text()]
    if picture.terminals:
        parts += [_terminals(picture, rows, wide=width >= WIDE), Text()]
    if alarms:
        parts += [*alarms, Text()]
    return Group(*parts, foot)


def _fields(fields: Mapping[str, str]) -> RenderableType:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="bold", min_width=max(map(len, fields)))
    table.add_column(no_wrap=True, overflow="ellipsis")
    for name, value in fields.items():
        table.add_row(Text(name), Text(value))
    return table


def _terminals(picture: Picture, rows: int, *, wide: bool) -> RenderableType:
    t = picture.messages
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column(t("column_terminal"), no_wrap=True, overflow="ellipsis", min_width=8)
    columns = ("state", "since", "serial", "last_punch", "clock") if wide else ("state", "last_punch", "clock")
    for column in columns:
        table.add_column(t(f"column_{column}"), no_wrap=True, overflow="ellipsis")
    for column in ("full", "short_log", "short_ledger", "sent", "short_centre"):
        table.add_column(t(f"column_{column}"), no_wrap=True, justify="right")
    names = sorted(picture.terminals, key=lambda name: picture.terminals[name]["state"] == "online")
    shown = names if len(names) <= rows else names[: rows - 1]
    for name in shown:
        state, day = picture.terminals[name], picture.today.get(name, {})
        cells = {
            "state": Text(t.state(state["state"]), style=COLOURS.get(state["state"], "")),
            "since": Text(local_text(state.get("since"), t.zone)[5:16]),
            "serial": Text(state["serial"] or "-"),
            "last_punch": Text((state["last_punch"] or "-").replace("T", " ")[5:] or "-"),
            "clock": Text("-" if state["clock"] is None else t.offset(state["clock"])),
        }
        full = percent(state["records"], state["capacity"])
        values = (cells[column] for column in columns)
        table.add_row(Text(name), *values, "-" if full is None else f"{full} %", *_counts(day, t))
    if len(shown) < len(names):
        table.add_row(Text(f"… {t('more_terminals', count=len(names) - len(shown))}", style="dim"))
    return table


def _counts(day: Mapping[str, Any], t: Messages) -> list[Text]:
    """Return a day's counts along the way to the centre; a count lower than the one before it is coloured."""
    if not day:
        return [Text("-")] * 4
    stored = day["in_ledger"] + day["withheld"]
    return [
        Text("-" if day["in_log"] is None else t.number(day["in_log"])),
        Text(t.number(day["in_ledger"]), style="yellow" if stored < (day["in_log"] or 0) else ""),
        Text(t.number(day["sent"]), style="yellow" if day["sent"] < day["in_ledger"] else ""),
        Text(t.number(day["confirmed"]), style="yellow" if day["confirmed"] < day["sent"] else ""),
    ]


def _item(item: Item) -> Text:
    text = Text(f"{item.what}: {item.do}", no_wrap=True, overflow="ellipsis")
    text.stylize("bold red" if item.urgent else "yellow", 0, len(item.what))
    return text


def _alarm(alarm: Mapping[str, Any], t: Messages) -> Text:
    text = Text(f"{local_text(alarm['at'], t.zone)[5:]}  {alarm['message']}", no_wrap=True, overflow="ellipsis")
    text.stylize("dim", 0, 14)
    return text
