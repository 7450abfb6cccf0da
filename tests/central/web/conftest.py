"""The browser of the tests of the centre's pages."""

from collections.abc import Iterator

import pytest

from tests.chromium import Browser, run_chromium


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Run Debian's Chromium."""
    with run_chromium(tmp_path_factory.mktemp("chromium")) as chromium:
        yield chromium
