"""A whole day of one terminal that speaks PUSH: what it is answered, what is stored, and that nothing grows."""

import re
from collections import Counter
from datetime import datetime, timedelta
from random import Random

from drivers.base import RawPunch
from drivers.push.wire import DELAY_S
from gateway.terminal.recount_plan import Explained, RecountPlan, Span
from tests.drivers.push.conversation import ZONE, Conversation

READ_ONLY = re.compile(rb"C:\d{1,16}:(VERIFY SUM|DATA QUERY) ATTLOG StartTime=[\d: -]{19}\tEndTime=[\d: -]{19}\n")
BAD = b"12\t2026-02-31 07:00:00\t0\t1\nno tabs\n\t2026-11-30 07:00:00\t0\t1\n7\t2103-08-18 07:00:05\t0\t1\n"
"""Four lines that are no punches of any day of this terminal, but for the last one, whose year is possible."""


class Day:
    """The terminal: it punches, loses replies, uploads what was not requested, and executes commands."""

    def __init__(self) -> None:
        self.gateway = Conversation()
        self.chance = Random(14)
        self.log: list[bytes] = []
        self.hidden: list[bytes] = []
        """Punches that it never uploads by itself, because its clock was set back."""
        self.commands: Counter[bytes] = Counter()
        self.numbers: list[bytes] = []

    @property
    def now(self) -> datetime:
        """What its clock shows."""
        return self.gateway.now().astimezone(ZONE).replace(tzinfo=None, microsecond=0)

    def stored(self, span: Span) -> int:
        """Return how many distinct punches of a span are stored."""
        first, last = span.limits
        records = {record for batch in self.gateway.batches for record in batch.records}
        return sum(isinstance(record, RawPunch) and first <= record.local_time <= last for record in records)

    def upload(self, lines: list[bytes], query: str = "table=ATTLOG&Stamp=9999") -> None:
        """Upload lines; the gateway counts each of them."""
        assert self.gateway.text(f"cdata?{query}", b"".join(lines)) == f"OK: {len(lines)}"

    def poll(self) -> None:
        """Poll as it does every 15 s, and execute what it gets."""
        reply = self.gateway.send(f"getrequest?INFO=Ver 6.60 Apr 28 2017,12,30,{len(self.log)},10.1.2.9,10")
        assert reply.status == 200
        assert not reply.headers
        if reply.body == b"OK":
            return
        assert READ_ONLY.fullmatch(reply.body), reply.body
        number, verb = reply.body.split(b":")[1], reply.body.split(b":")[2].partition(b" Start")[0]
        self.commands[verb] += 1
        self.numbers.append(number)
        first, last = (datetime.fromisoformat(text.decode()) for text in re.findall(rb"[\d-]{10} [\d:]{8}", reply.body))
        found = [line for line in self.log if first <= datetime.fromisoformat(line.split(b"\t")[1].decode()) <= last]
        if verb.startswith(b"DATA"):
            for at in range(0, len(found), 30):
                self.upload(found[at : at + 30])
        count = f"&AttlogCount={len(found)}" if verb.startswith(b"VERIFY") else ""
        self.gateway.text("devicecmd", b"ID=%s&Return=0&CMD=%s%s\n" % (number, verb, count.encode()))

    def punch(self, *, hidden: bool = False) -> None:
        """Make a punch, which is uploaded at once unless it is hidden; some replies are lost."""
        state = self.chance.choice((0, 1, 255))
        line = f"{self.chance.randrange(1001, 1051)}\t{self.now}\t{state}\t1\t0\t0\t0\t0\t36.5\n".encode()
        self.log.append(line)
        if hidden:
            self.hidden.append(line)
            return
        for _ in range(1 + (self.chance.random() < 0.1)):
            self.upload([line])

    def enrol(self) -> None:
        """Upload what was not requested."""
        self.upload([b"USER PIN=7\tName=Siti\n", b"FP PIN=7\tTMP=Ts9S\n"], "table=OPERLOG&OpStamp=9999")
        assert self.gateway.text("fdata?table=ATTPHOTO", b"PIN=../../x.jpg\nCMD=uploadphoto\x00\xff") == "OK"
        assert self.gateway.text("cdata?table=RemoteAtt&PIN=7") == "OK"

    def begin(self) -> None:
        """Switch it off and on."""
        reply = self.gateway.send("cdata?options=all&pushver=2.4.1")
        assert b"ICLOCKSVRURL" not in reply.body
        assert not reply.headers

    def recount(self) -> RecountPlan:
        """Let the gateway count the log as each night; return the plan when it is over."""
        explained: Explained = {}
        plan = RecountPlan(self.now.date(), explained)
        while (step := plan.step) is not None:
            before = self.stored(step.span)
            verb = "DATA QUERY ATTLOG" if step.again else "VERIFY SUM ATTLOG"
            command = self.gateway.session.request(verb, *step.span.limits)
            assert command is not None
            while not command.is_over:
                self.poll()
                self.gateway.now_s += 1.0  # after a command it polls again at once
            assert command.result is not None
            plan.answered(command.lines if step.again else command.result.records, before, self.stored(step.span))
        return plan


def test_a_whole_day() -> None:
    """Each poll gets two bytes or a command that only reads; each punch is stored once; what was hidden is fetched."""
    day = Day()
    day.begin()
    end_s = day.gateway.now_s + 86_400
    rush = {7: 0.5, 12: 0.1, 16: 0.5}
    night = timedelta(hours=17)  # 00:00 local time follows at 07:00 + 17 h: the day of this test begins in the morning
    begun, plan = day.now, None
    while day.gateway.now_s < end_s:
        day.poll()
        if day.chance.random() < rush.get(day.now.hour, 0.005):
            day.punch(hidden=day.now.hour == 12)
        if day.chance.random() < 0.002:
            day.enrol()
        if day.chance.random() < 0.001:
            day.begin()
        if day.chance.random() < 0.002:
            day.upload(BAD.splitlines(keepends=True))
        if day.chance.random() < 0.005:  # a server was away: what is known comes again, in other pieces
            day.upload([line for line in day.log[-40:] if line not in day.hidden][:30])
        if plan is None and day.now - begun >= night:
            plan = day.recount()
            assert not plan.failed
        day.gateway.now_s += DELAY_S

    assert plan is not None
    assert plan.missing == {}
    assert len(day.hidden) > 5
    assert day.commands[b"DATA QUERY ATTLOG"] >= 1
    assert day.commands[b"VERIFY SUM ATTLOG"] >= 34
    assert len(set(day.numbers)) == len(day.numbers)
    records = {record for batch in day.gateway.batches for record in batch.records}
    assert sum(isinstance(record, RawPunch) for record in records) == len(set(day.log)) + 1
    assert len(records) == len(set(day.log)) + 4
    assert not any(secret in record.raw for record in records for secret in (b"36.5", b"Siti", b"Ts9S"))
    session = day.gateway.session
    assert {notice.code for notice in day.gateway.notices} <= {"ack_form_changed"}
    assert len(session._acknowledged) <= 4
    assert len(session._unknown) == 0
