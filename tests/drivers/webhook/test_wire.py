"""What apps post, without sockets: pointers, JSON, records, privacy."""

import json
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from drivers.base import BadRecord, RawPunch, Record, Settlement
from drivers.webhook import wire
from drivers.webhook.wire import Form, Refused, pointer, records_in
from tests.drivers.webhook.office import SECRET, body_of, signature

FORM = Form(
    ZoneInfo("Asia/Jakarta"),
    {"pin": ("pin",), "time": ("at",), "state": ("kind",), "id": ("id",), "verify": ("how", "0")},
    ("records",),
    {"masuk": 0, "pulang": 1},
)
KEY = SECRET.encode()
GOOD = {"pin": "0042", "at": "2026-11-30T07:01:02", "kind": "masuk"}


def read(body: bytes, form: Form = FORM) -> list[Record]:
    """Return the records of a body."""
    return records_in(body, form, KEY)


def one(**changes: Any) -> Record:
    """Return the record that the good one becomes with changes."""
    (record,) = read(body_of(GOOD | changes))
    return record


def punch(**changes: Any) -> RawPunch:
    """Return the punch that the good one becomes with changes."""
    record = one(**changes)
    assert isinstance(record, RawPunch), record
    return record


def bad(**changes: Any) -> BadRecord:
    """Return the unreadable record that the good one becomes with changes."""
    record = one(**changes)
    assert isinstance(record, BadRecord), record
    return record


def test_a_record_and_what_is_kept_of_it() -> None:
    """Only mapped fields, as canonical JSON: no name, position, photo, whatever they are called."""
    made = punch(id="a-7", name="Siti Rahma", lat=-6.2, how=[15, "Siti"], photo="/9j/4AAQ")
    assert made == RawPunch(
        "0042",
        None,
        datetime(2026, 11, 30, 7, 1, 2),  # noqa: DTZ001 - a wall clock
        0,
        15,
        None,
        b'{"id":"a-7","pin":"0042","state":"masuk","time":"2026-11-30T07:01:02","verify":15}',
        "a-7",
    )


def test_pins_are_texts_or_whole_numbers() -> None:
    """Leading zeros stay; what cannot be a PIN is set aside by the gateway, which judges the characters of all."""
    good: tuple[object, ...] = ("0042", 42, "A-7", "")
    assert [punch(pin=pin).pin for pin in good] == ["0042", "42", "A-7", ""]
    none: tuple[object, ...] = (None, 4.2, True, [], {"name": "Siti"}, "7" * 65)
    for pin in none:
        record = bad(pin=pin)
        assert b"Siti" not in record.raw
        assert len(record.raw) < 200


@pytest.mark.parametrize(
    ("text", "wall"),
    [
        ("2026-11-30T07:01:02", "07:01:02"),
        ("2026-11-30 07:01:02.999", "07:01:02"),
        ("2026-11-30T07:01:02,5+07:00", "07:01:02"),
        ("2026-11-30T00:01:02Z", "07:01:02"),
        ("2026-11-30t01:01:02+0100", "07:01:02"),
        ("2026-11-30T09:01:02+09", "07:01:02"),
    ],
)
def test_times(text: str, wall: str) -> None:
    """A time with an offset is brought to the zone of the entry; fractions are cut, never rounded."""
    assert punch(at=text).local_time.isoformat() == f"2026-11-30T{wall}"


@pytest.mark.parametrize(
    "text",
    [
        *("", "2026-11-30", "2026-11-30T07:01", "07:01:02", "30-11-2026 07:01:02", "2026-W48-1T07:01:02"),
        *("2026-02-31T07:01:02", "2026-11-30T24:00:00", "2026-11-30T07:01:60", "0000-01-01T00:00:00"),
        *("0001-01-01T00:00:00+09:00", "9999-12-31T23:59:59-09:00", "2026-11-30T07:01:02+25:00"),
        *("2026-11-30T07:01:02 WIB", "\uff12026-11-30T07:01:02", "2026-11-30T07:01:02." + "9" * 99),
    ],
)
def test_times_that_are_none(text: str) -> None:
    """A time is never completed or guessed."""
    assert "time" in bad(at=text).reason


def test_an_epoch_is_no_time() -> None:
    """Seconds or milliseconds, of which zone: a number states nothing of that."""
    assert "ISO 8601" in bad(at=1788482000).reason


def test_years_of_broken_clocks_pass() -> None:
    """The gateway marks them; they are evidence."""
    assert [punch(at=f"{year}-01-02T00:00:00Z").local_time.year for year in (2000, 2103)] == [2000, 2103]


def test_states_and_codes() -> None:
    """A text by the table, a code as it is, nothing where there is none, quarantine for all else."""
    states = [punch(kind=kind).state for kind in ("masuk", "pulang", 255, 0, None)]
    assert states == [0, 1, 255, 0, None]
    without = {key: value for key, value in GOOD.items() if key != "kind"}
    (made,) = read(body_of(without))
    assert isinstance(made, RawPunch)
    assert made.state is None
    unknown: tuple[object, ...] = ("Masuk", "1", "", -1, 65_536, 1.0, True, [], {})
    for kind in unknown:
        assert "state" in bad(kind=kind).reason
    assert "verify" in bad(how=["face"]).reason


def test_identifiers() -> None:
    """Printable, so that raw contains them as they are; a number is its digits."""
    assert [punch(id=value).source_id for value in ("a-7", 7, None)] == ["a-7", "7", None]
    for value in ("", 'a"7', "a\\7", "é", "a\n7", "x" * 65, True, [7]):
        assert "identifier" in bad(id=value).reason


def test_a_nip_is_taken_only_where_it_is_allowed() -> None:
    """Otherwise its record is set aside, without it, and two persons' records stay two."""
    for pin in ("198503122010011001", "19850312 201001 1 001", 198503122010011001, "NIP 198503122010011001"):
        record = bad(pin=pin)
        assert "NIP" in record.reason
        assert json.loads(record.raw)["pin"] == "***01"
        assert b"19850312" not in record.raw + record.stable
        (made,) = read(body_of(GOOD | {"pin": pin}), replace(FORM, allow_nip=True))
        assert isinstance(made, RawPunch)
        assert made.pin == str(pin)
    for written in (
        '"198503122010011001\u00a0"',
        '"19850312/201001\u00a01_001"',
        "198503122010011001.0",
        "1.98503122010011e+17",
    ):
        (kept,) = read(b'{"records": [{"pin": %b, "at": "2026-11-30T07:01:02"}]}' % written.encode())
        assert isinstance(kept, BadRecord)
        assert "NIP" in kept.reason
        assert b"85031220" not in kept.raw.replace(b"1985", b"85").replace(b".", b"")
    first, second = bad(pin="198503122010011001"), bad(pin="199001012015012001")
    assert first.raw == second.raw
    assert first.stable != second.stable
    assert first.stable == bad(pin="198503122010011001").stable
    assert records_in(body_of(GOOD | {"pin": 198503122010011001}), FORM, b"other")[0].stable != first.stable  # type: ignore[union-attr]


def test_a_key_twice_costs_its_record_where_it_counts() -> None:
    """Which of two PINs is meant is unknown; which of two names does not matter."""
    pin, name, good = (
        b'{"pin": "1", "pin": "2", "at": "2026-11-30T07:01:02"}',
        b'{"pin": "3", "name": "a", "name": "b", "at": "2026-11-30T07:01:02"}',
        b'{"pin": "4", "at": "2026-11-30T07:01:02"}',
    )
    first, second, third = read(b'{"records": [' + b",".join((pin, name, good)) + b"]}")
    assert isinstance(first, BadRecord)
    assert [getattr(record, "pin", None) for record in (second, third)] == ["3", "4"]
    with pytest.raises(Refused, match="list of records"):
        read(b'{"records": [], "records": []}')


def test_numbers_of_any_size_cost_nothing_elsewhere() -> None:
    """They are read as they are written."""
    huge = b'{"pin": 7, "at": "2026-11-30T07:01:02", "lat": 1e999, "x": ' + b"9" * 10_000 + b"}"
    (made,) = read(b'{"records": [' + huge + b"]}")
    assert isinstance(made, RawPunch)
    (record,) = read(b'{"records": [{"at": "2026-11-30T07:01:02", "pin": ' + b"9" * 10_000 + b"}]}")
    assert isinstance(record, BadRecord)
    assert len(record.raw) < 200


def test_strange_characters_cost_their_record_at_most() -> None:
    """Half a surrogate and NUL are valid in JSON, and in no PIN: the gateway sets such a PIN aside."""
    body = b'{"records": [{"pin": "\\ud800", "at": "2026-11-30T07:01:02", "kind": "\\udfff"},'
    body += b'{"pin": "7\\u0000", "at": "2026-11-30T07:01:02"}]}'
    first, second = read(body)
    assert isinstance(first, BadRecord)
    assert first.raw.isascii()
    assert isinstance(second, RawPunch)
    assert second.pin == "7\0"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "no_json"),
        (b"Siti Rahma", "no_json"),
        (b'{"records": [', "no_json"),
        (b'{"records": []} Siti', "no_json"),
        (b'{"records": [{"pin": NaN}]}', "no_json"),
        (b'{"records": [{"lat": -Infinity}]}', "no_json"),
        (b'{"records": ["J\xf6rg"]}', "no_json"),
        (b'{"records": ["\xed\xa0\x80"]}', "no_json"),
        ('{"records": []}'.encode("utf-16"), "no_json"),
        (b"{}", "other_form"),
        (b'{"records": {}}', "other_form"),
        (b"[]", "other_form"),
        (b"null", "other_form"),
        (b'{"records": [%s]}' % b",".join([b"1"] * 5001), "too_many"),
        (b'{"records": [%s]}' % b",".join([b"[]"] * 50_001), "too_many"),
    ],
)
def test_bodies_that_cannot_be_read(body: bytes, why: str) -> None:
    """A clear error, which has nothing of the body."""
    with pytest.raises(Refused) as raised:
        read(body)
    assert raised.value.why == why
    assert raised.value.status == (413 if why == "too_many" else 400)
    assert "Siti" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_nesting_costs_its_body_at_most() -> None:
    """10,000 deep: refused, or a field that is not looked into, as the interpreter can."""
    deep = b"[" * 10_000 + b"]" * 10_000
    with suppress(Refused):
        (made,) = read(b'{"records": [{"pin": "7", "at": "2026-11-30T07:01:02", "x": ' + deep + b"}]}")
        assert isinstance(made, RawPunch)


def test_other_forms() -> None:
    """A body that is one record, one that is a list, and fields inside others."""
    body = json.dumps(GOOD).encode()
    (alone,) = read(body, replace(FORM, items=None))
    (listed,) = read(b"\xef\xbb\xbf[" + body + b"]", replace(FORM, items=()))
    nested = {"data": {"scan/at": GOOD["at"], "who": ["x", {"p~n": "0042"}]}, "kind": "masuk"}
    form = replace(FORM, fields={**FORM.fields, "pin": pointer("/data/who/1/p~0n"), "time": pointer("/data/scan~1at")})
    (inside,) = read(body_of(nested), form)
    assert [alone, listed, inside] == [punch()] * 3
    with pytest.raises(Refused, match="one record"):
        read(b"[]", replace(FORM, items=None))
    for text in ("pin", "/a~2", "/~"):
        with pytest.raises(ValueError, match="JSON Pointer"):
            pointer(text)


def test_signatures() -> None:
    """As GitHub's: a vector of its documentation, and headers that are none."""
    documented = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert wire.signature_of(b"It's a Secret to Everybody", b"Hello, World!") == documented
    assert wire.signature_of(KEY, b"{}") == signature(b"{}")
    assert wire.stated_signature({wire.SIGNATURE_HEADER: documented.upper().replace("SHA", "sha")}) == bytes.fromhex(
        documented[7:]
    )
    for value in ("", documented[7:], documented[:-1], documented + "0", "sha1=" + documented[7:]):
        assert wire.stated_signature({wire.SIGNATURE_HEADER: value}) is None


def test_replies() -> None:
    """Counts, or why nothing was stored."""
    assert json.loads(wire.settled(Settlement(3, 2, 1))) == {"stored": 3, "known": 2, "quarantined": 1}
    assert json.loads(wire.error("x")) == {"error": "x"}
