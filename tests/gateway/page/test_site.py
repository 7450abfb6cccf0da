"""What the page answers to programs, and whom it does not answer."""

import hashlib
import hmac
import http.client
import json
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import urllib3
from structlog.testing import capture_logs

from gateway.page.guard import WRONG_BURST
from gateway.page.site import FEEDS
from tests.broker import WAIT_S, Subscriber, eventually
from tests.gateway.page.office import Office, office

TOKEN = "correct-horse-battery"
SAMPLE = re.compile(r"""hadir_[a-z_]+(\{[a-z]+="[^"]*"\})? -?\d+(\.\d+)?(e[+-]\d+)?""")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """Run an office with a few old punches."""
    with office(tmp_path_factory.mktemp("office"), history=50) as place:
        yield place


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """Run one whose page requests a token."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "token").write_text(TOKEN + "\n")
    (folder / "token").chmod(0o600)
    with office(folder, token_file="token") as place:
        yield place


def samples(place: Office) -> dict[str, float]:
    """Return the answer of /metrics."""
    lines = place.get("/metrics").data.decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def test_metrics_are_prometheus_text_with_what_monitoring_needs(place: Office) -> None:
    """Each sample well formed and explained; what is not known has none; no PIN anywhere."""
    answer = place.get("/metrics")
    lines = answer.data.decode().splitlines()
    explained = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    lines_of_samples = [line for line in lines if not line.startswith("#")]
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert [line for line in lines_of_samples if not SAMPLE.fullmatch(line)] == []
    assert {re.split(r"[ {]", line)[0] for line in lines_of_samples} == explained

    eventually(lambda: 'hadir_alarms{alarm="terminal_lost"}' in samples(place))
    found: dict[str, float] = {}

    def all_sent() -> bool:
        found.update(samples(place))
        return found["hadir_events_recorded_total"] == found["hadir_events_sent"] >= 50

    eventually(all_sent, what="that all is sent")
    assert found["hadir_backlog_events"] == 0
    assert found["hadir_broker_connected"] == 1
    assert (found['hadir_terminal_up{terminal="lobby"}'], found['hadir_terminal_up{terminal="gudang"}']) == (1, 0)
    assert found['hadir_terminal_log_records{terminal="lobby"}'] == place.lobby.count
    assert abs(found['hadir_terminal_clock_offset_seconds{terminal="lobby"}']) < 60
    assert 'hadir_terminal_clock_offset_seconds{terminal="gudang"}' not in found
    assert found['hadir_alarms{alarm="terminal_lost"}'] == 1
    assert found["hadir_disk_free_bytes"] > 0

    place.lobby.punch("1001")
    eventually(lambda: 0 <= samples(place)['hadir_terminal_last_punch_age_seconds{terminal="lobby"}'] < WAIT_S)


def test_healthz_is_about_the_parts_of_the_daemon(place: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal that is away is none of its business; a part that has failed is named."""
    answer = place.get("/healthz")
    assert (answer.status, answer.json()) == (200, {"status": "ok"})

    monkeypatch.setattr("gateway.app.MAIN_LOOP_HUNG_S", -1.0)
    answer = place.get("/healthz")
    assert answer.status == 503
    assert answer.json()["reason"].startswith("watch: it has not looked for")


def test_feed_brings_punches_as_they_are_recorded(place: Office) -> None:
    """Server-sent events, from the last one that was seen on, in the language requested."""
    seen = place.daemon._ledger.last_sequence()
    place.lobby.punch("190123456789", state=1)
    with urllib3.request(
        "GET", f"{place.url}/feed?lang=en", headers={"Last-Event-ID": str(seen)}, preload_content=False, timeout=WAIT_S
    ) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        text = ""
        while "data:" not in text or not text.endswith("\n\n"):
            text += answer.read1().decode()
    number = re.search(r"^id: (\d+)$", text, re.MULTILINE)
    data = re.search(r"^data: (.*)$", text, re.MULTILINE)
    assert number
    assert data
    assert int(number[1]) > seen
    punch = json.loads(data[1])
    assert (punch["terminal"], punch["person"], punch["how"]) == ("lobby", "***89", "check-out, fingerprint")
    assert "6789" not in text


def follow(place: Office, peer: int) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    """Ask for the feed from one of this machine's many addresses, each of which is a peer."""
    connection = http.client.HTTPConnection(
        "127.0.0.1", int(place.url.rpartition(":")[2]), timeout=30, source_address=(f"127.0.0.{peer}", 0)
    )
    connection.request("GET", "/feed")
    return connection, connection.getresponse()


def test_feeds_are_limited_also_if_all_are_requested_at_once(place: Office) -> None:
    """Sixteen of all peers, four of one; whoever has gone leaves a place."""
    with ThreadPoolExecutor(60) as pool:
        answers = list(pool.map(lambda number: follow(place, 2 + number % 10), range(60)))
    followed = [(number, answer) for number, (_, answer) in enumerate(answers) if answer.status == 200]
    refused = [answer for _, answer in answers if answer.status == 503]
    assert (len(followed), len(refused)) == (FEEDS, 60 - FEEDS)
    assert {answer.headers["Retry-After"] for answer in refused} == {"60"}
    assert max(Counter(number % 10 for number, _ in followed).values()) <= FEEDS // 4
    for connection, answer in answers:
        answer.close()
        connection.close()

    one: list[http.client.HTTPResponse] = []

    def follows_again() -> bool:
        connection, answer = follow(place, 20)
        if answer.status == 200:
            one.append(answer)
        else:
            connection.close()
        return len(one) == FEEDS // 4

    eventually(follows_again)
    connection, answer = follow(place, 20)
    assert answer.status == 503
    connection.close()
    for answer in one:
        answer.close()


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "127.0.0.1:80@evil.example", "[::1"])
@pytest.mark.parametrize("path", ["/", "/feed", "/metrics", "/healthz", "/page.js"])
def test_foreign_names_are_not_answered(place: Office, host: str, path: str) -> None:
    """A page from elsewhere that lets its own name point here (DNS rebinding) learns nothing."""
    answer = place.get(path, Host=host)
    assert answer.status in (400, 421)
    assert b"lobby" not in answer.data


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:9000", "[::1]:8081", "192.168.1.9"])
def test_addresses_and_our_own_names_are(place: Office, host: str) -> None:
    """Whatever port is forwarded."""
    assert place.get("/healthz", Host=host).status == 200


@pytest.mark.parametrize("path", ["/", "/metrics", "/healthz", "/page.js", "/nothing", "/login"])
def test_every_answer_forbids_what_it_does_not_need(place: Office, path: str) -> None:
    """No inline script, nothing from elsewhere, no frame, no copy on a disk; there is no login where none is needed."""
    answer = place.get(path)
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.status == (404 if path in ("/nothing", "/login") else 200)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_ordered(place: Office, method: str) -> None:
    """It is for looking."""
    assert urllib3.request(method, place.url, timeout=WAIT_S).status == 405


@pytest.mark.parametrize(
    ("query", "accept", "language"),
    [
        ("", "en-GB,en;q=0.9,id;q=0.5", "en"),
        ("", "id-ID,en;q=0.9", "id"),
        ("", "de, fr;q=nonsense", "id"),
        ("?lang=en", "id", "en"),
        ("?lang=id", "en", "id"),
        ("?lang=xx", "en", "en"),
    ],
)
def test_language(place: Office, query: str, accept: str, language: str) -> None:
    """What the address states, else what the browser likes best, else Indonesian."""
    page = place.get(f"/{query}", **{"Accept-Language": accept}).data.decode()
    assert f'<html lang="{language}">' in page
    assert ("Mesin absen" in page) == (language == "id")


def test_page_shows_no_pin(place: Office) -> None:
    """No more than the last two characters of any."""
    pins = set(place.lobby.users.values())
    words = set(re.findall(r"\d+", re.sub(r"CEXA\d+", "", place.get().data.decode())))
    assert pins
    assert not {pin for pin in pins if len(pin) > 2} & words


def test_what_the_ledger_cannot_tell_is_an_answer_too(place: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake in one answer is not the end of the others, and still has its headers."""
    monkeypatch.setattr("gateway.page.chart.busiest", lambda _: 1 / 0)
    answer = place.get()
    assert answer.status == 500
    assert "content-security-policy" in answer.headers
    assert place.get("/healthz").status == 200


def test_nothing_is_called_well_before_the_centre_has_confirmed_anything(
    place: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the whole, and not a day: what was sent may not have arrived."""
    monkeypatch.setattr("gateway.page.site.attention", lambda *_: [])

    def shown() -> str:
        return place.get("/?lang=id").data.decode()

    eventually(lambda: "terkirim, belum dikonfirmasi pusat" in shown(), what="a day that was sent")
    assert "Tidak ada gangguan di sisi ini." in shown()
    assert "Semua baik." not in shown()
    assert ">sama<" not in shown()

    ledger = place.daemon._ledger
    receipt = {"stream": str(ledger.stream), "upto": ledger.assigned(), "missing": [], "at": "2026-11-24T03:12:00.000Z"}
    with Subscriber(place.broker.port) as centre:
        centre.publish("hadir/v1/3602-bkpsdm/gw-01/receipt", receipt, retain=True)
        eventually(lambda: "Semua baik." in shown() and ">sama<" in shown(), what="a confirmed day")


def test_without_the_token_nothing_is_shown(guarded: Office) -> None:
    """A browser gets the form, a program an error; the same for a wrong one, however it is sent."""
    wrong = {"Authorization": "Bearer correct-horse-batterx"}
    for path in ("/", "/feed", "/metrics", "/healthz", "/page.js"):
        for headers in ({}, wrong, {"Cookie": "hadir=1"}, {"Cookie": f"hadir={TOKEN}"}, {"Cookie": "a[=;;"}):
            answer = guarded.get(path, **headers)
            assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer"), (path, headers)
    answer = guarded.get("/?lang=en", Accept="text/html")
    assert (answer.status, answer.headers["location"]) == (303, "/login?lang=en")


def test_the_token_opens_for_programs_and_for_browsers(guarded: Office) -> None:
    """As a bearer token, or as a cookie for it that scripts and other sites do not get."""
    assert guarded.get("/metrics", Authorization=f"Bearer {TOKEN}").status == 200
    began = time.monotonic()
    refused = urllib3.request("POST", f"{guarded.url}/login", body="token=correct", redirect=False, timeout=WAIT_S)
    assert refused.status == 401
    assert time.monotonic() - began >= 1
    answer = urllib3.request("POST", f"{guarded.url}/login", body=f"token={TOKEN}", redirect=False, timeout=WAIT_S)
    assert answer.status == 303
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert TOKEN not in cookie
    assert guarded.get("/", Cookie=cookie.partition(";")[0]).status == 200
    assert urllib3.request("POST", f"{guarded.url}/login", body="token=" + "x" * 9999, timeout=WAIT_S).status == 401


def test_guessing_is_slow_and_logged_and_locks_out_no_other_client(
    guarded: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One peer's tokens are not checked any more; its browsers that are logged in, and other peers, go on."""
    monkeypatch.setattr("gateway.page.guard.LOG_INTERVAL_S", 0.0)
    ours = urllib3.request("POST", f"{guarded.url}/login", body=f"token={TOKEN}", redirect=False, timeout=WAIT_S)
    cookie = ours.headers["set-cookie"].partition(";")[0]

    def guess(peer: int, token: str, path: str = "/metrics", **headers: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection(
            "127.0.0.1", int(guarded.url.rpartition(":")[2]), timeout=30, source_address=(f"127.0.0.{peer}", 0)
        )
        if path == "/login":
            connection.request("POST", path, f"token={token}")
        else:
            connection.request("GET", path, headers={"Authorization": f"Bearer {token}", **headers})
        return connection.getresponse()

    with capture_logs() as logs:
        answers = [guess(9, f"correct-horse-batte{number}").status for number in range(WRONG_BURST + 5)]
    assert answers == [401] * WRONG_BURST + [429] * 5
    lines = [line for line in logs if line["event"] == "page_token_refused"]
    assert {line["peer"] for line in lines} == {"127.0.0.9"}
    assert sum(line["count"] for line in lines) >= WRONG_BURST

    assert guess(9, TOKEN).status == 429  # not looked at: it could be a guess
    assert guess(9, TOKEN, "/login").status == 429
    assert guess(9, "", Cookie=cookie, Authorization="").status == 200
    assert guess(10, TOKEN).status == 200
    stolen = hmac.digest(TOKEN.encode(), b"hadir status page", hashlib.sha256).hex()
    assert guess(10, "", Cookie=f"hadir={stolen}", Authorization="").status == 401


@pytest.mark.parametrize(
    "begun", [b"Content-Length: 100\r\n\r\ntoken=", b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n"]
)
def test_who_hangs_up_in_the_middle_of_a_login_fills_no_log(guarded: Office, begun: bytes) -> None:
    """Anybody in the network can do that, as often as it takes."""
    port = int(guarded.url.rpartition(":")[2])
    with capture_logs() as logs:
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", port), WAIT_S) as connection:
                connection.sendall(b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\n" + begun)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(4096):
                    pass
        assert guarded.get("/login").status == 200  # what the three left behind was dealt with before

    assert [line["event"] for line in logs if line["event"].startswith("page_")] == []


def test_many_who_ask_cost_the_daemon_one_question(place: Office) -> None:
    """Answers are repeated for a moment, so that a screen on every desk is not a load."""
    queries = 0
    status = place.daemon._health.status

    def counted(*arguments: object) -> object:
        nonlocal queries
        queries += 1
        return status(*arguments)  # type: ignore[arg-type]  # handed on

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place.daemon._health, "status", counted)
        askers = [threading.Thread(target=place.get) for _ in range(20)]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join()
    assert 1 <= queries < 20
