"""``hadir status``: the state of the gateway and its terminals, once or continuously.

A running gateway reports what its ledger holds and, where it has read the same configuration, what is shown of that.
Where none runs, the ledger is read by statements alone, and of a configuration what is shown is kept from the last time
that it was checked. The modules that read anything else, and those that draw tables, are imported when they are needed.
"""
# ruff: noqa: T201 - a command line prints

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Annotated, Any, NamedTuple
from zoneinfo import ZoneInfo

import typer

from gateway.broker_status import BrokerStatus
from gateway.cli.base import Code, Failure, command_group
from gateway.cli.checked_office import checked_office
from gateway.cli.daemon import failure_of
from gateway.cli.loading import load
from gateway.cli.options import DEFAULT_CONFIG, AsJson, Config, Lang
from gateway.cli.output import local_text, print_fields, print_json
from gateway.control import Done, Failed, NotRunning, ask
from gateway.ledger_summary import FILE_NAME, read_summary
from gateway.office import Office, running_office
from gateway.page.attention import Item, attention, broker_text, reason_text
from gateway.page.messages import Messages
from gateway.texts import Language, user_language

ALARMS = 5

app = command_group()


@app.command()
def status(
    config: Config = DEFAULT_CONFIG,
    days: Annotated[
        int, typer.Option("--days", min=0, metavar="N", help="Compare log, ledger and centre for so many days.")
    ] = 3,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Draw it again every two seconds, with the newest day; q ends it.")
    ] = False,
    lang: Lang = None,
    as_json: AsJson = False,
) -> None:
    """Show the state of the gateway and its terminals, and what a person should look at.

    Ends with 0 where the daemon answers, whatever there is to look at; with 3 where none does.
    """
    office = checked_office(config) or running_office(config) or load("configuration").office_in(config)
    language = lang or user_language()
    if watch:
        if as_json:
            raise typer.BadParameter("choose one of --json and --watch.")
        _watch(office, language)
        return
    seen = _look(office, days)
    t = _messages(office, language)
    items = _attention(office, seen, t)
    if as_json:
        running = {"running": seen.status is not None or seen.error is not None, **(seen.status or {})}
        to_do = {"attention": [item._asdict() for item in items]}
        print_json({**running, **to_do, "terminals": seen.terminals, "ledger": seen.counts, "tallies": seen.tallies})
    else:
        _print_status(office, seen, items, t)
        if any(seen.tallies.values()):
            load("status_tables").print_tallies(seen.tallies, t)
        _print_alarms(office, seen, t)
    if seen.error is not None:
        raise seen.error
    if seen.status is None:
        what = f"the daemon is not running (nothing answers in {office.data_dir})"
        raise Failure(Code.NOT_RUNNING, what, "not_running")


class _Seen(NamedTuple):
    """State of the daemon and its ledger at one moment."""

    status: dict[str, Any] | None
    """The daemon's own status; None where no daemon answers."""
    terminals: dict[str, dict[str, Any]]
    counts: dict[str, Any] | None
    """Counts of the ledger; None where there is no readable ledger."""
    tallies: dict[str, list[dict[str, Any]]]
    error: Failure | None = None
    """Why a running daemon did not answer."""


def _look(office: Office, days: int, since: date = date.min) -> _Seen:
    """Query the daemon and read the ledger; tallies are those of the newest ``days`` days, none before ``since``."""
    folder = office.data_dir
    try:
        next(folder.iterdir(), None)
    except FileNotFoundError:
        pass  # before the first run
    except OSError as exc:
        raise Failure(Code.DISK, f"{folder}: {exc.strerror}", "permission") from exc
    answer = ask(folder, "status")
    status = answer.data if isinstance(answer, Done) else None
    error = failure_of(answer) if isinstance(answer, Failed) else None
    found: dict[str, Any] = {"counts": None, "terminals": {}, "tallies": {}}
    summary = ask(folder, "summary", days=days, since=since.isoformat()) if status is not None else NotRunning()
    if isinstance(summary, Done):
        found = summary.data
    elif (folder / FILE_NAME).exists():  # a gateway of another version has no such command
        try:
            found = read_summary(folder, days, since) or load("ledger_access").read_summary(folder, days, since)
        except Failure:
            if status is None:  # with the daemon's status the command is still useful
                raise
    terminals = found["terminals"] if status is None else status["terminals"]
    return _Seen(status, terminals, found["counts"], found["tallies"], error)


def _messages(office: Office, language: Language) -> Messages:
    return Messages(language.value, datetime.now(ZoneInfo(office.timezone)))


def _attention(office: Office, seen: _Seen, t: Messages) -> list[Item]:
    """Return the items that need a person's attention, as on the status page; none where no daemon answers."""
    if seen.status is None:
        return []
    return attention(seen.status, office.tolerances, t)


def _watch(office: Office, language: Language) -> None:
    watch = load("watch")
    if not watch.can_watch():
        raise typer.BadParameter("--watch needs a terminal window to draw in; leave it out.")

    def look() -> Any:
        t = _messages(office, language)
        try:
            seen = _look(office, 1, since=t.day - timedelta(days=7))
        except Failure as failure:  # the cause may go away while the screen is shown
            return watch.Picture(t, {t("gateway"): str(failure.args[0])}, {}, {}, [], [])
        newest = {name: days[-1] for name, days in seen.tallies.items() if days}
        alarms = [{**alarm, "message": t.alarm_text(alarm)} for alarm in (seen.status or {}).get("alarms", [])]
        return watch.Picture(t, _fields(office, seen, t), seen.terminals, newest, alarms, _attention(office, seen, t))

    watch.draw_repeatedly(look)


def _fields(office: Office, seen: _Seen, t: Messages) -> dict[str, str]:
    """Return the state of the gateway itself: label → text."""
    status, counts = seen.status, seen.counts
    name = f"{office.site}/{office.gateway}"
    fields = {t("gateway"): t("gateway_stopped", gateway=name)}
    if status is not None:
        health = status["health"]
        uptime, version = t.span(health["uptime_s"]), status["version"]
        waiting = t("events_wait", count=t.number(health["backlog"]))
        if health["backlog"]:
            since = local_text(health["oldest_waiting"], ZoneInfo(office.timezone))
            waiting += ", " + t("waiting_since", since=since)
        fields = {
            t("gateway"): t("gateway_runs", gateway=name, version=version, uptime=uptime),
            t("broker_field"): f"{office.broker}, {broker_text(BrokerStatus.of(status), t)}; {waiting}",
            t("clock_field"): t("clock_synchronised" if health["clock_synchronised"] else "clock_unsynchronised"),
            t("disk_field"): _disk_text(health, t),
        }
    if counts is None:
        fields[t("ledger")] = t("ledger_none" if status is None else "ledger_unreadable")
    else:
        kinds = ("missing", "parked", "withheld", "unconfirmed")
        shown = ("sent", "waiting", "confirmed", *(key for key in kinds if counts[key]))
        parts = ", ".join(t(f"count_{key}", count=t.number(counts[key])) for key in shown)
        fields[t("ledger")] = f"{t('count_events', count=t.number(counts['sequence']))}: {parts}"
    return fields


def _disk_text(health: dict[str, Any], t: Messages) -> str:
    """Return the free space on the disk, and which readings it does not allow."""
    free = t("disk_free", size=f"{t.number(round(health['disk_free_bytes'] / 1024**2))} MiB")
    days = health["disk_days_left"]
    enough = "" if days is None else ", " + t("disk_days", days=t.number(days))
    return free + enough + ("" if health["room"] == "all" else f"; {t('disk_' + health['room'])}")


def _print_alarms(office: Office, seen: _Seen, t: Messages) -> None:
    """Print the newest alarms since the daemon started."""
    alarms = (seen.status or {}).get("alarms", [])
    if not alarms:
        return
    print(f"\n{t('newest_alarms')}:")
    for alarm in alarms[:ALARMS]:
        moment = local_text(alarm["at"], ZoneInfo(office.timezone))
        print(f"  {moment}  {alarm['alarm']}: {t.alarm_text(alarm)}")


def _print_status(office: Office, seen: _Seen, items: list[Item], t: Messages) -> None:
    print_fields(_fields(office, seen, t))
    for item in items:
        print(f"\n{'!!' if item.urgent else '! '} {item.what}")
        if item.do:
            print(f"   {item.do}")
    if not seen.terminals:
        return
    print()
    tables, zone = load("status_tables"), ZoneInfo(office.timezone)
    tables.print_terminals(seen.terminals, zone, t)
    strangers = ((seen.status or {}).get("receiver") or {}).get("strangers", [])
    if strangers:
        tables.print_strangers(strangers, zone, t)
    console, codes = load("screen").rich_console(), (seen.status or {}).get("reason_codes", {})
    for name, state in seen.terminals.items():
        for line in _remarks(state, codes.get(name), t):
            console.print(f"{name}: {line}", soft_wrap=True)


def _remarks(state: dict[str, Any], reason_code: str | None, t: Messages) -> Iterator[str]:
    """Yield the state of a terminal's flash disk, the files there that are not read, and why it is not online."""
    if state.get("medium"):
        yield t(f"disk_of_terminal_{state['medium']}")
    if (unread := state.get("unread")) and unread["files"]:
        yield t("unread", files=unread["files"], names=", ".join(unread["names"]))
    if state.get("reason"):
        yield reason_text(state, reason_code, t)
