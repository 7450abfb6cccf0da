"""JSON that is kept: the same text and the same values as the standard library's."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central.json_text import dump_json, load_json

TEXT = st.text(st.characters(codec=None), max_size=20)
LEAVES = st.none() | st.booleans() | st.integers() | TEXT | st.floats(0.0001, 1e15)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=20
)
STANDARD = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


@given(VALUES)
def test_written_and_read_as_the_standard_library_does(value: object) -> None:
    """Also with control characters, halves of surrogate pairs, and integers of any size."""
    text = dump_json(value)

    assert text == STANDARD.encode(value)
    assert load_json(text) == json.loads(text)


def test_tuples_are_arrays_and_other_types_are_refused() -> None:
    """What the standard library refuses must not be written in another form."""
    assert dump_json({"a": (1, ("b",))}) == '{"a":[1,["b"]]}'
    with pytest.raises(TypeError):
        dump_json({"a": object()})


@pytest.mark.parametrize("text", ["", "{", "[1,]", "nan", '"\x01"', "1 2"])
def test_what_is_no_json_is_a_value_error(text: str) -> None:
    """Readers of stored text catch that error alone."""
    with pytest.raises(ValueError, match=r".+"):
        load_json(text)


def test_halves_of_surrogate_pairs_are_read_as_they_were_written() -> None:
    """Text that UTF-8 cannot hold is kept by the standard library."""
    value = {"\ud800": ["\udfff"]}
    assert load_json(dump_json(value)) == value
