"""The tables of what gateways sent: gateways, streams, events, punches, whose they are, and what was rejected."""

from typing import Any, ClassVar

from sqlalchemy import BigInteger, Index, LargeBinary, UniqueConstraint, text
from sqlmodel import Field

from central.store.engine import KEY, Row, table


class GatewayRow(Row, table=True):
    """A gateway that has sent something."""

    __tablename__: ClassVar[Any] = "gateway"
    id: int | None = Field(default=None, sa_type=KEY, primary_key=True)
    name: str = Field(unique=True)
    """``site/gateway``, from the topic."""
    stream: int | None = Field(default=None, sa_type=BigInteger)
    """The stream that its receipts speak of."""
    informed: bool = False
    """Its own ``info`` named that stream."""
    session: int | None = Field(default=None, sa_type=BigInteger)
    """The number of its last connection that its state named online."""


class StreamRow(Row, table=True):
    """A stream of one gateway, and how much of it is held."""

    __tablename__: ClassVar[Any] = "stream"
    __table_args__: ClassVar[Any] = (UniqueConstraint("gateway", "name"), Index("stream_found", "gateway", "found"))
    id: int | None = Field(default=None, sa_type=KEY, primary_key=True)
    gateway: int = Field(sa_type=BigInteger, foreign_key="gateway.id")
    name: str
    seen: int = Field(default=0, sa_type=BigInteger)
    """Highest sequence held."""
    assigned: int = Field(default=0, sa_type=BigInteger)
    """Highest sequence that ``info`` has announced."""
    found: str
    """When the first message about it arrived, UTC."""
    predecessor: str | None = None
    """With the next two: the end of the stream before, as ``info`` names it."""
    predecessor_sequence: int | None = Field(default=None, sa_type=BigInteger)
    predecessor_digest: str | None = None


class GapRow(Row, table=True):
    """Sequences that are missing below ``stream.seen``."""

    __tablename__: ClassVar[Any] = "gap"
    __table_args__: ClassVar[Any] = (Index("gap_end", "end"), {"sqlite_with_rowid": False})
    stream: int = Field(sa_type=BigInteger, primary_key=True, foreign_key="stream.id")
    first: int = Field(sa_type=BigInteger, primary_key=True)
    last: int = Field(sa_type=BigInteger)
    begin: int = Field(sa_type=BigInteger)
    """With ``end``: the seconds of UTC between which its events were recorded."""
    end: int = Field(sa_type=BigInteger)


class EventRow(Row, table=True):
    """A numbered event, unchanged for ever; a fork has two digests at one sequence."""

    __tablename__: ClassVar[Any] = "event"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("stream", "sequence", "digest"),
        Index(
            "event_quarantined",
            "id",
            sqlite_where=text("type = 'hadir.record.quarantined.v1'"),
            postgresql_where=text("type = 'hadir.record.quarantined.v1'"),
        ),
    )
    key: int | None = Field(default=None, sa_type=KEY, primary_key=True)
    """Only grows; in the order of commits in a file, on a server within a gateway only."""
    stream: int = Field(sa_type=BigInteger, foreign_key="stream.id")
    sequence: int = Field(sa_type=BigInteger)
    id: str
    digest: str
    previous: str
    type: str
    received: str
    """When this centre stored it, UTC."""
    body: str
    """The event, canonical JSON."""


class ForgottenRow(Row, table=True):
    """An event whose content its gateway says it has removed."""

    __tablename__: ClassVar[Any] = "forgotten"
    __table_args__: ClassVar[Any] = {"sqlite_with_rowid": False}
    stream: int = Field(sa_type=BigInteger, primary_key=True, foreign_key="stream.id")
    sequence: int = Field(sa_type=BigInteger, primary_key=True)
    digest: str = Field(primary_key=True)
    id: str = Field(primary_key=True)
    event: int = Field(sa_type=BigInteger, foreign_key="event.key")
    """The first ``hadir.body.forgotten.v1`` that names it."""


class UnprovenRow(Row, table=True):
    """An event that version 2 stored without its whole content; it holds no place."""

    __tablename__: ClassVar[Any] = "unproven"
    key: int | None = Field(default=None, sa_type=KEY, primary_key=True)
    stream: int = Field(sa_type=BigInteger, foreign_key="stream.id")
    sequence: int = Field(sa_type=BigInteger)
    id: str
    digest: str
    previous: str
    type: str
    received: str
    body: str


class FindingRow(Row, table=True):
    """Something in a stream that a person should look at; its kinds are in docs/centre.md."""

    __tablename__: ClassVar[Any] = "finding"
    __table_args__: ClassVar[Any] = (Index("finding_kind", "stream", "kind"), {"sqlite_with_rowid": False})
    stream: int = Field(sa_type=BigInteger, primary_key=True, foreign_key="stream.id")
    sequence: int = Field(sa_type=BigInteger, primary_key=True)
    kind: str = Field(primary_key=True)
    expected: str
    found: str
    at: str


class RejectedRow(Row, table=True):
    """A message that fills no place in a stream."""

    __tablename__: ClassVar[Any] = "rejected"
    topic: str = Field(primary_key=True)
    sha256: str = Field(primary_key=True)
    """Of the whole payload."""
    gateway: str | None = None
    """``site/gateway``, where the topic names one."""
    reason: str
    detail: str
    size: int
    payload: bytes = Field(sa_type=LargeBinary)
    """Its beginning."""
    times: int = Field(default=1, sa_column_kwargs={"server_default": "1"})
    first: str
    last: str
    __table_args__: ClassVar[Any] = (Index("rejected_gateway", "gateway"),)


class RejectedCountRow(Row, table=True):
    """Rejected messages of which only the number was kept."""

    __tablename__: ClassVar[Any] = "rejected_counted"
    __table_args__: ClassVar[Any] = {"sqlite_with_rowid": False}
    gateway: str = Field(primary_key=True)
    """Empty: topics of no gateway, or beyond the number of all."""
    reason: str = Field(primary_key=True)
    times: int
    first: str
    last: str


class PunchRow(Row, table=True):
    """A punch: once, however often and in whatever stream it arrived."""

    __tablename__: ClassVar[Any] = "punch"
    __table_args__: ClassVar[Any] = (
        Index("punch_local_time", "local_time"),
        Index("punch_instant", "pin", "instant"),
        Index("punch_serial", "serial", "instant"),
        {"sqlite_with_rowid": False},
    )
    id: str = Field(primary_key=True)
    event: int = Field(sa_type=BigInteger, foreign_key="event.key")
    """The event that counts: the first one, or that of the serial number's owner."""
    terminal: str
    serial: str
    pin: str | None
    uid: int | None = Field(sa_type=BigInteger)
    local_time: str
    instant: int | None = Field(default=None, sa_type=BigInteger)
    """The second of UTC that its event's time names."""


class ClaimRow(Row, table=True):
    """Of a punch that several gateways have sent: the first event of each."""

    __tablename__: ClassVar[Any] = "claim"
    __table_args__: ClassVar[Any] = {"sqlite_with_rowid": False}
    punch: str = Field(primary_key=True, foreign_key="punch.id")
    gateway: int = Field(sa_type=BigInteger, primary_key=True, foreign_key="gateway.id")
    event: int = Field(sa_type=BigInteger, foreign_key="event.key")


class OwnershipRow(Row, table=True):
    """Which gateway the punches of a serial number belong to, from a local date on."""

    __tablename__: ClassVar[Any] = "ownership"
    __table_args__: ClassVar[Any] = (Index("ownership_serial", "serial"),)
    id: int | None = Field(default=None, sa_type=KEY, primary_key=True)
    serial: str
    since: str
    """A local date; empty: always, for the gateway that sent the first punch."""
    gateway: str
    """``site/gateway``."""
    entered: str
    """When this was stored, UTC; of one date the last counts."""
    decided_by: str | None = None
    """With ``paper``: null where no person decided."""
    paper: str | None = None


gateways, streams, gaps, events = table(GatewayRow), table(StreamRow), table(GapRow), table(EventRow)
forgotten, unproven, findings = table(ForgottenRow), table(UnprovenRow), table(FindingRow)
rejected, rejected_counted = table(RejectedRow), table(RejectedCountRow)
punches, claims, ownership = table(PunchRow), table(ClaimRow), table(OwnershipRow)
