"""For how long an office keeps what, in YAML: a number of days for each kind, and the source of the figure.

No law or decree that we know gives a figure for attendance data: it is the office's archive schedule (*jadwal retensi
arsip*). So the shipped defaults keep everything, but for what the program itself has no use for any more.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.types import StringConstraints

from central.mistakes import MistakeError, first_of, wrong
from central.policy.document import DocumentError, parse, read_text

Kind = Literal["events", "results", "rejected", "access", "requests", "mails", "sessions"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""What is kept, in the order in which it is deleted."""
LEAST_DAYS: Mapping[Kind, int] = {"events": 120, "results": 366, "mails": 7}
"""Events: the month that is being closed, the one before, and what neighbours of the days that are judged rest on."""
Line = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]*$")]


class RetentionError(MistakeError):
    """The settings cannot be used; the message says where and why."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Keep(_Part):
    """For how long one kind is kept."""

    keep_days: Annotated[int, Field(ge=1, le=36_525, strict=True)] | None = None
    """None: for ever."""
    source: Line | None = None
    """Which decree, schedule or proposal gives the figure."""

    @model_validator(mode="after")
    def _has_source(self) -> Self:
        if self.keep_days is not None and self.source is None:
            raise wrong("source")
        return self


class Settings(_Part):
    """For how long each kind is kept."""

    events: Keep = Keep()
    results: Keep = Keep()
    rejected: Keep = Keep()
    access: Keep = Keep()
    requests: Keep = Keep()
    mails: Keep = Keep(keep_days=90, source="proposal: a mail holds counts only")
    sessions: Keep = Keep(keep_days=1, source="the program: a session ends after 12 hours")

    @model_validator(mode="after")
    def _long_enough(self) -> Self:
        for kind, least in LEAST_DAYS.items():
            days = self.of(kind).keep_days
            if days is not None and days < least:
                raise wrong("least", kind=kind, least=least)
        return self

    def of(self, kind: Kind) -> Keep:
        """Return for how long a kind is kept."""
        found: Keep = getattr(self, kind)
        return found


class _File(_Part):
    retention: Settings = Settings()


def load_settings(path: Path | None) -> Settings:
    """Read settings; None: the defaults. Raises RetentionError."""
    if path is None:
        return Settings()
    try:
        document = parse(read_text(path), str(path))
    except DocumentError as error:
        raise RetentionError(error.message, str(error.place)) from None
    try:
        return _File.model_validate(document.plain()).retention
    except ValidationError as error:
        text, place, values = first_of(document, error)
        raise RetentionError(text, place, **values) from None
