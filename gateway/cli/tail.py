"""``hadir tail``: the newest events of the ledger."""
# ruff: noqa: T201 - a command line prints

import json
import sys
import time
from contextlib import suppress
from typing import Annotated

import typer

from gateway.cli.base import command_group
from gateway.cli.configuration import load_settings
from gateway.cli.ledger_access import open_ledger
from gateway.cli.options import DEFAULT_CONFIG, Config
from gateway.event import mask_pin
from gateway.ledger import StoredEvent

FOLLOW_S = 0.5
FOLLOW_BATCH = 500

app = command_group()


@app.command()
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


def _as_published(event: StoredEvent, *, pins: bool) -> str:
    if pins:
        return event.body
    body = json.loads(event.body)
    data = body["data"]
    if data.get("pin") is not None:
        data["pin"] = mask_pin(data["pin"])
    if "raw" in data:
        data["raw"] = None  # it holds the PIN too
    return json.dumps(body, ensure_ascii=False)


def _code(code: int | None, label: str | None) -> str:
    """Return what a code means; records of lines and apps have none."""
    return label or ("-" if code is None else str(code))


def _event_line(event: StoredEvent, sent: str, *, pins: bool) -> str:
    body = json.loads(event.body)
    data = body["data"]
    kind = body["type"].removeprefix("hadir.").removesuffix(".v1")
    if kind == "punch.recorded":
        kind = "punch"
        person = f"uid:{data['uid']}" if data["pin"] is None else data["pin"] if pins else mask_pin(data["pin"])
        state, verify = _code(data["state"], data["state_label"]), _code(data["verify"], data["verify_label"])
        details = f"{person:<8} {state:<9} {verify:<11} {','.join(data['suspect'])}"
    else:
        details = data.get("reason") or data.get("cause") or ""
    moment = (data.get("local_time") or body["time"][:19]).replace("T", " ")
    return f"{event.sequence:>7} {sent:<7} {moment} {body.get('subject') or '-':<10} {kind:<5} {details}".rstrip()
