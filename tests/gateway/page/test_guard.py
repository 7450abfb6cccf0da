"""Who is let in: cookies, peers, wrong tokens."""

import stat
import time
from http.cookies import SimpleCookie
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.page import guard
from gateway.page.guard import (
    LOG_INTERVAL_S,
    PEERS,
    WRONG_BURST,
    WRONG_DECAY_S,
    FailedLogins,
    PeerLimit,
    cookie,
    cookie_key,
    peer_of,
)


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("hadir=abc", "abc"),
        ("other=1; hadir=abc; third=2", "abc"),
        (" hadir = abc ", "abc"),
        ("", ""),
        ("hadir", ""),
        ("nohadir=abc", ""),
        ("a[=;;", ""),
        ("x" * 5000 + "; hadir=abc", ""),
    ],
)
def test_cookie(header: str, value: str) -> None:
    """Ours among those of other programs at this address; nothing of a header that no browser sends."""
    assert cookie(header) == value


@given(
    st.lists(
        st.tuples(st.text("abcXYZ09-_", min_size=1, max_size=9), st.text("abcdef0123456789", max_size=64)), max_size=9
    )
)
def test_cookies_are_read_as_the_library_reads_them(pairs: list[tuple[str, str]]) -> None:
    """Of what browsers send."""
    pairs = [*dict(pairs).items(), ("hadir", "0123abcd")]
    header = "; ".join(f"{name}={value}" for name, value in pairs)
    assert cookie(header) == SimpleCookie(header)["hadir"].value


def test_a_cookie_of_backslashes_takes_no_longer_than_any_other() -> None:
    """The library of Python before 3.11.10 needed seconds for it."""

    def cpu_s(header: str) -> float:
        begun = time.process_time()
        for _ in range(100):
            cookie(header)
        return time.process_time() - begun

    assert cpu_s('hadir="' + "\\\\" * 10_000) < 1.0
    assert cpu_s('hadir="' + "\\\\" * 2000) < 1.0
    assert cpu_s(";" * 4096) < 1.0


@pytest.mark.parametrize(
    ("host", "peer"),
    [
        ("192.168.1.9", "192.168.1.9"),
        ("::ffff:192.168.1.9", "192.168.1.9"),
        ("fd00:1:2:3:4:5:6:7", "fd00:1:2:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        (None, ""),
        ("nonsense", "nonsense"),
    ],
)
def test_peers(host: str | None, peer: str) -> None:
    """One machine of an IPv6 network is one peer, whichever of its addresses it uses."""
    assert peer_of(host) == peer


def test_no_peer_takes_more_than_a_quarter() -> None:
    """And all together no more than there are; a peer that holds none takes no memory."""
    places = PeerLimit(16)
    assert [places.take("a") for _ in range(6)] == [True] * 4 + [False] * 2
    assert [places.take(peer) for peer in "bcd" for _ in range(4)] == [True] * 12
    assert not places.take("e")
    places.release("a")
    assert places.take("e")
    for peer in ("a", "a", "a", "e", *"bcd" * 4):
        places.release(peer)
    assert not places._taken


class Clock:
    """Time that a test lets pass."""

    at = 1000.0

    def __call__(self) -> float:
        """Return it."""
        return self.at


def test_guesses_are_spent_and_come_back() -> None:
    """Ten at once, one each six seconds from then on; others are not touched."""
    clock = Clock()
    failed_logins = FailedLogins(clock)
    for _ in range(WRONG_BURST):
        assert failed_logins.wait_s("a") == 0
        failed_logins.wrong("a")
    assert failed_logins.wait_s("a") == WRONG_DECAY_S
    assert failed_logins.wait_s("b") == 0
    clock.at += WRONG_DECAY_S
    assert failed_logins.wait_s("a") == 0
    failed_logins.wrong("a")
    assert failed_logins.wait_s("a") == WRONG_DECAY_S
    clock.at += 3600
    for _ in range(WRONG_BURST):
        assert failed_logins.wait_s("a") == 0
        failed_logins.wrong("a")
    assert failed_logins.wait_s("a") > 0


def test_guesses_are_logged_now_and_then_with_their_number() -> None:
    """No guess is left out, and a thousand are not a thousand lines."""
    clock = Clock()
    failed_logins = FailedLogins(clock)
    with capture_logs() as logs:
        for _ in range(1000):
            failed_logins.wrong("a")
        clock.at += LOG_INTERVAL_S
        failed_logins.wrong("b")
    assert [(line["peer"], line["count"]) for line in logs] == [("a", 1), ("b", 1000)]


def test_peers_that_are_counted_are_limited() -> None:
    """Whoever has a thousand addresses does not fill the memory."""
    failed_logins = FailedLogins(Clock())
    for number in range(3 * PEERS):
        failed_logins.wrong(f"{number}")
    assert len(failed_logins._spent) == PEERS
    assert f"{3 * PEERS - 1}" in failed_logins._spent


def test_the_key_of_cookies_stays(tmp_path: Path) -> None:
    """In a file of the owner's; a link or half a file in its place is not used."""
    key = cookie_key(tmp_path)
    file = tmp_path / guard.KEY_FILE
    assert cookie_key(tmp_path) == key == file.read_bytes()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600

    file.write_bytes(b"short")
    assert len(cookie_key(tmp_path)) == guard.KEY_BYTES
    assert cookie_key(tmp_path) == cookie_key(tmp_path)

    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(bytes(32))
    file.unlink()
    file.symlink_to(elsewhere)
    assert cookie_key(tmp_path) != bytes(32)
    assert elsewhere.read_bytes() == bytes(32)
    assert len(cookie_key(tmp_path / "nowhere")) == guard.KEY_BYTES
