"""An office with two terminals: the school has one of its own, at the other all have been enrolled."""

from pathlib import Path

from tests.central.web.site import Served

ENROLMENTS = (
    "pin,terminal,person,from,until\n1001,S1,a,2026-01-01,\n1002,S1,b,2026-01-01,2026-08-31\n"
    "3001,S9,c/1,2026-01-01,\n3002,S9,b,2026-09-01,\n"
)
ASSIGNMENTS = "unit,schedule,policy,from\ndinas,week,graded,2026-01-01\nschool,week,kementan-2012,2026-01-01\n"


def serve_evidence(folder: Path) -> Served:
    """Serve the office on 3 September, with two unknown PINs, a gap, and a log that is read until 07:30."""
    site = Served(folder, registers={"enrolments": ENROLMENTS, "assignments": ASSIGNMENTS})
    office = site.office
    office.punched("1001", "2026-09-02 07:20:00", "2026-09-02 16:10:00")
    office.punched("7777", "2026-09-02 07:21:00")
    office.punched("8888", "2026-09-02 07:22:00", terminal="school", serial="S9")
    office.state("lobby", "S1", "2026-09-03 07:30", 3)
    office.state("school", "S9", records=None)
    events = office.punches("1001", "2026-09-03 07:01:00", "2026-09-03 07:02:00", "2026-09-03 07:03:00")
    office.receive(events[0], events[2])
    office.at("2026-09-03 08:00")
    return site
