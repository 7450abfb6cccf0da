"""Host names, origins, proxies, and limits that count."""

import socket

import pytest
from starlette.datastructures import Headers

from central.web.guard import KEYS, Buckets, Logins, Site, cookies, known_browser, peer_of
from tests.central.web.site import HASH


def site(*, tls: bool = False, public_url: str | None = None, proxies: tuple[str, ...] = ("127.0.0.1",)) -> Site:
    """Return a site on loopback."""
    return Site(listens="127.0.0.1", tls=tls, public_url=public_url, proxies=proxies)


def scope(client: str, *forwarded: str) -> dict[str, object]:
    """Return a request of a client, with what proxies have added."""
    return {"type": "http", "client": (client, 1), "headers": [(b"x-forwarded-for", one.encode()) for one in forwarded]}


@pytest.mark.parametrize(
    ("public_url", "host", "ours"),
    [
        (None, "127.0.0.1:8090", True),
        (None, "[::1]:8090", True),
        (None, "10.1.2.3", True),
        (None, "localhost", True),
        (None, f"{socket.gethostname().upper()}:80", True),
        (None, "presensi.example", False),
        ("https://presensi.example", "presensi.example", True),
        ("https://presensi.example", "PRESENSI.example:443", True),
        ("https://presensi.example", "presensi.example.evil", False),
        (None, "", False),
        (None, "localhost@evil.example", False),
        (None, "evil.example#localhost", False),
    ],
)
def test_names_that_lead_here(public_url: str | None, host: str, ours: bool) -> None:
    """Addresses, this machine's name, and that of the proxy."""
    assert site(public_url=public_url).is_ours([host]) == ours
    assert not site(public_url=public_url).is_ours([host, host])
    assert not site(public_url=public_url).is_ours([])


@pytest.mark.parametrize(
    ("tls", "public_url", "origin", "own"),
    [
        (False, None, "http://127.0.0.1:8090", True),
        (False, None, "https://127.0.0.1:8090", False),
        (True, None, "https://127.0.0.1:8090", True),
        (True, None, "http://127.0.0.1:8090", False),
        (False, None, "http://127.0.0.1", False),
        (False, "https://presensi.example", "https://presensi.example", True),
        (False, "https://presensi.example", "http://presensi.example", False),
        (False, "https://presensi.example", "https://presensi.example.evil", False),
        (False, "https://presensi.example", "null", False),
        (False, None, "", False),
    ],
)
def test_origins_of_forms(tls: bool, public_url: str | None, origin: str, own: bool) -> None:
    """Scheme, name and port all count."""
    headers = Headers({"host": "127.0.0.1:8090", "origin": origin})
    assert site(tls=tls, public_url=public_url).is_own_origin(headers) == own


def test_a_form_without_an_origin_is_not_ours() -> None:
    """Every browser of the last years names it with a form."""
    assert not site().is_own_origin(Headers({"host": "127.0.0.1"}))
    two = Headers(raw=[(b"host", b"x"), (b"origin", b"http://x"), (b"origin", b"http://x")])
    assert not site().is_own_origin(two)


@pytest.mark.parametrize(
    ("public_url", "client", "forwarded", "address"),
    [
        (None, "127.0.0.1", ("10.0.0.9",), "127.0.0.1"),
        ("https://x.example", "127.0.0.1", ("10.0.0.9",), "10.0.0.9"),
        ("https://x.example", "127.0.0.1", ("1.1.1.1, 10.0.0.9",), "10.0.0.9"),
        ("https://x.example", "127.0.0.1", ("1.1.1.1", "10.0.0.9"), "10.0.0.9"),
        ("https://x.example", "127.0.0.1", (), "127.0.0.1"),
        ("https://x.example", "127.0.0.1", ("<script>",), "-"),
        ("https://x.example", "10.0.0.5", ("10.0.0.9",), "10.0.0.5"),
        ("https://x.example", "127.0.0.1", ("2001:db8::1",), "2001:db8::/64"),
        (None, "::ffff:10.0.0.5", (), "10.0.0.5"),
    ],
)
def test_only_a_proxy_speaks_for_others(
    public_url: str | None, client: str, forwarded: tuple[str, ...], address: str
) -> None:
    """And only its own word counts: what stands before it may be the browser's invention."""
    assert site(public_url=public_url).address(scope(client, *forwarded)) == address


def test_a_network_of_ipv6_is_one_peer() -> None:
    """A host there has 2^64 addresses."""
    assert peer_of("2001:db8::1") == peer_of("2001:db8::ffff") != peer_of("2001:db8:0:1::1")
    assert peer_of(None) == peer_of("x") == "-"


def test_a_bucket_drains_with_time() -> None:
    """Some at once, then one after the other."""
    now = [0.0]
    bucket = Buckets(3, 10.0, lambda: now[0])
    assert [bucket.take("a") for _ in range(4)] == [0, 0, 0, 10.0]
    assert bucket.take("b") == 0
    now[0] = 9.0
    assert bucket.take("a") == pytest.approx(1.0)
    now[0] = 10.0
    assert [bucket.take("a"), bucket.take("a")] == [0, 10.0]
    bucket.give_back("a")
    assert bucket.take("a") == 0
    bucket.forget("a")
    assert [bucket.take("a") for _ in range(3)] == [0, 0, 0]
    bucket.give_back("nowhere")


def test_a_bucket_has_room_for_so_many_keys() -> None:
    """Whoever invents addresses fills no memory."""
    bucket = Buckets(1, 1e9, lambda: 0.0)
    for number in range(KEYS + 10):
        bucket.add(str(number))
    assert bucket.take(str(KEYS + 9)) > 0
    assert bucket.take("0") == 0


def test_no_address_keeps_a_known_browser_waiting() -> None:
    """However many wrong passwords others there have sent; nor other addresses anybody."""
    logins = Logins(lambda: 0.0)
    for _ in range(100):
        logins.wrong("10.0.0.1", "chief", known=False)
    assert logins.wait_s("10.0.0.1", "chief", known=False) > 0
    assert logins.wait_s("10.0.0.1", "clerk", known=False) > 0
    assert logins.wait_s("10.0.0.1", "chief", known=True) == 0
    assert logins.wait_s("10.0.0.2", "chief", known=False) == 0
    for _ in range(5):
        logins.wrong("10.0.0.1", "chief", known=True)
    assert logins.wait_s("10.0.0.1", "chief", known=True) > 0


def test_right_passwords_of_an_office_do_not_count() -> None:
    """Five hundred people behind one address log in at eight."""
    logins = Logins(lambda: 0.0)
    for number in range(500):
        assert logins.wait_s("10.0.0.1", f"account{number}", known=False) == 0
        logins.wrong("10.0.0.1", f"account{number}", known=False)
        logins.right("10.0.0.1", f"account{number}", known=False)


def test_a_known_browser_is_known_for_one_account_and_password() -> None:
    """It cannot be made without the hash."""
    mark = known_browser("chief", HASH)
    assert mark == known_browser("chief", HASH)
    assert len({mark, known_browser("clerk", HASH), known_browser("chief", HASH + "x")}) == 3


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("a=1; b=2", {"a": "1", "b": "2"}),
        ("a=1; a=2", {"a": "1"}),
        ("a", {"a": ""}),
        ("=; ;;=x", {"": ""}),
        ("a=" + "x" * 5000, {}),
    ],
)
def test_cookies_of_a_header(header: str, found: dict[str, str]) -> None:
    """The first of a name counts; a header that is too long holds none."""
    assert cookies(header) == found
