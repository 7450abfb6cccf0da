"""From the finger to a superior's page: terminal, gateway, broker, centre, verdict, event; beside an idle loop."""

import http.client
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import quantiles

from benchmarks.figures import Figure, Plan, yes_no
from benchmarks.latency import Post, Spread
from benchmarks.pages import Reader, logged_in, pages_of, running
from benchmarks.rig import SITE, broker, daemon, office_time, settings_of, wait_for
from drivers.zkteco.simulator import SimulatedTerminal, Simulator

PUNCHES = 100
EACH_S = 0.7
"""Between two fingers: every part of a second is hit, as the page's own pauses do not last as long."""
P99_MS = 2_000
SETTLE_S = 120.0
TICK_S = 0.01
"""Of the idle loop: how much later than this it wakes is what the machine itself adds."""
SINCE = office_time().date().isoformat()
"""Today: earlier dates would be judged before anything else."""
REGISTERS = {
    "units": f"key,name,zone,from\ndinas,Dinas,WIB,{SINCE}\n",
    "people": "key,name,employment,unit,from\n{people}",
    "timetables": "timetable,from,slot,kind,due,window from,window until\n"
    f"all,{SINCE},in,in,23:00,00:00,24:00\nall,{SINCE},out,out,31:00,24:00,33:00\n",
    "schedules": f"schedule,from,day,timetable,calendar\ndaily,{SINCE},1,all,no\n",
    "assignments": f"unit,schedule,policy,from\ndinas,daily,kementan-2012,{SINCE}\n",
    "enrolments": "pin,site,person,from\n{enrolments}",
}


def run(plan: Plan) -> Iterator[Figure]:
    """Measure one finger after another until the page of the unit shows each."""
    count = max(30, plan.size(PUNCHES))
    idle, ours = _idle(), _road(plan.fresh("on-page"), count)
    yield Figure(
        f"finger to a superior's page of {count} people, {count} punches",
        baseline=f"an idle loop wakes late by {idle}",
        ours=str(ours),
        aim=f"p99 ≤ {P99_MS:,} ms",
        met=yes_no(ours.p99 <= P99_MS),
    )


def _idle() -> Spread:
    late = []
    for _ in range(300):
        due = time.monotonic() + TICK_S
        time.sleep(TICK_S)
        late.append((time.monotonic() - due) * 1000)
    cuts = quantiles(late, n=100, method="inclusive")
    return Spread(cuts[49], cuts[98])


def _road(folder: Path, count: int) -> Spread:
    pins = {f"Orang {number:04d}": str(5000 + number) for number in range(count)}
    _enter(folder, pins)
    users = {number + 1: pin for number, pin in enumerate(pins.values())}
    terminal = SimulatedTerminal(users=users, now=office_time)
    post = Post()
    with broker(folder) as port, Simulator(terminal) as simulator:
        inbox = [sys.executable, "-m", "central.cli", "inbox", "--broker", f"mqtt://127.0.0.1:{port}"]
        with (
            running([*inbox, "--db", str(folder / "centre.db")], None),
            pages_of(folder) as page,
            daemon(folder, settings_of(port, {"lobby": simulator.address})) as gateway,
        ):
            gateway.wait_until_settled(0, SETTLE_S)
            (reader,) = logged_in(page, 1)
            shown = threading.Event()
            threading.Thread(target=_follow, args=(page, reader, pins, post, shown), daemon=True).start()
            assert shown.wait(SETTLE_S), "the page is not followed"
            # The first punch makes the centre know the terminal; it is not measured.
            terminal.punch(next(iter(pins.values())))
            wait_for(lambda: bool(post.arrived), SETTLE_S, "the first punch on the page")
            for pin in list(pins.values())[1:]:
                post.leave(pin)
                terminal.punch(pin)
                time.sleep(EACH_S)
            return post.spread()


def _enter(folder: Path, pins: dict[str, str]) -> None:
    """Import the registers of an office in which a punch at any time of the day is an arrival."""
    people = "".join(f"p{pin},{name},pns,dinas,{SINCE}\n" for name, pin in pins.items())
    enrolments = "".join(f"{pin},{SITE},p{pin},{SINCE}\n" for pin in pins.values())
    for kind, text in REGISTERS.items():
        file = folder / f"{kind}.csv"
        file.write_text(text.format(people=people, enrolments=enrolments), encoding="utf-8")
        command = [sys.executable, "-m", "central.cli", "import", kind, str(file), "--db", str(folder / "centre.db")]
        done = subprocess.run([*command, "--by", "a", "--paper", "b"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def _follow(port: int, reader: Reader, pins: dict[str, str], post: Post, shown: threading.Event) -> None:
    """Read the page's live part, and note when a person's row first has a time."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SETTLE_S)
    headers = {"X-Forwarded-For": reader.address, "Host": "presensi.example", "Cookie": reader.cookies}
    connection.request("GET", "/live/today/dinas", headers=headers)
    answer = connection.getresponse()
    assert answer.status == 200, answer.status
    while line := answer.readline():
        if line.startswith(b"data: "):
            rows = str(json.loads(line[6:])).split('<th scope="row">')[1:]
            for row in rows:
                arrived = re.search(r"(Orang \d{4}).*?</th><td>\d\d:\d\d", row.partition("</td>")[0])
                if arrived is not None:
                    post.arrive(pins[arrived[1]])
            shown.set()
