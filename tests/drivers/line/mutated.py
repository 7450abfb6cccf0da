"""Mutations of what a line of text says: messages, marks and checksums, changed in two places."""

import re
from random import Random
from typing import get_args

from drivers.base import BadRecord, RawPunch, Untimed
from drivers.line.simulator import PATTERN
from drivers.line.wire import LONGEST_WORK_CODE, MAX_MESSAGE, Checksum, Cutter, Framing, Grammar, encode
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
    cutter = Cutter(framing, checksum)
    grammar = Grammar(re.compile(random.choice(PATTERNS)), random.choice(ENCODINGS))
    mutated = mutate_bytes(stream, random)
    messages = [message for at in range(0, len(mutated), 5) for message in cutter.feed(mutated[at : at + 5])]
    messages += cutter.pause()
    assert sum(len(message.raw) for message in messages) <= len(mutated)
    for message in messages:
        assert len(message.raw) <= MAX_MESSAGE
        spoken = grammar.read(message)
        assert isinstance(spoken, RawPunch | Untimed | BadRecord)
        if not isinstance(spoken, BadRecord):
            assert spoken.pin
            assert spoken.pin.isascii()
            assert spoken.pin.isprintable()
            work_code = spoken.work_code
            assert work_code is None or (len(work_code) <= LONGEST_WORK_CODE and work_code.isprintable())
