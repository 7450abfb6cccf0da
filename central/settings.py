"""The centre's settings: one YAML file that the commands of a machine share, ``config/centre.example.yaml``.

An option on the command line goes before the file. Files and folders that the file names are looked for beside it; a
file among systemd's credentials goes first, because the file itself may be readable by root only.
"""

import ipaddress
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Self
from urllib.parse import quote, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.types import StringConstraints

from central.lanes.assignment import MAX_LANES
from central.mistakes import NO_KEYS, NOT_THERE, MistakeError, all_of, wrong
from central.policy.document import DocumentError, Node, parse, read_text
from central.texts import Language

DEFAULT = Path("/etc/hadir-central/centre.yaml")
VARIABLE = "HADIR_CENTRE_CONFIG"
"""The environment variable that names another file."""
BROKER_URL = re.compile(r"(mqtts?)://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?/?")
ROOT = re.compile(r"[a-z0-9-]+(/[a-z0-9-]+)*")


class SettingsError(Exception):
    """The file cannot be used; each mistake is named by file, line and column, in either language."""

    def __init__(self, mistakes: Sequence[MistakeError]) -> None:
        self._mistakes = mistakes
        super().__init__("\n".join(self.lines))

    @property
    def lines(self) -> list[str]:
        """Return a line for each mistake, in English."""
        return self.into(Language.ENGLISH)

    def into(self, language: Language) -> list[str]:
        """Return a line for each mistake, in a language."""
        return [one.into(language) for one in self._mistakes]


def check_url(text: str) -> str:
    """Return a broker's address; ValueError says what is right."""
    match = BROKER_URL.fullmatch(text)
    if match is None or not 0 < int(match[3] or 1) < 65536:
        raise wrong("broker_url")
    return text


def check_database(text: str) -> str:
    """Return the URL of a PostgreSQL database; ValueError says what is right."""
    try:
        parts = urlsplit(text)
        password, database = parts.password, parts.path.strip("/")
    except ValueError:
        parts, password, database = urlsplit(""), None, ""
    if parts.scheme not in ("postgresql", "postgres") or not database:
        raise wrong("database_url")
    if password or "password=" in parts.query:
        raise wrong("database_password")
    return text


def check_root(text: str) -> str:
    """Return the first levels of the topics; ValueError says what is right."""
    if not ROOT.fullmatch(text):
        raise wrong("root")
    return text


def address_of(text: str) -> tuple[str, int]:
    """Return the address and the port that pages are served at; ValueError says what is right."""
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname or "", parts.port
        ipaddress.ip_address(host)
    except ValueError:
        host, port = "", None
    if not host or port is None:
        raise wrong("listen")
    return host, port


def check_loopback(text: str) -> str:
    """Return an address and a port that only this computer reaches; ValueError says what is right."""
    host, _port = address_of(text)
    if not ipaddress.ip_address(host).is_loopback:
        raise wrong("loopback")
    return text


def check_public(text: str) -> str:
    """Return the address of a reverse proxy, without a slash at its end; ValueError says what is right."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise wrong("public_url")
    return f"{parts.scheme}://{parts.netloc.lower()}"


def check_standby(text: str) -> str:
    """Return the URL of a standby; ValueError says what is right."""
    if not text.startswith(("postgresql://", "postgres://")):
        raise wrong("standby")
    return text


def _listening(text: str) -> str:
    address_of(text)
    return text


Line = Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f]*$")]
_File = Annotated[Path, Field(strict=False)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class BrokerSettings(_Part):
    """The broker that gateways publish to."""

    url: Annotated[Line, AfterValidator(check_url)]
    username: Line | None = None
    password_file: _File | None = None
    ca_file: _File | None = None
    cert_file: _File | None = None
    key_file: _File | None = None
    root: Annotated[Line, AfterValidator(check_root)] = "hadir"
    client_id: Line = "hadir-central"

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if self.url.startswith("mqtt:") and (self.ca_file or self.cert_file or self.key_file):
            raise wrong("no_tls")
        if (self.cert_file is None) != (self.key_file is None):
            raise wrong("certificate")
        if self.password_file is not None and self.username is None:
            raise wrong("username")
        return self


class InboxSettings(_Part):
    """The receiver, where the database is PostgreSQL's."""

    lanes: Annotated[int, Field(ge=1, le=MAX_LANES)] | None = None
    """None: one inbox receives everything."""
    synchronous: bool = False
    """Receipts leave only for what a synchronous standby has."""


class PostgresqlSettings(_Part):
    """The database on a server, in place of the file."""

    url: Annotated[Line, AfterValidator(check_database)] | None = None
    password_file: _File | None = None

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if self.password_file is not None and self.url is None:
            raise wrong("url")
        return self

    @property
    def address(self) -> str | None:
        """Return the URL as ``--db`` takes it; the password stays in its file."""
        if self.url is None or self.password_file is None:
            return self.url
        return f"{self.url}{'&' if '?' in self.url else '?'}password_file={quote(str(self.password_file))}"


class PagesSettings(_Part):
    """The pages that ``hadir-central serve`` shows."""

    listen: Annotated[Line, AfterValidator(_listening)] = "127.0.0.1:8090"
    cert_file: _File | None = None
    key_file: _File | None = None
    public_url: Annotated[Line, AfterValidator(check_public)] | None = None
    proxies: Annotated[list[Line], Field(max_length=20)] = []
    own_days: bool = False
    read_from: Annotated[Line, AfterValidator(check_standby)] | None = None
    """The URL of a standby of the database; None: pages read the database itself."""

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            raise wrong("certificate")
        host, _port = address_of(self.listen)
        if self.cert_file is None and self.public_url is None and not ipaddress.ip_address(host).is_loopback:
            raise wrong("unencrypted")
        return self


class MetricsSettings(_Part):
    """Figures about the centre for Prometheus, which ``hadir-central serve`` answers."""

    listen: Annotated[Line, AfterValidator(check_loopback)] | None = None


class BackupSettings(_Part):
    """Copies of the database."""

    folder: _File | None = None
    """None: ``backups`` in the data folder."""
    keep: Annotated[int, Field(ge=1, le=1000)] = 14
    """How many complete copies there are to be in the folder; older ones are removed after a new one."""


class Settings(_Part):
    """What a machine's commands share."""

    data: _File = Path("/var/lib/hadir-central")
    broker: BrokerSettings
    postgresql: PostgresqlSettings = PostgresqlSettings()
    """Without a URL the database is a file in the data folder."""
    accounts: _File | None = None
    """None: ``accounts.yaml`` in the data folder."""
    policies: _File | None = None
    """The folder of the office's own policies."""
    sheets: _File | None = None
    """Settings of sheets, see :mod:`central.sheets.settings`."""
    mail: _File | None = None
    """How mails are sent, see :mod:`central.mail.settings`."""
    retention: _File | None = None
    """For how long what is kept, see :mod:`central.rights.settings`."""
    language: Annotated[Language, Field(strict=False)] = Language.ENGLISH
    inbox: InboxSettings = InboxSettings()
    pages: PagesSettings = PagesSettings()
    metrics: MetricsSettings = MetricsSettings()
    backup: BackupSettings = BackupSettings()

    paths: ClassVar[tuple[tuple[str, str], ...]] = (
        ("", "data"),
        ("", "accounts"),
        ("", "policies"),
        ("", "sheets"),
        ("", "mail"),
        ("", "retention"),
        *(("broker", name) for name in ("password_file", "ca_file", "cert_file", "key_file")),
        *(("pages", name) for name in ("cert_file", "key_file")),
        ("postgresql", "password_file"),
        ("backup", "folder"),
    )
    """Keys whose values are files or folders."""

    @property
    def database(self) -> Path | str:
        """Return the centre's database: a file, or the URL of one on a server."""
        return self.postgresql.address or self.data / "centre.db"

    @property
    def account_file(self) -> Path:
        """Return the file of accounts."""
        return self.accounts or self.data / "accounts.yaml"

    @property
    def tasks(self) -> Path:
        """Return the folder where it is noted how nightly tasks ended."""
        return self.data / "tasks"

    @property
    def backups(self) -> Path:
        """Return the folder of the copies."""
        return self.backup.folder or self.data / "backups"


def load_settings(path: Path, *, files: bool = False) -> Settings:
    """Read settings, with every path made absolute; raises SettingsError with all mistakes.

    ``files``: what they name has to be there, too, but for what commands make themselves.
    """
    try:
        document = parse(read_text(path), str(path))
    except DocumentError as error:
        raise SettingsError([MistakeError(error.message, str(error.place))]) from None
    if not isinstance(document.value, dict):
        raise SettingsError([MistakeError(NO_KEYS, str(document.place))])
    try:
        found = Settings.model_validate(document.plain())
    except ValidationError as error:
        raise SettingsError(all_of(document, error)) from None
    placed = _placed(found, path.absolute().parent)
    if files and (missing := list(_missing(document, placed))):
        raise SettingsError(missing)
    return placed


def _missing(document: Node, settings: Settings) -> Iterator[MistakeError]:
    for part, name in Settings.paths:
        value = getattr(getattr(settings, part) if part else settings, name)
        keys = tuple(filter(None, (part, name)))
        if keys not in _MADE and value is not None and not os.path.exists(value):  # noqa: PTH110 - never raises
            place = document.nearest(keys).place
            yield MistakeError(NOT_THERE, f"{place}: {'.'.join(keys)}", file=value)


_MADE = (("data",), ("accounts",), ("backup", "folder"))
"""Keys whose files and folders commands make."""


def _placed(settings: Settings, folder: Path) -> Settings:
    changed: dict[str, dict[str, Path]] = {}
    for part, name in Settings.paths:
        value = getattr(getattr(settings, part) if part else settings, name)
        if value is not None:
            changed.setdefault(part, {})[name] = place_file(value, folder)
    parts = {part: getattr(settings, part).model_copy(update=new) for part, new in changed.items() if part}
    return settings.model_copy(update=parts | changed[""])


def place_file(path: Path, folder: Path) -> Path:
    """Return where a file is: systemd names the credential ``secrets_NAME`` for the file ``secrets/NAME``."""
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    if credentials and not path.is_absolute():
        credential = Path(credentials, "_".join(path.parts))
        if credential.is_file():
            return credential
    return folder / path


EVERY: Mapping[str, Callable[[Settings], object]] = {
    "db": lambda settings: str(settings.database),
    "accounts": lambda settings: str(settings.account_file),
    "policies": lambda settings: _text(settings.policies),
    "settings": lambda settings: _text(settings.sheets),
    "mail_file": lambda settings: _text(settings.mail),
    "retention_file": lambda settings: _text(settings.retention),
    "lang": lambda settings: settings.language.value,
}
"""Options of all commands, by the names of their parameters, with their values from the settings."""
OF: Mapping[str, Mapping[str, Callable[[Settings], object]]] = {
    "inbox": {
        "broker": lambda settings: settings.broker.url,
        "username": lambda settings: settings.broker.username,
        "password_file": lambda settings: _text(settings.broker.password_file),
        "ca_file": lambda settings: _text(settings.broker.ca_file),
        "cert_file": lambda settings: _text(settings.broker.cert_file),
        "key_file": lambda settings: _text(settings.broker.key_file),
        "root": lambda settings: settings.broker.root,
        "client_id": lambda settings: settings.broker.client_id,
        "lanes": lambda settings: settings.inbox.lanes,
        "synchronous": lambda settings: settings.inbox.synchronous,
    },
    "backup": {
        "to": lambda settings: str(settings.backups),
        "keep": lambda settings: settings.backup.keep,
    },
    "serve": {
        "listen": lambda settings: settings.pages.listen,
        "cert_file": lambda settings: _text(settings.pages.cert_file),
        "key_file": lambda settings: _text(settings.pages.key_file),
        "public_url": lambda settings: settings.pages.public_url,
        "proxy": lambda settings: settings.pages.proxies or None,
        "own_days": lambda settings: settings.pages.own_days,
        "metrics": lambda settings: settings.metrics.listen,
        "tasks": lambda settings: str(settings.tasks),
        "read_from": lambda settings: settings.pages.read_from,
    },
    "status": {"tasks": lambda settings: str(settings.tasks)},
    "ended": {"tasks": lambda settings: str(settings.tasks)},
}
"""Options of one command."""


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
