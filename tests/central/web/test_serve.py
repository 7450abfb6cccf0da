"""The command ``hadir-central serve``: a real process, its options, TLS, and its end."""

import os
import signal
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import pytest

from central.store.engine import Database
from tests.central.web.site import ACCOUNTS, PASSWORD, WAIT_S, Browser, token, write_accounts
from tests.command import run


@pytest.fixture
def office(tmp_path: Path) -> Path:
    """Return a folder with an empty database and accounts."""
    Database(tmp_path / "centre.db", create=True).close()
    write_accounts(tmp_path / "accounts.yaml")
    return tmp_path


def arguments(folder: Path, *more: str) -> list[str]:
    """Return the command's arguments."""
    return ["serve", "--db", str(folder / "centre.db"), "--accounts", str(folder / "accounts.yaml"), *more]


@contextmanager
def serving(folder: Path, *more: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the server; yield it with the address that it prints."""
    command = [sys.executable, "-m", "central.cli", *arguments(folder, "--listen", "127.0.0.1:0", *more)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == 0


def test_the_server_prints_its_address_and_ends_with_a_signal(office: Path) -> None:
    """Also while a browser is connected; the log has one line for each login."""
    with serving(office) as (process, address):
        port = int(address.rpartition(":")[2].strip("/"))
        browser = Browser(port)
        assert browser.login("bkd1").status == 303
        assert "akun ini tidak punya unit" in browser.get("/").body.lower()
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT_S) == 0
        assert process.stderr is not None
        log = process.stderr.read()
    assert '"event": "login_accepted"' in log
    assert "Traceback" not in log
    assert "correct horse" not in log


def test_over_tls_cookies_are_secure(office: Path, tmp_path: Path) -> None:
    """And browsers are to stay with it."""
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    (tmp_path / "key.pem").chmod(0o600)
    files = "--cert-file", str(tmp_path / "cert.pem"), "--key-file", str(tmp_path / "key.pem")
    with serving(office, *files) as (_, address):
        assert address.startswith("https://127.0.0.1:")
        context = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        with urllib.request.urlopen(f"{address}login", context=context, timeout=WAIT_S) as answer:  # noqa: S310 - https
            cookie = answer.headers["set-cookie"]
            assert cookie.startswith("__Host-hadir-form=")
            assert {"Secure", "HttpOnly", "Path=/", "SameSite=lax"} <= {part.strip() for part in cookie.split(";")}
            assert "max-age" in answer.headers["strict-transport-security"]


def test_behind_a_proxy_its_name_and_addresses_count(office: Path) -> None:
    """The log names the browser's address, and cookies are for TLS."""
    with serving(office, "--public-url", "https://presensi.example") as (process, address):
        assert address.startswith("https://presensi.example/ by way of http://127.0.0.1:")
        browser = Browser(int(address.rpartition(":")[2].strip("/")))
        passed = {
            "Host": "presensi.example",
            "X-Forwarded-For": "1.2.3.4, 10.9.8.7",
            "Origin": "https://presensi.example",
        }
        form = token(browser.request("GET", "/login", headers=passed))
        fields = urlencode({"form": form, "account": "bkd1", "password": PASSWORD})
        answer = browser.request("POST", "/login", fields, passed)
        assert answer.status == 303
        assert "__Host-hadir-centre" in browser.cookies
        assert browser.request("POST", "/login", fields, {**passed, "Origin": "https://evil.example"}).status == 403
        assert browser.request("GET", "/login", headers={"Host": "evil.example"}).status == 421
    assert process.stderr is not None
    assert '"address": "10.9.8.7"' in process.stderr.read()


@pytest.mark.parametrize(
    ("more", "code", "what"),
    [
        (("--listen", "0.0.0.0:8090"), 2, "unencrypted"),
        (("--listen", "[::]:8090"), 2, "unencrypted"),
        (("--listen", "localhost:8090"), 2, "IP address"),
        (("--listen", "127.0.0.1"), 2, "IP address"),
        (("--listen", "127.0.0.1:99999"), 2, "IP address"),
        (("--public-url", "presensi.example"), 2, "https://NAME"),
        (("--public-url", "https://presensi.example/hadir"), 2, "https://NAME"),
        (("--cert-file", "nowhere.pem"), 2, "needs its key"),
        (("--cert-file", "nowhere.pem", "--key-file", "nowhere.pem"), 2, "no file"),
    ],
)
def test_a_wrong_option_is_refused(office: Path, more: tuple[str, ...], code: int, what: str) -> None:
    """Before anything listens; people's data does not cross a network unencrypted by mistake."""
    found = run("central.cli", *arguments(office, *more), env={**os.environ, "COLUMNS": "400"})
    assert (found.returncode, what in found.stderr) == (code, True), found.stderr


def test_a_port_in_use_a_broken_file_and_a_missing_database_are_named(office: Path) -> None:
    """Exit codes 1 and 74."""
    with serving(office) as (_, address):
        port = address.rpartition(":")[2].strip("/")
        found = run("central.cli", *arguments(office, "--listen", f"127.0.0.1:{port}"), env=dict(os.environ))
        assert (found.returncode, "--listen" in found.stderr) == (1, True)
    write_accounts(office / "accounts.yaml", {**ACCOUNTS, "x": "role: king"})
    found = run("central.cli", *arguments(office), env=dict(os.environ))
    assert (found.returncode, "unknown role" in found.stderr) == (1, True)
    write_accounts(office / "accounts.yaml")
    (office / "centre.db").unlink()
    found = run("central.cli", *arguments(office), env=dict(os.environ))
    assert (found.returncode, "No such file" in found.stderr) == (74, True)
    (office / "centre.db").write_bytes(b"")
    assert run("central.cli", *arguments(office), env=dict(os.environ)).returncode == 74
