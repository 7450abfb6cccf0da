import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.base import BadRecord, Labels, RawPunch
from gateway import event
from gateway.event import ClockEvidence, ReadingContext, mask_pin, punch_draft, quarantine_draft, utc_text

JAKARTA = ZoneInfo("Asia/Jakarta")
NOW = datetime(2026, 9, 4, 0, 30, tzinfo=UTC)
LOCAL_NOW = datetime.fromisoformat("2026-09-04T07:30:00")
"""What a right clock in Jakarta shows at ``NOW``."""
MINUTE, DAY, SECOND = timedelta(minutes=1), timedelta(hours=24), timedelta(seconds=1)
MILLISECOND = timedelta(milliseconds=1)


@dataclass
class Reading:
    """A punch and how it was read; by default nothing is wrong."""

    shown: datetime = LOCAL_NOW
    """The terminal's wall clock at the punch."""
    offset: timedelta = timedelta(0)
    """The result of the measurement of the terminal's clock."""
    measured: datetime | None = NOW
    synchronised: bool = True
    stepped: bool = False
    zone: ZoneInfo = JAKARTA

    def data(self) -> dict[str, Any]:
        """Return the data of the punch's event."""
        offset_ms = self.offset // MILLISECOND
        clock = None if self.measured is None else ClockEvidence(offset_ms, 35, self.measured)
        context = ReadingContext(
            "lobby", "CEXA193960001", self.zone, "log", NOW, self.synchronised, clock, self.stepped, MINUTE
        )
        found: dict[str, Any] = json.loads(punch_draft(punch_at(self.shown), context, occurrence=1, position=7).data)
        return found

    def suspect(self) -> Sequence[str]:
        """Return the flags of the punch."""
        flags: list[str] = self.data()["suspect"]
        return flags


def punch_at(shown: datetime) -> RawPunch:
    """Return some punch at that wall-clock time."""
    return RawPunch("1001", None, shown, 0, 1, "0", b"\x01")


def test_a_good_punch_is_not_suspect() -> None:
    """A measured, right clock and a synchronised gateway leave nothing to say."""
    reading = Reading()
    assert reading.suspect() == []
    assert reading.data()["clock"] == {
        "offset_ms": 0,
        "bound_ms": 35,
        "measured": "2026-09-04T00:30:00.000Z",
        "gateway_synchronised": True,
    }


@pytest.mark.parametrize(("year", "flagged"), [(2000, True), (1999, True), (2001, False)])
def test_the_year_of_a_lost_clock_is_a_reset(year: int, flagged: bool) -> None:
    """Terminals wake up in 2000 without power for their clock; 2001 is merely long ago."""
    reading = Reading(shown=LOCAL_NOW.replace(year=year))
    assert ("reset" in reading.suspect()) is flagged
    assert "unmeasured" in reading.suspect()


def test_a_reset_is_judged_by_the_terminals_own_digits() -> None:
    """The last second of 2000 by the wall clock is a reset, although the zone's day may differ from UTC's."""
    new_year = datetime.fromisoformat("2001-01-01T00:00:00")
    assert "reset" not in Reading(shown=new_year).suspect()
    assert "reset" in Reading(shown=new_year - SECOND).suspect()
    assert "reset" in Reading(shown=new_year - SECOND, zone=ZoneInfo("America/St_Johns")).suspect()


@pytest.mark.parametrize(("ahead", "flags"), [(MINUTE, []), (MINUTE + SECOND, ["future"]), (-DAY, [])])
def test_a_punch_from_beyond_the_tolerance_is_from_the_future(ahead: timedelta, flags: list[str]) -> None:
    """Up to the tolerance, inclusive, a punch may be later than the gateway's clock."""
    assert Reading(shown=LOCAL_NOW + ahead).suspect() == flags


@pytest.mark.parametrize("sign", [1, -1])
def test_an_offset_beyond_the_tolerance_is_drift(sign: int) -> None:
    """Fast or slow; the tolerance itself is still tolerated."""
    shown = LOCAL_NOW - timedelta(hours=1)
    assert Reading(shown=shown, offset=sign * MINUTE).suspect() == []
    assert Reading(shown=shown, offset=sign * (MINUTE + MILLISECOND)).suspect() == ["drift"]


def test_a_fast_clock_is_drift_and_future_at_once() -> None:
    """Right after the punch, a terminal seven minutes fast shows both, and the punch keeps its digits."""
    fast = Reading(shown=LOCAL_NOW + 7 * MINUTE, offset=7 * MINUTE)
    assert fast.suspect() == ["future", "drift"]
    assert fast.data()["local_time"] == "2026-09-04T07:37:00"


def test_a_gateway_without_a_true_clock_judges_no_other_clock() -> None:
    """Unsynchronised, the mark is `unverified`, neither future nor drift; the measurement is still stated."""
    reading = Reading(shown=LOCAL_NOW + DAY, offset=DAY, synchronised=False)
    assert reading.suspect() == ["unverified"]
    assert reading.data()["clock"]["offset_ms"] == 86_400_000
    assert reading.data()["clock"]["gateway_synchronised"] is False


@pytest.mark.parametrize("sign", [1, -1])
def test_a_measurement_reaches_24_hours_each_way(sign: int) -> None:
    """A day before or after the punch, inclusive, a measurement speaks about it; a second further it does not."""
    shown = LOCAL_NOW - DAY
    measured = NOW - DAY
    near = Reading(shown=shown, measured=measured + sign * DAY)
    assert near.suspect() == []
    far = Reading(shown=shown, measured=measured + sign * (DAY + SECOND))
    assert far.suspect() == ["unmeasured"]
    clock = far.data()["clock"]
    assert clock == {"offset_ms": None, "bound_ms": None, "measured": None, "gateway_synchronised": True}


def test_the_reach_counts_from_the_true_moment_of_the_punch() -> None:
    """A terminal three days slow shows an old date at a punch made now: its measurement of now still counts."""
    slow = timedelta(days=-3)
    assert Reading(shown=LOCAL_NOW + slow, offset=slow).suspect() == ["drift"]
    edge = Reading(shown=LOCAL_NOW + slow - DAY, offset=slow)
    assert edge.suspect() == ["drift"]
    beyond = Reading(shown=LOCAL_NOW + slow - DAY - SECOND, offset=slow)
    assert beyond.suspect() == ["unmeasured"]
    assert Reading(shown=LOCAL_NOW - DAY, offset=MILLISECOND).suspect() == ["unmeasured"], "a thousandth beyond"


@pytest.mark.parametrize(("shown", "off"), [("0001-01-01T00:00:00", 5), ("9999-12-31T23:59:59", -5)])
def test_the_ends_of_the_calendar_are_out_of_reach(shown: str, off: int) -> None:
    """A true moment outside of the calendar is no error: such a record costs itself."""
    reading = Reading(shown=datetime.fromisoformat(shown), offset=timedelta(seconds=off))
    assert reading.data()["clock"]["measured"] is None


def test_without_a_measurement_there_is_no_drift() -> None:
    """A terminal without a clock to ask is unmeasured; a punch from the future is still seen as one."""
    assert Reading(measured=None).suspect() == ["unmeasured"]
    assert Reading(measured=None, shown=LOCAL_NOW + DAY).suspect() == ["future", "unmeasured"]


def test_a_step_makes_the_measurement_worthless() -> None:
    """Where the clock was seen to jump, no measurement shows what it showed at the punch."""
    reading = Reading(stepped=True, offset=7 * MINUTE)
    assert reading.suspect() == ["step", "unmeasured"]
    assert reading.data()["clock"]["offset_ms"] is None


def test_a_reset_clock_on_an_unsynchronised_gateway_says_everything() -> None:
    """Flags do not hide each other."""
    reading = Reading(shown=LOCAL_NOW.replace(year=2000), measured=None, synchronised=False, stepped=True)
    assert reading.suspect() == ["reset", "step", "unverified", "unmeasured"]


@pytest.mark.parametrize(
    ("zone", "shown", "time"),
    [
        ("Asia/Jakarta", "2026-09-04T07:30:00", "2026-09-04T07:30:00+07:00"),
        ("Asia/Makassar", "2026-09-04T07:30:00", "2026-09-04T07:30:00+08:00"),
        ("Asia/Jayapura", "2026-09-04T07:30:00", "2026-09-04T07:30:00+09:00"),
        ("Europe/Berlin", "2026-03-29T02:30:00", "2026-03-29T02:30:00+01:00"),  # an hour that does not exist
        ("Europe/Berlin", "2026-10-25T02:30:00", "2026-10-25T02:30:00+02:00"),  # an hour that comes twice
    ],
)
def test_time_is_the_wall_clock_with_its_zones_offset(zone: str, shown: str, time: str) -> None:
    """Also where daylight saving makes the hour doubtful: the digits stay."""
    context = ReadingContext("lobby", "CEXA193960001", ZoneInfo(zone), "log", NOW, True, None, False, MINUTE)
    draft = punch_draft(punch_at(datetime.fromisoformat(shown)), context, occurrence=1, position=None)
    data = json.loads(draft.data)
    assert (draft.time, data["local_time"], data["timezone"]) == (time, shown, zone)


def test_codes_without_a_known_meaning_have_no_label() -> None:
    """The raw code travels either way."""
    context = ReadingContext("lobby", "CEXA193960001", JAKARTA, "live", NOW, True, None, False, MINUTE)

    def data(punch: RawPunch) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(punch_draft(punch, context, occurrence=1, position=None).data)
        return found

    known = data(RawPunch("1", None, LOCAL_NOW, 5, 15, None, b""))
    assert (known["state_label"], known["verify_label"], known["work_code"]) == ("overtime_out", "face", None)
    odd = data(RawPunch("1", None, LOCAL_NOW, 77, 99, "3", b""))
    assert (odd["state"], odd["state_label"], odd["verify"], odd["verify_label"]) == (77, None, 99, None)


@pytest.mark.parametrize("size", [0, 40, 1024, 1025, 100_000])
def test_a_quarantined_record_carries_at_most_1024_bytes(size: int) -> None:
    """Its size and hash are always those of the whole."""
    raw = bytes(range(256)) * (size // 256) + bytes(size % 256)
    context = ReadingContext("lobby", "CEXA193960001", JAKARTA, "log", NOW, True, None, False, MINUTE)
    draft = quarantine_draft(BadRecord(raw, raw, "31 February"), context, occurrence=1, position=0)
    data = json.loads(draft.data)
    assert bytes.fromhex(data["raw"]) == raw[:1024]
    assert (data["size"], data["sha256"]) == (size, sha256(raw).hexdigest())
    assert draft.time == "2026-09-04T07:30:00+07:00"


@pytest.mark.parametrize(
    ("microsecond", "text"),
    [(0, "2026-09-04T00:30:00.000Z"), (412_000, "2026-09-04T00:30:00.412Z"), (999_999, "2026-09-04T00:30:00.999Z")],
)
def test_utc_has_three_decimals_and_never_rounds_up(microsecond: int, text: str) -> None:
    """A moment is never written later than it was, whatever zone it is given in."""
    assert utc_text(NOW.replace(microsecond=microsecond).astimezone(JAKARTA)) == text


@pytest.mark.parametrize(
    ("pin", "shown"),
    [("190123456789", "***89"), ("1001", "***01"), ("123", "***"), ("12", "***"), ("7", "***"), ("", "***")],
)
def test_a_masked_pin_shows_no_more_than_half(pin: str, shown: str) -> None:
    """Of a short one nothing."""
    assert mask_pin(pin) == shown


@pytest.mark.parametrize(
    ("pin", "identity"),
    [
        ("1001", "27f13449-e835-5880-8093-8da5699f003c"),
        ("0007", "823db925-388c-526d-94cd-1a96783d97b0"),
        (" 1001\0\0", "27f13449-e835-5880-8093-8da5699f003c"),
        (None, "67f36e09-8cb1-5458-8110-a04524f68944"),
    ],
)
def test_published_identities_never_change(pin: str | None, identity: str) -> None:
    """Examples that were published once; padding of a PIN is none of it."""
    record = event.checked(RawPunch(pin, 7 if pin is None else None, datetime(2026, 9, 4, 7, 29, 59), 0, 1, "0", b"x"))  # noqa: DTZ001 - a terminal's clock
    assert isinstance(record, RawPunch)
    person = event.person_key(record.pin, record.uid)
    assert str(event.punch_id("CEXA193960001", person, record.local_time, 1)) == identity


@pytest.mark.parametrize(
    "pin", ["uid:7", " uid:7", "uid:", "", " ", "\0", "1" * 25, "12\n3", "\u0661", "1\0002", "\x7f"]
)
def test_what_is_no_pin_is_quarantined(pin: str) -> None:
    """Such a PIN could be another person's identity, or break the contract; its bytes are kept."""
    record = RawPunch(pin, None, datetime(2026, 9, 4, 7, 30), 0, 1, "0", b"raw")  # noqa: DTZ001 - a terminal's clock
    bad = event.checked(record)
    assert isinstance(bad, BadRecord)
    assert (bad.raw, event.checked(bad)) == (b"raw", bad)
    assert bad.stable == event.checked(record).stable  # type: ignore[union-attr]  # it is a BadRecord too


@pytest.mark.parametrize("pin", ["7", None])
def test_a_time_without_an_offset_of_minutes_is_quarantined(pin: str | None) -> None:
    """Before 1932 that of Jakarta has seconds, which an event cannot express; a terminal's clock begins later."""
    record = RawPunch(pin, 7, datetime(1, 1, 1), 0, 1, "0", b"raw")  # noqa: DTZ001 - a terminal's clock
    bad = event.checked(record)
    assert isinstance(bad, BadRecord)
    assert bad.raw == b"raw"
    kept = record._replace(local_time=datetime(1970, 1, 1))  # noqa: DTZ001 - as above
    assert event.checked(kept) == kept


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda values: st.lists(values, max_size=3) | st.dictionaries(TEXTS, values, max_size=3),
    max_leaves=8,
)


@given(identity=st.uuids(), name=TEXTS)
def test_uuid5_is_that_of_the_standard_library(identity: UUID, name: str) -> None:
    """Version and variant bits, and every other bit."""
    assert event.uuid5(identity, name) == uuid5(identity, name)


def canonical(content: dict[str, Any]) -> str:
    """Return JSON as the standard library writes it: sorted keys, no white space, UTF-8."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


NUMBERS = st.none() | st.integers(-300, 300) | st.integers()
MOMENTS = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1))  # noqa: DTZ001 - wall clocks
ZONES = st.sampled_from(["Asia/Jakarta", "Asia/Kathmandu", "Europe/Berlin", "America/St_Johns", "Africa/Monrovia"])
LABELS_OF_A_DRIVER = st.dictionaries(st.none() | st.integers(-300, 300), TEXTS, max_size=4)


# Longer than 60 lines: what is expected is written out, a member a line.
@given(
    texts=st.tuples(TEXTS, TEXTS, st.none() | TEXTS, st.none() | TEXTS),
    numbers=st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS),
    moments=st.tuples(MOMENTS, MOMENTS, MOMENTS),
    zone=ZONES,
    labels=st.tuples(LABELS_OF_A_DRIVER, LABELS_OF_A_DRIVER),
    offset_ms=st.none() | st.integers(-(10**9), 10**9),
    flags=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    raw=st.binary(max_size=50),
    near=st.booleans(),
)
def test_a_punch_is_written_as_the_standard_library_writes_it(
    texts: tuple[str, str, str | None, str | None],
    numbers: tuple[int | None, int | None, int | None, int | None],
    moments: tuple[datetime, datetime, datetime],
    zone: str,
    labels: tuple[dict[int | None, str], dict[int | None, str]],
    offset_ms: int | None,
    flags: tuple[bool, bool, bool],
    raw: bytes,
    near: bool,
) -> None:
    """Byte for byte the JSON of these members, whatever the driver delivers; the time is that of the zone."""
    terminal, serial, pin, work_code = texts
    uid, state, verify, position = numbers
    local_time, now, measured = moments
    measured = local_time if near else measured
    synchronised, stepped, host_time = flags
    clock = None if offset_ms is None else ClockEvidence(offset_ms, 35, measured.replace(tzinfo=UTC))
    context = ReadingContext(
        terminal,
        serial,
        ZoneInfo(zone),
        "log",
        now.replace(tzinfo=UTC),
        synchronised,
        clock,
        stepped,
        MINUTE,
        Labels(*labels),
        host_time,
    )

    punch = RawPunch(pin, uid, local_time, state, verify, work_code, raw)
    draft = punch_draft(punch, context, occurrence=3, position=position)

    moment = local_time.replace(tzinfo=ZoneInfo(zone))
    near_clock = None
    if clock is not None and not stepped:
        apart = moment - timedelta(milliseconds=clock.offset_ms) - clock.measured
        near_clock = clock if abs(apart) <= DAY else None
    suspect = {
        "reset": local_time.year <= 2000,
        "future": synchronised and moment - context.now > MINUTE,
        "step": stepped,
        "drift": synchronised and near_clock is not None and abs(near_clock.offset_ms) > 60_000,
        "unverified": not synchronised,
        "host_time": host_time,
        "unmeasured": near_clock is None and not host_time,
    }
    assert draft.time == moment.isoformat()
    assert draft.data == canonical(
        {
            "terminal": terminal,
            "serial": serial,
            "pin": pin,
            **({} if uid is None else {"uid": uid}),
            "local_time": local_time.isoformat(),
            "timezone": zone,
            "occurrence": 3,
            "state": state,
            "state_label": labels[0].get(state),
            "verify": verify,
            "verify_label": labels[1].get(verify),
            "work_code": work_code,
            "via": "log",
            "position": position,
            "clock": {
                "offset_ms": near_clock.offset_ms if near_clock else None,
                "bound_ms": near_clock.bound_ms if near_clock else None,
                "measured": utc_text(near_clock.measured) if near_clock else None,
                "gateway_synchronised": synchronised,
            },
            "suspect": [mark for mark, applies in suspect.items() if applies],
            "raw": raw.hex(),
        }
    )


@given(
    identity=st.uuids(),
    texts=st.tuples(TEXTS, TEXTS, TEXTS, TEXTS, TEXTS),
    subject=st.none() | TEXTS,
    data=st.dictionaries(TEXTS, VALUES, max_size=5),
    sequence=st.integers(1, 2**63 - 1),
)
def test_an_event_is_written_as_the_standard_library_writes_it(
    identity: UUID,
    texts: tuple[str, str, str, str, str],
    subject: str | None,
    data: dict[str, Any],
    sequence: int,
) -> None:
    """Sorted keys, no white space, UTF-8: byte for byte, for any text in any member; the digest fits it."""
    kind, time, source, stream, previous = texts
    recorded = datetime(2026, 9, 7, tzinfo=UTC)
    draft = event.Draft(identity, kind, subject, time, canonical(data))
    body, digest = event.encode(
        draft, source=source, stream=stream, sequence=sequence, recorded=recorded, previous=previous
    )
    members = {
        "id": str(identity),
        "source": source,
        "specversion": "1.0",
        "type": kind,
        "time": time,
        "datacontenttype": "application/json",
        "data": data,
        "stream": stream,
        "sequence": f"{sequence:020d}",
        "previous": previous,
        "recordedtime": "2026-09-07T00:00:00.000Z",
        **({} if subject is None else {"subject": subject}),
    }

    assert digest == "sha256:" + sha256((previous + canonical(members)).encode()).hexdigest()
    assert body == canonical({**members, "digest": digest})
