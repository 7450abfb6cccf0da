"""Mails in the database: each is made once for its kind, account, unit and day, tried until it is sent, and kept."""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, NamedTuple

from sqlalchemy import BigInteger, Connection, UniqueConstraint, and_, func, select, update
from sqlmodel import Field

from central.store.engine import KEY, Row, insert_missing, table


class MailRow(Row, table=True):
    """A mail that waits, was sent, or was given up."""

    __tablename__: ClassVar[Any] = "mail"
    __table_args__: ClassVar[Any] = (UniqueConstraint("kind", "account", "subject_of", "day"),)
    id: int | None = Field(default=None, sa_type=KEY, primary_key=True)
    kind: str
    """``digest`` or ``alarm``."""
    account: str
    subject_of: str
    """The unit of a digest, the code of an alarm."""
    day: str
    address: str
    subject: str
    text: str
    made: str
    """UTC."""
    attempts: int = 0
    next_at: int = Field(default=0, sa_type=BigInteger)
    """The second of UTC before which it is not tried."""
    failure: str | None = None
    """Why the last attempt failed."""
    sent: str | None = None
    """UTC; null while it waits."""
    refused: str | None = None
    """Why it is given up; null while it waits."""


MAIL = table(MailRow)
_WAITS = and_(MAIL.c.sent.is_(None), MAIL.c.refused.is_(None))


class New(NamedTuple):
    """A mail to be sent."""

    kind: str
    account: str
    subject_of: str
    day: str
    address: str
    subject: str
    text: str


class Waiting(NamedTuple):
    """A mail that is being tried; no other process tries it until ``next_at``."""

    id: int
    address: str
    subject: str
    text: str
    made: str
    attempts: int
    """With this one."""


class Counts(NamedTuple):
    """How many mails there are."""

    waiting: int
    failing: int
    """Of those that wait, the ones that were tried before."""
    refused: int
    sent: int
    last_sent: str | None
    last_failure: str | None


def add(connection: Connection, mails: Iterable[New], made: str) -> int:
    """Store mails that do not exist yet by kind, account, unit and day; return how many."""
    added = 0
    for mail in mails:
        values = {**mail._asdict(), "made": made, "attempts": 0, "next_at": 0}
        # A server returns the new key, for which SQLAlchemy would forget the number of rows.
        inserted = connection.execute(insert_missing(MAIL), values, execution_options={"preserve_rowcount": True})
        added += inserted.rowcount
    return added


def readdress(connection: Connection, address_of: Callable[[str, str, str], str | None], why: str) -> None:
    """Give the mails that wait their present addresses; those without one any more are given up.

    ``address_of`` takes kind, account, and unit or code. When a mail is tried next stays as it is.
    """
    columns = MAIL.c.id, MAIL.c.kind, MAIL.c.account, MAIL.c.subject_of, MAIL.c.address
    for number, kind, account, subject_of, address in connection.execute(select(*columns).where(_WAITS)).all():
        present = address_of(kind, account, subject_of)
        if present is None:
            refuse(connection, number, why)
        elif present != address:
            connection.execute(update(MAIL).where(MAIL.c.id == number).values(address=present, attempts=0))


def claim(connection: Connection, now: int, until: int) -> Waiting | None:
    """Take the mail that has waited longest and may be tried now; until ``until`` no other process takes it."""
    due = select(MAIL.c.id).where(_WAITS, MAIL.c.next_at <= now).order_by(MAIL.c.next_at, MAIL.c.id).limit(1)
    number = connection.execute(due).scalar()
    if number is None:
        return None
    taken = update(MAIL).where(MAIL.c.id == number).values(next_at=until, attempts=MAIL.c.attempts + 1)
    connection.execute(taken)
    columns = [MAIL.c[name] for name in Waiting._fields]
    return Waiting(*connection.execute(select(*columns).where(MAIL.c.id == number)).one())


def mark_sent(connection: Connection, number: int, sent: str) -> None:
    """Note that the server has taken a mail."""
    connection.execute(update(MAIL).where(MAIL.c.id == number).values(sent=sent, failure=None))


def mark_failed(connection: Connection, number: int, failure: str, next_at: int) -> None:
    """Note why a mail was not taken, and when it is tried again."""
    connection.execute(update(MAIL).where(MAIL.c.id == number).values(failure=failure, next_at=next_at))


def refuse(connection: Connection, number: int, why: str) -> None:
    """Give a mail up."""
    connection.execute(update(MAIL).where(MAIL.c.id == number).values(failure=why, refused=why))


def retry(connection: Connection) -> int:
    """Let the mails that were given up, and those that wait, be tried at once; return how many."""
    waiting = update(MAIL).where(MAIL.c.sent.is_(None)).values(refused=None, next_at=0, attempts=0)
    return connection.execute(waiting).rowcount


def counts(connection: Connection) -> Counts:
    """Return how many mails wait, fail, were given up and were sent."""

    def number(*conditions: Any) -> int:
        return int(connection.execute(select(func.count()).select_from(MAIL).where(*conditions)).scalar_one())

    failed = select(MAIL.c.failure).where(MAIL.c.failure.is_not(None)).order_by(MAIL.c.id.desc()).limit(1)
    return Counts(
        number(_WAITS),
        number(_WAITS, MAIL.c.attempts > 0),
        number(MAIL.c.refused.is_not(None)),
        number(MAIL.c.sent.is_not(None)),
        connection.execute(select(func.max(MAIL.c.sent))).scalar_one(),
        connection.execute(failed).scalar_one_or_none(),
    )
