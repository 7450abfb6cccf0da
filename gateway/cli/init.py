"""``hadir init``: make the first configuration from questions or options, with the terminals that answer a search.

Secrets go into files of their own.
"""
# ruff: noqa: T201 - a command line prints

import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from secrets import token_hex
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter

from drivers import DRIVERS
from drivers.base import DiscoveredTerminal, Search, TerminalUnavailable
from drivers.receiver.registry import serial_of
from drivers.textfile import MAX_SECRET, TextFileError, decode, read_secret, read_text, secret_in, secret_warning
from drivers.values import STRICT
from gateway.cli.base import Code, Failure, command_group, print_stderr
from gateway.cli.check import check
from gateway.cli.doctor import doctor
from gateway.cli.messages import COMMENTS, INIT, QUESTIONS, WRONG
from gateway.cli.network import own_address
from gateway.cli.options import DEFAULT_CONFIG, Config, Lang
from gateway.cli.progress import progress
from gateway.cli.terminals import (
    FEW,
    PRIVATE,
    REMARKS,
    entries_of,
    failure_of,
    print_rows,
    rows_of,
    size_of,
    spans_of,
)
from gateway.settings import Level, Mqtt, Username, Zone, holds_certificates, host_and_port, load
from gateway.settings_text import SettingsError
from gateway.texts import Language, user_language

DRIVER = "zkteco"
"""The driver whose terminals can be discovered."""
NAMED = {"": DRIVER, "soap": "soap"}
"""What stands in front of an address, and a colon → the driver of the terminal there."""
CALLING = {"": "push", "app": "webhook"}
"""What stands in front of a serial number, and a colon → the driver of what calls this computer with it."""
CALLER_PORT = 8088
SECRET_BYTES = 32
ANY_ADDRESS = "0.0.0.0"  # noqa: S104 - where this computer has no address yet
KEY_TRIES = 3
"""Attempts with a communication key, at most: some terminals lock after repeated wrong keys."""
SECRETS = "secrets"
"""Folder of the secret files, beside the configuration; a service manager can pass on the whole folder."""
PASSWORD, KEY = f"{SECRETS}/mqtt-password", f"{SECRETS}/comm-key"
LEFT_OUT = "left out"
"""Remark on a terminal that answers and that the person leaves out of the configuration."""
NONE = "-"
"""The answer that means *none*."""


@dataclass
class _Plan:
    """All values of the configuration; it is written in one step at the end."""

    site: str
    gateway: str
    timezone: str
    broker: str
    username: str | None = None
    ca_file: Path | None = None
    data_dir: Path | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)
    """Terminals, as rows of `hadir discover`."""
    listen: str | None = None
    """Address and port for terminals that call; None where none does."""
    secrets: dict[str, str] = field(default_factory=dict)
    """Name of a secret file, as written in the configuration → its content."""


class _Prompter:
    """Takes each answer from its option, or from the person.

    A wrong answer of a person repeats the question; a wrong option ends the command.
    """

    def __init__(self, language: Language) -> None:
        self._language = language
        self.interactive = sys.stdin.isatty()
        """Whether a person can answer questions."""

    def answer(
        self,
        question: str,
        given: str | None,
        read: Callable[[str], Any],
        default: str | None = None,
        *,
        hidden: bool = False,
        **values: object,
    ) -> Any:
        """Return the answer as parsed by ``read``, which raises ValueError for a wrong one.

        ``given`` is the option's value. Without it and without a person, the default is taken.
        """
        if given is None and not self.interactive and default is not None:
            given = default
        if given is not None:
            try:
                return read(given)
            except ValueError:
                raise typer.BadParameter(self.wrong(question), param_hint=f"--{question.replace('_', '-')}") from None
        text = QUESTIONS[question].into(self._language, **values)
        while True:
            typed = typer.prompt(text, default=default, hide_input=hidden, show_default=bool(default), err=True)
            try:
                return read(typed if hidden else typed.strip())
            except ValueError:
                self.show_error(question)

    def wrong(self, what: str) -> str:
        return WRONG[what].into(self._language)

    def show_error(self, what: str) -> None:
        """Print why an answer is wrong, before the question is repeated."""
        print_stderr(f"  {self.wrong(what)}")


app = command_group()


# Longer than 60 lines: half of them declare the options.
@app.command()
def init(
    config: Config = DEFAULT_CONFIG,
    site: Annotated[str | None, typer.Option(metavar="CODE", help="Code of the office.")] = None,
    gateway: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of this computer; gw-01 if it is not interactive.")
    ] = None,
    timezone: Annotated[str | None, typer.Option(metavar="ZONE", help="WIB, WITA, WIT or a zone's name.")] = None,
    broker: Annotated[str | None, typer.Option(metavar="URL", help="mqtts://host:8883 or mqtt://host:1883.")] = None,
    username: Annotated[str | None, typer.Option(metavar="NAME", help="User name at the broker.")] = None,
    password_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A file that holds its password; - reads it from the input.")
    ] = None,
    ca_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="Certificate of the broker's authority, if not the system's.")
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Where the ledger is to be.")] = None,
    networks: Annotated[
        list[str] | None,
        typer.Option("--range", metavar="CIDR", help="Where to look for terminals; may be given several times."),
    ] = None,
    terminals: Annotated[
        list[str] | None,
        typer.Option(
            "--terminal",
            metavar="NAME=ADDRESS",
            help="A terminal that need not answer now (NAME=soap:ADDRESS: its web service), NAME@SERIAL for one that "
            "calls (ADMS), NAME@app:SERIAL for an app; several times.",
        ),
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, show_default=False, help="Where terminals listen; 4370 by default.")
    ] = None,
    comm_key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A file with the key of terminals that want one; - as above.")
    ] = None,
    lang: Lang = None,
) -> None:
    """Make the first configuration: asks, looks for terminals, writes, checks, and calls the doctor.

    Without a person at the keyboard everything comes from options. Nothing that is there is ever overwritten, and
    nothing is written before everything is known.
    """
    language = lang or user_language()
    beginning = _comments(config)
    if beginning is None:
        print(INIT["exists"].into(language, file=config))
    else:
        _try_folder(config.parent)
        prompter = _Prompter(language)
        if not prompter.interactive:
            _require(**{"--site": site, "--timezone": timezone, "--broker": broker, "--range": networks or terminals})
        plan = _Plan(
            prompter.answer("site", site, _level),
            prompter.answer("gateway", gateway, _level, "gw-01"),
            prompter.answer("timezone", timezone, _zone, "WIB" if prompter.interactive else None),
            prompter.answer("broker", broker, _url),
            data_dir=data_dir,
        )
        _ask_login(prompter, plan, username, password_file, ca_file)
        _find_terminals(prompter, plan, [*(networks or ()), *(terminals or ())], port, comm_key_file)
        written = _write(config, beginning, plan, language)
        print(INIT["written"].into(language, files=", ".join(map(str, written))))
        if plan.listen is not None:
            address, caller_port = host_and_port(plan.listen)
            apps = [row for row in plan.rows if "secret_file" in row]
            if len(apps) < sum(row["driver"] in CALLING.values() for row in plan.rows):
                print(INIT["calling"].into(language, address=address, port=caller_port))
            for row in apps:
                url = f"http://{address}:{caller_port}/hook/{row['name']}"
                print(
                    INIT["posting"].into(language, name=row["name"], url=url, file=config.parent / row["secret_file"])
                )
    _check_and_diagnose(config, language)


def _check_and_diagnose(config: Path, language: Language) -> None:
    """Check the configuration, explain how to start the gateway, and call the doctor."""
    print()
    check(file=None, config=config, for_run=False, as_json=False)
    print(INIT["start"].into(language, file=config))
    print()
    doctor(config=config, lang=language, report=None, log=None, as_json=False)


def _require(**options: object) -> None:
    missing = [option for option, value in options.items() if not value]
    if missing:
        raise typer.BadParameter(f"without a terminal to ask questions, add {', '.join(missing)}.")


def _comments(config: Path) -> str | None:
    """Return the text of a configuration of comments only, as packages install it; None for any other file.

    Without a file the text is empty.
    """
    try:
        text = read_text(config)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except (OSError, TextFileError):
        return None
    return text if all(line.startswith("#") for line in map(str.strip, text.splitlines()) if line) else None


def _try_folder(folder: Path) -> None:
    """Make sure, before the first question, that the configuration can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as exc:
        raise Failure(Code.DISK, f"{folder}: {exc.strerror}", "permission") from exc


# --- validation of answers ----------------------------------------------------------------------------------------


def _as_configured(kind: Any, text: str) -> Any:
    """Return a text as the configuration would parse it; ValueError where `hadir check` would refuse it."""
    return TypeAdapter(kind).validate_python(text, context={STRICT: True})


def _level(text: str) -> str:
    return str(_as_configured(Level, text))


def _zone(text: str) -> str:
    return str(_as_configured(Zone, text))


def _url(text: str) -> str:
    return Mqtt.model_validate({"url": text}, context={STRICT: True}).url


def _username(text: str) -> str:
    return str(_as_configured(Username, text))


def _file(text: str) -> Path | None:
    if text == NONE:
        return None
    path = Path(text).absolute()
    if not (path.is_file() and os.access(path, os.R_OK) and holds_certificates(path)):
        raise ValueError
    return path


def _password(text: str) -> str:
    """Return a typed or pasted password, without line ends; ValueError where it cannot be a usable password."""
    text = text.strip("\r\n")
    if text and (secret_in(decode(text.encode("utf-8", "surrogatepass"))) != text or secret_warning(text)):
        raise ValueError
    return text


def _key(text: str) -> str:
    if not re.fullmatch("[0-9]{0,6}", text):
        raise ValueError
    return text


def _secret(path: Path, option: str) -> str:
    """Read a secret from a file, or from standard input where the path is ``-``."""
    try:
        if str(path) == NONE:
            secret = secret_in(decode(sys.stdin.buffer.read(MAX_SECRET + 1), MAX_SECRET))
        else:
            secret = read_secret(path)
    except OSError as exc:
        raise typer.BadParameter(f"there is no secret to be read there ({exc.strerror}).", param_hint=option) from None
    except TextFileError as exc:
        raise typer.BadParameter(f"there is no secret to be read there: {exc}.", param_hint=option) from None
    if doubt := secret_warning(secret.strip() if option == "--comm-key-file" else secret):
        raise typer.BadParameter(f"{doubt}.", param_hint=option)
    return secret


@dataclass
class _Places:
    """Networks and addresses of terminals, as a person names them."""

    networks: list[IPv4Network]
    named: dict[str, tuple[str, str]]
    """Name of a terminal → its driver and address."""
    calling: dict[str, tuple[str, str]]
    """Name of a terminal or app that calls this computer → its driver and serial number."""


def _places(text: str) -> _Places:
    """Parse networks, addresses, NAME=ADDRESS and NAME@SERIAL, separated by blanks or commas; else ValueError.

    ``soap:`` may stand in front of an address, ``app:`` in front of a serial number.
    """
    places = _Places([], {}, {})
    items = [item for item in re.split(r"[\s,]+", text) if item]
    for item in items:
        name, at, serial = item.partition("@")
        if at:
            driver, serial = _with_driver(serial, CALLING)
            called = (driver, serial)
            if serial_of(serial) is None or name in places.calling or called in places.calling.values():
                raise ValueError
            places.calling[_level(name)] = called
            continue
        name, equals, address = item.partition("=")
        if not equals:
            places.networks.append(IPv4Network(item, strict=False))
            continue
        driver, address = _with_driver(address, NAMED)
        DRIVERS[driver].options.model_validate({"name": _level(name), "address": address}, context={STRICT: True})
        places.named[name] = (driver, address)
    places.networks = spans_of([str(network) for network in places.networks])
    private = all(any(network.subnet_of(known) for known in PRIVATE) for network in places.networks)
    if not items or not private or set(places.named) & set(places.calling) or sum(map(size_of, places.networks)) > FEW:
        raise ValueError
    return places


def _with_driver(text: str, drivers: Mapping[str, str]) -> tuple[str, str]:
    """Return the driver that a text begins with, and the rest."""
    word, colon, rest = text.partition(":")
    return (drivers[word], rest) if colon and word and word in drivers else (drivers[""], text)


def _own_network() -> str | None:
    """Return the /24 network of this computer's address; None without one."""
    address = own_address()
    if address is None:
        return None
    network = IPv4Network(f"{address}/24", strict=False)
    return str(network) if any(network.subnet_of(known) for known in PRIVATE) else None


# --- the broker and the terminals ---------------------------------------------------------------------------------


def _ask_login(
    prompter: _Prompter, plan: _Plan, username: str | None, password_file: Path | None, ca_file: str | None
) -> None:
    # The sample configurations for brokers use this user name: it is the gateway's part of the topics.
    usual = f"{plan.site}/{plan.gateway}" if prompter.interactive else NONE
    name = prompter.answer("username", username, _username, usual)
    plan.username = None if name == NONE else name
    if password_file is not None:
        if plan.username is None:
            raise typer.BadParameter("a password is of no use without --username.", param_hint="--password-file")
        plan.secrets[PASSWORD] = _secret(password_file, "--password-file")
    elif (
        plan.username is not None
        and prompter.interactive
        and (password := prompter.answer("password", None, _password, "", hidden=True))
    ):
        plan.secrets[PASSWORD] = password
    if plan.broker.startswith("mqtts:") or ca_file is not None:
        plan.ca_file = prompter.answer("ca_file", ca_file, _file, NONE)


def _find_terminals(
    prompter: _Prompter, plan: _Plan, given: list[str], port: int | None, comm_key_file: Path | None
) -> None:
    """Search for terminals; where none answers, let the person name other networks, or end the command."""
    key = None if comm_key_file is None else _secret(comm_key_file, "--comm-key-file").strip()
    if key is not None and not re.fullmatch("[0-9]{1,6}", key):
        raise typer.BadParameter(prompter.wrong("key"), param_hint="--comm-key-file")
    option = " ".join(given) or None
    while not plan.rows:
        places: _Places = prompter.answer("range", option, _places, _own_network())
        rows = _search(places.networks, port, key)
        if key is not None:
            for row in rows:
                if row.pop("comm_key_file", None):
                    row["comm_key_file"] = KEY
                    plan.secrets[KEY] = key
        if prompter.interactive:
            _ask_about(prompter, plan, rows, port, {*places.named, *places.calling})
        rows += [_row_of(name, address, driver) for name, (driver, address) in places.named.items()]
        rows += [_row_of(name, "", driver, serial) for name, (driver, serial) in places.calling.items()]
        for row in rows:
            if row["driver"] == CALLING["app"]:
                row["secret_file"] = f"{SECRETS}/{row['name']}"
                plan.secrets[row["secret_file"]] = token_hex(SECRET_BYTES)
        if places.calling:
            plan.listen = f"{own_address() or ANY_ADDRESS}:{CALLER_PORT}"
        if any(row["name"] for row in rows):
            plan.rows = rows
        elif not prompter.interactive:
            raise Failure(Code.NEGATIVE, f"no terminal answers in {option}: nothing is written", "no_terminal")
        else:
            prompter.show_error("no_terminal")
            option = None


def _search(networks: list[IPv4Network], port: int | None, key: str | None) -> list[dict[str, Any]]:
    """Search networks for terminals, with a key for those that require one; return a row for each that answers."""
    look = DRIVERS[DRIVER].discover
    if look is None or not networks:
        return []
    with tempfile.TemporaryDirectory() as folder:
        file = None
        if key is not None:
            file = Path(folder) / "key"
            file.touch(0o600)
            file.write_text(key, encoding="ascii")
        hosts = [str(host) for network in networks for host in network.hosts()]
        try:
            settled = progress(look(Search(hosts, port=port, comm_key_file=file)), len(hosts), "…")
            findings = [finding for finding in settled if finding is not None]
        except TerminalUnavailable as exc:
            raise Failure(Code.UNAVAILABLE, str(exc), "no_route") from exc
    return _rows(findings)


def _rows(findings: "list[DiscoveredTerminal]") -> list[dict[str, Any]]:
    failures = {
        finding.host: failure_of(finding.host, DRIVERS[DRIVER], finding.error) for finding in findings if finding.error
    }
    return rows_of(DRIVER, findings, failures)


def _row_of(name: str, address: str, driver: str = DRIVER, serial: str = "") -> dict[str, Any]:
    """Return the row of a terminal that has not been contacted yet."""
    return {"name": name, "driver": driver, "address": address, "serial": serial, "remark": None}


def _ask_about(prompter: _Prompter, plan: _Plan, rows: list[dict[str, Any]], port: int | None, taken: set[str]) -> None:
    """Let the person give each terminal a unique name or leave it out, and enter the keys that terminals require."""
    print_rows(rows, entries=False)

    def read(text: str) -> str | None:
        if text == NONE:
            return None
        if text in taken:
            raise ValueError
        return _level(text)

    for place, row in enumerate(rows):
        if row["name"] is None:
            continue
        key = None
        if row["remark"] == REMARKS["key"]:
            row, key = _ask_key(prompter, row, port)  # noqa: PLW2901 - with its key the terminal reveals more
            rows[place] = row
        values = {"model": row["model"] or "?", "serial": row["serial"] or "?", "address": row["address"]}
        usual = row["name"] if row["name"] not in taken else None
        row["name"] = prompter.answer("name", None, read, usual, **values)
        if row["name"] is None:
            row["remark"] = row["remark"] or LEFT_OUT
        else:
            taken.add(row["name"])
            if key is not None:
                row["comm_key_file"] = f"{KEY}-{row['name']}"
                plan.secrets[row["comm_key_file"]] = key


def _ask_key(prompter: _Prompter, row: dict[str, Any], port: int | None) -> tuple[dict[str, Any], str | None]:
    """Ask for a terminal's key, up to KEY_TRIES times; return the terminal's row, read with the key, and the key."""
    host = row["address"].partition(":")[0]
    for _ in range(KEY_TRIES):
        key = prompter.answer("key", None, _key, "", hidden=True, address=row["address"])
        if not key:
            break
        rows = _search([IPv4Network(host)], port, key)
        if rows and rows[0]["serial"]:
            return rows[0], key
        prompter.show_error("key_refused")
    return row, None


# --- writing ------------------------------------------------------------------------------------------------------


def _write(config: Path, beginning: str, plan: _Plan, language: Language) -> list[Path]:
    """Write the secrets, then the configuration after its ``beginning``, if it is valid; return the files written.

    Existing files stay. Where a step fails, the files written before are removed again.
    """
    folder = config.parent
    draft = folder / f".{config.name}.{os.getpid()}"
    text = "".join((beginning, *(["\n"] if beginning else []), *_lines(plan, language)))
    made: list[Path] = []
    try:
        if plan.secrets and not (folder / SECRETS).exists():
            (folder / SECRETS).mkdir(mode=0o700)
            made.append(folder / SECRETS)
        for name, secret in plan.secrets.items():
            if _put(folder / name, f"{secret}\n", 0o600):
                made.append(folder / name)
        _put(draft, text, 0o644)
        load(draft, strict=True)
        if beginning:
            draft.replace(config)
            made.append(config)
        elif _put(config, text, 0o644):
            made.append(config)
    except BaseException as exc:
        for path in reversed(made):
            path.rmdir() if path.is_dir() else path.unlink()
        if isinstance(exc, OSError):
            raise Failure(Code.DISK, f"{exc.filename or folder}: {exc.strerror}", "output") from exc
        if isinstance(exc, SettingsError):
            print_stderr("\n".join(exc.lines).replace(str(draft), str(config)))
            raise Failure(Code.CONFIG, "the answers make no valid configuration: nothing is written", "config") from exc
        raise
    finally:
        draft.unlink(missing_ok=True)
    return [path for path in made if path.is_file()]


def _put(path: Path, text: str, mode: int) -> bool:
    """Create a file, owned by the owner of its folder; return False where it exists already with the same text."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        if path.read_text(encoding="utf-8") == text:
            return False
        raise
    try:
        with os.fdopen(file, "w", encoding="utf-8") as opened:
            os.fchmod(file, mode)
            if os.geteuid() == 0:
                owner = path.parent.stat()
                os.fchown(file, owner.st_uid, owner.st_gid)
            opened.write(text)
            opened.flush()
            os.fsync(file)
    except OSError:
        path.unlink()
        raise
    return True


def _lines(plan: _Plan, language: Language) -> Iterator[str]:
    """Yield the configuration with explaining comments."""

    def comment(key: str) -> str:
        return "".join(f"## {line}\n" for line in COMMENTS[key].into(language).split("\n"))

    yield comment("head")
    for key in ("site", "gateway", "timezone"):
        yield f"\n{comment(key)}{key}: {json.dumps(getattr(plan, key))}\n"
    if plan.data_dir is not None:
        yield f"\n{comment('data_dir')}data_dir: {json.dumps(str(plan.data_dir.absolute()))}\n"
    yield f"\n{comment('mqtt')}mqtt:\n  url: {plan.broker}\n"
    if plan.username is not None:
        yield f"  username: {json.dumps(plan.username, ensure_ascii=False)}\n"
    if PASSWORD in plan.secrets:
        yield f"  password_file: {PASSWORD}\n"
    if plan.ca_file is not None:
        yield f"  ca_file: {json.dumps(str(plan.ca_file), ensure_ascii=False)}\n"
    if plan.listen is not None:
        yield f"\n{comment('receiver')}receiver:\n  listen: {plan.listen}\n"
    yield f"\n{comment('terminals')}terminals:\n"
    yield from entries_of(plan.rows)
