"""A broker whose authority is incomplete: refused where the setting demands complete certificates, on any Python."""

from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway import doctor
from gateway.clock import AssumedClock
from gateway.courier import Courier, CourierRefused, _Ended
from gateway.doctor import BROKER
from gateway.ledger import Ledger
from gateway.mqtt.publisher import Publisher
from gateway.settings import Mqtt, Settings, json_schema, load
from gateway.settings_text import Problem, SettingsError
from tests.authority import Authority
from tests.broker import Broker, eventually

LAX = "  strict_certificates: false\n"
STRICT = "  strict_certificates: true\n"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Return an authority without the key usage."""
    return Authority(tmp_path, "ours", complete=False)


@pytest.fixture
def url(tmp_path: Path, authority: Authority) -> Iterator[str]:
    """Run a broker with a certificate of that authority."""
    server = authority.issue("server")
    with Broker(tmp_path, f"certfile {server.certificate}", f"keyfile {server.key}") as broker:
        yield broker.url.replace("mqtt:", "mqtts:")


def configured(folder: Path, url: str, more: str) -> Path:
    """Write a configuration."""
    path = folder / "gateway.yaml"
    path.write_text(
        "site: a\ngateway: gw\ntimezone: Asia/Jakarta\ndata_dir: data\n"
        "terminals:\n  - {name: lobby, driver: zkteco, address: 127.0.0.1:9}\n"
        f"mqtt:\n  url: {url}\n{more}"
    )
    return path


def examined(settings: Settings) -> tuple[str, str]:
    """Return what the doctor finds of TLS and of the login."""
    (broker,) = (section for section in doctor.sections(settings, AssumedClock()) if section.part == BROKER)
    steps = {step.name: step for step in doctor.examine([broker])}
    return steps["tls"].finding, steps["login"].finding


def published(settings: Settings) -> str:
    """Return what the daemon's publisher logs first of its connection: an event, with the reason of a refusal."""
    ledger = Ledger(settings.data_dir, settings.source)
    publisher = Publisher(settings, ledger)
    with capture_logs() as logs:
        publisher.start()
        try:
            eventually(lambda: bool(_of_the_connection(logs)))
        finally:
            publisher.stop(5)
            ledger.close()
    first = _of_the_connection(logs)[0]
    return f"{first['event']} {first.get('reason', '')}"


def _of_the_connection(logs: list[MutableMapping[str, Any]]) -> list[MutableMapping[str, Any]]:
    return [line for line in list(logs) if line["event"] in ("broker_found", "broker_lost")]


def carried(mqtt: Mqtt) -> str:
    """Return what a courier's connection comes to."""
    try:
        with Courier(mqtt, "hadir/v1/a/gw")._connection():
            return "connected"
    except (CourierRefused, _Ended) as exc:
        return str(exc)


@pytest.mark.parametrize("setting", [STRICT, "", LAX])
def test_daemon_courier_and_doctor_demand_the_same(
    tmp_path: Path, authority: Authority, url: str, setting: str
) -> None:
    """All refuse, and name what is missing; or all are let in, and without a decision the doctor names it."""
    settings = load(configured(tmp_path, url, f"  ca_file: {authority.ca}\n{setting}"))
    reported = published(settings), carried(settings.mqtt)
    if setting == STRICT:
        assert all("key usage" in text and "strict_certificates" in text for text in reported), reported
        assert examined(settings) == ("not_trusted", "not_reached")
    else:
        assert reported == ("broker_found ", "connected")
        assert examined(settings) == ("tls" if setting else "tls_incomplete", "login_nameless")


def test_what_is_not_strict_is_still_checked(tmp_path: Path, authority: Authority, url: str) -> None:
    """Another authority's certificate is not trusted."""
    settings = load(configured(tmp_path, url, f"  ca_file: {Authority(tmp_path, 'theirs').ca}\n{LAX}"))
    assert "not trusted" in published(settings)
    assert examined(settings) == ("not_trusted", "not_reached")
    assert authority.ca.exists()


def test_a_setting_that_is_not_strict_is_warned_of(tmp_path: Path) -> None:
    """By its line; without TLS it means nothing. Default and schema agree."""
    lax = load(configured(tmp_path, "mqtts://broker.example.go.id", LAX), strict=True)
    (found,) = [problem for problem in lax.problems if problem.severity == "weakening"]
    assert (found.line, found.path) == (9, "mqtt.strict_certificates")
    for url, more in (("mqtts://broker.example.go.id", ""), ("mqtt://127.0.0.1", LAX)):
        problems: tuple[Problem, ...] = load(configured(tmp_path, url, more)).problems
        assert not [problem for problem in problems if problem.severity == "weakening"]
    with pytest.raises(SettingsError, match="neither true nor false"):
        load(configured(tmp_path, "mqtts://b", "  strict_certificates: maybe\n"))
    schema = json_schema()["$defs"]["Mqtt"]["properties"]["strict_certificates"]
    assert (schema["anyOf"], schema["default"]) == ([{"type": "boolean"}, {"type": "null"}], None)
