"""Whose a terminal's punches are: a dated register of serial numbers, and which of several claims of a punch counts.

A serial number belongs to the gateway that sent its first punch, until a person decides otherwise, from a local date
on: gateways are replaced, terminals move, exports are imported elsewhere. Ownership never rejects anything. Where two
gateways send a punch of one id, both events stay, and the one counts whose gateway owns the serial number on the
punch's date; of gateways that do not own it, the one that came first.

The functions work on an open connection, within the caller's transaction; nothing of it is kept in memory.
"""

import re
import sqlite3
from datetime import date
from typing import NamedTuple

from central.event import Event, read_stored

TABLES = """
CREATE TABLE ownership (                            -- whose the punches of a serial number are, from a local date on
    serial TEXT NOT NULL,
    since TEXT NOT NULL,                            -- '': always, for the gateway that sent its first punch
    gateway TEXT NOT NULL,                          -- site/gateway
    entered TEXT NOT NULL,                          -- when this was stored, UTC; of one date the last counts
    decided_by TEXT, paper TEXT                     -- null: nobody decided, it came first
);
CREATE INDEX ownership_serial ON ownership (serial);
CREATE TABLE claim (                                -- of punches that several gateways have sent, the first of each
    punch TEXT NOT NULL REFERENCES punch,
    gateway INTEGER NOT NULL REFERENCES gateway,
    event INTEGER NOT NULL REFERENCES event,
    PRIMARY KEY (punch, gateway)
) WITHOUT ROWID;
"""
_SERIAL = re.compile(r"[!-~]([ -~]{0,198}[!-~])?")
_GATEWAY = re.compile(r"[a-z0-9-]{1,100}/[a-z0-9-]{1,100}")


class Owner(NamedTuple):
    """One line of the register; ``since`` is empty and the last two are None where the gateway came first."""

    serial: str
    since: str
    gateway: str
    entered: str
    decided_by: str | None
    paper: str | None


class Serial(NamedTuple):
    """A serial number with its register, in the order in which it applies, and how many punches each gateway sent."""

    serial: str
    owners: list[Owner]
    punches: dict[str, int]
    """Of each gateway, by ``site/gateway``: those of its punches that count."""


class WrongDecisionError(ValueError):
    """A decision that cannot be entered; the message says which part is wrong and how to write it."""


def note_first(connection: sqlite3.Connection, serial: str, gateway: str, received: str) -> None:
    """Let a serial number belong to the gateway that sent its first punch, if it belongs to none by that."""
    connection.execute(
        "INSERT INTO ownership (serial, since, gateway, entered) SELECT ?, '', ?, ? "
        "WHERE NOT EXISTS (SELECT 1 FROM ownership WHERE serial = ? AND since = '')",
        (serial, gateway, received, serial),
    )


def assign(
    connection: sqlite3.Connection, serial: str, gateway: str, since: str, decided_by: str, paper: str, entered: str
) -> int:
    """Enter a decision; return how many punches count by another gateway's event since. Raises WrongDecisionError."""
    if not _SERIAL.fullmatch(serial):
        raise WrongDecisionError("a serial number is printable ASCII, as `serial list` shows it")
    if not _GATEWAY.fullmatch(gateway):
        raise WrongDecisionError("a gateway is written SITE/GATEWAY, such as 3602-bkpsdm/gw-01")
    try:
        day = date.fromisoformat(since).isoformat()
    except ValueError:
        raise WrongDecisionError("a date is written YYYY-MM-DD") from None
    for name, text in (("name", decided_by), ("paper", paper)):
        if not text.strip() or not text.isprintable() or len(text) > 500:
            raise WrongDecisionError(f"the {name} is a line of text")
    connection.execute(
        "INSERT INTO ownership (serial, since, gateway, entered, decided_by, paper) VALUES (?, ?, ?, ?, ?, ?)",
        (serial, day, gateway, entered, decided_by.strip(), paper.strip()),
    )
    claimed = connection.execute(
        "SELECT DISTINCT punch.id FROM claim JOIN punch ON punch.id = claim.punch WHERE punch.serial = ?", (serial,)
    ).fetchall()
    return sum(settle(connection, identity) for (identity,) in claimed)


def owner(connection: sqlite3.Connection, serial: str, day: str) -> str | None:
    """Return the gateway (``site/gateway``) that a serial number belongs to on a local date."""
    row = connection.execute(
        "SELECT gateway FROM ownership WHERE serial = ? AND since <= ? ORDER BY since DESC, rowid DESC LIMIT 1",
        (serial, day),
    ).fetchone()
    return None if row is None else str(row[0])


def claim(connection: sqlite3.Connection, identity: str, *events: tuple[int, int]) -> bool:
    """Put on record which gateways (id) sent a punch, by which event (key); return whether another one counts now."""
    connection.executemany(
        "INSERT OR IGNORE INTO claim (punch, gateway, event) VALUES (?, ?, ?)",
        [(identity, gateway, key) for gateway, key in events],
    )
    return settle(connection, identity)


def settle(connection: sqlite3.Connection, identity: str) -> bool:
    """Let the claim of a punch count whose gateway owns its serial; return whether that is another than before."""
    key = counting(connection, identity)
    if connection.execute("SELECT 1 FROM punch WHERE id = ? AND event = ?", (identity, key)).fetchone():
        return False
    name, body = connection.execute(
        "SELECT gateway.name, body FROM event JOIN stream ON stream.id = event.stream "
        "JOIN gateway ON gateway.id = stream.gateway WHERE event.key = ?",
        (key,),
    ).fetchone()
    event = event_in(name, body)
    if event is None or event.punch is None:  # altered in this database: what came first goes on counting
        return False
    connection.execute(
        "UPDATE punch SET event = ?, terminal = ?, serial = ?, pin = ?, uid = ?, local_time = ? WHERE id = ?",
        (key, *event.punch, identity),
    )
    return True


def counting(connection: sqlite3.Connection, identity: str) -> int:
    """Return the event (key) that counts of a punch that several gateways have claimed."""
    claims = connection.execute(
        "SELECT gateway.name, event FROM claim JOIN gateway ON gateway.id = claim.gateway "
        "WHERE punch = ? ORDER BY event",
        (identity,),
    ).fetchall()
    serial, local_time = connection.execute("SELECT serial, local_time FROM punch WHERE id = ?", (identity,)).fetchone()
    rightful = owner(connection, serial, local_time[:10])
    return next((int(key) for name, key in claims if name == rightful), int(claims[0][1]))


def event_in(gateway: str, body: object) -> Event | None:
    """Return the event that a stored body holds; None where the body does not prove itself."""
    found = read_stored(gateway, body)
    return found if isinstance(found, Event) else None


def serials(connection: sqlite3.Connection) -> list[Serial]:
    """Return the register, by serial number."""
    found: dict[str, Serial] = {}
    for row in connection.execute(
        "SELECT serial, since, gateway, entered, decided_by, paper FROM ownership ORDER BY serial, since, rowid"
    ):
        line = Owner(*row)
        found.setdefault(line.serial, Serial(line.serial, [], {})).owners.append(line)
    for serial, gateway, count in connection.execute(
        "SELECT punch.serial, gateway.name, count(*) FROM punch JOIN event ON event.key = punch.event "
        "JOIN stream ON stream.id = event.stream JOIN gateway ON gateway.id = stream.gateway "
        "GROUP BY punch.serial, gateway.name ORDER BY gateway.name"
    ):
        found.setdefault(serial, Serial(serial, [], {})).punches[gateway] = count
    return list(found.values())
