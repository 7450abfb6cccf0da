"""Verdicts as pages read them: each revision once, the last one counts, one database knows nothing of another."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from sqlalchemy import event

from central.texts import Language
from central.web.verdicts import Remembered, Verdicts, verdicts_of
from tests.central.store.office import Centre

ON = date(2026, 8, 31)


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    """Yield a centre in which one person was late on 31 August, and the other was not."""
    found = Centre(tmp_path, datetime(2026, 8, 30, 20, tzinfo=UTC))
    found.enter_office()
    found.punched("1001", "2026-08-31 07:45:10", "2026-08-31 16:01:00")
    found.punched("1002", "2026-08-31 07:15:10", "2026-08-31 16:01:00")
    found.at("2026-09-01 08:00")
    yield found
    found.close()


def read(centre: Centre, *people: str) -> tuple[dict[str, int], list[str]]:
    """Return the minutes of lateness on the date by person, and the statements that were made."""
    statements: list[str] = []
    with centre.database.reading() as connection:
        engine = connection.engine

        def note(*arguments: object) -> None:
            statements.append(str(arguments[2]))

        event.listen(engine, "before_cursor_execute", note)
        found = verdicts_of(connection).entries(connection, people, ON, ON)
        event.remove(engine, "before_cursor_execute", note)
    return {person: entry.standing.late_min for (person, _), (_, entry) in found.items()}, statements


def test_a_revision_is_read_once_and_the_last_one_counts(centre: Centre) -> None:
    """One statement for all people, one more for what is new; a later revision replaces the one before."""
    found, statements = read(centre, "a", "b", "unknown")
    assert (found, len(statements)) == ({"a": 15, "b": 0}, 2)
    assert [len(read(centre, "a", "b")[1]), read(centre, "a", "b")[0]["a"]] == [1, 15]

    centre.punched("1001", "2026-08-31 07:31:10")
    centre.at("2026-09-01 09:00")

    found, statements = read(centre, "a", "b")
    assert (found, len(statements)) == ({"a": 1, "b": 0}, 2)


def test_words_are_there_in_both_languages(centre: Centre) -> None:
    """As the command ``days`` has them."""
    with centre.database.reading() as connection:
        found = verdicts_of(connection).entries(connection, ["a"], ON, ON)
    words = found["a", ON][1].words
    assert words[Language.ENGLISH] == ("15 min late (TL1); cut 0.5 %", "final")
    assert words[Language.INDONESIAN][0] == "terlambat 15 menit (TL1); potongan 0,5 %"


def test_a_database_knows_nothing_of_another(tmp_path: Path, centre: Centre) -> None:
    """Nor does a file that was restored under the same name."""
    (tmp_path / "other").mkdir()
    other = Centre(tmp_path / "other", datetime(2026, 8, 30, 20, tzinfo=UTC))
    with centre.database.reading() as one, other.database.reading() as two:
        assert verdicts_of(one) is verdicts_of(one)
        assert verdicts_of(one) is not verdicts_of(two)
    other.close()


def test_what_is_used_is_kept() -> None:
    """Of more than fits, those used longest ago are dropped."""
    kept: Remembered[int] = Remembered(2)
    kept.keep({"a": 1, "b": 2})
    assert kept.get(["a"]) == {"a": 1}
    kept.keep({"c": 3})
    assert kept.get(["a", "b", "c"]) == {"a": 1, "c": 3}


def test_many_who_want_the_same_make_it_once() -> None:
    """The others wait for it; later it is made anew."""
    verdicts, made, begin = Verdicts(), [], threading.Barrier(8)

    def make() -> int:
        made.append(1)
        return len(made)

    def want(_: int) -> int:
        begin.wait()
        return verdicts.timed("key", 60.0, make)

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(want, range(8))) == {1}
    assert verdicts.timed("key", -1.0, make) == 2
