"""What a person reads of a verdict, in both languages, and on narrow screens."""

import pytest

from gateway.demo.screen import Words
from gateway.demo.script import Verdict
from gateway.texts import Language

LATE = Verdict("late", 3, provisional=True)


@pytest.mark.parametrize(
    ("verdict", "english", "indonesian"),
    [
        (Verdict("on_time"), "on time", "tepat waktu"),
        (Verdict("late", 12), "late 12 min", "terlambat 12 menit"),
        (Verdict("late", 12, 5), "late 12 min, left 5 min early", "terlambat 12 menit, pulang 5 menit lebih awal"),
        (Verdict("missing", 8), "a punch is missing, late 8 min", "presensi kurang, terlambat 8 menit"),
        (Verdict("absent"), "absent", "tidak hadir"),
    ],
)
def test_a_verdict_is_named_with_its_minutes(verdict: Verdict, english: str, indonesian: str) -> None:
    """All that a day has, the worst first."""
    assert Words(Language.ENGLISH).verdict(verdict) == english
    assert Words(Language.INDONESIAN).verdict(verdict) == indonesian


def test_a_provisional_verdict_says_why() -> None:
    """With every doubt, on a narrow screen with one; a doubt that is not known here by its own name."""
    words = Words(Language.ENGLISH)

    assert words.why(Verdict("late", 3), ("drift",)) == ""
    assert words.why(LATE, ()) == "provisional"
    assert words.why(LATE, ("drift", "new")) == "provisional: the terminal's clock is wrong, new"
    assert words.why(LATE, ("drift", "new"), short=True) == "provisional: the terminal's clock is wrong +1"
    assert words.why(LATE, ("drift",), short=True) == "provisional: the terminal's clock is wrong"


def test_people_are_counted_by_kind() -> None:
    """In one order, whatever the order of the people; provisional ones beside the kinds."""
    assert (
        Words(Language.INDONESIAN).counts([LATE, Verdict("on_time"), Verdict("on_time")])
        == "tepat waktu 2 · terlambat 1 · di antaranya sementara 1"
    )
