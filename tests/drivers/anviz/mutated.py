"""Mutations of what an Anviz terminal sends: frames, batches, clocks and counts, changed in two places."""

from contextlib import suppress
from datetime import timedelta
from random import Random

from drivers.anviz import wire
from drivers.base import BadRecord, RawPunch
from tests.drivers.anviz.vectors import FRAMES, MOMENT, RECORD
from tests.mutation import mutate_bytes


def attack(seed: int) -> None:
    """Read one mutated input; raise whatever is neither a value nor a WireError."""
    random = Random(seed)
    random.choice((_read_stream, _read_answers))(random)


def check(record: object) -> None:
    """See that a decoded record is one, in the years that a terminal knows."""
    assert isinstance(record, RawPunch | BadRecord)
    if isinstance(record, RawPunch):
        assert wire.EPOCH.year <= record.local_time.year <= wire.LAST_YEAR
        assert record.pin is not None
        assert record.pin.isdecimal()


def _read_stream(random: Random) -> None:
    frames = [raw for raw, _ in random.choices(FRAMES, k=6)]
    frames.insert(3, wire.Frame(1, wire.CMD_REAL_TIME + wire.ANSWER, RECORD).to_bytes())
    stream = mutate_bytes(b"".join(frames), random)
    reader = wire.FrameReader()
    found = [frame for at in range(0, len(stream), 7) for frame in reader.feed(stream[at : at + 7])]
    found += reader.pause()
    for frame in found:
        assert frame.to_bytes() in stream
        check(wire.decode_record(frame.data, wire.EPOCH))
    assert reader.skipped + sum(len(frame.to_bytes()) for frame in found) == len(stream)


def _read_answers(random: Random) -> None:
    with suppress(wire.WireError):
        shown = wire.decode_clock(mutate_bytes(wire.encode_clock(MOMENT), random))
        assert shown is None or 2000 <= shown.year <= wire.LAST_YEAR
    with suppress(wire.WireError):
        info = wire.decode_record_info(mutate_bytes(wire.encode_record_info(wire.RecordInfo(90, 9), users=5), random))
        assert 0 <= info.new <= info.records <= wire.MAX_RECORDS
    rows = b"".join(
        wire.encode_record(
            str(1001 + row), MOMENT + timedelta(minutes=row), epoch=wire.EPOCH, state=0, verify=1, work_code=row
        )
        for row in range(wire.BATCH)
    )
    with suppress(wire.WireError):
        for raw in wire.split_batch(mutate_bytes(wire.encode_batch(rows), random)):
            check(wire.decode_record(raw, wire.EPOCH))
    wire.decode_text(mutate_bytes(b"05.18.A1", random))
