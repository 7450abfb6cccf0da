"""What the broker brings goes through strict readers: no message does more than it may."""

import pytest

from gateway.ledger import info_from, receipt_from
from tests.gateway.mutated_messages import attack, target

FOUND: tuple[int, ...] = ()
"""Seeds that found a fault once."""


def test_no_mutated_message_does_more_than_it_may() -> None:
    """Two changes at a time of valid receipts, infos and requests."""
    with target() as ledger:
        for seed in (*FOUND, *range(400)):
            attack(seed, ledger)


@pytest.mark.parametrize(
    "payload",
    [
        b'{"stream": "6f9c2d1e-8a47-4c53-9b0e-2f6d1a7c4e80", "sequence": 1e999}',
        b'{"stream": "6f9c2d1e-8a47-4c53-9b0e-2f6d1a7c4e80", "sequence": 1.0}',
        b'{"stream": "6f9c2d1e-8a47-4c53-9b0e-2f6d1a7c4e80", "sequence": true}',
        b'{"stream": "6f9c2d1e-8a47-4c53-9b0e-2f6d1a7c4e80", "sequence": 9223372036854775808}',
        b'{"stream": "\\ud800", "sequence": 1}',
        b'{"stream": ["6f9c2d1e-8a47-4c53-9b0e-2f6d1a7c4e80"], "sequence": 1}',
        b'{"stream": {}, "sequence": 1}',
        b'{"stream": "6F9C2D1E8A474C539B0E2F6D1A7C4E80", "sequence": 1}',
        b"[" * 100_000,
        b'{"stream":' * 100_000,
        b"[]",
        b"\xff\xfe",
        b"NaN",
        b"1" * 10_000,
        b" " * 200_000,
    ],
    ids=lambda payload: repr(payload[:40]),
)
def test_what_is_no_info_and_no_receipt_is_refused_by_a_reason(payload: bytes) -> None:
    """Numbers without end, nests, lists, surrogates: the reader raises its refusal and nothing else."""
    for reader in (info_from, receipt_from):
        with pytest.raises(ValueError, match=r"."):
            reader(payload)
