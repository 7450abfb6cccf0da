"""The same tests on both databases: a test's ``centre.db`` is a file, or a file that names a database on a server.

A module with ``BOTH_STORES = True`` runs each of its tests on SQLite and on PostgreSQL, but for those that are marked
``file_only``: they look into the file itself. In any other module those run on both that are marked ``both_stores``:
the richest ones of a subject whose other tests would find nothing more there. Programs in processes of their own get
the URL, :func:`address`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from central.store import engine
from central.store.engine import Place
from tests.postgres import Server

SCHEME = b"postgresql://"
_place_of = engine.place_of


class Stores:
    """Which database the present test uses, and the databases on a server that it has made."""

    def __init__(self) -> None:
        self.server: Server | None = None
        """None: files."""
        self._made: list[str] = []
        self._migrated: str | None = None

    @contextmanager
    def on(self, server: Server) -> Iterator[None]:
        """Let paths mean databases on a server within this block; the new ones are deleted afterwards."""
        self.server = server
        try:
            with patch.object(engine, "place_of", self._place):
                yield
        finally:
            self.server = None
            for name in self._made:
                server.drop(name)
            self._made.clear()

    def make(self, path: Path, template: str | None = None) -> None:
        """Make a database, and the file that names it."""
        assert self.server is not None
        name = self.server.fresh(template)
        self._made.append(name)
        path.write_bytes(self.server.url(name).encode())

    def keep(self, path: Path) -> bytes:
        """Keep a database that was made as one to copy, and return what the file of it holds."""
        content = path.read_bytes()
        self._made.remove(_name(content))
        return content

    def copy(self, path: Path, content: bytes) -> None:
        """Make a database as one that was kept."""
        self.make(path, _name(content))

    def _place(self, address: Path | str, *, read_only: bool = False, busy_s: float = engine.BUSY_S) -> Place:
        if not engine.is_url(address):
            path = Path(address)
            if not path.exists() and not read_only:
                self.make(path)
            address = _named_by(path) or path
        return _place_of(address, read_only=read_only, busy_s=busy_s)


STORES = Stores()


def address(path: Path) -> str:
    """Return how a program in a process of its own is given the database of a path."""
    if (
        STORES.server is None
    ):  # a file that this process opens and closes would lose the locks that SQLite has on it here
        return str(path)
    return _named_by(path) or str(path)


def _named_by(path: Path) -> str | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return path.read_text() if file.read(len(SCHEME)) == SCHEME else None


def _name(content: bytes) -> str:
    return content.decode().partition("@/")[2].partition("?")[0]
