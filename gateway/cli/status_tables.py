"""The tables of `hadir status`: terminals, days, and terminals that call and are not configured."""
# ruff: noqa: T201 - a command line prints

from collections.abc import Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from rich.table import Table
from rich.text import Text

from gateway.cli.output import local_text
from gateway.cli.screen import rich_console
from gateway.page.messages import Messages

STRANGERS = 20
"""Lines for terminals that call and are not configured; --json and the page have all."""
COLOURS = {"online": "green", "offline": "red"}


def print_terminals(terminals: Mapping[str, Mapping[str, Any]], zone: ZoneInfo, t: Messages) -> None:
    """Print a line for each terminal."""
    table = Table(t("column_terminal"), t("column_state"), box=None, pad_edge=False, header_style="bold")
    for heading in ("column_since", "column_serial", "column_last_punch", "column_clock", "column_records"):
        table.add_column(t(heading), no_wrap=True)
    for name, state in terminals.items():
        table.add_row(
            name,
            Text(t.state(state["state"]), style=COLOURS.get(state["state"], "")),
            local_text(state.get("since"), zone)[5:16] or "-",
            state["serial"] or "-",
            (state["last_punch"] or "-").replace("T", " "),
            "-" if state["clock"] is None else t.offset(state["clock"]),
            t.fullness(state["records"], state["capacity"]),
        )
    rich_console().print(table)


def print_strangers(strangers: Sequence[Mapping[str, Any]], zone: ZoneInfo, t: Messages) -> None:
    """Print the terminals that call and are not configured, the last one first."""
    print(f"\n{t('strangers_title')}:")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("column_serial", "column_address", "column_last_call"):
        table.add_column(t(heading), no_wrap=True)
    for caller in strangers[:STRANGERS]:
        table.add_row(caller["serial"], caller["address"], local_text(caller["last_seen"], zone))
    rich_console().print(table)
    if len(strangers) > STRANGERS:
        print(t("more_terminals", count=t.number(len(strangers) - STRANGERS)))


def print_tallies(tallies: Mapping[str, Sequence[Mapping[str, Any]]], t: Messages) -> None:
    """Print the counts of each day, which must be equal; a count lower than the one before it is coloured."""
    table = Table(t("column_terminal"), t("column_day"), box=None, pad_edge=False, header_style="bold")
    for heading in ("column_in_log", "column_in_ledger", "column_withheld", "column_sent", "column_confirmed"):
        table.add_column(t(heading), justify="right", no_wrap=True)
    for name, day in ((name, day) for name, days in tallies.items() for day in days):
        stored = day["in_ledger"] + day["withheld"]
        table.add_row(
            name,
            day["day"] or t("no_date"),
            "-" if day["in_log"] is None else t.number(day["in_log"]),
            _behind(day["in_ledger"], t, lags=stored < (day["in_log"] or 0)),
            t.number(day["withheld"]) if day["withheld"] else "",
            _behind(day["sent"], t, lags=day["sent"] < day["in_ledger"]),
            _behind(day["confirmed"], t, lags=day["confirmed"] < day["sent"]),
        )
    print()
    rich_console().print(table, markup=True)


def _behind(count: int, t: Messages, *, lags: bool) -> str:
    return f"[yellow]{t.number(count)}[/yellow]" if lags else t.number(count)
