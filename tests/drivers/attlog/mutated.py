"""Exports with two things wrong at once: :func:`attack` gives each to everything that reads a file."""

from contextlib import suppress
from functools import cache
from itertools import pairwise
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from drivers.attlog import wire
from drivers.attlog.terminal import AttlogOptions, AttlogTerminal, ExportFile, survey_export
from drivers.attlog.wire import Entry, Form, NotAnExport, Reader
from drivers.base import BadRecord, Delivery, RawPunch, Refused, Settlement, Settling, Unsettled
from tests.mutation import HOSTILE_BYTES, mutate_bytes, mutate_lines

SERIAL = "CEXA193960001"
FILES = (f"{SERIAL}_attlog.dat", "1_attlog.dat", "attlog.dat", "GLG_001.TXT", "september_attlog.dat")
WORDS = (b"", b"In", b"C/Out", b"DutyOn", b"Masuk", b"FP", b"1E+17", b"1.98E+17", b"04/09/2026 7:30", b"SITI", b"300")


@cache
def valid() -> tuple[bytes, ...]:
    """Return whole exports, one of each kind that is read."""
    numbers = range(12)
    six = b"".join(b"%9d\t2026-09-04 07:%02d:%02d\t1\t%d\t1\t0\r\n" % (1000 + n, n, n, n % 2) for n in numbers)
    five = b"".join(b"%d\t2026-09-04 07:%02d:%02d\t7\t%d\t1\n" % (1000 + n, n, n, n % 2) for n in numbers)
    rows = [f"{n}\t1\t{1000 + n}\tSITI\t1\t{n % 2}\t01/{13 + n:02d}/2026 07:{n:02d}:00" for n in numbers]
    table = "\r\n".join(["No\tTMNo\tEnNo\tName\tMode\tIOMd\tDateTime", *rows, ""])
    padded = "\n".join(["No\tTMNo\tEnNo\tName\t\t\tGMNo\tMode\tDateTime", *rows, ""])
    rows = [f"{n}\t{1000 + n}\tSITI\t2026/09/04 07:{n:02d}:00\t1\t{n % 2}" for n in numbers]
    moved = "\n".join(["No\tEnNo\tName\tDateTime\tMode\tIOMd", *rows])
    rows = [f"{1000 + n}\tSITI\t2026-09-04 07:{n:02d}\t{('C/In', 'C/Out')[n % 2]}" for n in numbers]
    words = "\n".join(["AC-No.\tName\tTime\tState", *rows])
    texts = [text.encode() for text in (table, padded, moved, words)]
    return (six, b"A8N5230560263\r\n" + six, five, *texts, table.encode("utf-16"), padded.encode("utf-8-sig"))


def mutated(seed: int) -> bytes:
    """Return an export with two changes."""
    random = Random(seed)
    data = random.choice(valid())
    for _ in range(2):
        match random.randrange(5):
            case 0:
                data = mutate_bytes(data, random, 1)
            case 1:
                data = _with_cell(data, random)
            case 2:
                data = data[: random.randrange(len(data) + 1)]
            case _:
                data = mutate_lines(data, random, 1)
    return data


def _with_cell(data: bytes, random: Random) -> bytes:
    lines = data.split(b"\n")
    at = random.randrange(len(lines))
    cells = lines[at].split(b"\t")
    cells[random.randrange(len(cells))] = random.choice(WORDS)
    lines[at] = b"\t".join(cells)
    return b"\n".join(lines)


def attack(seed: int) -> None:
    """Read a mutated export in every way there is; AssertionError, or whatever is raised, where that is a fault."""
    data, random = mutated(seed), Random(~seed)
    for form in (Form("attlog"), Form("attlog", third="state"), Form("table", order="dmy"), Form("table", "utf-16-le")):
        _read_cut(form, data, random)
    with TemporaryDirectory() as folder:
        name = random.choice(
            (f"{SERIAL}_attlog.dat", "1_attlog.dat", "attlog.dat", "GLG_001.TXT", "september_attlog.dat")
        )
        path = Path(folder) / name
        path.write_bytes(data)
        (Path(folder) / "2_attlog.dat").write_bytes(random.choice(HOSTILE_BYTES))
        for order, third in ((None, None), ("dmy", "device"), ("mdy", "state")):
            with suppress(NotAnExport):
                _check(survey_export(path, order, third))  # type: ignore[arg-type]  # of the literals
        _look(Path(folder), random.choice((1, 7, None)))


def _read_cut(form: Form, data: bytes, random: Random) -> None:
    edges = [0, *sorted(random.randrange(len(data) + 1) for _ in range(4)), len(data)]
    entries = _entries(form, [data[a:b] for a, b in pairwise(edges)])
    assert entries == _entries(form, [data])
    assert [entry.offset for entry in entries] == sorted({entry.offset for entry in entries})
    for entry in entries:
        record = entry.record
        assert len(record.raw) <= wire.MAX_LINE
        if isinstance(record, BadRecord):
            assert record.reason.isprintable()
        else:
            _check_punch(record)


def _entries(form: Form, pieces: list[bytes]) -> list[Entry]:
    reader = Reader(form)
    return [*(entry for piece in pieces for entry in reader.feed(piece)), *reader.close()]


def _check_punch(record: RawPunch) -> None:
    """Check that a punch has a PIN that its bytes hold, a time that they show, and no name beside them."""
    assert record.pin is not None
    assert 1 <= len(record.pin) <= 24
    assert record.pin.isprintable()
    assert record.pin.encode() in record.raw
    held = {record.pin, record.work_code}
    assert all(field.strip().decode() in held for field in record.raw.split(b"\t") if b"SITI" in field)
    assert f"{record.local_time.minute:02d}".encode() in record.raw


def _check(export: ExportFile) -> None:
    records = list(export.records())
    punches = [record for record in records if isinstance(record, RawPunch)]
    assert len(punches) == export.punches > 0
    assert len(records) == export.lines
    for record in punches:
        _check_punch(record)


def _look(folder: Path, number: int | None) -> None:
    options = {"name": "gate", "path": folder, "serial": SERIAL, "settle": "1ms", "number": number}
    terminal = AttlogTerminal(AttlogOptions.model_validate(options))
    found = 0
    for item in terminal.deliveries(0.0):
        if isinstance(item, Settling):
            continue
        found += 1
        assert not isinstance(item, Unsettled)
        if isinstance(item, Refused):
            assert "cannot be read (" not in item.reason, item
            assert item.write_report("HADIR\n") or item.why != "content"
        if isinstance(item, Delivery):
            assert item.file is not None
            assert item.file.name.isprintable()
            assert item.settle(Settlement(report="HADIR\n"))
    assert found == 2
