"""`hadir export` and `hadir ledger restore`, killed in the middle of every change that they make to a disk.

No half file counts as a whole one, nothing of the ledger is lost, and the same command then succeeds.
"""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from gateway.bundle import Bundle, BundleError, bundles_at
from gateway.ledger import Ledger, LedgerReader
from tests.gateway.mqtt.test_publisher import SOURCE, Office
from tests.gateway.test_cli import configuration, environment
from tests.torture.disk import compiled

HERE = Path(__file__).parent
Run = Callable[[list[object], Path, int], tuple[int, str]]
"""Runs a command, watched below a folder and killed at a change (0: never); returns its exit code and changes."""
WRITES = 7
"""One of so many of SQLite's many writes is killed; of other changes each."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Start the process that runs commands and kills them."""
    library = compiled(tmp_path_factory.mktemp("library"), HERE / "kill_point.c")
    preloaded = environment(LD_PRELOAD=str(library), PYTHONPATH=str(HERE.parents[1]))
    command = [sys.executable, str(HERE / "killed_commands.py")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=preloaded, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def one(arguments: list[object], below: Path, at: int) -> tuple[int, str]:
            assert process.stdin is not None
            assert process.stdout is not None
            request = {"arguments": [str(argument) for argument in arguments], "below": str(below), "at": at}
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            code, changes = json.loads(process.stdout.readline())
            return code, changes

        yield one
        process.stdin.close()


@contextmanager
def office(folder: Path) -> Iterator[Office]:
    """Open the ledger of the office of ``config``."""
    opened = Office(folder)
    try:
        yield opened
    finally:
        opened.close()


def config(folder: Path) -> Path:
    """Write a configuration for the ledger in ``folder``."""
    path = configuration(folder, lobby="127.0.0.1:9")
    path.write_text(path.read_text().replace("site: kantor", "site: 3602-bkpsdm"))
    return path


def bodies(data_dir: Path) -> list[str]:
    """Return all events of a ledger, which is whole."""
    with closing(LedgerReader(data_dir)) as reader:
        verdict = reader.verify(chain_end=False)
        assert verdict.breach is None, verdict.breach
        return [event.body for event in reader.events(0, 100_000)]


def moments(
    run: Run, arguments: list[object], below: Path, prepare: Callable[[], None], *, writes: int = 1
) -> Iterator[int]:
    """Run a command again and again, each time killed at another change; yield the number of the change.

    Of each kind of its changes all are taken, of its writes one of ``writes``.
    """
    prepare()
    code, changes = run(arguments, below, 0)
    assert code == 0
    written = [at for at, kind in enumerate(changes, 1) if kind == "w"]
    others = [at for at, kind in enumerate(changes, 1) if kind != "w"]
    for at in sorted([*written[::writes], *others]):
        prepare()
        code, _ = run(arguments, below, at)
        assert code == -signal.SIGKILL, at
        yield at


def test_an_export_that_is_killed_is_no_bundle_and_is_completed(tmp_path: Path, run: Run) -> None:
    """On the stick and at the key in the data directory; what waits still waits."""
    with office(tmp_path) as opened:
        for _ in range(3):
            opened.punches(20)
    everything = bodies(tmp_path / "data")
    file, stick = config(tmp_path), tmp_path / "stick"

    def prepare() -> None:
        shutil.rmtree(stick, ignore_errors=True)
        stick.mkdir()
        for name in ("bundle.key", *(path.name for path in (tmp_path / "data").glob(".*.hadir"))):
            (tmp_path / "data" / name).unlink(missing_ok=True)

    command = ["export", "-c", file, "--to", stick]
    kills = 0
    for at in moments(run, command, tmp_path, prepare):
        kills += 1
        for folder in bundles_at(stick):
            try:
                taken = [event.body for event in Bundle(folder).all_events()]
            except BundleError:
                continue
            assert taken == everything, f"change {at}: a bundle that is not whole is taken as whole"
        assert bodies(tmp_path / "data") == everything
        again, _ = run(command, tmp_path, 0)
        assert again == 0, f"change {at}"
        whole = [[event.body for event in Bundle(folder).all_events()] for folder in bundles_at(stick)]
        assert whole in ([everything], [everything, everything]), f"change {at}"  # two: it was killed behind the end
    assert kills > 15


def unfinished_writing(opened: Office, folder: Path) -> None:
    """Leave the ledger as a process leaves it that is killed: events stand in the write-ahead log only."""
    names = ("ledger.db", "ledger.db-wal", "ledger.lock")
    kept = {name: (folder / "data" / name).read_bytes() for name in names}
    opened.close()
    for name, content in kept.items():
        (folder / "data" / name).write_bytes(content)


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "killed"])
def test_a_restore_that_is_killed_leaves_either_ledger_and_loses_none(
    tmp_path: Path, run: Run, *, closed: bool
) -> None:
    """The ledger is the former or the restored one; each event is in one of the files that are kept."""
    home = tmp_path / "home"
    home.mkdir()
    with office(home) as opened:
        opened.punches(20)
    file = config(home)
    assert run(["ledger", "backup", "-c", file], home, 0)[0] == 0
    copied = bodies(home / "data")
    opened = Office(home)
    opened.punches(40, "gate")
    if closed:
        opened.close()
    else:
        unfinished_writing(opened, home)
    shutil.copytree(home, tmp_path / "kept")
    everything = bodies(tmp_path / "kept" / "data")
    shutil.rmtree(tmp_path / "kept")
    shutil.copytree(home, tmp_path / "kept")
    (copy,) = (home / "data" / "backups").glob("ledger-*.db")
    content = copy.read_bytes()

    def prepare() -> None:
        shutil.rmtree(home)
        shutil.copytree(tmp_path / "kept", home)

    kills = 0
    for at in moments(run, ["ledger", "restore", "-c", file], home, prepare, writes=WRITES):
        kills += 1
        assert copy.read_bytes() == content
        Ledger(home / "data", SOURCE).close()  # as the daemon does at its next start
        present = bodies(home / "data")
        assert present[: len(copied)] == copied
        assert present[: len(everything)] == everything or set(present).isdisjoint(everything[len(copied) :]), at
        kept = {*present, *(body for aside in asides(home / "data", tmp_path) for body in aside)}
        assert kept >= set(everything), f"change {at}: {len(set(everything) - kept)} events are in no file"
        again, _ = run(["ledger", "restore", "-c", file], home, 0)
        assert again == 0, f"change {at}"
        assert bodies(home / "data")[: len(copied)] == copied
    assert kills > 20


def asides(data_dir: Path, folder: Path) -> Iterator[list[str]]:
    """Yield the events of each ledger that was set aside, each opened as a person would, by its name."""
    for path in data_dir.glob("ledger.db.*Z*"):
        if path.name.endswith(("-wal", "-shm")):
            continue
        place = folder / "aside"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        for side in ("", "-wal"):
            source = path.with_name(path.name + side)
            if source.exists():
                shutil.copy(source, place / f"ledger.db{side}")
        yield bodies(place)
