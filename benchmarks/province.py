"""A province's day: 60,000 people, 40 gateways, through broker, inbox and PostgreSQL to the pages of its units.

Registers come by the commands of an office. The day is judged once before anybody has come, as at midnight; then all
arrive, and later all leave, each time as fast as 40 gateways can publish single events. Behind the last event each
terminal states that its log is complete, so that every verdict becomes final. The day is yesterday: the inbox judges
by the clock of this computer. Processor times are those of the inbox and of the whole server; times on the wall belong
to the machine and to what else it did.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any, NamedTuple
from uuid import NAMESPACE_OID, uuid5
from zoneinfo import ZoneInfo

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.figures import NONE, TIMES, Figure, Plan, yes_no
from benchmarks.ingest_postgresql import copy, process_s, server_pid, server_s
from benchmarks.pages import Reader, get, logged_in, pages_of, running
from benchmarks.recompute import POLICY, judge_alone
from benchmarks.rig import broker, memory_kib, wait_for
from central.event import PUNCH
from central.store import Store
from tests.central.lanes.deployment import held, query
from tests.central.sealing import dumped, punch_id, sealed
from tests.postgres import Server

PEOPLE, GATEWAYS, UNITS = 60_000, 40, 120
TERMINALS = 30
"""Of each gateway."""
AIM = 4
"""How many times the processor time of copying the same rows and of judging the day in memory."""
LIMIT_S = 3_000.0
WINDOW = 20
"""Messages of a gateway that the broker has not acknowledged: what mosquitto allows."""
TOGETHER = 500
"""Events of a transaction of the baseline."""
ROOT = "provinsi"
SETTINGS = ("shared_buffers = 512MB", "max_wal_size = 4GB")
"""Of the server; all else as it comes."""
ZONE = "Asia/Jakarta"
DAY = (datetime.now(ZoneInfo(ZONE)) - timedelta(days=1)).date()
ARRIVAL, DEPARTURE = (27_000, 2_400, 600), (57_600, 300, 3_600)
"""When people punch: a second of the day, how much before it and how much after it."""
REGISTERS = {
    "units": f"key,name,parent,zone,from\n{ROOT},Provinsi,,WIB,{DAY}\n{{units}}",
    "people": "key,name,employment,unit,from\n{people}",
    "timetables": "timetable,from,slot,kind,due,window from,window until\n"
    f"kantor,{DAY},in,in,07:30,05:45,11:30\nkantor,{DAY},out,out,16:00,11:41,19:46\n",
    "schedules": f"schedule,from,day,timetable,calendar\ndaily,{DAY},1,kantor,no\n",
    "assignments": f"unit,schedule,policy,from,until\n{ROOT},daily,{POLICY},{DAY},{DAY}\n",
    "enrolments": "pin,site,person,from\n{enrolments}",
}


class Gateway(NamedTuple):
    """One gateway: what it publishes in the morning and in the evening, and what it states at last."""

    name: str
    stream: str
    arrivals: list[tuple[str, bytes]]
    departures: list[tuple[str, bytes]]
    serials: tuple[str, ...]


class Spent(NamedTuple):
    """What a process took."""

    wall_s: float
    processor_s: float
    peak_mb: float


class Wall(NamedTuple):
    """How long a wall of events took, since its first message."""

    stored_s: float
    judged_s: float
    processor_s: float
    marks: int


def run(plan: Plan) -> Iterator[Figure]:
    """Play the day through; then the baseline of its rows."""
    people = plan.size(PEOPLE)
    folder = plan.fresh("province")
    with Server(*SETTINGS, durable=True) as server:
        url = server.url(server.fresh())
        imported = [
            (kind, _command(server, "import", kind, file, *_SIGNED, db=url)) for kind, file in _files(folder, people)
        ]
        slowest = max(imported, key=lambda one: one[1].wall_s)
        yield Figure(
            f"enter the registers of {people:,} people by {len(imported)} commands",
            ours=f"{sum(one.wall_s for _, one in imported):.0f} s, {slowest[0]} {slowest[1].wall_s:.0f} s; "
            f"peak {max(one.peak_mb for _, one in imported):.0f} MB",
        )
        alone = judge_alone(people)
        begun = _command(server, "recompute", db=url)
        yield Figure(
            f"the day of {people:,} people begins: nobody has come; processor, server included",
            baseline=f"{alone:.1f} s judged in memory, with punches",
            ours=f"{begun.processor_s:.1f} s; {begun.wall_s:.0f} s on the wall; peak {begun.peak_mb:.0f} MB",
            ratio=f"{begun.processor_s / alone:.1f} {TIMES}",
        )
        yield from _day(folder, server, url, people, alone)
        yield from _pages(folder, url, people)


def _day(folder: Path, server: Server, url: str, people: int, alone: float) -> Iterator[Figure]:
    """Let all come and leave; the rows of both are copied afterwards, as the baseline."""
    gateways = [_gateway(number, people // GATEWAYS) for number in range(GATEWAYS)]
    log = folder / "inbox.log"
    with broker(folder) as port:
        command = [sys.executable, "-m", "central.cli", "inbox", "--broker", f"mqtt://127.0.0.1:{port}", "--db", url]
        with running(command, None, log) as inbox:
            _publish_all(port, [(f"hadir/v1/{one.name}/info", _info(one), True) for one in gateways])
            wait_for(lambda: query(url, "SELECT count(*) FROM gateway") == [(GATEWAYS,)], LIMIT_S, "all gateways known")
            walls = [_wall(server, url, port, inbox.pid, gateways, evening=evening) for evening in (False, True)]
            peaks = {
                "inbox": memory_kib(inbox.pid)[1],
                "broker": memory_kib(_child(os.getpid(), "mosquitto"))[1],
                "largest process of the server": max(map(_peak_kib, _children(server_pid(server)))),
            }
    expected = {one.name: len(one.arrivals) + len(one.departures) for one in gateways}
    if held(url) != expected:
        raise RuntimeError("not every event is stored once")
    ((final,),) = query(url, _FINAL)
    if final != people:
        raise RuntimeError(f"{final} of {people} verdicts are final")
    for what, wall in zip(("arrive", "leave, every log is complete"), walls, strict=True):
        yield Figure(
            f"{people:,} people {what}: single events of {GATEWAYS} gateways, from the first message",
            ours=f"last event stored after {wall.stored_s:.0f} s ({people / wall.stored_s:,.0f}/s), "
            f"last verdict after {wall.judged_s:.0f} s; {wall.marks:,} marks of affected days",
        )
    target = server.url(server.fresh())
    Store(target).close()
    bare = copy(server, url, target, TOGETHER, ("event", "punch", "result"))
    spent = sum(wall.processor_s for wall in walls)
    floor = bare + 2 * alone
    yield Figure(
        f"both walls of {people:,} people, broker to final verdict; processor of inbox and server",
        baseline=f"{floor:.1f} s: a bare COPY of the same rows {bare:.1f}, judged in memory twice {2 * alone:.1f}",
        ours=f"{spent:.1f} s",
        ratio=f"{spent / floor:.1f} {TIMES}",
        aim=f"at most {AIM} {TIMES}",
        met=yes_no(spent <= AIM * floor),
    )
    yield Figure(
        f"peak memory in a day of {people:,} people",
        ours="; ".join(f"{name} {peak / 1024:.0f} MB" for name, peak in peaks.items()),
    )
    troubles = [line for line in log.read_text().splitlines() if "error" in line or "warning" in line]
    if troubles:
        print(f"  the inbox's log has {len(troubles)} warnings and errors, as\n    " + "\n    ".join(troubles[:5]))


_FINAL = (
    "SELECT count(*) FROM (SELECT DISTINCT ON (person, date) status FROM result ORDER BY person, date, revision DESC) "
    "AS newest WHERE status = 'final'"
)
_SIGNED = ("--by", "a", "--paper", "b")


def _wall(server: Server, url: str, port: int, inbox: int, gateways: Sequence[Gateway], *, evening: bool) -> Wall:
    """Publish half of the day from all gateways at once, and wait until all of it is judged."""
    before, marked = process_s(inbox) + server_s(server), _marks(url)
    begun, first = time.monotonic(), datetime.now(UTC)
    with ThreadPoolExecutor(len(gateways)) as threads:
        list(threads.map(lambda one: _publish_all(port, _messages(one, evening=evening)), gateways))
    events = sum(len(one.arrivals) + len(one.departures) * evening for one in gateways)
    logs = sum(len(one.serials) for one in gateways) * evening
    statement = "SELECT (SELECT sum(seen) FROM stream), (SELECT count(*) FROM watermark WHERE counted IS NOT NULL), "
    statement += "EXISTS (SELECT FROM affected)"
    wait_for(lambda: _is_judged(url, statement, (events, logs, False)), LIMIT_S, "judging what arrived", every_s=0.5)
    judged_s = time.monotonic() - begun
    spent = process_s(inbox) + server_s(server) - before
    ((last,),) = query(url, "SELECT max(received) FROM event")
    return Wall((datetime.fromisoformat(last) - first).total_seconds(), judged_s, spent, _marks(url) - marked)


def _marks(url: str) -> int:
    """Return how many marks of affected days were made so far."""
    ((count,),) = query(url, "SELECT last_value FROM affected_id_seq")
    return int(count)


def _is_judged(url: str, statement: str, wanted: tuple[int, int, bool]) -> bool:
    """Return whether all is stored and judged; RuntimeError where judging failed, after which it never would be."""
    failed = query(url, "SELECT failed FROM affected WHERE failed IS NOT NULL LIMIT 1")
    if failed:
        raise RuntimeError(f"judging failed: {failed[0][0]}")
    return query(url, statement) == [wanted]


def _messages(gateway: Gateway, *, evening: bool) -> list[tuple[str, bytes, bool]]:
    """Return the messages of half a day, the last ones retained."""
    events = gateway.departures if evening else gateway.arrivals
    found = [(topic, body, False) for topic, body in events]
    if evening:
        total = len(gateway.arrivals) + len(gateway.departures)
        until = (datetime.now(UTC) - timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        complete = {"until": until, "stream": gateway.stream, "sequence": f"{total:020d}"}
        for number, serial in enumerate(gateway.serials):
            state = dumped({"serial": serial, "records": 100, "complete": complete}).encode()
            found.append((f"hadir/v1/{gateway.name}/terminal/{_terminal(number)}/state", state, True))
    return found


def _publish_all(port: int, messages: Sequence[tuple[str, bytes, bool]]) -> None:
    """Publish in order, as one client with the window of a gateway, until the broker has all."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.max_inflight_messages_set(WINDOW)
    client.connect("127.0.0.1", port)
    client.loop_start()
    sent = [client.publish(topic, body, qos=1, retain=retained) for topic, body, retained in messages]
    wait_for(lambda: sent[-1].is_published() and all(one.is_published() for one in sent), LIMIT_S, "publishing", 0.1)
    client.disconnect()
    client.loop_stop()


def _info(gateway: Gateway) -> bytes:
    return dumped({"stream": gateway.stream, "sequence": 0, "predecessor": None}).encode()


def _gateway(number: int, people: int) -> Gateway:
    """Return a gateway whose people come and leave, each at one of its terminals."""
    name, stream = f"{_site(number)}/gw-01", str(uuid5(NAMESPACE_OID, f"province {number}"))
    random = Random(number)  # noqa: S311 - a seed reproduces the day
    serials = tuple(f"SIM{number:03d}{terminal:03d}" for terminal in range(TERMINALS))
    halves: list[list[tuple[str, bytes]]] = []
    previous, sequence = "sha256:" + _sha256(stream), 0
    for state, (due, early, late) in enumerate((ARRIVAL, DEPARTURE)):
        moments = sorted((due + random.randrange(-early, late), number * people + one) for one in range(people))
        half = []
        for second, person in moments:
            sequence += 1
            event = sealed(_punch(name, stream, sequence, person, second, state), previous)
            previous = event["digest"]
            half.append((f"hadir/v1/{name}/punch/{event['subject']}", dumped(event).encode()))
        halves.append(half)
    arrivals, departures = halves
    return Gateway(name, stream, arrivals, departures, serials)


def _punch(gateway: str, stream: str, sequence: int, person: int, second: int, state: int) -> dict[str, Any]:
    local = datetime.combine(DAY, datetime.min.time()) + timedelta(seconds=second)
    at, terminal = local.isoformat(), person % TERMINALS
    serial, pin = f"SIM{gateway[6:9]}{terminal:03d}", str(100_000 + person)
    recorded = local.replace(tzinfo=ZoneInfo(ZONE)).astimezone(UTC) + timedelta(seconds=1)
    data = {"terminal": _terminal(terminal), "serial": serial, "pin": pin, "local_time": at, "occurrence": 1}
    data |= {"timezone": ZONE, "state": state, "verify": 1, "work_code": "0", "suspect": [], "via": "live"}
    data |= {"raw": _sha256(at + pin)}
    event = {"specversion": "1.0", "type": PUNCH, "source": f"/hadir/{gateway}", "subject": data["terminal"]}
    event |= {"id": punch_id(serial, pin, at), "time": f"{at}+07:00", "datacontenttype": "application/json"}
    event |= {"sequence": f"{sequence:020d}", "stream": stream, "data": data}
    return event | {"recordedtime": recorded.strftime("%Y-%m-%dT%H:%M:%S.000Z")}


def _sha256(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def _site(number: int) -> str:
    return f"dinas-{number:03d}"


def _terminal(number: int) -> str:
    return f"pintu-{number:02d}"


def _unit(person: int, people: int) -> str:
    return f"unit-{person * UNITS // people:03d}"


def _files(folder: Path, people: int) -> Iterator[tuple[str, Path]]:
    """Write the registers; yield the kind and the file of each."""
    everybody = range(people)
    each = people // GATEWAYS
    content = {
        "units": "".join(f"unit-{number:03d},Unit {number:03d},{ROOT},WIB,{DAY}\n" for number in range(UNITS)),
        "people": "".join(f"p{one:06d},Orang {one:06d},pns,{_unit(one, people)},{DAY}\n" for one in everybody),
        "enrolments": "".join(f"{100_000 + one},{_site(one // each)},p{one:06d},{DAY}\n" for one in everybody),
    }
    for kind, text in REGISTERS.items():
        file = folder / f"{kind}.csv"
        file.write_text(text.format(**content), encoding="utf-8")
        yield kind, file


def _command(server: Server, *arguments: object, db: str) -> Spent:
    """Run a command of the centre to its end; RuntimeError where it fails."""
    command = [sys.executable, "-m", "central.cli", *map(str, arguments), "--db", db]
    begun, before, own, peak = time.monotonic(), server_s(server), 0.0, 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        while process.poll() is None:
            with suppress(OSError, KeyError):  # it ends meanwhile
                peak = max(peak, memory_kib(process.pid)[1])
            own = max(own, process_s(process.pid))
            time.sleep(0.05)
        output = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise RuntimeError(f"{' '.join(command[2:5])} ended with {process.returncode}: {output[-500:]}")
    return Spent(time.monotonic() - begun, own + server_s(server) - before, peak / 1024)


def _pages(folder: Path, url: str, people: int) -> Iterator[Figure]:
    """Request the page of a unit and that of the tree's totals, from a server that has just begun."""
    with pages_of(folder, url, (ROOT,)) as port:
        (reader,) = logged_in(port, 1)
        unit, again, size = _requests(port, reader, f"/today/unit-007?date={DAY}")
        tree, tree_again, tree_size = _requests(port, reader, f"/units?date={DAY}")
        peak = memory_kib(_child(os.getpid(), "serve"))[1] / 1024
    yield Figure(
        f"page of the totals of {UNITS} units with {people:,} people, {tree_size // 1000} kB; peak {peak:.0f} MB",
        baseline=f"page of a unit of {people // UNITS}, {size // 1000} kB: {unit:.2f} s, {again * 1e3:.0f} ms again",
        ours=f"{tree:.2f} s, {tree_again * 1e3:.0f} ms again",
        ratio=f"{tree / unit:.1f} {TIMES}",
        aim=NONE,
    )


def _requests(port: int, reader: Reader, path: str) -> tuple[float, float, int]:
    """Return the seconds of the first and of the second request, and the size of the page."""
    times, page = [], b""
    for _ in range(2):
        begun = time.perf_counter()
        page = get(port, reader, path=path)
        times.append(time.perf_counter() - begun)
    return times[0], times[1], len(page)


def _peak_kib(pid: int) -> int:
    """Return the peak memory of a process, 0 where it has ended: a server's processes come and go."""
    try:
        return memory_kib(pid)[1]
    except (OSError, KeyError):
        return 0


def _child(parent: int, part: str) -> int:
    """Return the child whose command has this argument or program."""
    for pid in _children(parent):
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        if any(part == Path(word).name for word in words):
            return pid
    raise RuntimeError(f"no {part} runs")


def _children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
