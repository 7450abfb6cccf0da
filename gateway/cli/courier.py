"""Commands for offices without a network: a flash disk carries events to the centre, and its receipt back."""
# ruff: noqa: T201 - a command line prints

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import TypeAdapter, ValidationError
from rich.progress import Progress

from drivers import safe_files
from drivers.safe_files import Folder
from gateway.bundle import (
    RECEIPT,
    Bundle,
    BundleError,
    Header,
    NoEncryptionHere,
    UnfinishedBundle,
    Writer,
    bundles_at,
    check_recipient,
    identities_from,
    public_text,
    signing_key,
    stem,
    unfinished,
)
from gateway.cli.base import Code, Failure, command_group, hint_lines, print_stderr
from gateway.cli.configuration import load_settings
from gateway.cli.ledger_access import open_ledger
from gateway.cli.options import DEFAULT_CONFIG, AsJson, Config
from gateway.cli.output import grouped, print_json
from gateway.cli.screen import rich_console
from gateway.cli.terminal_options import duration
from gateway.cli.untrusted import printable
from gateway.courier import Courier, CourierDisconnected, CourierRefused, Outcome
from gateway.event import utc_text
from gateway.ledger import LedgerReader
from gateway.settings import Bytes, Mqtt, Settings

FETCH = 500
KEYS_BYTES = 1024**2
_KEY = re.compile(r"([a-z0-9-]+/[a-z0-9-]+) *[= ] *(ed25519:[A-Za-z0-9+/]{43}=)")
WAIT_S = 60.0

app = command_group()


@contextmanager
def _bar(text: str, total: int) -> Iterator[Any]:
    """Show a progress bar if standard error is a terminal; yield a function that advances it by a count."""
    with Progress(console=rich_console(sys.stderr), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(text, total=total)
        yield lambda count: bar.advance(task, count)


# --- at the gateway -----------------------------------------------------------------------------------------------


def _size(text: str) -> int:
    try:
        return TypeAdapter[int](Bytes).validate_python(text)
    except ValidationError as exc:
        raise typer.BadParameter(f"{text!r} is {_reason(exc)}.") from None


def _reason(exc: "ValidationError") -> str:
    return exc.errors(include_url=False, include_input=False)[0]["msg"].removeprefix("Value error, ")


@app.command()
def export(
    to: Annotated[
        Path | None, typer.Option("--to", metavar="DIR", help="Where to: the flash disk, or a folder on it.")
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], metavar="DATE", help="Only what was recorded on this day or later."),
    ] = None,
    max_bytes: Annotated[
        int | None,
        typer.Option(parser=_size, metavar="SIZE", help="No more than this, such as 100MiB; else what fits."),
    ] = None,
    recipient: Annotated[
        list[str] | None,
        typer.Option(
            metavar="AGE1…", help="Encrypt to this public key of the centre (age); may be given several times."
        ),
    ] = None,
    show_key: Annotated[
        bool, typer.Option("--show-key", help="Print the public key that this gateway signs with, and end.")
    ] = False,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Write what waits for the centre onto a flash disk, signed; also while the daemon runs.

    Interrupted, the same command goes on. Nothing counts as delivered by it: the centre's receipt does that.
    """
    settings = load_settings(config)
    if to is None and not show_key:
        raise typer.BadParameter("say where to, such as --to /media/stick.", param_hint="--to")
    _check_recipients(recipient or [])
    with open_ledger(settings.data_dir) as ledger:
        key = _signing_key(settings)
        if show_key or to is None:
            print(f"{settings.site}/{settings.gateway}={public_text(key)}")
            return
        header = Header(
            settings.source,
            settings.topic_prefix,
            public_text(key),
            utc_text(datetime.now(UTC)),
            None if since is None else since.date().isoformat(),
            tuple(recipient or ()),
        )
        since_ms = 0 if since is None else int(since.replace(tzinfo=ZoneInfo(settings.timezone)).timestamp() * 1000)
        try:
            row = _exported(to, ledger, header, key, since_ms, max_bytes)
        except OSError as exc:
            raise Failure(Code.DISK, f"{printable(exc.filename or to)}: {exc.strerror}", "stick") from exc
    if as_json:
        print_json(row)
    else:
        _print_exported(row)


def _print_exported(row: dict[str, Any]) -> None:
    if row["bundle"] is None:
        print("nothing waits for the centre: nothing was written")
        return
    print(f"OK: {row['bundle']}: {grouped(row['events'])} events, {grouped(row['bytes'])} bytes")
    if row["left"]:
        print(f"  {grouped(row['left'])} more wait and did not fit: export again after the receipt or to another disk")
    print("  The flash disk may be taken out. / Flash disk boleh dicabut.")


def _check_recipients(texts: list[str]) -> None:
    for text in texts:
        try:
            check_recipient(text)
        except ValueError as exc:
            raise typer.BadParameter(f"{text!r} is {exc}.", param_hint="--recipient") from None
        except NoEncryptionHere as exc:
            raise Failure(Code.NEGATIVE, str(exc), "encryption") from exc


def _signing_key(settings: "Settings") -> "Ed25519PrivateKey":
    try:
        return signing_key(settings.data_dir)
    except OSError as exc:
        raise Failure(Code.DISK, f"{settings.data_dir}: its key: {exc.strerror}", "permission") from exc
    except BundleError as exc:
        raise Failure(Code.DISK, str(exc), "ledger") from exc


def _exported(
    to: Path, ledger: "LedgerReader", header: "Header", key: "Ed25519PrivateKey", since_ms: int, max_bytes: int | None
) -> dict[str, Any]:
    folder = unfinished(to, header)
    if folder is None:
        if not ledger.count_unsettled(0, since_ms):
            return {"bundle": None, "events": 0, "bytes": 0, "left": 0, "altered": 0}
        folder = _fresh(to, header)
    writer = Writer(folder, header, key, max_bytes)
    try:
        altered = _fill(writer, ledger, since_ms)
        left = ledger.count_unsettled(_number(writer, ledger), since_ms) if writer.full else 0
        if altered:
            print_stderr(
                f"left out: events that are not as they were written, {altered[0]} and {len(altered) - 1} more"
            )
            for line in hint_lines("altered"):
                print_stderr(f"  {line}")
        if altered and not writer.events:
            raise Failure(Code.DISK, f"event {altered[0]} of the ledger is not as it was written", "altered")
        if not writer.events:
            raise Failure(Code.DISK, f"{to}: there is no room for a single event", "stick")
        writer.finish(left)
    finally:
        writer.close()
    return {
        "bundle": printable(folder),
        "events": writer.events,
        "bytes": writer.size,
        "left": left,
        "altered": len(altered),
    }


def _fresh(to: Path, header: "Header") -> Path:
    """Return an unused folder name, of characters that every file system accepts."""
    first = f"{stem(header.source)}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    name, count = first, 1
    with Folder(to) as disk:
        while disk.stat(name) is not None:
            count += 1
            name = f"{first}-{count}"
    return to / name


def _number(writer: "Writer", ledger: "LedgerReader") -> int:
    """Return the ledger's number of the last event that the bundle holds.

    Return 0 where the ledger does not have that event: a ledger that was restored since may use the number for another
    event.
    """
    if writer.last_part is None:
        return 0
    number = (ledger.base_of(writer.last_part.stream) or 0) + writer.last_part.last
    return number if ledger.digest(number) == writer.last_part.digest else 0


def _fill(writer: "Writer", ledger: "LedgerReader", since_ms: int) -> list[int]:
    """Write waiting events until the bundle is full; return the numbers of altered events, which are left out."""
    after, altered = _number(writer, ledger), list[int]()
    with _bar("writing", ledger.count_unsettled(after, since_ms)) as progress:
        while events := ledger.unsettled(after, FETCH, since_ms):
            for event in events:
                if event.is_altered:
                    altered.append(event.sequence)
                elif not writer.add(event.body):
                    return altered
            after = events[-1].sequence
            progress(len(events))
        writer.flush()
    return altered


# --- where the network is available -------------------------------------------------------------------------------

courier_app = command_group("Bring to the centre what a flash disk carries.")
app.add_typer(courier_app, name="courier")


def _file(text: str) -> Any:
    return typer.Option(metavar="FILE", exists=True, dir_okay=False, readable=True, help=text)


@courier_app.command("send")
def send(
    places: Annotated[
        list[Path], typer.Argument(metavar="BUNDLE…", help="Folders of bundles, or the flash disk that holds them.")
    ],
    broker: Annotated[str, typer.Option(metavar="URL", help="mqtt://host:1883, or mqtts://host:8883 for TLS.")],
    username: Annotated[str | None, typer.Option(metavar="NAME", help="The user name at the broker.")] = None,
    password_file: Annotated[Path | None, _file("A file that holds the password.")] = None,
    ca_file: Annotated[Path | None, _file("Whom to trust, instead of the system's authorities (PEM).")] = None,
    cert_file: Annotated[Path | None, _file("The client's certificate (PEM).")] = None,
    key_file: Annotated[Path | None, _file("The client's key (PEM).")] = None,
    strict_certificates: Annotated[
        bool,
        typer.Option(help="Whether to demand complete certificates, as Python 3.13 does by default (docs/broker.md)."),
    ] = False,
    identity: Annotated[Path | None, _file("The centre's secret key (age), where bundles are encrypted.")] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SITE/GATEWAY=ED25519:…",
            help="Take only what keys that are named signed, each for its own gateway; see hadir export --show-key.",
        ),
    ] = None,
    keys: Annotated[Path | None, _file("A file of such keys, one a line.")] = None,
    wait: Annotated[
        float | None,
        typer.Option(
            parser=duration, metavar="DURATION", help="How long to wait for the centre's receipt; 60s by default."
        ),
    ] = None,
    receipt: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where the receipt goes, if not onto the flash disk.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check bundles, publish them in their gateways' place, and bring the centre's receipt onto the flash disk.

    No configuration is needed. All is checked before anything is sent. Doing it again, or in part, does no harm.
    """
    address = _address(broker, username, password_file, ca_file, cert_file, key_file, strict=strict_certificates)
    bundles = _checked(places, identity, _keys(key or [], keys))
    if receipt is not None and len({bundle.header.source for bundle in bundles}) > 1:
        raise typer.BadParameter("these bundles are of several gateways, each with a receipt.", param_hint="--receipt")
    rows = _sent(bundles, address, wait or WAIT_S, receipt)
    if as_json:
        print_json(rows)
    else:
        for row in rows:
            _print(row)
    if any(row["refused"] or not row["confirmed"] for row in rows):
        for line in hint_lines("unconfirmed"):
            print_stderr(f"  {line}")
        raise typer.Exit(Code.NEGATIVE)


def _address(
    url: str,
    username: str | None,
    password_file: Path | None,
    ca_file: Path | None,
    cert_file: Path | None,
    key_file: Path | None,
    *,
    strict: bool,
) -> "Mqtt":
    if (cert_file is None) != (key_file is None):
        raise typer.BadParameter("a certificate needs its key, and a key its certificate.", param_hint="--cert-file")
    if password_file is not None and username is None:
        raise typer.BadParameter("a password is of no use without --username.", param_hint="--password-file")
    try:
        return Mqtt(
            url=url,
            username=username,
            password_file=password_file,
            ca_file=ca_file,
            cert_file=cert_file,
            key_file=key_file,
            strict_certificates=strict,
        )
    except ValidationError as exc:
        option = str(exc.errors()[0]["loc"][0]).replace("url", "broker").replace("_", "-")
        raise typer.BadParameter(f"{_reason(exc)}.", param_hint=f"--{option}") from None


def _keys(texts: list[str], file: Path | None) -> dict[str, set[str]] | None:
    """Return the accepted keys of each gateway; None where the options name no key: then any key is accepted."""
    named = [("--key", text) for text in texts]
    if file is not None:
        try:
            lines = safe_files.read(file, KEYS_BYTES).decode("utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else "it is not text"
            raise typer.BadParameter(f"{printable(file)}: {reason}.", param_hint="--keys") from None
        named += [("--keys", line) for text in lines if (line := text.strip()) and not line.startswith("#")]
    elif not texts:
        return None
    keys: dict[str, set[str]] = {}
    for option, text in named:
        found = _KEY.fullmatch(text)
        if found is None:
            what = "is not SITE/GATEWAY=ed25519:…, which `hadir export --show-key` prints at that gateway"
            if text.startswith("ed25519:"):
                what = (
                    "does not say whose key it is: a key signs for its own gateway only. Write SITE/GATEWAY= before it"
                )
            raise typer.BadParameter(f"{printable(text)} {what}.", param_hint=option)
        keys.setdefault(found[1], set()).add(found[2])
    if not keys:
        raise typer.BadParameter("no key is in it.", param_hint="--keys")
    return keys


def _check_signer(bundle: "Bundle", keys: dict[str, set[str]]) -> None:
    gateway = bundle.header.source.removeprefix("/hadir/")
    if gateway not in keys:
        raise BundleError(f"{bundle.name}: it is of {printable(gateway)}, of which no key was named")
    if bundle.header.key not in keys[gateway]:
        raise BundleError(
            f"{bundle.name}: it is of {gateway} and signed by {printable(bundle.header.key)}, not by a key of that "
            "gateway that was named"
        )


def _checked(places: list[Path], identity: Path | None, keys: dict[str, set[str]] | None) -> list["Bundle"]:
    """Read and verify every bundle; an error in one of them ends the command."""
    try:
        identities = [] if identity is None else identities_from(identity.read_text("utf-8", "replace"))
    except ValueError as exc:
        raise typer.BadParameter(f"{identity}: {exc}.", param_hint="--identity") from None
    except NoEncryptionHere as exc:
        raise Failure(Code.NEGATIVE, str(exc), "encryption") from exc
    try:
        folders = dict.fromkeys(folder for place in places for folder in bundles_at(place))
        bundles = sorted((Bundle(folder, identities) for folder in folders), key=lambda bundle: bundle.header.made)
        for bundle in bundles:
            if keys is not None:
                _check_signer(bundle, keys)
        with _bar("checking", sum(bundle.end.events for bundle in bundles)) as progress:
            for bundle in bundles:
                bundle.verify(progress)
    except UnfinishedBundle as exc:
        raise Failure(Code.NEGATIVE, str(exc), "unfinished") from exc
    except NoEncryptionHere as exc:
        raise Failure(Code.NEGATIVE, str(exc), "encryption") from exc
    except BundleError as exc:
        raise Failure(Code.NEGATIVE, str(exc), "bundle") from exc
    return bundles


def _sent(bundles: list["Bundle"], address: "Mqtt", wait_s: float, receipt: Path | None) -> list[dict[str, Any]]:
    couriers = {bundle.header.prefix: Courier(address, bundle.header.prefix) for bundle in bundles}
    try:
        with _bar("sending", sum(bundle.end.events for bundle in bundles)) as progress:
            outcomes = [couriers[bundle.header.prefix].deliver(bundle, progress) for bundle in bundles]
        return [
            _row(bundle, outcome, couriers[bundle.header.prefix], wait_s, receipt)
            for bundle, outcome in zip(bundles, outcomes, strict=True)
        ]
    except CourierDisconnected as exc:
        raise Failure(Code.UNAVAILABLE, str(exc), "broker") from exc
    except CourierRefused as exc:
        raise Failure(Code.REFUSED, str(exc), "broker_refused") from exc
    except BundleError as exc:
        raise Failure(Code.DISK, f"{exc} any more; what was sent before is good", "stick") from exc


def _row(
    bundle: "Bundle", outcome: "Outcome", courier: "Courier", wait_s: float, receipt: Path | None
) -> dict[str, Any]:
    confirmed = courier.wait_for_receipt(bundle, wait_s)
    path = None
    if courier.receipt:
        path = receipt or bundle.folder / RECEIPT
        try:
            with Folder(path.parent) as folder:
                folder.write(path.name, courier.receipt, 0o644)
        except OSError as exc:
            reason = f"{exc.strerror}; all was sent, name another place for the receipt with --receipt"
            raise Failure(Code.DISK, f"{printable(path)}: {reason}", "output") from exc
    return {
        "bundle": bundle.name,
        "gateway": bundle.header.source.removeprefix("/hadir/"),
        "key": bundle.header.key,
        "sent": outcome.sent,
        "held_before": outcome.held,
        "refused": outcome.refused,
        "confirmed": confirmed,
        "receipt": None if path is None else printable(path),
    }


def _print(row: dict[str, Any]) -> None:
    held = f", {grouped(row['held_before'])} were held already" if row["held_before"] else ""
    print(f"{'OK: ' if row['confirmed'] else ''}{row['bundle']}: {grouped(row['sent'])} events sent{held}")
    print(f"  of {row['gateway']}, signed by {row['key']}")
    if row["refused"]:
        print(f"  {grouped(len(row['refused']))} the broker will never take, the first is sequence {row['refused'][0]}")
    if row["confirmed"]:
        print(f"  all of it is confirmed by the centre; take {row['receipt']} back to the gateway")
    elif row["receipt"]:
        print(f"  the centre does not confirm all of it yet; what it does is in {row['receipt']}")
    else:
        print("  there is no receipt of the centre for this gateway yet")
