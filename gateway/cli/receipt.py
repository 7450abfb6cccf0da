"""``hadir receipt``: apply the centre's receipt that a flash disk brought back."""
# ruff: noqa: T201 - a command line prints

from pathlib import Path
from typing import Annotated

import typer

from drivers import safe_files
from gateway.cli.base import Code, Failure, command_group
from gateway.cli.configuration import load_settings
from gateway.cli.ledger_access import in_daemon_or_ledger
from gateway.cli.options import DEFAULT_CONFIG, AsJson, Config
from gateway.cli.output import grouped, print_json
from gateway.cli.untrusted import printable
from gateway.commands import Refusal, take_receipt

RECEIPT_BYTES = 64 * 1024

app = command_group()
receipt_app = command_group("What the centre confirms, brought by hand.")
app.add_typer(receipt_app, name="receipt")


@receipt_app.command("import")
def import_receipt(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The receipt.json that came back on the flash disk.")],
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Apply a receipt of the centre like one that came over the network, with or without a running gateway."""
    settings = load_settings(config)
    try:
        text = safe_files.read(file, RECEIPT_BYTES).decode("utf-8", "replace")
    except OSError as exc:
        raise Failure(Code.DISK, f"{printable(file)}: {exc.strerror}", "no_file") from exc

    def refused(message: str) -> Failure:
        return Failure(Code.NEGATIVE, f"{printable(file)}: {message}", "receipt")

    try:
        result = in_daemon_or_ledger(
            settings, "receipt", lambda ledger: take_receipt(ledger, text), refused=refused, receipt=text
        )
    except Refusal as exc:
        raise refused(str(exc)) from exc
    if as_json:
        print_json(result)
        return
    news = "" if result["news"] or result["set_back"] else " (that was known)"
    print(f"OK: the centre confirms {grouped(result['confirmed'])} events{news}")
    if result["missing"]:
        print(f"  {grouped(result['missing'])} it lacks: they wait again, for the network or the next export")
    if result["set_back"]:
        print("  It holds more than this ledger knows, which was set back: a new stream begins.")
