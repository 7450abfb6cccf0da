"""Commands on the gateway itself: run it, check its configuration, show its status, replay events."""
# ruff: noqa: PLC0415, T201 - heavy imports stand where they are used, see the package; and a command line prints

import json
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from gateway.cli.base import (
    DEFAULT_CONFIG,
    GATEWAY,
    AsJson,
    Code,
    Config,
    Failure,
    app,
    duration,
    duration_text,
    fullness,
    grouped,
    load_settings,
    local_text,
    misconfigured,
    offset_text,
    open_ledger,
    print_fields,
    print_json,
    print_stderr,
    rich_console,
)
from gateway.texts import Language, _, user_language

if TYPE_CHECKING:
    from gateway.ledger import KnownTerminal, LedgerReader, StoredEvent
    from gateway.page.attention import Item
    from gateway.settings import Settings, TerminalSettings

MEDIA = {
    "none": "no flash disk is there",
    "reading": "the flash disk is being read: do not remove it / sedang dibaca, jangan dicabut",
    "safe": "the flash disk is read and may be removed / aman dicabut",
}
UNREAD = "{files} files there are NOT read / {files} berkas TIDAK dibaca: {names}"
ALARMS = 5
FOLLOW_S = 0.5
FOLLOW_BATCH = 500
RECONCILE_WAIT_S = 60.0
RELOAD_S = 30.0
REPLAY_S = 600.0
"""How long the daemon may search for the events to send again: a whole ledger, on a slow memory card."""


@app.command(rich_help_panel=GATEWAY)
def run(
    config: Config = DEFAULT_CONFIG,
    assume_synchronised: Annotated[
        bool,
        typer.Option("--assume-synchronised", help="Take this machine's clock as right, whatever the system says."),
    ] = False,
) -> None:
    """Run the gateway until SIGTERM or Ctrl-C."""
    # SIGHUP is held back until the daemon can reload; before that, its default action would end the process.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    settings = load_settings(config)
    import faulthandler

    import structlog

    from drivers import UNUSABLE
    from gateway.app import Daemon, configure_logging
    from gateway.clock import AssumedClock, SystemClock
    from gateway.ledger import LedgerError, LedgerLocked
    from gateway.settings import load

    configure_logging()
    faulthandler.enable()  # a watchdog's SIGABRT then logs where every thread hung, without values of variables
    log = structlog.get_logger("gateway")
    for unusable in UNUSABLE:
        log.warning("driver_refused", **unusable._asdict())
    stop = threading.Event()

    def request_stop(number: int, _frame: FrameType | None) -> None:
        # From a thread: the main thread may hold the event's lock while it waits for the event.
        threading.Thread(target=stop.set).start()
        signal.signal(number, signal.SIG_DFL)  # the second signal ends the process at once

    signal.signal(signal.SIGTERM, request_stop)
    signal.signal(signal.SIGINT, request_stop)
    clock = AssumedClock() if assume_synchronised else SystemClock()
    try:
        daemon = Daemon(settings, load=partial(load, config), clock=clock)

        def reload(_number: int, _frame: FrameType | None) -> None:
            threading.Thread(target=daemon.reload_in_background, name="reload").start()  # from a thread: as above

        # On a terminal window, SIGHUP means that the window was closed.
        signal.signal(signal.SIGHUP, request_stop if sys.stderr.isatty() else reload)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        code = daemon.run(stop)
    except LedgerLocked as exc:
        raise Failure(Code.LOCKED, str(exc), "locked") from exc
    except LedgerError as exc:
        raise Failure(Code.DISK, str(exc), "ledger") from exc
    raise typer.Exit(code)


@app.command(rich_help_panel=GATEWAY)
def check(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="The same as --config.")] = None,
    config: Config = DEFAULT_CONFIG,
    for_run: Annotated[
        bool, typer.Option("--for-run", help="Only warn of what `hadir run` of this version still works with.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check the configuration and show every mistake with its line."""
    from drivers import UNUSABLE
    from gateway.settings import SettingsError, load, morning

    path = file or config
    try:
        settings = load(path, strict=not for_run)
    except SettingsError as exc:
        if as_json:
            print_json({"ok": False, "file": str(path), "errors": [p._asdict() for p in exc.problems]})
        raise misconfigured(exc) from None
    warnings = [str(unusable) for unusable in UNUSABLE] + [problem.at(path) for problem in settings.problems]
    zones = {t.name: t.timezone or settings.timezone for t in settings.terminals}
    terminals = [{"name": t.name, "driver": t.driver, "address": _place(t)} for t in settings.terminals]
    summary = {
        "site": settings.site,
        "gateway": settings.gateway,
        "timezone": settings.timezone,
        "broker": settings.mqtt.url,
        "data_dir": str(settings.data_dir),
        "terminals": terminals,
    }
    if as_json:
        for terminal in terminals:
            terminal["morning"] = morning(zones[str(terminal["name"])])
        print_json({"ok": True, "file": str(path), **summary, "warnings": warnings})
        return
    print(f"OK: {path}")
    named = [f"{t['name']} ({', '.join(filter(None, (t['driver'], t['address'])))})" for t in terminals]
    mornings = {zone: morning(zone) for zone in (settings.timezone, *zones.values())}
    in_utc = ", ".join(f"{utc} ({zone})" for zone, utc in mornings.items())
    print_fields({**summary, "terminals": f"{len(named)}: {', '.join(named)}", "07:30 there": f"is {in_utc}"})
    for line in warnings:
        print_stderr(f"warning: {line}")


def _place(terminal: "TerminalSettings") -> str | None:
    """Return a terminal's address, port or path, whichever option its driver has."""
    places = (getattr(terminal, option, None) for option in ("address", "port", "path"))
    return next((str(place) for place in places if place is not None), None)


@app.command(rich_help_panel=GATEWAY)
def reload(config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Have the running gateway read its configuration again, and apply what has changed of terminals."""
    from gateway.commands import Refusal
    from gateway.control import ask

    settings = load_settings(config)
    try:
        answer = ask(settings.data_dir, "reload", timeout_s=RELOAD_S)
    except Refusal as exc:
        raise Failure(Code.CONFIG, f"the gateway does not take the configuration:\n{exc}", "config") from None
    if answer is None:
        raise Failure(Code.NOT_RUNNING, f"no gateway is running with {settings.data_dir}", "not_running")
    if as_json:
        print_json(answer)
        return
    applied = {
        "added": ", ".join(answer["added"]),
        "changed": ", ".join(f"{name} ({', '.join(keys)})" for name, keys in answer["changed"].items()),
        "removed": ", ".join(answer["removed"]),
    }
    if any(applied.values()):
        print_fields({what: names for what, names in applied.items() if names})
    else:
        print("no terminal has changed")
    if answer["restart"]:
        print_stderr(f"in effect after a restart only: {', '.join(answer['restart'])}")


@app.command(rich_help_panel=GATEWAY)
def schema() -> None:
    """Print the configuration's JSON Schema, for editors."""
    from gateway.settings import json_schema

    print_json(json_schema())


@app.command(rich_help_panel=GATEWAY)
def status(
    config: Config = DEFAULT_CONFIG,
    days: Annotated[
        int, typer.Option("--days", min=0, metavar="N", help="Compare log, ledger and centre for so many days.")
    ] = 3,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Draw it again every two seconds, with the newest day; q ends it.")
    ] = False,
    lang: Annotated[
        Language | None,
        typer.Option("--lang", help="Language of what to look at; by default as the locale says.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the state of the gateway and its terminals, and what a person should look at.

    Ends with 0 where the daemon answers, whatever there is to look at; with 3 where none does.
    """
    settings = load_settings(config)
    language = lang or user_language()
    if watch:
        if as_json:
            raise typer.BadParameter("choose one of --json and --watch.")
        _watch(settings, language)
        return
    seen = _look(settings, days)
    items = _attention(settings, seen, language)
    if as_json:
        running = {"running": seen.status is not None or seen.error is not None, **(seen.status or {})}
        to_do = {"attention": [item._asdict() for item in items]}
        print_json({**running, **to_do, "terminals": seen.terminals, "ledger": seen.counts, "tallies": seen.tallies})
    else:
        _print_status(settings, seen, items)
        _print_tallies(seen.tallies)
        _print_alarms(settings, seen, language)
    if seen.error is not None:
        raise seen.error
    if seen.status is None:
        what = f"the daemon is not running (nothing answers in {settings.data_dir})"
        raise Failure(Code.NOT_RUNNING, what, "not_running")


class _Seen(NamedTuple):
    """State of the daemon and its ledger at one moment."""

    status: dict[str, Any] | None
    """The daemon's own status; None where no daemon answers."""
    terminals: dict[str, dict[str, Any]]
    counts: dict[str, Any] | None
    """Counts of the ledger; None where there is no readable ledger."""
    tallies: dict[str, list[dict[str, Any]]]
    error: Exception | None = None
    """Why a running daemon did not answer."""


def _look(settings: "Settings", days: int, since: date = date.min) -> _Seen:
    """Query the daemon and read the ledger; tallies are those of the newest ``days`` days, none before ``since``."""
    from gateway.control import Unanswered, ask
    from gateway.ledger import FILE_NAME

    folder = settings.data_dir
    try:
        next(folder.iterdir(), None)
    except FileNotFoundError:
        pass  # before the first run
    except OSError as exc:
        raise Failure(Code.DISK, f"{folder}: {exc.strerror}", "permission") from exc
    status, error = None, None
    try:
        status = ask(folder, "status")
    except Unanswered as exc:
        error = exc
    counts: dict[str, Any] | None = None
    terminals: dict[str, dict[str, Any]] = {}
    tallies: dict[str, list[dict[str, Any]]] = {}
    if (folder / FILE_NAME).exists():
        try:
            with open_ledger(folder) as ledger:
                counts = asdict(ledger.counts())
                terminals = {known.name: _of_ledger(known) for known in ledger.terminals()}
                tallies = {name: _tally(ledger, name, days, since) for name in terminals} if days else {}
        except Failure:
            if status is None:  # with the daemon's status the command is still useful
                raise
    return _Seen(status, terminals if status is None else status["terminals"], counts, tallies, error)


def _attention(settings: "Settings", seen: _Seen, language: Language) -> "list[Item]":
    """Return the items that need a person's attention, as on the status page; none where no daemon answers."""
    from zoneinfo import ZoneInfo

    from gateway.page.attention import attention
    from gateway.page.messages import Messages

    if seen.status is None:
        return []
    tolerances = {terminal.name: terminal.clock.tolerance for terminal in settings.terminals}
    return attention(seen.status, tolerances, Messages(language.value, datetime.now(ZoneInfo(settings.timezone))))


def _watch(settings: "Settings", language: Language) -> None:
    from zoneinfo import ZoneInfo

    from gateway.cli.watch import Picture, can_watch, watch
    from gateway.incidents import shown_alarm

    if not can_watch():
        raise typer.BadParameter("--watch needs a terminal window to draw in; leave it out.")

    zone = ZoneInfo(settings.timezone)

    def look() -> Picture:
        try:
            seen = _look(settings, 1, since=datetime.now(zone).date() - timedelta(days=7))
        except Failure as failure:  # the cause may go away while the screen is shown
            return Picture({"gateway": str(failure.args[0])}, {}, {}, [], [])
        newest = {name: days[-1] for name, days in seen.tallies.items() if days}
        alarms = [{**alarm, "message": shown_alarm(alarm, language)} for alarm in (seen.status or {}).get("alarms", [])]
        items = _attention(settings, seen, language)
        return Picture(_fields(settings, seen), seen.terminals, newest, alarms, items)

    watch(look, zone)


def _tally(ledger: "LedgerReader", name: str, days: int, since: date) -> list[dict[str, Any]]:
    """Return the counts of a terminal's newest days, after those of its records without a readable date, if any."""
    tally = ledger.tally(name, since)
    undated, dated = [day for day in tally if day.day is None], [day for day in tally if day.day is not None]
    return [{**asdict(day), "day": day.day and day.day.isoformat()} for day in (*undated, *dated[-days:])]


def _print_tallies(tallies: dict[str, list[dict[str, Any]]]) -> None:
    """Print the counts of each day, which must be equal; a count lower than the one before it is coloured."""
    from rich.table import Table

    rows = [(name, day) for name, days in tallies.items() for day in days]
    if not rows:
        return
    print()
    table = Table("terminal", "day", box=None, pad_edge=False, header_style="bold")
    for heading in ("in its log", "in the ledger", "withheld", "sent", "confirmed"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, day in rows:
        stored = day["in_ledger"] + day["withheld"]
        table.add_row(
            name,
            day["day"] or "no date",
            "-" if day["in_log"] is None else grouped(day["in_log"]),
            _behind(day["in_ledger"], lags=stored < (day["in_log"] or 0)),
            grouped(day["withheld"]) if day["withheld"] else "",
            _behind(day["sent"], lags=day["sent"] < day["in_ledger"]),
            _behind(day["confirmed"], lags=day["confirmed"] < day["sent"]),
        )
    rich_console().print(table, markup=True)


def _behind(count: int, *, lags: bool) -> str:
    return f"[yellow]{grouped(count)}[/yellow]" if lags else grouped(count)


def _of_ledger(known: "KnownTerminal") -> dict[str, Any]:
    """Return a terminal's state as far as the ledger knows it."""
    return {
        "state": "unknown",
        "serial": known.serial,
        "layout": known.layout,
        "clock": None,
        "records": known.in_log,
        "capacity": None,
        "last_punch": known.last_punch,
    }


def _fields(settings: "Settings", seen: _Seen) -> dict[str, str]:
    """Return the state of the gateway itself: field → text."""
    from zoneinfo import ZoneInfo

    zone, status, counts = ZoneInfo(settings.timezone), seen.status, seen.counts
    fields = {"gateway": f"{settings.site}/{settings.gateway}, not running"}
    if status is not None:
        health = status["health"]
        uptime = duration_text(timedelta(seconds=health["uptime_s"]))
        waiting = f"{grouped(health['backlog'])} events wait"
        if health["backlog"]:
            waiting += f", the oldest since {local_text(health['oldest_waiting'], zone)}"
        clock = "synchronised" if health["clock_synchronised"] else "NOT synchronised: punches are marked unverified"
        fields = {
            "gateway": f"{settings.site}/{settings.gateway}, hadir {status['version']}, running for {uptime}",
            "broker": f"{settings.mqtt.url}, {status['broker']}; {waiting}",
            "clock": clock,
            "disk": _disk_text(health),
        }
    if counts is None:
        fields["ledger"] = "none yet" if status is None else "cannot be read by you"
    else:
        parts = [
            f"{grouped(counts['sequence'])} events: {grouped(counts['sent'])} sent",
            f"{grouped(counts['waiting'])} waiting",
        ]
        kinds = ("confirmed", "missing", "parked", "withheld", "unconfirmed")
        parts += [f"{grouped(counts[key])} {key}" for key in kinds if counts[key] or key == "confirmed"]
        fields["ledger"] = ", ".join(parts)
    return fields


def _disk_text(health: dict[str, Any]) -> str:
    """Return the free space on the disk, and which readings it does not allow."""
    free = f"{health['disk_free_bytes'] / 1024**2:,.0f} MiB free"
    days = health["disk_days_left"]
    enough = "" if days is None else f", enough for {grouped(days)} days"
    consequence = {"all": "", "news": "; NEARLY FULL: long imports wait", "none": "; FULL: READING HAS STOPPED"}
    return free + enough + consequence[health["room"]]


def _print_alarms(settings: "Settings", seen: _Seen, language: Language) -> None:
    """Print the newest alarms since the daemon started."""
    from zoneinfo import ZoneInfo

    from gateway.incidents import shown_alarm

    alarms = (seen.status or {}).get("alarms", [])
    if not alarms:
        return
    zone = ZoneInfo(settings.timezone)
    print("\n" + _("newest alarms since the start:").translated(language))
    for alarm in alarms[:ALARMS]:
        print(f"  {local_text(alarm['at'], zone)}  {alarm['alarm']}: {shown_alarm(alarm, language)}")


def _print_status(settings: "Settings", seen: _Seen, items: "list[Item]") -> None:
    from zoneinfo import ZoneInfo

    from rich.table import Table

    zone, terminals = ZoneInfo(settings.timezone), seen.terminals
    console = rich_console()
    print_fields(_fields(settings, seen))
    for item in items:
        print(f"\n{'!!' if item.urgent else '! '} {item.what}")
        if item.do:
            print(f"   {item.do}")
    if not terminals:
        return
    print()
    table = Table("terminal", "state", box=None, pad_edge=False, header_style="bold")
    for heading in ("since", "serial", "last punch", "clock", "records"):
        table.add_column(heading, no_wrap=True)
    for name, state in terminals.items():
        colour = {"online": "green", "offline": "red"}.get(state["state"], "")
        table.add_row(
            name,
            f"[{colour}]{state['state']}[/{colour}]" if colour else state["state"],
            local_text(state.get("since"), zone)[5:16] or "-",
            state["serial"] or "-",
            (state["last_punch"] or "-").replace("T", " "),
            "-" if state["clock"] is None else offset_text(state["clock"]["offset_ms"], state["clock"]["bound_ms"]),
            fullness(state["records"], state["capacity"], short=True),
        )
    console.print(table, markup=True)
    for name, state in terminals.items():
        if state.get("medium"):
            console.print(f"{name}: {MEDIA[state['medium']]}", soft_wrap=True)
        if (unread := state.get("unread")) and unread["files"]:
            console.print(f"{name}: {UNREAD.format(**unread | {'names': ', '.join(unread['names'])})}", soft_wrap=True)
        if state.get("reason"):
            console.print(f"{name}: {state['reason']}", soft_wrap=True)


@app.command(rich_help_panel=GATEWAY)
def reconcile(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The terminal, by its name in the configuration.")],
    config: Config = DEFAULT_CONFIG,
    wait: Annotated[
        float | None,
        typer.Option(parser=duration, metavar="DURATION", help="How long to wait for the end of it; 60s by default."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Have the running gateway read a terminal's whole log now, and compare it with the ledger."""
    from gateway.commands import Refusal
    from gateway.control import TIMEOUT_S, ask

    settings = load_settings(config)
    terminal = _configured(settings, name)
    wait_s = RECONCILE_WAIT_S if wait is None else wait
    try:
        answer = ask(
            settings.data_dir, "reconcile", terminal=terminal.name, wait_s=wait_s, timeout_s=wait_s + TIMEOUT_S
        )
    except Refusal as exc:
        raise typer.BadParameter(f"{exc}.") from None
    if answer is None:
        raise Failure(Code.NOT_RUNNING, f"no gateway is running with {settings.data_dir}", "not_running")
    if as_json:
        print_json(answer)
        return
    if answer.get("postponed"):
        print(f"{name}: postponed: {answer['postponed']}")
        return
    result, state = answer["reconciliation"], answer["state"]
    if result is None:
        print(f"{name}: asked for; {state['reason'] or 'it takes longer than that'}; see `hadir status`")
        return
    counts = ", ".join(
        f"{grouped(result[key])} {key}" for key in ("new", "missed", "invented", "reordered", "unconfirmed")
    )
    print(f"{name}: {grouped(result['records'])} records: {counts}")


@app.command(rich_help_panel=GATEWAY)
def replay(
    config: Config = DEFAULT_CONFIG,
    sequence: Annotated[
        str | None, typer.Option("--sequence", metavar="A-B", help="From the first to the last sequence of the stream.")
    ] = None,
    day: Annotated[
        datetime | None,
        typer.Option("--day", formats=["%Y-%m-%d"], metavar="DATE", help="Records of a day, by the terminal's clock."),
    ] = None,
    terminal: Annotated[
        str | None, typer.Option("--terminal", metavar="NAME", help="Records of this terminal.")
    ] = None,
    withheld: Annotated[
        bool, typer.Option("--withheld", help="What lies before the terminal's `start` and was never published.")
    ] = False,
    first: Annotated[
        datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], metavar="DATE", help="The first day; else all.")
    ] = None,
    last: Annotated[
        datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], metavar="DATE", help="The last day; else all.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Send events again, with the same bytes, or publish withheld history.

    Without a running gateway they go at its next start.
    """
    from gateway.commands import Refusal, read_replay

    settings = load_settings(config)
    request: dict[str, Any] = {
        "sequence": None if sequence is None else _range(sequence),
        "day": None if day is None else day.date().isoformat(),
        "from": None if first is None else first.date().isoformat(),
        "to": None if last is None else last.date().isoformat(),
        "terminal": terminal,
        "withheld": withheld or None,
    }
    request = {key: value for key, value in request.items() if value is not None}
    if terminal is not None:
        _configured(settings, terminal)
    try:
        read_replay(json.dumps(request))
        result = _replay(settings, request)
    except Refusal as exc:
        raise typer.BadParameter(f"{exc}.") from None
    if as_json:
        print_json(result)
        return
    if "released" in result:
        released = result["released"]
        print(f"{terminal}: {grouped(released)} withheld record{'' if released == 1 else 's'} released")
        return
    print(f"{grouped(result['events'])} event{'' if result['events'] == 1 else 's'} will be sent again")
    if result["forgotten"]:
        print(
            f"{grouped(result['forgotten'])} of the requested events are no longer kept; the centre is informed which"
        )


def _range(text: str) -> list[int]:
    first, hyphen, last = text.partition("-")
    if not (first.isdecimal() and (last.isdecimal() or not hyphen)):
        raise typer.BadParameter("write the first and the last sequence, such as 1150-1163.", param_hint="--sequence")
    return [int(first), int(last or first)]


def _replay(settings: "Settings", request: dict[str, Any]) -> dict[str, Any]:
    """Request a replay from the running daemon, or record the request in the ledger where no daemon runs."""
    from gateway.clock import SystemClock
    from gateway.commands import read_replay
    from gateway.commands import replay as replay_in
    from gateway.control import ask
    from gateway.ledger import FILE_NAME, LedgerError, LedgerLocked, opened
    from gateway.terminal.release import release_withheld

    answer = ask(settings.data_dir, "replay", timeout_s=REPLAY_S, **request)
    if answer is not None:
        return answer
    if not (settings.data_dir / FILE_NAME).exists():
        raise Failure(Code.DISK, f"{settings.data_dir / FILE_NAME}: there is no ledger here yet", "no_ledger")
    try:
        with opened(settings.data_dir, f"/hadir/{settings.site}/{settings.gateway}") as ledger:
            wanted = read_replay(json.dumps(request))
            if wanted.withheld and wanted.terminal is not None:
                entry = _configured(settings, wanted.terminal)
                days = wanted.days or (date.min, date.max)
                released = release_withheld(ledger, entry, settings.zone(entry), SystemClock(), *days)
                return {"released": released}
            return replay_in(ledger, wanted)._asdict()
    except LedgerLocked as exc:
        raise Failure(
            Code.LOCKED, f"{settings.data_dir}: the gateway that has the ledger did not answer", "locked"
        ) from exc
    except LedgerError as exc:
        raise Failure(Code.DISK, str(exc), "ledger") from exc


def _configured(settings: "Settings", name: str) -> "TerminalSettings":
    """Return a terminal's entry; BadParameter where there is none of that name."""
    for entry in settings.terminals:
        if entry.name == name:
            return entry
    names = ", ".join(entry.name for entry in settings.terminals)
    raise typer.BadParameter(f"no terminal is named {name!r} in the configuration; there are {names}.")


@app.command(rich_help_panel=GATEWAY)
def tail(
    config: Config = DEFAULT_CONFIG,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, metavar="N", help="How many events to begin with.")
    ] = 10,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")] = False,
    pins: Annotated[bool, typer.Option("--pins", help="Show PINs whole.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print events as JSON lines; with --pins exactly as they are published.")
    ] = False,
) -> None:
    """Show the newest events of the ledger, with masked PINs."""
    settings = load_settings(config)
    with open_ledger(settings.data_dir) as ledger, suppress(KeyboardInterrupt):
        last = max(0, ledger.last_sequence() - lines)
        waiting = {event.sequence for event in ledger.pending(last, lines)}
        events = ledger.events(last, lines)
        while True:
            for event in events:
                sent = "" if follow else "waiting" if event.sequence in waiting else "sent"
                print(_as_published(event, pins=pins) if as_json else _event_line(event, sent, pins=pins))
                last = event.sequence
            sys.stdout.flush()
            if not follow:
                return
            if len(events) < FOLLOW_BATCH:
                time.sleep(FOLLOW_S)
            events = ledger.events(last, FOLLOW_BATCH)


def _as_published(event: "StoredEvent", *, pins: bool) -> str:
    if pins:
        return event.body
    from gateway.event import mask_pin

    body = json.loads(event.body)
    data = body["data"]
    if data.get("pin") is not None:
        data["pin"] = mask_pin(data["pin"])
    if "raw" in data:
        data["raw"] = None  # it holds the PIN too
    return json.dumps(body, ensure_ascii=False)


def _event_line(event: "StoredEvent", sent: str, *, pins: bool) -> str:
    from gateway.event import mask_pin

    body = json.loads(event.body)
    data = body["data"]
    kind = body["type"].removeprefix("hadir.").removesuffix(".v1")
    if kind == "punch.recorded":
        kind = "punch"
        person = f"uid:{data['uid']}" if data["pin"] is None else data["pin"] if pins else mask_pin(data["pin"])
        state, verify = data["state_label"] or data["state"], data["verify_label"] or data["verify"]
        details = f"{person:<8} {state:<9} {verify:<11} {','.join(data['suspect'])}"
    else:
        details = data.get("reason") or data.get("cause") or ""
    moment = (data.get("local_time") or body["time"][:19]).replace("T", " ")
    return f"{event.sequence:>7} {sent:<7} {moment} {body.get('subject') or '-':<10} {kind:<5} {details}".rstrip()
