"""Tests of the centre run on a file, and those that touch the database much on a server too."""

from collections.abc import Iterator

import pytest

from tests.central.stores import STORES
from tests.postgres import Server


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of a module with ``BOTH_STORES``, and those that are marked so, twice."""
    marks = {mark.name for mark in metafunc.definition.iter_markers()}
    both = getattr(metafunc.module, "BOTH_STORES", False) or "both_stores" in marks
    if both and "file_only" not in marks:
        metafunc.parametrize("store_kind", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture(autouse=True)
def store_kind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let paths mean files, or databases on a server."""
    if getattr(request, "param", "sqlite") == "sqlite":
        yield
        return
    server: Server = request.getfixturevalue("postgres")
    with STORES.on(server):
        yield
