"""Nothing of what the centre publishes is shown, whatever message cannot be published: each kind fails once."""

import subprocess
import sys
from pathlib import Path

import pytest

from central.cli import Code
from tests.broker import WAIT_S, Broker, eventually
from tests.central.results.test_publisher import centre, numbers
from tests.central.store.office import Centre
from tests.central.test_cli import environment
from tests.command import drained

__all__ = ["centre"]

FAILING = """
import sys
from paho.mqtt import client
kind, real = sys.argv.pop(1), client.Client.publish
def publish(self, topic, payload=None, *args, **kwargs):
    if topic.endswith("/" + kind):
        raise ValueError(f"CANARY {topic} {payload!r}")
    return real(self, topic, payload, *args, **kwargs)
client.Client.publish = publish
from central.cli import main
main()
"""
"""The library raises, for messages of one kind, with the payload in its text."""


@pytest.mark.parametrize(("kind", "remain"), [("day", True), ("summary", True), ("receipt", False)])
def test_no_publish_that_fails_shows_what_it_was_given(
    tmp_path: Path, centre: Centre, kind: str, *, remain: bool
) -> None:
    """A result costs itself, and is set aside; a receipt that cannot be made ends the inbox: its own defect."""
    with Broker(tmp_path) as broker:
        command = [
            sys.executable,
            "-c",
            FAILING,
            kind,
            "inbox",
            "--broker",
            broker.url,
            "--db",
            str(tmp_path / "centre.db"),
        ]
        pipe = subprocess.PIPE
        process = drained(subprocess.Popen(command, env=environment(), stdout=pipe, stderr=pipe, text=True))
        try:
            if remain:
                eventually(lambda: process.poll() is not None or (numbers(centre)[0] == 0 and numbers(centre)[1] > 0))
                assert process.poll() is None, "the others are published"
                process.terminate()
            output, log = process.communicate(timeout=WAIT_S)
        finally:
            process.kill()
    assert process.returncode == (0 if remain else Code.INTERNAL), log
    assert ("result_set_aside" in log) == remain
    assert "ValueError in <string>:" in log, "what failed, and where"
    assert "CANARY" not in output + log
