"""The grammar of export files: every defect of the real ones, written anew."""

from datetime import datetime
from hashlib import sha256
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.attlog import wire
from drivers.attlog.wire import Columns, Entry, Form, NotAnExport, Reader, recognise
from drivers.base import BadRecord, RawPunch

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
        ((offset, record, device, formed),) = read(ATTLOG, ended)
        assert isinstance(record, RawPunch)
        assert (record.pin, str(record.local_time), *record[3:6]) == expected
        assert (offset, record.uid, device, formed) == (0, None, "1", True)
        assert record.raw == line.rstrip(b"\r\n")


@pytest.mark.parametrize(("line", "reason"), BAD)
def test_unreadable_line(line: bytes, reason: str) -> None:
    """It says what is wrong, keeps its bytes, and costs neither of its neighbours."""
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
    _, (offset, record, _, formed), last = read(ATTLOG, *pieces)
    assert isinstance(record, BadRecord)
    assert (offset, record.size, record.sha256) == (len(GOOD[0][0]), len(torn), sha256(torn).hexdigest())
    assert record.raw == b"  10\x003\t2026-09-04 07:31:00\t1\t0\t1\t0"
    assert not formed
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
    """It is no record, and says whose the file is."""
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
    """Dates tell what they can mean, over the whole file."""
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


# --- any bytes ----------------------------------------------------------------------------------------------------

lines = st.one_of(
    st.binary(max_size=80),
    st.sampled_from([line for line, _ in GOOD] + [line for line, _ in BAD] + [ROWS.encode(), HEADER.encode()]),
)
forms = st.sampled_from([ATTLOG, TABLE, Form("table", "utf-16-le", order="dmy"), Form("table", "utf-16-be")])


@given(form=forms, parts=st.lists(lines, max_size=30), cuts=st.lists(st.integers(0, 3000), max_size=5))
def test_any_bytes(form: Form, parts: list[bytes], cuts: list[int]) -> None:
    """Whatever comes, and however it is cut: records in order, bounded, and the same."""
    data = b"".join(parts)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    entries = read(form, *(data[a:b] for a, b in pairwise(edges)))
    assert entries == read(form, data)
    assert [entry.offset for entry in entries] == sorted({entry.offset for entry in entries})
    for entry in entries:
        assert len(entry.record.raw) <= wire.MAX_LINE
        assert isinstance(entry.record, BadRecord) or 1 <= len(entry.record.pin or "") <= 24
