"""The grammar of export files: every defect of the real ones, written anew."""

import json
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path

import pytest

from drivers.attlog import wire
from drivers.attlog.wire import Columns, Entry, Form, NotAnExport, Reader, recognise
from drivers.base import BadRecord, RawPunch
from tests.drivers.attlog.mutated import attack

ATTLOG = Form("attlog")
TABLE = Form("table", order="mdy")
GOOD = [
    (b"     1001\t2026-09-04 07:30:00\t1\t0\t1\t0\r\n", ("1001", "2026-09-04 07:30:00", 0, 1, "0")),
    (b"  0070\t2026-09-04 07:31:00\t1\t1\t15\t12\n", ("0070", "2026-09-04 07:31:00", 1, 15, "12")),
    (b"198001012005\t2026-09-04 07:32:00\t1\t255\t0\t0\n", ("198001012005", "2026-09-04 07:32:00", 255, 0, "0")),
    (b"A7\t2000-01-01 00:00:14\t01\t4\t1\t\n", ("A7", "2000-01-01 00:00:14", 4, 1, None)),
]  # fmt: skip
BAD = [
    (b"A8N5230560263\r\n", "not a line"),
    (b"     1001\t2026-02-31 07:30:00\t1\t0\t1\t0\n", "no such date"),
    (b"     1001\t1971--10--29 -23:-23:-27\t1\t0\t1\t0\n", "means 2103-08-18 07:04:49"),
    (b"     1001\t1990-00--8 -16:-29:-40\t1\t0\t1\t0\n", "means 2123-07-08 13:58:36"),
    (b"     1001\t2026-09-04 07:30:00\t1\t0\n", "not a line"),
    (b"     1001\t2026-09-04 07:30:00\t1\t256\t1\t0\n", "above 255"),
    (b"         \t2026-09-04 07:30:00\t1\t0\t1\t0\n", "PIN"),
    (b"1234567890123456789012345\t2026-09-04 07:30:00\t1\t0\t1\t0\n", "PIN"),
    (b"     1001\t2026-09\0\0\0\0\0\0\0\0\0\t2026-09-04 07:30:00\t1\t0\t1\t0\n", "NUL"),
    (b"     1001\t2026-09-04 07:30:00\t1\t0\t1\t0\t\0\0 1002\t2026-09-04\n", "NUL"),
    (b"     10\xff1\t2026-09-04 07:30:00\t1\t0\t1\t0\n", "PIN"),
    (b"\xe2\x80\x8b1001,2026-09-04 07:30:00,1,0,1,0\n", "not a line"),
]


def read(form: Form, *pieces: bytes) -> list[Entry]:
    """Read a file that arrives in these pieces."""
    reader = Reader(form)
    return [*(entry for piece in pieces for entry in reader.feed(piece)), *reader.close()]


@pytest.mark.parametrize(("line", "expected"), GOOD)
def test_line(line: bytes, expected: tuple[object, ...]) -> None:
    """Padding goes, leading zeros stay, codes are not judged; CRLF, LF or the end of the file ends a line."""
    for ended in (line, line.rstrip(b"\r\n")):
        ((offset, record, device, well_formed),) = read(ATTLOG, ended)
        assert isinstance(record, RawPunch)
        assert (record.pin, str(record.local_time), *record[3:6]) == expected
        assert (offset, record.uid, device, well_formed) == (0, None, "1", True)
        assert record.raw == line.rstrip(b"\r\n")


@pytest.mark.parametrize(("line", "reason"), BAD)
def test_unreadable_line(line: bytes, reason: str) -> None:
    """It states what is wrong, keeps its bytes, and costs neither of its neighbours."""
    before, after = GOOD[0][0], GOOD[1][0]
    first, (offset, record, _, _), last = read(ATTLOG, before + line + after)
    assert isinstance(record, BadRecord)
    assert reason in record.reason
    assert offset == len(before)
    assert last.offset == len(before + line)
    assert isinstance(first.record, RawPunch)
    assert isinstance(last.record, RawPunch)


def test_what_stands_behind_the_six_columns_is_left_out() -> None:
    """It may be a name, in a good line and in a bad one."""
    good, bad = read(
        ATTLOG,
        b"1001\t2026-09-04 07:30:00\t1\t0\t1\t0\tBUDI\n",
        b"1001\t1971--10--29 -23:-23:-27\t1\t0\t1\t0\tBUDI\n",
    )
    assert good.record.raw == b"1001\t2026-09-04 07:30:00\t1\t0\t1\t0"
    assert b"BUDI" not in bad.record.raw


def test_a_run_of_nuls_is_one_place() -> None:
    """It is held as one byte, however long; its size and hash are of the whole, and both ends are seen."""
    torn = b"  10" + bytes(311_077) + b"3\t2026-09-04 07:31:00\t1\t0\t1\t0"
    data = GOOD[0][0] + torn + b"\n" + GOOD[1][0]
    pieces = [data[at : at + 4096] for at in range(0, len(data), 4096)]
    _, (offset, record, _, well_formed), last = read(ATTLOG, *pieces)
    assert isinstance(record, BadRecord)
    assert (offset, record.size, record.sha256) == (len(GOOD[0][0]), len(torn), sha256(torn).hexdigest())
    assert record.raw == b"  10\x003\t2026-09-04 07:31:00\t1\t0\t1\t0"
    assert not well_formed
    assert last.offset == len(data) - len(GOOD[1][0])


def test_a_line_without_end_is_held_in_part() -> None:
    """A gigabyte without a line feed costs a kilobyte."""
    reader = Reader(ATTLOG)
    for _ in range(64):
        assert list(reader.feed(b"x" * 65536)) == []
    ((_, record, _, _),) = reader.close()
    assert isinstance(record, BadRecord)
    assert (len(record.raw), record.size) == (wire.MAX_LINE, 64 * 65536)


def test_first_line_may_be_the_serial_number() -> None:
    """It is no record, and states whose the file is."""
    reader = Reader(ATTLOG)
    assert len(list(reader.feed(b"A8N5230560263\r\n" + GOOD[0][0]))) == 1
    assert (reader.serial, reader.lines, reader.headers) == ("A8N5230560263", 2, 1)


# --- tables -------------------------------------------------------------------------------------------------------

HEADER = "No\tTMNo\tEnNo\tName\tMode\tIOMd\tDateTime\r\n"
ROWS = "1\t1\t13767\tSITI RAHMA\t1\t0\t01/19/2026 14:53:50\r\n2\t1\t0042\t\t15\t1\t01/19/2026 02:53:50 PM\r\n"


@pytest.mark.parametrize("encoding", ["ascii", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("header", [HEADER, ""])
def test_table(encoding: str, header: str) -> None:
    """GLG, AGL and ALOG files in every encoding, with a header and without; no name leaves the reader."""
    text = header + ROWS.replace("SITI RAHMA", "SITI RAHMA" if encoding == "ascii" else "SITI “RAHMA” 🙂")
    data = text.encode(encoding)
    form = recognise(data)
    assert form.family == "table"
    for cut in (1, 2, 3, 50, len(data)):
        first, second = read(form, *(data[at : at + cut] for at in range(0, len(data), cut)))
        for entry, pin, verify, state in ((first, "13767", 1, 0), (second, "0042", 15, 1)):
            record = entry.record
            assert isinstance(record, RawPunch)
            assert (record.pin, record.verify, record.state, record.work_code) == (pin, verify, state, None)
            assert record.local_time == datetime(2026, 1, 19, 14, 53, 50)  # noqa: DTZ001 - a terminal's wall clock
            assert b"SITI" not in record.raw
            assert b"RAHMA" not in record.raw
            assert entry.device == "1"
        place = text.index("2\t1\t0042")
        assert second.offset == len(text[:place].encode(encoding))


def test_table_with_other_columns() -> None:
    """A header moves columns; what it does not name is not there."""
    form = recognise(b"EnNo\tName\tDateTime\n77\tBUDI\t2026-09-04 07:30:00\n")
    assert form.columns == Columns(device=None, pin=0, name=1, verify=None, state=None, moment=2, count=3)
    ((_, record, device, _),) = read(form, b"77\tBUDI\t2026-09-04 07:30:00\n")
    assert isinstance(record, RawPunch)
    assert (record.pin, record.state, record.verify, record.raw) == ("77", None, None, b"77\t\t2026-09-04 07:30:00")
    assert device is None


@pytest.mark.parametrize(
    ("dates", "orders"),
    [
        (["01/19/2026"], {"mdy"}),
        (["19/01/2026"], {"dmy"}),
        (["01/02/2026"], {"dmy", "mdy"}),
        (["01/02/2026", "19/01/2026"], {"dmy"}),
        (["01/19/2026", "19/01/2026"], set()),
    ],
)
def test_order_of_dates_is_never_guessed(dates: list[str], orders: set[str]) -> None:
    """Dates show what they can mean, over the whole file."""
    reader = Reader(Form("table"))
    rows = "".join(f"1\t1\t7\t\t1\t0\t{date} 07:30:00\n" for date in dates)
    assert len(list(reader.feed(rows.encode()))) == len(dates)
    assert reader.orders == orders


def test_unreadable_row_without_its_name() -> None:
    """Columns that may be a name are left out of what is kept, also where columns are missing."""
    for row in (b"1\t1\t7\tBUDI\t1\t0\t99/99/2026 07:30:00\n", b"1\t1\tBUDI\n", b"1\t1\t7\tBUDI\0\t1\n"):
        ((_, record, _, _),) = read(TABLE, row)
        assert isinstance(record, BadRecord)
        assert b"BUDI" not in record.raw
        assert b"BUDI" not in record.stable


# --- what is no export --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        b"\xff\xd8\xff\xe0" + GOOD[0][0],
        b"PK\x03\x04" + GOOD[0][0],
        b"SQLite format 3\0",
        bytes(65536),
        bytes(range(256)) * 20,
        b"root:x:0:0:root:/root:/bin/bash\n",
    ],
)
def test_something_else_is_refused(head: bytes) -> None:
    """By its first bytes, or because no line is a record."""
    with pytest.raises(NotAnExport):
        recognise(head)


@pytest.mark.parametrize(
    "name", ["user.dat", "template.dat", "1_user.dat", "template.fp10", "A1.JPG", "sms.dat", "x.fp"]
)
def test_names_that_are_not_opened(name: str) -> None:
    """Users, fingerprints, photos."""
    assert wire.refused_name(name) is not None


def test_names_that_tell_whose_they_are() -> None:
    """A serial number, or a device number only."""
    assert wire.refused_name("1_attlog.dat") is None
    assert wire.serial_of("CEXA193960001_attlog.dat") == "CEXA193960001"
    assert wire.serial_of("5094211900017_attlog.DAT") == "5094211900017"
    assert (wire.serial_of("1_attlog.dat"), wire.number_of("01_attlog.dat")) == (None, "1")
    assert (wire.serial_of("attlog.dat"), wire.number_of("CEXA193960001_attlog.dat")) == (None, None)


# --- vocabularies and geometries ---------------------------------------------------------------------------------


def table(text: str) -> list[Entry]:
    """Read a table as its first lines say."""
    data = text.replace("|", "\t").encode()
    return read(recognise(data), data)


def codes(entries: list[Entry]) -> list[tuple[int | None, int | None]]:
    """Return state and verify of the punches among them."""
    return [entry.record[3:5] for entry in entries if isinstance(entry.record, RawPunch)]


def test_a_header_with_more_tabs_than_its_rows() -> None:
    """The empty columns that only the header has are left out; rows that have them are read as it states."""
    header = "No|TMNo|EnNo|Name|||GMNo|Mode|DateTime\n"
    narrow, wide = "1|1|33| |1|2|02/25/2020 14:31:11\n", "1|1|33|SITI|||1|2|02/25/2020 14:31:11\n"
    for rows in (narrow, wide, narrow + wide):
        for entry in table(header + rows):
            record = entry.record
            assert isinstance(record, RawPunch)
            assert (record.pin, str(record.local_time), record.verify) == ("33", "2020-02-25 14:31:11", 2)
            assert b"SITI" not in record.raw


def test_a_row_that_is_shorter_than_its_header() -> None:
    """What it lacks behind its date is not there; the date and the PIN are whole."""
    header = "No|EnNo|Name|DateTime|Mode|IOMd\n"
    rows = "1|7|S|2026/09/04 07:30:00|1|0\n2|7|S|2026/09/04 07:31:00|1\n3|7|S|2026/09/04 07:32:00"
    entries = table(header + rows)
    assert codes(entries) == [(0, 1), (None, 1), (None, None)]


@pytest.mark.parametrize(
    ("last", "good"),
    [
        ("2|1|7||1|0|01/19/2026 07:31:15", True),
        ("2|1|7||1|0|01/19/2026 07:31", False),
        ("2|1|7||1|0|01/19/2026 07:31\n", True),
        ("2|1|7||1|0|01/19/2026 07:31:1", False),
    ],
)
def test_a_time_that_the_end_of_the_file_has_cut(last: str, good: bool) -> None:
    """Half of a time may look like another one: nothing is made of it."""
    entries = table("1|1|7||1|0|01/19/2026 07:30:15\n" + last)
    assert isinstance(entries[-1].record, RawPunch) == good


_HEAD = b"1001\t2026-09-04 07:30:00\t1\t0\t"


@pytest.mark.parametrize(
    ("lines", "last", "good"),
    [
        ((b"15\t0", b"1\t12"), b"15\t12", True),
        ((b"15\t0", b"1\t12"), b"15\t12\r", True),
        ((b"15\t0", b"1\t12"), b"15\t1", False),
        ((b"15\t0", b"1\t12"), b"15\t", False),
        ((b"15\t0", b"1\t12"), b"15\t1\r", True),
        ((b"15\t0",), b"15\t0", True),
        ((b"15\t0",), b"15\t7", False),
        ((b"15\t0",), b"15\t7 ", False),
        ((b"15\t0\t0",), b"15\t7\t", True),
        ((), b"15\t7", True),
        ((b"15", b"1"), b"15", True),
        ((b"15", b"1"), b"1", False),
        ((b"1",), b"1", True),
    ],
)
def test_a_code_that_the_end_of_the_file_has_cut(lines: tuple[bytes, ...], last: bytes, good: bool) -> None:
    """The beginning of a code is another code: it is never taken for one."""
    five = b"\t" not in last
    reader = Reader(Form("attlog", third="device" if five else None))
    data = b"".join(_HEAD + line + b"\r\n" for line in lines) + _HEAD + last
    *_, entry = [*reader.feed(data), *reader.close()]
    assert isinstance(entry.record, RawPunch) == good
    if not good:
        assert isinstance(entry.record, BadRecord)
        assert (entry.record.reason, entry.well_formed) == ("the file ends in it", True)


def test_halves_of_the_day_and_pins_that_are_cut() -> None:
    """Without its PM a time is twelve hours early; a PIN in the last column may be another person's."""
    rows = table("1|1|7||1|0|01/19/2026 07:30:15 PM\n2|1|7||1|0|01/19/2026 07:31:15")
    assert [isinstance(entry.record, RawPunch) for entry in rows] == [True, False]
    rows = table("DateTime|EnNo\n2026/09/04 07:30:00|13767\n2026/09/04 07:31:00|137")
    assert [isinstance(entry.record, RawPunch) for entry in rows] == [True, False]


@pytest.mark.parametrize(
    ("words", "states"),
    [
        (("C/In", "C/Out"), [0, 1]),
        (("Masuk", "Keluar"), [0, 1]),
        (("In", "Out"), [0, 1]),
        (("DutyOn", "DutyOff"), [0, 1]),
        (("Overtime In", "OverTimeOut"), [4, 5]),
        (("Break Out", "Break In"), [2, 3]),
        (("BUDI", "?"), [None, None]),
    ],
)
def test_words_for_the_state(words: tuple[str, str], states: list[int | None]) -> None:
    """They become the code that terminals have for it and stay in the raw bytes; what is no such word is left out."""
    rows = table("AC-No.|Name|Time|State\n" + "".join(f"7|SITI|2026-09-04 07:3{n}|{w}\n" for n, w in enumerate(words)))
    assert [state for state, _ in codes(rows)] == states
    for row, word, state in zip(rows, words, states, strict=True):
        assert (word.encode() in row.record.raw) == (state is not None)
        assert b"SITI" not in row.record.raw


def test_words_in_the_column_of_the_other() -> None:
    """A word shows by itself what it is about."""
    assert codes(table("No|EnNo|DateTime|Mode|IOMd\n1|7|2026/09/04 07:30:00|DutyOff|FP\n")) == [(1, 1)]


def test_in_and_out_beside_words_for_work() -> None:
    """There they mean leaving for a while and coming back, for which the codes differ: none is taken."""
    form = Form("table", in_out=False)
    data = b"EnNo\tDateTime\tIOMd\n7\t2026/09/04 07:30:00\tIn\n7\t2026/09/04 07:31:00\tDutyOn\n"
    entries = read(form, data)
    assert codes(entries) == [(None, None), (0, None)]
    reader = Reader(Form("table"))
    assert len(list(reader.feed(data))) == 2
    assert wire.uses_words_for_work(reader.words)
    assert b"In" in entries[0].record.raw


def test_numbers_of_people_that_are_no_pin_are_left_out() -> None:
    """A NIP contains the date of birth."""
    (entry,) = table("AC-No.|NIP|Name|Time|State\n7|198001012005011001|SITI|2026-09-04 07:30:00|C/In\n")
    assert entry.record.raw == b"7\t\t\t2026-09-04 07:30:00\tC/In"


def test_five_columns_among_six_are_no_date() -> None:
    """A line that lacks a column is kept with its bytes, and states what it lacks."""
    _, entry = read(ATTLOG, GOOD[0][0] + b"10021\t2026-04-10 07:31:01\t1\t0\t0\n")
    assert isinstance(entry.record, BadRecord)
    assert (entry.record.reason, entry.well_formed) == ("5 columns, not 6", False)


def test_records_that_were_published_stay() -> None:
    """Bytes, keys and codes of every kind of line, as the version before gave them: identities rest on these."""
    for example in json.loads(Path(__file__).with_name("published.json").read_text()):
        data = bytes.fromhex(example["file"])
        form = replace(recognise(data[: wire.HEAD]), order=example["order"])
        found: list[list[object]] = []
        for offset, record, _, _ in read(form, data):
            if isinstance(record, RawPunch):
                moment = record.local_time.isoformat()
                row = [record.pin, moment, record.state, record.verify, record.work_code]
                found.append([offset, record.raw.hex(), *row])
            else:
                found.append([offset, record.raw.hex(), record.stable.hex()])
        assert found == example["records"], example["name"]


# --- mutated exports ----------------------------------------------------------------------------------------------

FOUND: tuple[int, ...] = ()
"""Seeds that found a fault."""


@pytest.mark.parametrize("seed", [*range(150), *FOUND])
def test_mutated_exports(seed: int) -> None:
    """Two changes at once, in whatever is read: refused or read, bounded, cut anywhere the same, nothing invented."""
    attack(seed)
