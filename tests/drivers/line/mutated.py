"""Mutations of what a line of text states: messages, marks and checksums, changed in two places."""

import re
from random import Random
from typing import get_args

from drivers.base import BadRecord, RawPunch, Untimed
from drivers.line.simulator import PATTERN
from drivers.line.wire import MAX_MESSAGE, MAX_WORK_CODE, Checksum, FrameReader, Framing, MessageParser, encode
from tests.mutation import mutate_bytes

PATTERNS = (PATTERN + r"(,(?P<work_code>.*))?", r"(?P<card>.*)", r"(?P<pin>[^,]*),(?P<date>[^,]*),(?P<time>[^,]*),.*")
ENCODINGS = ("ascii", "latin-1", "utf-8")


def attack(seed: int) -> None:
    """Read one mutated stretch of a line; raise whatever is no record."""
    random = Random(seed)
    framing: Framing = random.choice(get_args(Framing))
    checksum: Checksum = random.choice(get_args(Checksum))
    text = b"%d,2026-09-04,07:30:%02d,0,1,7"
    stream = b"".join(encode(text % (1001 + row, row), framing, checksum) for row in range(8))
    cutter = FrameReader(framing, checksum)
    grammar = MessageParser(re.compile(random.choice(PATTERNS)), random.choice(ENCODINGS))
    mutated = mutate_bytes(stream, random)
    messages = [message for at in range(0, len(mutated), 5) for message in cutter.feed(mutated[at : at + 5])]
    messages += cutter.pause()
    assert sum(len(message.raw) for message in messages) <= len(mutated)
    for message in messages:
        assert len(message.raw) <= MAX_MESSAGE
        event = grammar.read(message)
        assert isinstance(event, RawPunch | Untimed | BadRecord)
        if not isinstance(event, BadRecord):
            assert event.pin
            assert event.pin.isascii()
            assert event.pin.isprintable()
            work_code = event.work_code
            assert work_code is None or (len(work_code) <= MAX_WORK_CODE and work_code.isprintable())
