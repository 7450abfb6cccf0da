"""Sessions of the centre's pages in the database; several servers share them, and a restart keeps them."""

from typing import Any, ClassVar, NamedTuple

from sqlalchemy import Connection, Index, delete, func, insert, or_, select, update
from sqlmodel import Field

from central.store.engine import Row, table


class SessionRow(Row, table=True):
    """A browser that is logged in. The database does not hold what its cookie holds, only the digest of it."""

    __tablename__: ClassVar[Any] = "web_session"
    __table_args__: ClassVar[Any] = (Index("session_account", "account"),)
    token: str = Field(primary_key=True)
    """SHA-256 of the cookie's value."""
    account: str
    proof: str
    """SHA-256 of the account's line in the file: another password, role or unit ends the session."""
    begun: str
    """UTC."""
    seen: str
    """The last request, to some minutes."""


SESSION = table(SessionRow)


class Kept(NamedTuple):
    """A session as it is stored."""

    token: str
    account: str
    proof: str
    begun: str
    seen: str


def find(connection: Connection, token: str) -> Kept | None:
    """Return the session of a token's digest."""
    row = connection.execute(select(SESSION).where(SESSION.c.token == token)).first()
    return None if row is None else Kept(*row)


def begin(connection: Connection, session: Kept, *, ended: str | None, expired: tuple[str, str], most: int) -> None:
    """Store a new session instead of ``ended``; drop those begun or seen too long ago, and the account's oldest.

    ``expired``: sessions begun before the first moment, or last seen before the second. ``most``: of one account.
    """
    begun, seen = expired
    connection.execute(delete(SESSION).where(or_(SESSION.c.begun < begun, SESSION.c.seen < seen)))
    if ended is not None:
        end(connection, ended)
    newest = select(SESSION.c.token).where(SESSION.c.account == session.account)
    newest = newest.order_by(SESSION.c.begun.desc(), SESSION.c.token).limit(most - 1)
    connection.execute(delete(SESSION).where(SESSION.c.account == session.account, SESSION.c.token.not_in(newest)))
    connection.execute(insert(SESSION), session._asdict())


def touch(connection: Connection, token: str, seen: str) -> None:
    """Note the last request of a session that still exists; time does not run backwards."""
    connection.execute(update(SESSION).where(SESSION.c.token == token, SESSION.c.seen < seen).values(seen=seen))


def end(connection: Connection, token: str) -> None:
    """Forget a session."""
    connection.execute(delete(SESSION).where(SESSION.c.token == token))


def count(connection: Connection, account: str) -> int:
    """Return how many sessions an account has."""
    return int(connection.execute(select(func.count()).where(SESSION.c.account == account)).scalar_one())
