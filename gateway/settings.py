"""The gateway's configuration: frozen settings made of a YAML file, or every mistake in it, in one line each.

No line repeats a value from the file, except names that must be unique: a value in the wrong place may be a password.
"""

import errno
import os
import re
import shutil
import ssl
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from difflib import get_close_matches
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    create_model,
    field_validator,
)
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema
from ruamel.yaml.nodes import Node

from drivers import DRIVERS, OWN, no_such_driver
from drivers.base import DriverOptions
from drivers.field_docs import field_docs
from drivers.receiver.caller import CallerOptions
from drivers.textfile import TextFileError, read_comm_key, read_secret, read_token, secret_warning
from drivers.values import NEWLY_REFUSED, STRICT, Seconds, between, duration_between, host_fault, refuse_newly
from gateway.office import DEFAULT_DATA_DIR, Office, digest_of
from gateway.settings_text import Location, Problem, SettingsError, Severity, dotted, position, read

_LEVEL = r"[a-z0-9-]+"
_URL = re.compile(r"(mqtts?)://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]+))?/?")
ZONES = {"WIB": "Asia/Jakarta", "WITA": "Asia/Makassar", "WIT": "Asia/Jayapura"}
"""Common abbreviations of Indonesian time zones → their names."""
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*(B|[KMGT]i?B)")
_SECRET_FILES = ("password_file", "key_file", "comm_key_file", "token_file", "secret_file")
_LONGEST_LEVEL = 64
CENTRE_BYTES = 4 * 1024**2
"""The longest message that a centre reads; docs/contract.md promises that none is longer."""
_SECRET_WORD = re.compile(r"pass|pwd|secret|token|key|sandi", re.IGNORECASE)


# ---------------------------------------------------------------- values


def _level(value: str, info: ValidationInfo) -> str:
    if len(value) > 255:
        raise ValueError(f"too long; write {_LONGEST_LEVEL} characters or fewer")
    if re.fullmatch(_LEVEL, value):
        if len(value) > _LONGEST_LEVEL:
            refuse_newly(info, f"too long; write {_LONGEST_LEVEL} characters or fewer")
        return value
    faults = {"a slash": "/" in value, "upper case": value != value.lower(), "a blank": bool(re.search(r"\s", value))}
    found = " and ".join(name for name, present in faults.items() if present)
    better = re.sub(r"[^a-z0-9]+", "-", value.lower()).strip("-") or "gw-01"
    raise ValueError(
        f"has {found or 'no or other characters'} where a topic level is expected; "
        f"write only a-z, 0-9 and hyphens, such as {better}"
    )


def _root(value: str) -> str:
    if not re.fullmatch(rf"{_LEVEL}(/{_LEVEL})*", value) or len(value) > 1000:
        raise ValueError(
            "not a topic; write one or more levels of a-z, 0-9 and hyphens with a slash between them, such as hadir"
        )
    return value


_OUR_ZONES = "Asia/Jakarta (WIB), Asia/Makassar (WITA) or Asia/Jayapura (WIT)"
_CLEAR_ZONES = frozenset({"UTC", "GMT", "Etc/UTC", "Etc/GMT", "Etc/UCT", "Etc/Universal", "Etc/Zulu", "Etc/Greenwich"})
"""Names of UTC, which are unambiguous although they name no region."""


def _zone(value: str, info: ValidationInfo) -> str:
    value = ZONES.get(value.strip().upper(), value)
    try:
        ZoneInfo(value)
    except (OSError, ValueError, LookupError):  # zoneinfo raises any of these, depending on the input
        close = [name for name in available_timezones() if name.lower() == value.strip().lower()]
        raise ValueError(f"not the name of a time zone; write {close[0] if close else _OUR_ZONES}") from None
    if fault := _zone_fault(value):
        refuse_newly(info, f"{fault}; write {_OUR_ZONES}")
    return value


def _zone_fault(name: str) -> str | None:
    """Return why a zone that the system knows is probably not the intended one; None where it may be."""
    if name in _CLEAR_ZONES:
        return None
    if name.startswith(("Etc/", "GMT", "UTC")):
        return "the signs of these zones are the other way round: Etc/GMT+7 is seven hours behind UTC, not ahead"
    if name.startswith(("right/", "posix/")):
        return "a zone for special clocks: right/ counts leap seconds, which terminals do not"
    if name in ("localtime", "posixrules", "Factory", "local"):
        return "not a zone of its own: it means whatever this machine is set to"
    if re.fullmatch(r"[A-Z]{3}([0-9][A-Z]{3})?", name) and name not in ("PRC", "ROC", "ROK"):
        return "an abbreviation that names no place, and in Indonesia none of its zones"
    return None


def _url(value: str, info: ValidationInfo) -> str:
    match = _URL.fullmatch(value)
    if match is None:
        raise ValueError("not a broker's address; write mqtt://host:1883, or mqtts://host:8883 for TLS")
    _port(match[3] or "1883")
    _host(match[2], info)
    return value


def _listen(value: str, info: ValidationInfo) -> str:
    _host(_listening_host(value), info)
    return value


def _listen_here(value: str) -> str:
    host, _, port = value.rpartition(":")
    try:
        address = ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        address = None
    if address is None or (address.version == 6) != host.startswith("["):
        raise ValueError(
            "not an address of a machine with a port; write one of this machine's, such as 192.168.1.10:8088, or "
            "0.0.0.0:8088 for all of them"
        )
    _port(port)
    return value


def _listening_host(listen: str) -> str:
    host, _, port = listen.rpartition(":")
    if not host or re.search(r"[\s/]", host):
        raise ValueError("not an address to listen on; write host:port, such as 127.0.0.1:8081")
    _port(port)
    return host


def _host(host: str, info: ValidationInfo) -> None:
    if ":" not in host:
        if fault := host_fault(host):
            refuse_newly(info, fault)
        return
    try:
        IPv6Address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        refuse_newly(info, "not an IPv6 address; write it in brackets, such as [2001:db8::1]")


def host_and_port(listen: str) -> tuple[str, int]:
    """Return the two parts of an address to listen on; an IPv6 address loses its brackets."""
    host, _, port = listen.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _is_of_this_machine_only(listen: str) -> bool:
    host, _ = host_and_port(listen)
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # any other name may be reachable from outside
        return False


def _port(text: str) -> None:
    if not re.fullmatch(r"0*[0-9]{1,5}", text) or not 0 < int(text[-9:]) < 65536:
        raise ValueError("the port is not one; write a number from 1 to 65535 after the last colon")


def _size(value: object) -> object:
    if isinstance(value, str):
        match = _SIZE.fullmatch(value.strip())
        if match is None:
            raise ValueError("not a size; write a number and a unit, such as 512MiB or 2GiB")
        base = 1024 if "i" in match[2] else 1000
        return int(float(match[1]) * base ** "BKMGT".index(match[2][0]))
    return value


def _start(value: object) -> object:
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise ValueError("no such day in the calendar; write a date as YYYY-MM-DD") from None
    if value in ("all", "now") or (isinstance(value, date) and not isinstance(value, datetime)):
        return value
    raise ValueError("not a place to start; write all, now or a date as YYYY-MM-DD")


def _serial(value: str, info: ValidationInfo) -> str:
    if len(value) > _LONGEST_LEVEL:
        refuse_newly(info, f"too long; write {_LONGEST_LEVEL} characters or fewer, as the terminal shows them")
    if not re.fullmatch(r"[!-~]+", value):
        raise ValueError("not a serial number; write it as the terminal shows it: letters and digits without blanks")
    return value


def _driver(value: str) -> str:
    if value in DRIVERS:
        return value
    raise ValueError(no_such_driver(value))


def _username(value: str, info: ValidationInfo) -> str:
    if not value:
        refuse_newly(info, "the user name is empty; write one, or remove the line")
    if value != value.strip() or not value.isprintable() or len(value) > 1000:
        refuse_newly(
            info, "the user name has a blank at an end or an invisible character, or is too long; write it again"
        )
    return value


Username = Annotated[str, AfterValidator(_username)]
Level = Annotated[str, AfterValidator(_level), Field(json_schema_extra={"pattern": f"^{_LEVEL}$"})]
Zone = Annotated[str, AfterValidator(_zone), Field(examples=list(ZONES.values()))]
Bytes = Annotated[
    int,
    BeforeValidator(_size),
    Field(strict=True),
    WithJsonSchema(
        {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": rf"^{_SIZE.pattern}$"}], "examples": ["2GiB"]}
    ),
]
Start = Annotated[
    Literal["all", "now"] | date,
    BeforeValidator(_start),
    WithJsonSchema({"anyOf": [{"enum": ["all", "now"]}, {"type": "string", "pattern": r"^\d{4}-\d\d-\d\d$"}]}),
]


def _find_file(name: Path, folder: Path) -> Path:
    """Find a file among systemd's credentials or beside the configuration.

    systemd joins the parts of a file's path in a folder of credentials: ``secrets/lobby-key`` is the credential
    ``secrets_lobby-key`` where the unit has ``LoadCredential=secrets:``. The credential is tried first, since the file
    itself may be readable by root only.
    """
    places = [folder / name]
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    if credentials and not name.is_absolute():
        places.insert(0, Path(credentials) / "_".join(name.parts))
    for place in places:
        found = os.path.abspath(place)  # noqa: PTH100 - resolve() would replace links, which rotate in some set-ups
        if os.path.isfile(found):  # noqa: PTH113 - Path.is_file raises on names that no file can have
            return Path(found)
    looked = f"in {folder}" if not name.is_absolute() else "at that place"
    looked += f" or {credentials}" if len(places) > 1 else ""
    raise ValueError(f"no such file {looked}; write the name of a file that exists, never the secret itself")


def _check_secret(name: str, path: Path, info: ValidationInfo, model: type[BaseModel]) -> None:
    if path.stat().st_mode & 0o004:
        raise ValueError(f"everybody on this machine can read this secret; run: chmod 600 {path}")
    if name == "key_file":
        return
    if name == "comm_key_file":
        read = model.read_comm_key if issubclass(model, DriverOptions) else read_comm_key
        read(path)
        return
    if name in ("token_file", "secret_file"):
        read_token(path)
        return
    try:
        secret = read_secret(path)
    except TextFileError as fault:
        if not fault.accepted_before:
            raise
        refuse_newly(info, str(fault))  # the broker refused it, and the gateway ran
        return
    if doubt := secret_warning(secret):
        refuse_newly(info, doubt)


def holds_certificates(path: Path) -> bool:
    """Return whether TLS can load certificates of authorities from a file."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except (OSError, ValueError):
        return False
    return True


def _check_pair(certificate: Path, key: Path, info: ValidationInfo) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, password=lambda: b"")
    except (OSError, ValueError):
        refuse_newly(
            info,
            "cert_file and this file are no certificate with its private key; both are PEM files, and the key has no "
            "passphrase",
        )


# ---------------------------------------------------------------- the sections


class _Section(BaseModel):
    # Most programs validate a few sections and one or two drivers' options: a validator is built when it is first used.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True)

    @field_validator("url", "address", "port", "listen", mode="before", check_fields=False)
    @classmethod
    def _no_credentials(cls, value: object) -> object:
        if isinstance(value, str) and "@" in value:
            raise ValueError(
                "a user or password does not belong in an address; use username, and put the password in a file: "
                "password_file or comm_key_file"
            )
        return value

    @field_validator("*")
    @classmethod
    def _file_is_there(cls, value: object, info: ValidationInfo) -> object:
        """Resolve the file of any ``*_file`` key, including those of drivers, and check it."""
        name = info.field_name or ""
        if not isinstance(value, Path) or not name.endswith("_file"):
            return value
        found = _find_file(value, _folder(info))
        try:
            if not os.access(found, os.R_OK):
                raise PermissionError
            if name in _SECRET_FILES:
                _check_secret(name, found, info, cls)
            if name == "ca_file" and not holds_certificates(found):
                refuse_newly(
                    info, "the file holds no certificate that can be read; it begins -----BEGIN CERTIFICATE-----"
                )
            if name == "key_file" and isinstance(info.data.get("cert_file"), Path):
                _check_pair(info.data["cert_file"], found, info)
        except OSError:
            mend = (
                "put it into the folder secrets beside this file, where the service may have it, and write secrets/NAME"
                if "CREDENTIALS_DIRECTORY" in os.environ
                else "make the user that runs the gateway its owner (chown)"
            )
            raise ValueError(f"{found} cannot be read; {mend}") from None
        return found


def _folder(info: ValidationInfo) -> Path:
    return Path((info.context or {}).get("folder", Path.cwd()))


class Mqtt(_Section):
    """The connection to the broker."""

    url: Annotated[
        str,
        AfterValidator(_url),
        Field(examples=["mqtts://broker.example.go.id:8883"], json_schema_extra={"pattern": "^mqtts?://"}),
    ]
    """The broker's address: mqtt://host:port, or mqtts://host:port for TLS. Without a port: 1883 and 8883."""
    root: Annotated[str, AfterValidator(_root), Field(json_schema_extra={"pattern": rf"^{_LEVEL}(/{_LEVEL})*$"})] = (
        "hadir"
    )
    """First level or levels of every topic of this gateway."""
    protocol: Annotated[
        Literal[5, "3.1.1"], BeforeValidator(lambda value: 5 if value == "5" else value), Field(examples=[5, "3.1.1"])
    ] = 5
    """Version of MQTT. With 3.1.1 the broker cannot report that it refused a message."""
    username: Username | None = None
    """The gateway's user name at the broker."""
    password_file: Path | None = None
    """A file that holds the password, such as secrets/mqtt-password; never the password itself."""
    ca_file: Path | None = None
    """Certificates to trust instead of the system's (PEM)."""
    cert_file: Path | None = None
    """The gateway's own certificate (PEM), where the broker requires one."""
    key_file: Path | None = None
    """The private key of ``cert_file`` (PEM)."""
    strict_certificates: bool | None = None
    """true: require complete certificates, as Python 3.13 does by default; false: accept incomplete ones; null: accept
    them too, and the doctor reports what they lack."""
    window: Annotated[int, Field(strict=True, ge=1, le=65535)] = 100
    """Maximum number of messages that wait for the broker's acknowledgement; a lower limit of the broker applies."""
    keepalive_s: Annotated[int, Field(strict=True, ge=1, le=65535), between(5, 3600)] = 30
    """Seconds without traffic after which the connection is tested."""

    @property
    def host(self) -> str:
        """The broker's host name or address."""
        return self._part(2).strip("[]")

    @property
    def port(self) -> int:
        """The broker's port, by default that of the protocol."""
        return int(self._part(3) or (8883 if self.tls else 1883))

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self._part(1) == "mqtts"

    def _part(self, group: int) -> str:
        match = _URL.fullmatch(self.url)
        return (match and match[group]) or ""


class Delivery(_Section):
    """How waiting events are sent, and what confirms their delivery."""

    batch_from: Annotated[int, Field(strict=True, ge=0, le=10_000)] = 200
    """Events are sent as arrays while more than this number wait; 0: never."""
    batch_bytes: Annotated[Bytes, Field(ge=1024, le=268_435_455), between(1024, 16_777_216, " bytes")] = 65536
    """Maximum size of a message; never more than 4 MiB, the maximum that the centre reads."""
    confirm: Literal["auto", "centre", "broker"] = "auto"
    """What confirms delivery: the centre's receipt, the broker's acknowledgement, or auto: the broker's until the first
    receipt arrives."""


class Retention(_Section):
    """How long delivered events are kept on this machine."""

    days: Annotated[int, Field(strict=True, ge=1), between(1, 3660)] = 90
    """Days for which delivered events are kept, if the disk has space."""
    max_bytes: Annotated[Bytes, Field(ge=1_048_576), between(1_048_576, 1 << 44, " bytes")] = 2 * 1024**3
    """Maximum size of all stored events; from 80 % on delivered events are pruned early."""
    free_floor: Annotated[Bytes, Field(ge=0), between(0, 1 << 40, " bytes")] = 256 * 1024**2
    """Space on the disk that stays free."""


class Commands(_Section):
    """Commands that the centre may send."""

    allow: tuple[Literal["poll", "reconcile", "replay", "report", "set-clock"], ...] = (
        "poll",
        "reconcile",
        "replay",
        "report",
    )
    """The commands that are executed; any other is refused."""


class Web(_Section):
    """The status page."""

    listen: Annotated[str, AfterValidator(_listen)] = "127.0.0.1:8081"
    """Address and port of the status page and of /metrics."""
    token_file: Path | None = None
    """A file with the token for the page; required where other machines can reach the page."""


class ReceiverLimits(_Section):
    """What callers can take; what is above harms no other one."""

    connections: Annotated[int, Field(strict=True, ge=1, le=512)] = 64  # a service has 1,024 descriptors, for all parts
    """Connections at a time, of all callers together."""
    per_address: Annotated[int, Field(strict=True, ge=1, le=512)] = 8
    """Connections at a time from one address; raise it where many terminals call through one proxy or router."""
    head_bytes: Annotated[Bytes, Field(ge=1024, le=65536)] = 8192
    """Longest request line with headers."""
    head_timeout: Annotated[Seconds, duration_between("1s", "5m")] = 10.0
    """Longest time for the request line and the headers, and for reading a reply."""
    body_bytes: Annotated[Bytes, Field(ge=65536, le=64 * 1024**2)] = 4 * 1024**2
    """Longest upload that is read as a whole."""
    body_timeout: Annotated[Seconds, duration_between("1s", "10m")] = 30.0
    """Longest time for such an upload."""
    discard_bytes: Annotated[Bytes, Field(ge=65536, le=1024**3)] = 32 * 1024**2
    """Longest upload at all, such as photos, of which nothing is kept."""
    discard_timeout: Annotated[Seconds, duration_between("1s", "1h")] = 120.0
    """Longest time for any upload."""
    memory_bytes: Annotated[Bytes, Field(ge=1024**2, le=1024**3)] = 8 * 1024**2
    """Memory for uploads that wait for the ledger, of all callers together."""
    hold: Annotated[Seconds, duration_between("100ms", "1m")] = 8.0
    """Longest wait of an upload for the ledger; then its caller is requested to repeat it later."""
    requests_per_second: Annotated[int, Field(strict=True, ge=1, le=10_000)] = 100
    """Requests of one terminal in a second, on average."""
    burst: Annotated[int, Field(strict=True, ge=1, le=100_000)] = 200
    """Requests of one terminal at once, above that average."""


class Receiver(_Section):
    """The port for terminals and apps that call this machine."""

    listen: Annotated[str, AfterValidator(_listen_here), Field(examples=["192.168.1.10:8088"])]
    """Address and port of this machine that terminals call: their "cloud server" or ADMS server."""
    strangers: Literal["hold", "refuse"] = "hold"
    """What terminals that are not configured get: hold (503: they keep their records and call again), refuse (401)."""
    cert_file: Path | None = None
    """The certificate for TLS (PEM), where the terminals can speak it."""
    key_file: Path | None = None
    """The private key of ``cert_file`` (PEM)."""
    limits: ReceiverLimits = ReceiverLimits()
    """What callers can take."""


class Clock(_Section):
    """Checking and setting the terminal's clock."""

    tolerance: Annotated[Seconds, duration_between("1s", "1d")] = 60.0
    """Offset of the clock from which punches are marked."""
    set: Literal["never", "nightly", "always"] = "never"
    """Whether the gateway sets the clock; nightly needs set-clock in commands.allow; always: terminals that call."""


class TerminalSettings(_Section):
    """Options of a terminal that the gateway itself uses; a subclass adds the options of the driver."""

    name: Annotated[Level, Field(examples=["lobby"])]
    """The terminal's name in the office; part of its topics."""
    driver: Annotated[str, AfterValidator(_driver), Field(examples=["zkteco"])]
    """The terminal's family."""
    serial: Annotated[str, AfterValidator(_serial)] | None = None
    """Serial number of the terminal; null: taken from the first visit. A device with another one is refused."""
    poll: Annotated[Seconds, duration_between("1s", "1d")] = 60.0
    """Interval between requests for new punches."""
    start: Start = "all"
    """From where in its log the first reading publishes punches."""
    live: bool = True
    """Keep the connection open and receive punches as they happen; false where other software reads it too."""
    timezone: Zone | None = None
    """The time zone of its clock; null: the gateway's."""
    clock: Clock = Clock()
    """Checking and setting the terminal's clock."""
    max_set: Annotated[Seconds, duration_between("1s", "1d")] = 600.0
    """Maximum offset by which the clock is set."""
    silence: Annotated[Seconds, duration_between("10m", "366d")] | None = 10800.0
    """Time without a punch, in hours that usually have some, after which an alarm is raised; null: never."""


class _AnyTerminal(TerminalSettings):
    """Used where the driver is missing or unknown, so that the other mistakes of the entry are found too."""

    model_config = ConfigDict(extra="ignore")


_TERMINALS = {
    name: cast(
        "type[TerminalSettings]",  # create_model's return type is the common base of both
        create_model(f"{name}_terminal", __base__=(TerminalSettings, driver.options), __doc__=f"A {name} terminal."),
    )
    for name, driver in DRIVERS.items()
}


def _not_empty(entries: object) -> object:
    if entries == []:
        raise ValueError("the list is empty; write at least one entry that begins with - name:")
    return entries


def _model_of(entry: object) -> type[TerminalSettings]:
    driver = entry.get("driver") if isinstance(entry, dict) else None
    return _TERMINALS.get(driver, _AnyTerminal) if isinstance(driver, str) else _AnyTerminal


def _terminal(entry: object, info: ValidationInfo) -> TerminalSettings:
    if isinstance(entry, TerminalSettings):
        return entry
    return _model_of(entry).model_validate(entry, context=info.context)


def _paths(value: object) -> Iterator[Path]:
    """Yield the paths in a value of any key."""
    if isinstance(value, Path):
        yield value
    elif isinstance(value, BaseModel):
        yield from _paths(tuple(inner for _, inner in value))
    elif isinstance(value, tuple):
        for inner in value:
            yield from _paths(inner)


class Settings(_Section):
    """Configuration of a Hadir gateway."""

    site: Annotated[Level, Field(examples=["3602-bkpsdm"])]
    """Code of the office; part of every topic."""
    gateway: Annotated[Level, Field(examples=["gw-01"])]
    """Name of this machine, unique in the office; part of every topic."""
    timezone: Zone
    """The office's time zone."""
    data_dir: Path = DEFAULT_DATA_DIR
    """Folder of the ledger, backups and captures."""
    mqtt: Mqtt
    """The connection to the broker."""
    delivery: Delivery = Delivery()
    """How waiting events are sent, and what confirms their delivery."""
    retention: Retention = Retention()
    """How long delivered events are kept on this machine."""
    commands: Commands = Commands()
    """Commands that the centre may send."""
    web: Web | None = Web()
    """The status page; null: none."""
    receiver: Receiver | None = None
    """The port for terminals and apps that call this machine; null: no port is opened."""
    terminals: Annotated[
        tuple[Annotated[TerminalSettings, PlainValidator(_terminal)], ...],
        BeforeValidator(_not_empty),  # min_length would not count the entries that have mistakes
        Field(json_schema_extra={"minItems": 1}),
    ]
    """The terminals to read."""

    _problems: tuple["Problem", ...] = PrivateAttr(())
    _digest: str = PrivateAttr("")

    @property
    def problems(self) -> tuple["Problem", ...]:
        """Values that must be changed although this version accepts them, and values that are probably mistakes."""
        return self._problems

    def with_changes_of(self, other: "Settings") -> "Settings":
        """Return a copy that has the terminals and the receiver of ``other``, and its problems."""
        copy = self.model_copy(update={"terminals": other.terminals, "receiver": other.receiver})
        copy._problems = other.problems  # noqa: SLF001 - ours
        same = all(getattr(copy, key) == getattr(other, key) for key in type(self).model_fields)
        copy._digest = other.digest if same else ""  # noqa: SLF001 - ours
        return copy

    @property
    def digest(self) -> str:
        """The :func:`gateway.office.digest_of` the file with all these values; empty where no single file has them."""
        return self._digest

    @property
    def office(self) -> Office:
        """What `hadir status` shows of it."""
        tolerances = {terminal.name: terminal.clock.tolerance for terminal in self.terminals}
        return Office(self.site, self.gateway, self.timezone, self.data_dir, self.mqtt.url, tolerances)

    @property
    def files(self) -> tuple[Path, ...]:
        """All files and folders that values name, other than ``data_dir``."""
        return tuple(path for key, value in self if key != "data_dir" for path in _paths(value))

    @property
    def has_own_drivers_only(self) -> bool:
        """Whether the driver of each terminal is of this package."""
        return all(terminal.driver in OWN for terminal in self.terminals)

    @field_validator("data_dir")
    @classmethod
    def _data_dir_is_absolute(cls, value: Path, info: ValidationInfo) -> Path:
        if value.parts[:1] == ("~",) or "$" in str(value):
            refuse_newly(info, "~ and $ are not replaced here; write the whole path, such as /var/lib/hadir")
        if value == Path():
            refuse_newly(info, "the path is empty; write one, such as /var/lib/hadir, or remove the line")
        place = Path(os.path.abspath(_folder(info) / value))  # noqa: PTH100 - see _find_file
        try:
            if not stat.S_ISDIR(place.stat().st_mode):
                raise ValueError("not a folder; write the folder that the ledger is to be in")
        except OSError as error:
            if error.errno in (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR):
                raise ValueError(f"no folder can be there ({error.strerror}); write another one") from None
        return place

    @property
    def client_id(self) -> str:
        """The MQTT client id."""
        return f"hadir-{self.site}-{self.gateway}"

    @property
    def source(self) -> str:
        """The ``source`` of this gateway's events, which its ledger bears too."""
        return f"/hadir/{self.site}/{self.gateway}"

    @property
    def backups(self) -> Path:
        """Folder of the copies of the ledger."""
        return self.data_dir / "backups"

    @property
    def topic_prefix(self) -> str:
        """The beginning of every topic of this gateway, without a slash at the end."""
        return f"{self.mqtt.root}/v1/{self.site}/{self.gateway}"

    def zone(self, terminal: TerminalSettings) -> ZoneInfo:
        """Return the zone of a terminal's clock."""
        return ZoneInfo(terminal.timezone or self.timezone)


class _DocumentedSchema(GenerateJsonSchema):
    """Takes the descriptions of fields from their docstrings."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """Return the schema of one model."""
        found = super().model_schema(schema)
        model = schema["cls"]
        for name, text in field_docs(model).items():
            field = found.get("properties", {}).get(model.model_fields[name].alias or name)
            if field is not None:
                field.setdefault("description", text)
        return found


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the configuration file, for editors that complete and check it."""
    models: list[type[BaseModel]] = [Settings, *_TERMINALS.values()]
    requests: list[tuple[type[BaseModel], Literal["validation", "serialization"]]] = [
        (model, "validation") for model in models
    ]
    refs, schema = models_json_schema(requests, schema_generator=_DocumentedSchema)
    terminals = []
    for driver, model in _TERMINALS.items():
        ref = refs[model, "validation"]
        schema["$defs"][ref["$ref"].rpartition("/")[2]]["properties"]["driver"]["const"] = driver
        terminals.append(ref)
    for definition in schema["$defs"].values():
        for field in definition.get("properties", {}).values():
            if isinstance(field.get("default"), float):
                field["default"] = f"{field['default']:g}s"  # a duration: seconds in the code, text in the file
    settings = schema["$defs"].pop("Settings")
    schema["$defs"].pop(TerminalSettings.__name__, None)  # only its children are entries
    settings["properties"]["terminals"]["items"] = {"oneOf": terminals}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **settings,
        "title": "Hadir gateway configuration",
        "$defs": schema["$defs"],
    }


# ---------------------------------------------------------------- from the file, or one line per mistake


def load(path: Path, *, strict: bool = False) -> Settings:
    """Read the configuration; raises :class:`SettingsError` with every mistake found in it.

    ``strict``: values that earlier versions accepted and this one refuses are mistakes too, as for `hadir check`.
    Otherwise they keep their earlier meaning, for a gateway that has been running with them, and are listed in
    ``Settings.problems``.
    """
    text, root, data, problems = read(path)
    problems += [
        Problem(*position(root, where), dotted(where), message, severity)
        for where, message, severity in _across(data, path.absolute().parent)
    ]
    settings, found = _validated(path, root, data, strict=True)
    problems += found
    blocking: tuple[Severity, ...] = ("mistake", "newly_refused") if strict else ("mistake",)
    if settings is None and not any(problem.severity in blocking for problem in problems):
        settings, found = _validated(path, root, data, strict=False)
        problems += found
    if settings is None or any(problem.severity in blocking for problem in problems):
        blamed = [problem for problem in problems if problem.severity in blocking]
        raise SettingsError(path, blamed) from None  # a value in the chain of causes may be a secret
    problems += [
        Problem(*position(root, where), dotted(where), message, severity)
        for where, message, severity in _worth_a_warning(settings)
    ]
    settings._problems = tuple(sorted(set(problems)))  # noqa: SLF001 - ours
    settings._digest = digest_of(text)  # noqa: SLF001 - ours
    return settings


def _validated(path: Path, root: Node, data: dict[Any, Any], *, strict: bool) -> tuple[Settings | None, list[Problem]]:
    """Return the settings that the values make, or the mistakes in them."""
    try:
        return Settings.model_validate(data, context={"folder": path.absolute().parent, STRICT: strict}), []
    except ValidationError as error:
        return None, [
            Problem(
                *position(root, e["loc"], at_key=e["type"] in ("extra_forbidden", "invalid_key")),
                dotted(e["loc"]),
                _explain(data, e),
                "newly_refused" if e["type"] == NEWLY_REFUSED else "mistake",
            )
            for e in error.errors(include_url=False)
        ]


def _across(data: Mapping[Any, Any], folder: Path) -> Iterator[tuple[Location, str, Severity]]:
    """Yield mistakes that concern several keys. Works on the raw values, so that they are found beside all others."""
    found = [*_across_sections(data), *_across_terminals(data)]
    yield from ((where, message, "mistake") for where, message in found)
    known = {where for where, _ in found}
    yield from (
        (where, message, "newly_refused") for where, message in _places_taken_twice(data, folder) if where not in known
    )


def _across_sections(data: Mapping[Any, Any]) -> Iterator[tuple[Location, str]]:
    mqtt = data.get("mqtt")
    if isinstance(mqtt, dict):
        files = [key for key in ("ca_file", "cert_file", "key_file") if mqtt.get(key) is not None]
        if str(mqtt.get("url")).startswith("mqtt://"):
            for key in files:
                yield ("mqtt", key), "of no use without TLS; write mqtts:// in mqtt.url, or remove it"
        for key, other in (("cert_file", "key_file"), ("key_file", "cert_file")):
            if key in files and other not in files:
                yield ("mqtt", key), f"of no use alone; add {other}"
        if mqtt.get("password_file") is not None and mqtt.get("username") is None:
            yield ("mqtt", "password_file"), "of no use alone; add username"
    yield from _across_receiver(data)
    web = data.get("web")
    if isinstance(web, dict) and web.get("token_file") is None:
        with suppress(ValueError):  # an invalid address is reported elsewhere
            listen = str(web.get("listen", Web().listen))
            if _listening_host(listen) and not _is_of_this_machine_only(listen):
                yield (
                    ("web", "listen"),
                    "an address that other machines can reach; add token_file, or write 127.0.0.1:8081",
                )


_RECEIVER_MISSING = (
    "terminals of this family call this machine, which opens no port; add receiver: and below it listen: with an "
    "address of this machine, such as 192.168.1.10:8088"
)


def _across_receiver(data: Mapping[Any, Any]) -> Iterator[tuple[Location, str]]:
    """Yield mistakes in the section ``receiver``, and what needs one that is missing."""
    receiver, terminals = data.get("receiver"), data.get("terminals")
    if receiver is None:
        for index, entry in enumerate(terminals if isinstance(terminals, list) else ()):
            if issubclass(_model_of(entry), CallerOptions):
                yield ("terminals", index, "driver"), _RECEIVER_MISSING
                return
    if not isinstance(receiver, dict):
        return
    for key, other in (("cert_file", "key_file"), ("key_file", "cert_file")):
        if receiver.get(key) is not None and receiver.get(other) is None:
            yield ("receiver", key), f"of no use alone; add {other}"
    web = data.get("web", {})
    if isinstance(web, dict) and isinstance(receiver.get("listen"), str):
        with suppress(ValueError):
            ours, page = host_and_port(receiver["listen"]), host_and_port(str(web.get("listen", Web().listen)))
            if ours[1] == page[1] and (ours[0] == page[0] or {ours[0], page[0]} & {"0.0.0.0", "::"}):  # noqa: S104 - compared
                yield ("receiver", "listen"), "the port of the status page, web.listen; write another one, such as 8088"


def _across_terminals(data: Mapping[Any, Any]) -> Iterator[tuple[Location, str]]:
    terminals = data.get("terminals")
    commands = data.get("commands")
    allowed = commands.get("allow") if isinstance(commands, dict) else ()
    may_set = isinstance(allowed, list) and "set-clock" in allowed
    used: dict[tuple[str, str], int] = {}
    for index, entry in enumerate(terminals if isinstance(terminals, list) else ()):
        if not isinstance(entry, dict):
            continue
        # A folder of exports may hold those of several terminals.
        model = _model_of(entry)
        own_path = ("path",) if issubclass(model, CallerOptions) and "path" in model.model_fields else ()
        for key in ("name", "serial", "address", *own_path):
            value = entry.get(key, entry.get("name") if key in own_path else None)  # an app's path is its name
            if isinstance(value, str):
                mine = value.strip().lower().removesuffix(":4370") if key == "address" else value
                # A terminal that can be reached in several ways has one entry for each driver.
                shared = f"{entry.get('driver')} {mine}" if key in ("serial", "address") else mine
                other_index = used.setdefault((key, shared), index)
                if other_index != index:
                    each = "every terminal has its own, and one entry for each driver" if key == "serial" else ""
                    message = f"the same as terminals[{other_index}].{key}; {each or 'every terminal has its own'}"
                    yield ("terminals", index, key), message
        port = entry.get("port")
        if isinstance(port, str):
            # Several terminals may share one line, each with its own number.
            other_index = used.setdefault(("port", f"{port.strip()} {entry.get('device_id', 1)}"), index)
            if other_index != index:
                message = f"the same as terminals[{other_index}].port, with the same device_id"
                yield ("terminals", index, "port"), f"{message}; every terminal on a line has its own number"
        clock = entry.get("clock")
        wanted = clock.get("set") if isinstance(clock, dict) else None
        model = _model_of(entry)
        calls = issubclass(model, CallerOptions)
        found = None
        if issubclass(model, CallerOptions) and not model.takes_time and wanted in ("nightly", "always"):
            found = "an app takes its time from elsewhere; write never"
        elif wanted == "nightly" and calls:
            found = "a terminal that calls sets its clock itself; write always or never"
        elif wanted == "nightly" and not may_set:
            found = "not allowed; add set-clock to commands.allow, or write never"
        elif wanted == "always" and not calls:
            found = "only terminals that call take the time from each answer; write nightly or never"
        if found is not None:
            yield ("terminals", index, "clock", "set"), found


def _places_taken_twice(data: Mapping[Any, Any], folder: Path) -> Iterator[tuple[Location, str]]:
    """Yield terminals at one place, however it is spelled, and ports that two drivers would use."""
    terminals = data.get("terminals")
    used: dict[str, int] = {}
    for index, entry in enumerate(terminals if isinstance(terminals, list) else ()):
        try:
            terminal = _model_of(entry).model_validate(entry, context={"folder": folder})
        except ValidationError:
            continue  # its own mistakes come first
        place = terminal.place() if isinstance(terminal, DriverOptions) else None
        if place is None:
            continue
        key = next((key for key in ("address", "port") if key in entry), "name")
        other = used.setdefault(place, index)
        if other != index:
            yield ("terminals", index, key), f"the same place as that of terminals[{other}]; every terminal has its own"
            continue
        line = place.partition("#")[0]
        other = used.setdefault(f"line {line}", index)
        if key == "port" and terminals[other].get("driver") != terminal.driver:
            yield (
                ("terminals", index, key),
                f"the port of terminals[{other}], which is of another family; one program uses a port",
            )


def _worth_a_warning(settings: Settings) -> Iterator[tuple[Location, str, Severity]]:
    yield from ((where, message, "weakening") for where, message in _weakenings(settings))
    yield from ((where, message, "doubt") for where, message in _doubts(settings))


def _weakenings(settings: Settings) -> Iterator[tuple[Location, str]]:
    """Yield settings that make the gateway less safe."""
    if settings.mqtt.tls and settings.mqtt.strict_certificates is False:
        yield (
            ("mqtt", "strict_certificates"),
            "incomplete certificates are accepted; make complete ones (docs/broker.md), then write true",
        )


def _doubts(settings: Settings) -> Iterator[tuple[Location, str]]:
    """Yield settings that are valid and probably not intended."""
    ours = settings.mqtt
    local = _is_of_this_machine_only(f"{ours.host}:{ours.port}")
    if not ours.tls and ours.port == 8883:
        yield (
            ("mqtt", "url"),
            "8883 is the port for TLS, and mqtt:// speaks without it; write mqtts:// if the broker has TLS",
        )
    if ours.tls and ours.port == 1883:
        yield (
            ("mqtt", "url"),
            "1883 is the port without TLS, and mqtts:// speaks TLS; write port 8883 if that is the broker's",
        )
    if not ours.tls and ours.password_file is not None and not local:
        yield (
            ("mqtt", "url"),
            "the password and all punches cross the network unencrypted; write mqtts:// if the broker has TLS",
        )
    if settings.delivery.batch_bytes > CENTRE_BYTES:
        yield ("delivery", "batch_bytes"), "the centre reads 4 MiB at most, so this means 4 MiB; write 4MiB or less"
    if ours.ca_file is not None:
        yield from ((("mqtt", "ca_file"), doubt) for doubt in _certificate_doubts(ours.ca_file))
    if settings.receiver is not None and host_and_port(settings.receiver.listen)[1] < 1024:
        yield ("receiver", "listen"), "ports below 1024 need rights that the service does not have; write 8088"
    size = _disk_size(settings.data_dir)
    if size is not None and settings.retention.free_floor >= size:
        yield ("retention", "free_floor"), "more than the whole disk holds: nothing would be read; write less"
    zones: list[tuple[Location, str]] = [(("timezone",), settings.timezone)]
    for index, terminal in enumerate(settings.terminals):
        if terminal.timezone is not None:
            zones.append((("terminals", index, "timezone"), terminal.timezone))
        if isinstance(terminal.start, date) and terminal.start > datetime.now(UTC).date() + timedelta(days=1):
            yield ("terminals", index, "start"), "a day in the future: until then nothing is published"
        if terminal.start != "all" and not DRIVERS[terminal.driver].has_log:
            yield (
                ("terminals", index, "start"),
                f"driver {terminal.driver} has no log with places to start at: every punch is published; remove it",
            )
        if terminal.max_set < terminal.clock.tolerance and terminal.clock.set == "nightly":
            yield ("terminals", index, "max_set"), "less than clock.tolerance: the clock is never set"
    for where, zone in zones:
        offset = datetime.now(ZoneInfo(zone)).utcoffset()
        if offset is not None and not timedelta(hours=7) <= offset <= timedelta(hours=9):
            yield where, f"a zone outside of Indonesia: 07:30 at a terminal is {morning(zone)}"


def _disk_size(folder: Path) -> int | None:
    """Return the size of the disk that a folder is on, or would be on; None where that cannot be found out."""
    for place in (folder, *folder.parents):
        with suppress(OSError):
            return shutil.disk_usage(place).total
    return None


def _certificate_doubts(path: Path) -> Iterator[str]:
    """Yield which certificates of authorities are not valid at the time of this machine's clock."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with suppress(OSError, ValueError):
        context.load_verify_locations(path)
    now = datetime.now(UTC).timestamp()
    for certificate in context.get_ca_certs():
        before, after = (ssl.cert_time_to_seconds(str(certificate[key])) for key in ("notBefore", "notAfter"))
        if now < before:
            yield f"a certificate in it is valid from {certificate['notBefore']} only; is this machine's clock right?"
        if now > after:
            yield f"a certificate in it was valid until {certificate['notAfter']}; ask for the new one"


def morning(zone: str) -> str:
    """Return what 07:30 of today by a clock in a zone is in UTC, such as ``00:30 UTC``."""
    local = datetime.now(ZoneInfo(zone)).replace(hour=7, minute=30)
    moment = local.astimezone(UTC)
    day = {-1: " of the day before", 0: "", 1: " of the next day"}[(moment.date() - local.date()).days]
    return f"{moment:%H:%M} UTC{day}"


_EXPLAINED = {  # pydantic's error type → our message
    "bool_parsing": "neither true nor false; write true or false",
    "bool_type": "neither true nor false; write true or false",
    "float_type": "not a duration; write a number and a unit, such as 10s, 5m or 1h",
    "greater_than": "too small; write more than {gt}",
    "greater_than_equal": "too small; write {ge} or more",
    "int_type": "not a whole number; write digits only",
    "invalid_key": "a key that is not text; write a name that `hadir schema` has",
    "less_than_equal": "too large; write {le} or less",
    "literal_error": "not one of the choices; write {expected}",
    "model_type": "has no keys; write its keys below it, indented, or remove it",
    "path_type": "not the name of a file; put the value in a file of its own and write that file's name here",
    "tuple_type": "not a list; write [a, b], or each entry on a line of its own after a dash",
}


def _explain(data: Mapping[Any, Any], error: Mapping[str, Any]) -> str:
    """Return what is wrong and what would be right."""
    kind, location, context = error["type"], error["loc"], error.get("ctx", {})
    if kind == "value_error":
        return " ".join(str(context["error"]).split())
    if kind == NEWLY_REFUSED:
        return str(context["reason"])
    if kind == "path_type" and not str(location[-1]).endswith("_file"):
        return "not the name of a folder; write its whole path, such as /var/lib/hadir"
    if kind == "string_type":
        number = isinstance(error["input"], int | float)
        return "a number where text is expected; put it in quotes" if number else "not text; write one value"
    if kind in _EXPLAINED:
        return _EXPLAINED[kind].format_map(context)
    fields = _model_at(data, location[:-1]).model_fields
    key = str(location[-1])
    if kind == "missing":
        examples = fields[key].examples
        return (
            f"is missing; add {key}: {examples[0]}" if examples else f"is missing; add {key}: and its entries below it"
        )
    if kind == "extra_forbidden":
        if _SECRET_WORD.search(key) and "file" not in key:
            files = [name for name in _SECRET_FILES if name in fields] or ["mqtt.password_file", "comm_key_file"]
            better = f"put it in a file of its own, and name that file with {' or '.join(files)}"
            return f"a secret does not belong in this file; {better}"
        names = [field.alias or name for name, field in fields.items()]
        close = get_close_matches(key.lower(), names, 1)
        return f"unknown key; did you mean {close[0]}?" if close else f"unknown key; write one of {', '.join(names)}"
    return f"not accepted; {error['msg'].replace('Input should be', 'write')}"


def _model_at(data: Mapping[Any, Any], location: Location) -> type[BaseModel]:
    model: type[BaseModel] = Settings
    for part in location:
        if isinstance(part, int):
            model = _model_of(data["terminals"][part])
        elif part != "terminals":
            annotation = model.model_fields[part].annotation
            kinds = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]
            model = next(kind for kind in kinds if issubclass(kind, BaseModel))
    return model
