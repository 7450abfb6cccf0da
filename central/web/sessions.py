"""Sessions: who is logged in, for how long, and the proof that a form is one of ours.

A session's token is in the browser's cookie only; the database has its digest. A login gives a new one and ends the one
before, a logout ends it: the old cookie is then refused. Other accounts' data, and a change of the own account, end it
too.
"""

import hmac
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from sqlalchemy import Connection

from central.store import sessions as stored
from central.store.engine import utc
from central.web.accounts import Account
from central.web.database import Change

LONGEST = timedelta(hours=12)
"""A session ends this long after its login."""
IDLE = timedelta(hours=2)
"""A session ends this long after its last request."""
TOUCH = timedelta(minutes=5)
"""How old the stored moment of the last request may become."""
AHEAD = timedelta(minutes=2)
"""A session that begins further in the future is refused: the clock was wrong."""
MOST = 20
"""Sessions of one account; a further login ends the oldest."""
TOKEN_CHARACTERS = 43


def new_token() -> str:
    """Return a token that cannot be guessed."""
    return secrets.token_urlsafe(32)


def digest(token: str) -> str:
    """Return the digest of a token, under which its session is stored."""
    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def form_token(token: str) -> str:
    """Return what forms of a session carry; it cannot be computed without the cookie, nor the cookie from it."""
    return hmac.digest(token.encode("utf-8", "surrogatepass"), b"hadir form", sha256).hex()


def is_form_token(given: str, token: str) -> bool:
    """Return whether a form is one of this session, in constant time."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), form_token(token).encode())


def begin(account: Account, token: str, ended: str | None, now: datetime) -> Change:
    """Return the change that stores a new session and ends the one of another token."""
    moment = utc(now)
    session = stored.Kept(digest(token), account.name, account.proof, moment, moment)
    expired = utc(now - LONGEST), utc(now - IDLE)
    before = None if ended is None else digest(ended)
    return lambda connection: stored.begin(connection, session, ended=before, expired=expired, most=MOST)


def end(token: str) -> Change:
    """Return the change that ends a session."""
    return lambda connection: stored.end(connection, digest(token))


def find(
    connection: Connection, token: str, accounts: Callable[[str], Account | None], now: datetime
) -> tuple[Account, Change | None] | None:
    """Return the account of a session that is valid now, and the change that notes its use where one is due."""
    if len(token) != TOKEN_CHARACTERS:
        return None
    session = stored.find(connection, digest(token))
    account = None if session is None else accounts(session.account)
    if session is None or account is None or account.password is None:
        return None
    begun, seen = (datetime.fromisoformat(text).astimezone(UTC) for text in (session.begun, session.seen))
    ahead = max(begun, seen) - now > AHEAD
    if ahead or now - begun >= LONGEST or now - seen >= IDLE or session.proof != account.proof:
        return None
    touch: Change | None = None
    if now - seen >= TOUCH:
        key, moment = session.token, utc(now)
        touch = lambda connection: stored.touch(connection, key, moment)  # noqa: E731 - as the others
    return account, touch
