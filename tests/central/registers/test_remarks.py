"""What is entered and should be looked at: leave and corrections that fit no plan, no policy, or other leave."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from central.policy.office import OfficePolicies
from central.registers.importing import MAX_REMARKS, Paper, enter_file
from central.registers.read import scan_register
from central.texts import Language
from tests.central.registers.files import write_csv
from tests.central.store.office import POLICIES, Centre

LEAVE = "person,kind,from,until,begin,end,slot\n"


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    """Yield a centre with an office; its policy names annual, important, sick and technical leave."""
    found = Centre(tmp_path, datetime(2026, 8, 30, 20, tzinfo=UTC))
    found.enter_office()
    yield found
    found.close()


def remarks(centre: Centre, kind: str, text: str, name: str = "file.csv") -> list[tuple[str, str, str]]:
    """Import a file, and return place, code and English text of its remarks."""
    scan = scan_register(write_csv(centre.folder, text, name), kind)
    found, entered = enter_file(centre.database, scan, OfficePolicies(POLICIES), Paper("A", "SK 1/2026"), centre.now)
    assert entered is not None
    for remark in found.remarks:
        assert remark.text(Language.ENGLISH) != remark.text(Language.INDONESIAN)
    return [(remark.place, remark.code, remark.text()) for remark in found.remarks]


def test_leave_of_a_kind_that_the_policy_does_not_name_is_noted_once(centre: Centre) -> None:
    """A letter wrong would excuse the day without the cut that the decree gives; where nobody is judged, nothing is."""
    rows = "a,anual,2026-09-01,,,,\na,anual,2026-09-03,,,,\nb,sick,2026-09-01,2026-09-02,,,\na,other,2026-08-01,,,,\n"

    found = remarks(centre, "leave", LEAVE + rows)

    (unknown,) = [one for one in found if one[1] == "leave_kind_unknown"]
    assert unknown[0] == "file.csv:2:2"
    assert "the policy graded names no leave anual" in unknown[2]
    assert "annual, important, sick, technical" in unknown[2]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a,annual,2026-09-01,2026-09-04,,,", "a,sick,2026-09-04,,,,"),
        ("a,annual,2026-09-01,2026-09-30,,,", "a,sick,2026-09-10,2026-09-11,,,"),
        ("a,annual,2026-09-01,,08:00,12:00,", "a,sick,2026-09-01,,11:59,13:00,"),
        ("a,annual,2026-09-01,,20:00,26:00,", "a,sick,2026-09-02,,01:00,03:00,"),
        ("a,annual,2026-09-01,,,,", "a,technical,2026-09-01,,,,in"),
        ("a,annual,2026-09-01,,,,in", "a,technical,2026-09-01,,,,in"),
    ],
)
def test_leave_that_overlaps_is_noted(centre: Centre, first: str, second: str) -> None:
    """In one file at the later row; against what is entered at the file's."""
    (found,) = remarks(centre, "leave", f"{LEAVE}{first}\n{second}\n")
    assert (found[0], found[1]) == ("file.csv:3:3", "leave_overlaps")
    assert "file.csv:2" in found[2]
    centre.enter("leave", f"{LEAVE}{first}\n{second}\n", withdraw=True)

    assert remarks(centre, "leave", f"{LEAVE}{second}\n", "second.csv") == []
    ((place, code, text),) = remarks(centre, "leave", f"{LEAVE}{first}\n", "first.csv")
    assert (place, code) == ("first.csv:2:3", "leave_overlaps")
    assert "SK 1/2026" in text


def test_leave_that_touches_or_is_another_persons_is_not_noted(centre: Centre) -> None:
    """Half a day and the other half, one day after another, two slots of a day."""
    rows = (
        "a,annual,2026-09-01,,07:30,12:00,\na,important,2026-09-01,,12:00,16:00,\nb,annual,2026-09-01,,,,\n"
        "a,annual,2026-09-02,2026-09-03,,,\na,sick,2026-09-04,,,,\n"
        "b,technical,2026-09-07,,,,in\nb,technical,2026-09-07,,,,out\n"
    )
    assert remarks(centre, "leave", LEAVE + rows) == []


def test_a_slot_that_the_plan_of_the_date_lacks_is_noted(centre: Centre) -> None:
    """Of leave and of a correction; a day that is not planned yet has no slots to compare with."""
    assert remarks(centre, "leave", f"{LEAVE}a,technical,2026-09-01,,,,noon\na,technical,2026-09-02,,,,in\n") == [
        (
            "file.csv:2:7",
            "slot_unknown",
            "file.csv:2:7: noon is no slot of the person's plan on 2026-09-01; its slots are: in, out",
        )
    ]
    text = "person,date,time,by,paper,slot\na,2026-09-01,07:25,Kepala,SK 1/2026,In\nb,2026-08-01,07:25,Kepala,SK 2,x\n"
    found = remarks(centre, "corrections", text, "corrections.csv")
    assert [(place, code) for place, code, _ in found if code != "outside_validity"] == [
        ("corrections.csv:2:6", "slot_unknown")
    ]


def test_remarks_are_limited(centre: Centre) -> None:
    """A file with a thousand overlaps does not fill the screen."""
    rows = "".join(f"a,annual,2026-09-01,2026-10-{day:02d},,,\n" for day in range(1, 2))
    rows += "".join(f"a,sick,2026-09-{day:02d},,,,\n" for day in range(1, 31))

    assert len(remarks(centre, "leave", LEAVE + rows)) == MAX_REMARKS


def test_a_decision_that_ends_unread_is_noted(centre: Centre) -> None:
    """Who enters it the evening of an outage, before the log is read, makes people missing."""
    head = "decision,person,terminal,pin,from,until,by,paper\n"
    rows = (
        "not_concerned,,S1,,2026-09-01,2026-09-01,K,P\n"
        "not_concerned,a,,,2026-09-01,2026-09-01,K,P\n"
        "visitor,,S1,77,2026-09-01,2026-09-01,K,P\n"
    )
    found = [one for one in remarks(centre, "decisions", head + rows) if one[1] == "ends_unread"]
    assert [place for place, _, _ in found] == ["file.csv:2:3"]
    assert "`unread` too" in found[0][2]
