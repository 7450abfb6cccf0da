"""Which lane has a site: rendezvous hashing, so that another number of lanes moves as few sites as possible. Pure."""

from hashlib import sha256

DOOR = 0
"""The lane that finds sites and publishes results. It has no sites."""
MAX_LANES = 64
"""Lanes of one centre; each is a connection to the broker and to the database."""


def lane_of(site: str, lanes: int) -> int:
    """Return the lane of a site, from 1 to ``lanes``: the one whose number and the site have the greatest digest.

    Of one more lane only the sites that move to it change theirs, about one in ``lanes + 1``.
    """
    return max(range(1, lanes + 1), key=lambda lane: sha256(f"{lane}\n{site}".encode()).digest())


def client_id_of(base: str, lane: int) -> str:
    """Return the client id of a lane. The door has that of the only inbox, and takes over what its session holds."""
    return base if lane == DOOR else f"{base}-{lane}"
