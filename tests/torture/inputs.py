"""Mutated valid inputs for every reader of what comes from outside, kind after kind with new seeds.

``python -m tests.torture.inputs [--seconds S] [--first SEED] [--kind NAME]``: part of ``make torture``. A module in
``KINDS`` has ``attack(seed)``: it makes a valid input, mutates it and gives it to the real reader, and raises where the
reader does not do what it promises. Each finding is printed with its seed, and the exit code is 1.
"""

import argparse
import itertools
import logging
import secrets
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module

import structlog

KINDS = {
    "events at the centre": "tests.central.mutated",
    "exports": "tests.drivers.attlog.mutated",
    "bundles": "tests.gateway.mutated_bundles",
    "ZKTeco frames": "tests.drivers.zkteco.mutated",
    "answers of web services": "tests.drivers.soap.mutated",
    "Anviz frames": "tests.drivers.anviz.mutated",
    "PUSH uploads": "tests.drivers.push.mutated",
    "posts of apps": "tests.drivers.webhook.mutated",
    "lines of text": "tests.drivers.line.mutated",
    "messages from the broker": "tests.gateway.mutated_messages",
    "configurations": "tests.gateway.mutated_settings",
}
"""What is attacked → the module that does."""
Attack = Callable[[int], object]


@dataclass(frozen=True)
class Finding:
    """An input that a reader did not stand."""

    kind: str
    seed: int
    error: BaseException


def attacks() -> dict[str, Attack]:
    """Return the attack of each kind; ModuleNotFoundError where one is missing."""
    return {kind: import_module(module).attack for kind, module in KINDS.items()}


def torment(kinds: Mapping[str, Attack], seeds: Iterator[int], until: Callable[[], bool]) -> Iterator[str | Finding]:
    """Attack each kind in turn with the next seed until ``until()``; yield each kind attacked, and what was found."""
    for seed in seeds:
        for kind, attack in kinds.items():
            if until():
                return
            try:
                attack(seed)
            except (KeyboardInterrupt, GeneratorExit):
                raise
            except BaseException as exc:  # noqa: BLE001 - a reader that ends the process is a finding too
                yield Finding(kind, seed, exc)
            yield kind


def main(arguments: list[str] | None = None) -> int:
    """Attack for so long; return 1 if anything was found."""
    parser = argparse.ArgumentParser(description="Give mutated valid inputs to everything that reads from outside.")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long, all kinds together")
    parser.add_argument("--first", type=int, help="the first seed; else one by chance")
    parser.add_argument("--seeds", type=int, help="end after so many seeds of each kind")
    parser.add_argument("--kind", choices=KINDS, help="only this one")
    requested = parser.parse_args(arguments)
    first = secrets.randbelow(1_000_000_000) if requested.first is None else requested.first
    seeds = itertools.count(first) if requested.seeds is None else iter(range(first, first + requested.seeds))
    kinds = {kind: attack for kind, attack in attacks().items() if requested.kind in (None, kind)}
    end = time.monotonic() + requested.seconds
    counts: Counter[str] = Counter()
    found: Counter[str] = Counter()
    for outcome in torment(kinds, seeds, lambda: time.monotonic() >= end):
        if isinstance(outcome, Finding):
            found[outcome.kind] += 1
            print(f"{outcome.kind}: seed {outcome.seed} FAILED: {type(outcome.error).__name__}")  # noqa: T201
            traceback.print_exception(outcome.error, limit=-6)
            print(f"  again: python -m tests.torture.inputs --first {outcome.seed} --seeds 1 --kind '{outcome.kind}'")  # noqa: T201
        else:
            counts[outcome] += 1
    for kind in kinds:
        print(f"{counts[kind]:>8} {kind}, {found[kind]} failed")  # noqa: T201
    print(f"seeds from {first}; {found.total()} of {counts.total()} mutated inputs failed")  # noqa: T201
    return 1 if found else 0


if __name__ == "__main__":
    # What readers refuse they log; only what they do not stand is of interest here.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    sys.exit(main())
