"""What the communication key is worth: whoever records one exchange has it (docs/guarantees.md, docs/install.md)."""

import struct

import pytest

from drivers.zkteco import wire

LARGEST = 999_999


def keys_of(proof: bytes, session: int) -> set[int]:
    """Return the keys that explain what was recorded, without any other knowledge."""
    tick = proof[2]
    b1, b2, b3 = proof[3] ^ tick, proof[0] ^ tick, proof[1] ^ tick
    found = set()
    for b0 in range(256):  # the only byte that the scrambling drops
        mixed = bytes(byte ^ letter for byte, letter in zip((b0, b1, b2, b3), b"ZKSO", strict=True))
        reversed_bits = (struct.unpack("<I", mixed)[0] - session) & 0xFFFFFFFF
        key = int(f"{reversed_bits:032b}"[::-1], 2)
        if key <= LARGEST:
            found.add(key)
    return found


@pytest.mark.parametrize("key", [0, 1, 4711, 123456, LARGEST])
@pytest.mark.parametrize("session", [1, 0x1234, 0xFFFF])
def test_the_key_is_found_from_one_exchange(key: int, session: int) -> None:
    """One packet with the session number and one with the proof, both in the clear on port 4370."""
    assert key in keys_of(wire.scramble_comm_key(key, session), session)
    assert len(keys_of(wire.scramble_comm_key(key, session), session)) <= 2
