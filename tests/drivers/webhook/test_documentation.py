"""The lines in docs/webhook.md for an app's developers do what they say."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from drivers.base import RawPunch
from drivers.webhook import wire
from tests.drivers.webhook.office import PATH, SECRET
from tests.drivers.webhook.test_terminal import working

TEXT = (Path(__file__).parent.parent.parent.parent / "docs" / "webhook.md").read_text("utf-8")
URL = "http://192.168.1.10:8088/hook/presensi"
RECORD = {"id": "p-1", "pin": "0042", "at": "2026-11-30T07:30:01+07:00", "kind": "pulang"}


def lines(language: str) -> str:
    """Return the one block in a language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    return str(found)


def test_the_lines_deliver(tmp_path: Path) -> None:
    """Those for curl and for Python post to a gateway, which stores what they say."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "presensi").write_text(f"{SECRET}\n")
    script = lines("sh")
    assert URL in script
    python: dict[str, Any] = {}
    exec(compile(lines("python"), "docs/webhook.md", "exec"), python)  # noqa: S102 - our own documentation
    post: Callable[[list[object], str, str], dict[str, int]] = python["post"]
    with working(tmp_path) as gateway:
        url = f"{gateway.url}/hook/{PATH}"
        ran = subprocess.run(
            ["sh", "-euc", script.replace(URL, url)], cwd=tmp_path, capture_output=True, check=True, timeout=120
        )
        assert json.loads(ran.stdout) == {"stored": 1, "known": 0, "quarantined": 0}
        assert post([RECORD], SECRET, url) == {"stored": 1, "known": 0, "quarantined": 0}
    found = [(record.pin, record.state) for record in gateway.records if isinstance(record, RawPunch)]
    assert found == [("1001", 0), ("0042", 1)]


def test_the_example_of_a_signature_is_right() -> None:
    """For other languages; the receiver compares with what our own function makes."""
    (secret,) = re.findall(r"with the secret `([^`]+)`:$", TEXT, re.MULTILINE)
    (body,) = re.findall(r"^\| body \| `(.+)` \|$", TEXT, re.MULTILINE)
    (signature,) = re.findall(r"^\| `X-Hub-Signature-256` \| `(.+)` \|$", TEXT, re.MULTILINE)
    assert wire.signature_of(secret.encode(), body.encode()) == signature
    assert f"body='{body}'" in lines("sh"), "the lines for curl post the same"
