"""Hashes of passwords: argon2id with the parameters of RFC 9106 for little memory (64 MiB)."""

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

SHORTEST, LONGEST = 10, 200
"""Characters of a password."""
_HASHER = PasswordHasher()
_NONE = _HASHER.hash("no account has this password")
"""What the password of an unknown account is compared with, so that it takes as long as that of a known one."""


def hash_password(password: str) -> str:
    """Return the hash of a password, with its parameters and salt."""
    return _HASHER.hash(_bytes(password))


def is_password(password: str, hashed: str | None) -> bool:
    """Return whether a password has a hash; False for None, and it takes the same time. About 0.1 s."""
    try:
        matches = _HASHER.verify(_NONE if hashed is None else hashed, _bytes(password))
    except (Argon2Error, InvalidHashError):
        return False
    return matches and hashed is not None


def _bytes(password: str) -> bytes:
    return password.encode("utf-8", "surrogatepass")
