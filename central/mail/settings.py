"""Where and how the centre sends mails, in YAML. Without `enabled: true` none is made and none is sent."""

import stat
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.types import StringConstraints

from central.mistakes import READABLE, MistakeError, first_of, wrong
from central.policy.document import DocumentError, parse, read_text
from central.secret import SecretError, read_secret
from central.settings import place_file
from central.web.accounts import MAIL

Line = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]*$")]
Host = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]{0,252}$")]


class MailSettingsError(MistakeError):
    """The settings cannot be used; the message says where and why."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Server(_Part):
    """The office's mail server. The connection is encrypted and the certificate verified, always."""

    host: Host
    port: Annotated[int, Field(ge=1, le=65535, strict=True)]
    security: Literal["starttls", "tls"]
    """``starttls``: usual at port 587; ``tls``: from the first byte, usual at port 465."""
    username: Line | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    """Trusted authorities, instead of the system's (PEM)."""

    @model_validator(mode="after")
    def _login(self) -> Self:
        if (self.username is None) != (self.password_file is None):
            raise wrong("login")
        return self


class Settings(_Part):
    """How mails are sent; without ``enabled`` none is."""

    enabled: bool = False
    server: Server | None = None
    sender: str | None = None
    pages: str | None = None
    """The address of the centre's pages, for the link."""
    digest_from: Annotated[str, StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")] = "08:00"
    """The time of day in the unit's zone from which the digest of the day before is made."""
    least_people: Annotated[int, Field(ge=2, le=100, strict=True)] = 5
    """Of fewer people no counts are sent: they would say what one of them did."""

    @field_validator("sender")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        if value is not None and not MAIL.fullmatch(value):
            raise wrong("address")
        return value

    @field_validator("pages")
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        plain = value.isascii() and value.isprintable() and " " not in value and not parts.query and not parts.fragment
        if parts.scheme not in ("http", "https") or not parts.hostname or not plain:
            raise wrong("pages")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        missing = [name for name in ("server", "sender", "pages") if getattr(self, name) is None]
        if self.enabled and missing:
            raise wrong("incomplete", missing=", ".join(missing))
        return self


class _File(_Part):
    mail: Settings


def load_settings(path: Path) -> Settings:
    """Read settings, and the file of the password; files are looked for beside them. Raises MailSettingsError."""
    try:
        document = parse(read_text(path), str(path))
    except DocumentError as error:
        raise MailSettingsError(error.message, str(error.place)) from None
    try:
        found = _File.model_validate(document.plain()).mail
    except ValidationError as error:
        text, place, values = first_of(document, error)
        raise MailSettingsError(text, place, **values) from None
    if found.server is None:
        return found
    names = ("password_file", "ca_file")
    files = {name: place_file(file, path.absolute().parent) for name in names if (file := getattr(found.server, name))}
    found = found.model_copy(update={"server": found.server.model_copy(update=files)})
    if found.server is not None:
        password_of(found.server)
    return found


def password_of(server: Server) -> str | None:
    """Return the password of the login, None where there is none; raises MailSettingsError."""
    file = server.password_file
    if file is None:
        return None
    try:
        if file.stat().st_mode & stat.S_IROTH:
            raise MailSettingsError(READABLE, file=file)
        return read_secret(file)
    except (OSError, SecretError) as error:
        raise MailSettingsError(getattr(error, "strerror", None) or str(error), str(file)) from None
