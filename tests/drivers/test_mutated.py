"""Valid bytes of terminals, changed in two places: what comes of them is a value or the driver's own error."""

from collections.abc import Callable

import pytest

from tests.drivers.anviz import mutated as anviz
from tests.drivers.line import mutated as line
from tests.drivers.push import mutated as push
from tests.drivers.soap import mutated as soap
from tests.drivers.webhook import mutated as webhook
from tests.drivers.zkteco import mutated as zkteco

SEEDS = 1500
CONVERSATIONS = 8


PUSH = [push.attack, push.attack_others, push.attack_head]


@pytest.mark.parametrize(
    "attack",
    [zkteco.attack, anviz.attack, line.attack, soap.attack, *PUSH, webhook.attack],
    ids=["zkteco", "anviz", "line", "soap", "push", "push-others", "push-heads", "webhook"],
)
def test_mutated_bytes(attack: Callable[[int], None]) -> None:
    """Neither another exception nor a record that is none."""
    for seed in range(SEEDS):
        attack(seed)


@pytest.mark.parametrize("seed", range(CONVERSATIONS))
def test_mutated_conversation(seed: int) -> None:
    """Only DriverErrors leave a conversation whose answers are changed on their way."""
    zkteco.attack_conversation(seed)
