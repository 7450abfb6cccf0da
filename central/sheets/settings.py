"""What an office sets for its sheets, in YAML: who signs, codes of its kinds of leave, columns for other programs."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.types import StringConstraints

from central.mistakes import MistakeError, first_of
from central.policy.document import DocumentError, parse, read_text

Line = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]*$")]


class SettingsError(MistakeError):
    """The settings cannot be used; the message says where and why."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Signed(_Part):
    """Who signs."""

    title: Line
    name: Line
    nip: Line | None = None


class Output(_Part):
    """A column of a file for another program."""

    head: Line
    """As that program wants it."""
    value: Line
    """The name of a column of the sheet; ``=text`` is that text in every row."""


class Table(_Part):
    """A file for another program."""

    separator: Annotated[str, StringConstraints(pattern=r"^[,;\t|]$")] = ","
    decimal: Annotated[str, StringConstraints(pattern=r"^[.,]$")] = "."
    bom: bool = False
    """Begin with a byte order mark, as spreadsheets on Windows want it for UTF-8."""
    columns: Annotated[list[Output], Field(min_length=1, max_length=200)]


class Settings(_Part):
    """What an office sets; everything has a default."""

    place: Line | None = None
    """Before the date above the signatures."""
    signatories: Annotated[list[Signed], Field(max_length=4)] = []
    leave_codes: dict[Line, Annotated[str, StringConstraints(pattern=r"^[A-Z]{1,4}$")]] = {}
    """The code of a kind of leave, in place of the usual one or beside it."""
    csv: dict[Line, Table] = {}
    """The columns of CSV files, by the name of the sheet."""


def load_settings(path: Path | None) -> Settings:
    """Read settings; None: the defaults. Raises SettingsError."""
    if path is None:
        return Settings()
    try:
        document = parse(read_text(path), str(path))
    except DocumentError as error:
        raise SettingsError(error.message, str(error.place)) from None
    try:
        return Settings.model_validate(document.plain())
    except ValidationError as error:
        text, place, values = first_of(document, error)
        raise SettingsError(text, place, **values) from None
