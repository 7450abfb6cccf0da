"""Every driver keeps what drivers/base.py promises, against its own simulator and against strangers."""

import re
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

from drivers import OWN, conformance
from drivers.anviz.simulator import SimulatedTerminal as AnvizTerminal
from drivers.anviz.simulator import Simulator as AnvizSimulator
from drivers.anviz.simulator import history
from drivers.anviz.transport import ALLOWED as ANVIZ_ALLOWED
from drivers.base import Delivery, Driver, DriverError, DriverOptions, RawPunch, Untimed
from drivers.conformance import CHECKS, Bench
from drivers.line import terminal as line_terminal
from drivers.line.simulator import PATTERN
from drivers.line.simulator import Simulator as LineSimulator
from drivers.line.terminal import LineTerminal
from drivers.line.wire import LineEvent
from drivers.push.simulator import SimulatedTerminal as PushTerminal
from drivers.push.simulator import Simulator as PushSimulator
from drivers.push.wire import ALLOWED as PUSH_ALLOWED
from drivers.soap.simulator import Simulator as SoapSimulator
from drivers.soap.wire import ALLOWED as SOAP_ALLOWED
from drivers.webhook.simulator import App
from drivers.webhook.simulator import Simulator as WebhookSimulator
from drivers.zkteco.simulator import Simulator, build
from drivers.zkteco.transport import ALLOWED as ZKTECO_ALLOWED
from tests.drivers.push.office import ZONE, receiving
from tests.drivers.webhook import office as webhook_office

ROOT = Path(__file__).parent.parent.parent
NOON = datetime(2026, 9, 4, 12)  # noqa: DTZ001 - a terminal's wall clock
RECORDS = 60
SERIAL = "STAND00001"


def options(driver: str, **entry: Any) -> DriverOptions:
    """Return options with the time-outs of a bench."""
    usual = {"name": "bench", "timeout": "2s", "bulk_timeout": "2s"}
    return OWN[driver].options.model_validate(usual | entry)


def soon(driver: str, **entry: Any) -> DriverOptions:
    """Return options that give up at once."""
    return options(driver, timeout="200ms", bulk_timeout="300ms", **entry)


@contextmanager
def anviz(_folder: Path) -> Iterator[Bench]:
    """Put an Anviz on a pseudo terminal."""
    terminal = AnvizTerminal()
    terminal.append(*history(1, RECORDS, NOON))
    with AnvizSimulator(terminal) as simulator:
        yield Bench(
            OWN["anviz"],
            options("anviz", port=simulator.port, turnaround="0s"),
            [record.raw for record in terminal.records()],
            received=lambda: terminal.requests,
            allowed=ANVIZ_ALLOWED,
            state=lambda: (terminal.records(), terminal.marked, terminal.users, terminal.refused),
            punch=lambda: terminal.punch("7", moment=NOON + timedelta(hours=1)),
            options_for_port=lambda port: soon("anviz", port=f"tcp://127.0.0.1:{port}", turnaround="0s"),
        )


@contextmanager
def attlog(folder: Path) -> Iterator[Bench]:
    """Put an export on a flash disk."""
    lines = [b"%9d\t2026-09-04 07:%02d:00\t1\t0\t1\t0" % (1000 + n, n) for n in range(RECORDS)]
    (folder / f"{SERIAL}_attlog.dat").write_bytes(b"".join(line + b"\r\n" for line in lines))
    yield Bench(
        OWN["attlog"],
        options("attlog", path=folder, serial=SERIAL, settle="10ms"),
        lines,
        received=tuple,
        allowed=(),
        state=lambda: [(path.name, path.read_bytes()) for path in folder.iterdir()],
    )


@contextmanager
def line(_folder: Path) -> Iterator[Bench]:
    """Plug in something that talks."""
    with LineSimulator() as simulator:
        yield Bench(
            OWN["line"],
            options("line", port=simulator.port, pattern=PATTERN, serial=SERIAL),
            (),
            received=tuple,
            allowed=(),
            state=lambda: simulator.sent_punches,
            punch=lambda: simulator.punch("1001"),
            options_for_port=lambda port: soon("line", port=f"tcp://127.0.0.1:{port}", pattern=PATTERN, serial=SERIAL),
        )


@contextmanager
def zkteco(_folder: Path) -> Iterator[Bench]:
    """Put a ZKTeco on the network."""
    terminal = build(records=RECORDS, now=lambda: NOON)
    with Simulator(terminal) as simulator:
        yield Bench(
            OWN["zkteco"],
            options("zkteco", address=simulator.address),
            [record.raw for record in terminal.records()],
            received=lambda: terminal.commands,
            allowed=ZKTECO_ALLOWED,
            state=lambda: (terminal.log_body(), terminal.users, terminal.enabled, terminal.refused_writes),
            punch=lambda: terminal.punch(terminal.any_pin()),
            options_for_port=lambda port: soon("zkteco", address=f"127.0.0.1:{port}"),
        )


@contextmanager
def push(_folder: Path) -> Iterator[Bench]:
    """Let a terminal call a receiver."""
    terminal = PushTerminal(serial=SERIAL, now=lambda: NOON)
    with receiving(SERIAL) as (url, port), PushSimulator(terminal, url, pace=0.002) as simulator:
        yield Bench(
            OWN["push"],
            options("push", serial=SERIAL),
            (),
            received=lambda: terminal.commands,
            allowed=PUSH_ALLOWED,
            state=lambda: (terminal.refused_writes, terminal.log),
            punch=lambda: simulator.punch("1001"),
            port=port,
        )


@contextmanager
def soap(_folder: Path) -> Iterator[Bench]:
    """Put a terminal with a web service on the network."""
    terminal = build(records=RECORDS, now=lambda: NOON)
    with SoapSimulator(terminal) as simulator:
        web = {"web_port": simulator.web.port}
        yield Bench(
            OWN["soap"],
            options("soap", address=simulator.address, **web),
            [wire_row(record) for record in terminal.records() if isinstance(record, RawPunch)],
            received=lambda: [*terminal.commands, *simulator.web.methods],
            allowed=ZKTECO_ALLOWED | SOAP_ALLOWED,
            state=lambda: (terminal.log_body(), terminal.users, terminal.enabled, simulator.web.refused_writes),
            punch=lambda: terminal.punch(terminal.any_pin()),
            options_for_port=lambda port: soon("soap", address=f"127.0.0.1:{port}", web_port=port, serial=SERIAL),
        )


def wire_row(record: RawPunch) -> bytes:
    """Return a record as old firmware writes it."""
    text = f"<PIN>{record.pin}</PIN><DateTime>{record.local_time}</DateTime><Verified>{record.verify}</Verified>"
    code = record.work_code or "0"
    return f"<Row>{text}<Status>{record.state}</Status><WorkCode>{code}</WorkCode></Row>".encode("ascii")


@contextmanager
def webhook(folder: Path) -> Iterator[Bench]:
    """Let an app post to a receiver."""
    app = App(zone=ZONE)
    with (
        webhook_office.receiving() as (url, port),
        WebhookSimulator(app, url, webhook_office.PATH, webhook_office.SECRET, pace=0.002) as simulator,
    ):
        yield Bench(
            OWN["webhook"],
            options("webhook", **webhook_office.entry(folder)),
            (),
            received=tuple,
            allowed=(),
            state=lambda: app.records,
            punch=lambda: simulator.punch("1001"),
            port=port,
        )


BENCHES: dict[str, Callable[[Path], AbstractContextManager[Bench]]] = {
    "anviz": anviz,
    "attlog": attlog,
    "line": line,
    "push": push,
    "soap": soap,
    "webhook": webhook,
    "zkteco": zkteco,
}


@pytest.mark.parametrize("promise", CHECKS)
@pytest.mark.parametrize("name", sorted(OWN))
def test_check_passes(name: str, promise: Callable[[Bench], None], tmp_path: Path) -> None:
    """A driver without a bench fails here."""
    with BENCHES[name](tmp_path) as bench:
        promise(bench)


@pytest.mark.parametrize("name", sorted(OWN))
def test_options_are_in_a_file_that_explains_them(name: str) -> None:
    """An undocumented option cannot be used."""
    reported = "".join(path.read_text("utf-8") for path in (ROOT / "config").glob("*.example.yaml"))
    fields = [field.alias or option for option, field in OWN[name].options.model_fields.items()]
    missing = [option for option in fields if not re.search(rf"\b{option}:", reported)]
    assert missing == []


def broken(**parts: Any) -> Driver:
    """Return the line's driver, spoilt."""
    driver = OWN["line"]
    return Driver("line", parts.get("options", driver.options), parts.get("connect", driver.connect))


class UndocumentedUnit(DriverOptions):
    """Options that do not say enough."""

    pause: float = 1.0
    """A number without a unit."""


class Unexplained(DriverOptions):
    """Options of which one has no description."""

    speed: int = 1


@contextmanager
def careless(options: DriverOptions) -> Iterator[Any]:
    """Let the exceptions of a library out."""
    raise ConnectionResetError(options.name)
    yield


@contextmanager
def endless(options: DriverOptions) -> Iterator[Any]:
    """Say too little."""
    raise DriverError(options.name)
    yield


@pytest.mark.parametrize(
    ("driver", "promise", "words"),
    [
        (broken(connect=careless), "a_closing_peer_ends_the_visit", "left the driver: ConnectionResetError"),
        (broken(connect=endless), "a_silent_peer_is_left_in_time", "DriverError itself"),
        (broken(connect=careless), "a_closed_port_is_a_driver_error", "a closed port"),
        (broken(options=UndocumentedUnit), "its_options_are_documented", "pause takes 5 without a unit"),
        (broken(options=Unexplained), "its_options_are_documented", "speed has no docstring"),
    ],
)
def test_violations_are_found(driver: Driver, promise: str, words: str) -> None:
    """The checks can fail."""
    given = driver.options.model_validate({"name": "x"}) if driver.options is not OWN["line"].options else None
    entry = {"name": "x", "port": "/dev/null", "pattern": PATTERN, "serial": SERIAL}
    usable = given or driver.options.model_validate(entry)
    bench = Bench(driver, usable, (), tuple, (), tuple, options_for_port=lambda _: usable)
    (check,) = (check for check in CHECKS if check.__name__ == promise)
    with pytest.raises(AssertionError, match=words):
        check(bench)


class ForgetfulLine(LineTerminal):
    """Delivers each event once, settled or not."""

    def deliveries(self, timeout_s: float) -> Generator[Delivery, None, None]:
        """Forget what was not settled."""
        self._unsettled.clear()
        for delivery in super().deliveries(timeout_s):
            conformance.TIMEOUT_S = 0.0  # nothing comes any more; monkeypatch restores it
            yield delivery


class StubbornLine(LineTerminal):
    """Delivers each event for ever."""

    def _forget(self, event: LineEvent) -> bool:
        del event
        return True


class RepeatingDelivery(Delivery):
    """A delivery that can be settled again and again."""

    def check_open(self) -> None:
        """Take it for open."""


class RepeatingLine(LineTerminal):
    """Delivers what may be settled twice."""

    def _offer(self, event: LineEvent) -> Generator[Delivery, None, None]:
        with RepeatingDelivery((event,), "serial") as delivery:
            yield delivery


class CallingLine(LineTerminal):
    """Delivers each event as a caller that sends it again until it is settled."""

    parts: ClassVar[dict[str, Any]] = {}

    def _offer(self, event: LineEvent) -> Generator[Delivery, None, None]:
        if isinstance(event, RawPunch) and "source_id" in self.parts:
            event = event._replace(source_id=self.parts["source_id"])
        elif "timed" not in self.parts:
            event = Untimed("1", 0, 1, None, b"1")
        with Delivery((event,), self.parts.get("via", "push"), mark=self.parts.get("mark")) as delivery:
            yield delivery


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({}, "has no time"),
        ({"timed": True, "mark": ("ATTLOG", "1")}, "never received again"),
        ({"timed": True, "mark": ("ATTLOG", "1"), "via": "serial"}, "sends its records again"),
        ({"source_id": "not in its bytes"}, "does not contain source_id"),
    ],
)
def test_a_delivery_that_cannot_be_recognised_is_found(
    parts: dict[str, Any], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would be another punch when it is sent again, or marks that lead nowhere."""
    monkeypatch.setattr(CallingLine, "parts", parts)
    monkeypatch.setattr(line_terminal, "LineTerminal", CallingLine)
    with line(tmp_path) as bench, pytest.raises(AssertionError, match=words):
        conformance.a_delivery_can_be_recognised(bench)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (ForgetfulLine, "is not delivered again"),
        (StubbornLine, "a settled delivery is delivered again"),
        (RepeatingLine, "settled twice"),
    ],
)
def test_a_delivery_that_is_not_kept_is_found(
    kind: type[LineTerminal], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver that forgets what was not stored, or never forgets, is not what the gateway needs."""
    monkeypatch.setattr(conformance, "TIMEOUT_S", 10.0)
    monkeypatch.setattr(line_terminal, "LineTerminal", kind)
    with line(tmp_path) as bench, pytest.raises(AssertionError, match=words):
        conformance.a_delivery_is_kept_until_it_is_settled(bench)
