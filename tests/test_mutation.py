import json
from random import Random

from tests.mutation import encode_json, mutate_bytes, mutate_json, mutate_lines, mutate_text

EVENT = {"id": "x", "data": {"pin": "1001", "items": [1, 2, {"deep": None}]}, "sequence": "00000000000000000001"}


def test_each_seed_gives_one_value_and_the_original_stays() -> None:
    """A seed that found a fault can be kept as a test."""
    before = json.dumps(EVENT)

    for seed in range(300):
        assert encode_json(mutate_json(EVENT, Random(seed))) == encode_json(mutate_json(EVENT, Random(seed)))

    assert json.dumps(EVENT) == before


def test_most_mutations_change_something_and_leave_most_of_the_rest() -> None:
    """An input that is wrong everywhere is refused at the door and tests nothing behind it."""
    encoded = [encode_json(mutate_json(EVENT, Random(seed))) for seed in range(300)]

    assert len(set(encoded)) > 150
    assert sum(b"1001" in text for text in encoded) > 100
    assert any(text.count(b"[") > 900 for text in encoded)


def test_bytes_lines_and_text_are_changed() -> None:
    """The mutators of files, tables and configurations change what they are given."""
    table = b"1001\t2026-09-04 07:30:00\t1\t0\t1\t0\r\n" * 4

    for mutate in (mutate_bytes, mutate_lines):
        assert len({mutate(table, Random(seed)) for seed in range(200)}) > 100
    assert len({mutate_text("site: a\ngateway: b\npoll: 60s\n", Random(seed)) for seed in range(200)}) > 30
