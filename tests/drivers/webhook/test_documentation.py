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


def test_the_lines_for_php_sign_the_body_that_they_post() -> None:
    """PHP is not among what the tests need; its manual documents what ``hash_hmac`` returns for these arguments."""
    code = lines("php")
    assert code.count("$body = json_encode(['records' => $records]);") == 1
    assert code.count("CURLOPT_POSTFIELDS => $body,") == 1
    assert code.count("'X-Hub-Signature-256: sha256=' . hash_hmac('sha256', $body, $secret)]") == 1
    assert code.count("$body =") == 1
    # The example of the manual: hash_hmac('sha256', TEXT, 'secret').
    documented = "9c5c42422b03f0ee32949920649445e417b2c634050833c5165704b825c2a53b"
    text = b"The quick brown fox jumped over the lazy dog."
    assert wire.signature_of(b"secret", text) == f"sha256={documented}"
