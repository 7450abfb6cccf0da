"""`hadir courier send` with bundles that were altered, before they are checked or between check and sending.

Whatever was done to a bundle: an exit code and words for a person, and only events that the gateway wrote are sent.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from gateway import courier
from gateway.bundle import Bundle, BundleError, Writer
from gateway.cli.base import Code
from gateway.settings import Mqtt
from tests.broker import Broker, Subscriber
from tests.gateway.mutated_bundles import PREFIX, header, office, write
from tests.gateway.test_cli import hadir

SEEDS = 40
MARKER = "behind"
"""A topic of the tests: a message that is delivered behind all before it."""


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Run a broker for all bundles."""
    with Broker(tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture
def centre(broker: Broker) -> Iterator[Subscriber]:
    """Subscribe to everything."""
    with Subscriber(broker.port) as subscriber:
        yield subscriber


def events(centre: Subscriber) -> list[str]:
    """Return the events that were sent, byte for byte; what the broker has now is waited for."""
    centre.publish(MARKER, {})
    messages = centre.wait_for(lambda messages: any(message.topic == MARKER for message in messages))
    found = []
    for message in messages:
        if message.topic == MARKER:
            continue
        payload = message.payload if isinstance(message.payload, list) else [message.payload]
        found += [json.dumps(event, ensure_ascii=False, sort_keys=True, separators=(",", ":")) for event in payload]
    return found


@pytest.mark.parametrize("seed", range(SEEDS))
def test_of_a_mutated_bundle_only_what_the_gateway_wrote_is_sent(
    tmp_path: Path, broker: Broker, centre: Subscriber, seed: int
) -> None:
    """Two changes at once, all of it signed with the gateway's own key; a good bundle lies beside it."""
    key, bodies = office()
    (tmp_path / "altered").mkdir()
    write(tmp_path / "altered", Random(seed))
    good = Writer(tmp_path / "good", header(), key)
    for body in bodies[:5]:
        good.add(body)
    good.flush()
    good.finish(0)

    done = hadir("courier", "send", tmp_path, "--broker", broker.url, "--wait", "0.1s", "--json")

    assert done.returncode == Code.NEGATIVE, done.stderr  # refused, or sent and not confirmed by a centre
    assert all(line.isprintable() for line in (done.stdout + done.stderr).splitlines())
    sent = events(centre)
    assert set(sent) <= set(bodies)
    rows = json.loads(done.stdout) if done.stdout else []  # what is refused is refused before anything is sent
    assert len(sent) == sum(row["sent"] for row in rows)


@pytest.mark.parametrize(
    "alter", [Path.unlink, lambda part: part.write_bytes(part.read_bytes()[::-1])], ids=["gone", "reversed"]
)
def test_what_is_altered_between_check_and_sending_is_not_sent(
    tmp_path: Path,
    broker: Broker,
    centre: Subscriber,
    monkeypatch: pytest.MonkeyPatch,
    alter: Callable[[Path], object],
) -> None:
    """What was sent before is good; the rest is named."""
    monkeypatch.setattr(courier, "ARRAY_BYTES", 3000)  # a few events
    key, bodies = office()
    writer = Writer(tmp_path / "bundle", header(), key)
    for run in (bodies[:12], bodies[12:]):
        for body in run:
            writer.add(body)
        writer.flush()
    writer.finish(0)
    bundle = Bundle(tmp_path / "bundle")
    bundle.verify()
    altered: list[int] = []

    def progress(count: int) -> None:
        if not altered:
            alter(tmp_path / "bundle" / bundle.parts[1].name)
        altered.append(count)

    with pytest.raises(BundleError, match="part-00002"):
        courier.Courier(Mqtt.model_validate({"url": broker.url}), PREFIX).deliver(bundle, progress)
    assert altered
    assert set(events(centre)) <= set(bodies[:12])
