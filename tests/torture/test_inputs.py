"""The minute of mutated inputs in `make torture`: what it finds and how it is repeated."""

import itertools

import pytest

from tests.torture import inputs
from tests.torture.inputs import Finding, main, torment


def broken(seed: int) -> None:
    """Fail as a reader may: with an exception, and by ending the process."""
    if seed % 3 == 0:
        raise ValueError("a reader fails")
    if seed % 3 == 1:
        raise SystemExit(70)


def test_what_a_reader_does_not_stand_is_found_and_the_rest_goes_on() -> None:
    """Kinds take turns, each seed is given to all; the failure of one costs the others nothing."""
    sound: list[int] = []
    attacks = {"sound": sound.append, "broken": broken}
    outcomes = list(torment(attacks, iter(range(3, 9)), lambda: False))

    found = [(outcome.kind, outcome.seed) for outcome in outcomes if isinstance(outcome, Finding)]
    assert found == [("broken", 3), ("broken", 4), ("broken", 6), ("broken", 7)]
    assert sound == [3, 4, 5, 6, 7, 8]
    assert outcomes.count("sound") == outcomes.count("broken") == 6


def test_it_ends_when_its_time_is_over() -> None:
    """Also between two kinds of one seed."""
    left = iter([False, False, False, True])
    outcomes = list(torment({"a": int, "b": int}, itertools.count(), lambda: next(left)))

    assert outcomes == ["a", "b", "a"]


def test_a_finding_is_printed_with_the_command_that_repeats_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kind, seed and error; the exit code is 1, and 0 where nothing was found."""
    monkeypatch.setattr(inputs, "attacks", lambda: {"exports": broken, "bundles": int})

    assert main(["--first", "2", "--seeds", "2"]) == 1
    printed = capsys.readouterr().out
    assert "exports: seed 3 FAILED: ValueError" in printed
    assert "python -m tests.torture.inputs --first 3 --seeds 1 --kind 'exports'" in printed
    assert "       2 exports, 1 failed" in printed
    assert "1 of 4 mutated inputs failed" in printed
    assert main(["--first", "2", "--seeds", "2", "--kind", "bundles"]) == 0


def test_every_reader_stands_the_first_seeds() -> None:
    """Each attack of this version is called; more seeds are in the tests of each reader."""
    kinds = inputs.attacks()
    outcomes = list(torment(kinds, iter(range(5)), lambda: False))

    assert [outcome for outcome in outcomes if isinstance(outcome, Finding)] == []
    assert len(outcomes) == 5 * len(kinds)
