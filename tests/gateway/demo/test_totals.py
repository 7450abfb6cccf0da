"""How long the demo waits, and what it prints meanwhile."""

from collections.abc import Iterator
from dataclasses import replace

from gateway.demo.totals import STILL_S, WORKING_S, Totals, settle
from gateway.texts import Language, Message

DONE = Totals(in_terminals=20_100, in_ledger=20_100, at_centre=0, events=20_110, covered=20_110)


def settled(sums: Iterator[Totals], step_s: float, *, ends_at: float = float("inf")) -> tuple[Totals, float, list[str]]:
    """Settle with numbers that are looked at every ``step_s``; return the sum, how long it took, and what was shown."""
    shown: list[Message] = []
    time_s = [0.0]

    def pause(_: float) -> None:
        time_s[0] += step_s

    total = settle(lambda: next(sums), lambda: time_s[0] >= ends_at, shown.append, lambda: time_s[0], pause)
    return total, time_s[0], [str(message) for message in shown]


def test_it_waits_as_long_as_numbers_move() -> None:
    """However slowly: a busy machine is no failure. What it waits for is shown with how much is missing."""
    sums = [replace(DONE, in_ledger=count, events=count, covered=0) for count in range(20_000, 20_100, 10)]
    sums += [replace(DONE, covered=count) for count in range(20_000, 20_110, 10)]

    total, took_s, shown = settled(iter([*sums, DONE]), STILL_S - 1)

    assert total == DONE
    assert took_s > 20 * (STILL_S - 1)
    assert shown[0] == "the gateway to read 100 more punches"
    assert shown[-1] == "the centre's receipts for 10 events"


def test_it_gives_up_when_nothing_moves_or_a_program_has_ended() -> None:
    """The sum is what it is then, and is not right."""
    stuck = replace(DONE, covered=5)

    total, took_s, _ = settled(iter(lambda: stuck, None), 1.0)
    assert (total, took_s) == (stuck, STILL_S)
    assert settled(iter(lambda: stuck, None), 1.0, ends_at=3.0)[1] == 3.0


def test_it_waits_while_programs_work_though_nothing_else_moves() -> None:
    """A program that starts on a busy machine; but not for ever."""
    stuck, time_s = replace(DONE, covered=5), [0.0]

    def pause(_: float) -> None:
        time_s[0] += 1.0

    def waited(until_s: float) -> float:
        time_s[0] = 0.0
        settle(
            lambda: DONE if time_s[0] >= until_s else stuck,
            lambda: False,
            lambda _: None,
            lambda: time_s[0],
            pause,
            lambda: int(time_s[0] / (STILL_S - 1)),
        )
        return time_s[0]

    assert waited(WORKING_S - 1) == WORKING_S - 1
    assert waited(float("inf")) == WORKING_S


def test_only_equal_numbers_are_right() -> None:
    """Too many punches somewhere are as wrong as missing ones, and a centre that has nothing is no success."""
    right = replace(DONE, at_centre=20_100)

    assert right.right
    assert right.message().startswith("in the terminals 20,100  =  in the ledger 20,100  =  at the centre 20,100; ")
    for wrong in (
        replace(right, at_centre=20_099),
        replace(right, in_ledger=20_101),
        replace(right, covered=20_109),
        Totals(0, 0, 0, 0, 0),
    ):
        assert not wrong.right
        assert "these should be equal" in wrong.message()
    assert "di mesin 20.100" in right.message().into(Language.INDONESIAN)
