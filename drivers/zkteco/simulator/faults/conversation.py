"""Faults of the answers and events, as packets."""

# ruff: noqa: D102, ARG002 - the promise and the arguments of a hook are documented in the class of its layer
import struct

from drivers.zkteco import wire
from drivers.zkteco.simulator.faults.base import ConversationFault, prepares, refused, requests_log
from drivers.zkteco.simulator.faults.values import Value, one_of, up_to
from drivers.zkteco.simulator.hooks import Client
from drivers.zkteco.wire import Packet

EF_FINGER_SCORE = 256
"""An event with the quality of a fingerprint; it arrives whatever a client registered for."""


class Busy(ConversationFault):
    """Another program holds the one conversation this terminal can have: CONNECT is hung up on."""

    quirks = (7,)

    def answer(self, client: Client, request: Packet, answers: list[Packet]) -> list[Packet]:
        if request.command not in (wire.CMD_CONNECT, wire.CMD_AUTH):
            return answers
        client.close()
        client.refused = True
        return []


class Reboot(ConversationFault):
    """The terminal restarts: every connection drops, every conversation is forgotten."""

    quirks = (32,)
    lasting = False

    def begin(self) -> None:
        self.terminal.restart()


class PowerCut(ConversationFault):
    """The power fails: connections stay open and nothing is sent; off, the terminal has restarted."""

    quirks = (4, 32)

    def begin(self) -> None:
        self.terminal.forget()

    def accepts(self, client: Client, request: Packet) -> bool:
        return False

    def event(self, event: Packet) -> list[Packet]:
        return []

    def end(self) -> None:
        self.terminal.restart()


class Hang(ConversationFault):
    """The terminal hangs after some more commands until its power is switched off and on, which off does."""

    quirks = (6,)
    value = Value("commands", "5", up_to(10**6, 0))

    def accepts(self, client: Client, request: Packet) -> bool:
        self.given -= 1
        return bool(self.given >= 0)

    def end(self) -> None:
        self.terminal.restart()


class NoSerial(ConversationFault):
    """The terminal does not report its serial number."""

    quirks = (36,)
    value = Value("refused or empty", "refused", one_of("refused", "empty"))

    def answer(self, client: Client, request: Packet, answers: list[Packet]) -> list[Packet]:
        if request.command != wire.CMD_OPTIONS_RRQ or not request.data.startswith(b"~SerialNumber"):
            return answers
        if self.given == "refused":
            return refused(request, wire.CMD_ACK_ERROR)
        return [Packet(wire.CMD_ACK_OK, client.session, request.reply, b"~SerialNumber=\0")]


class NoOptions(ConversationFault):
    """Every option but the serial number is refused."""

    quirks = (36,)
    value = Value("the code it answers", "4999", up_to(65535))

    def answer(self, client: Client, request: Packet, answers: list[Packet]) -> list[Packet]:
        if request.command != wire.CMD_OPTIONS_RRQ or request.data.startswith(b"~SerialNumber"):
            return answers
        return refused(request, self.given)


class Secure(ConversationFault):
    """New firmware answers CONNECT with a challenge to encrypt."""

    quirks = (12,)
    value = Value("the code: 6001 or 2032", "6001", up_to(65535))

    def answer(self, client: Client, request: Packet, answers: list[Packet]) -> list[Packet]:
        if request.command != wire.CMD_CONNECT:
            return answers
        client.close()
        return refused(request, self.given)


class NoLog(ConversationFault):
    """The log is not given out: access-control mode, or no memory to prepare it."""

    quirks = (16,)
    value = Value("the code it answers", "4989", up_to(65535))

    def answer(self, client: Client, request: Packet, answers: list[Packet]) -> list[Packet]:
        return refused(request, self.given) if requests_log(request) else answers


class NoBuffer(ConversationFault):
    """PREPARE_BUFFER (1503) is unknown: log and users can be read directly only."""

    quirks = (10, 17)
    value = Value("the code it answers", "65535", up_to(65535))

    def answer(self, client: Client, request: Packet, answers: list[Packet]) -> list[Packet]:
        return refused(request, self.given) if request.command == wire.CMD_PREPARE_BUFFER else answers


class ShortSizes(ConversationFault):
    """How full the log is, is answered with four zero bytes."""

    quirks = (17,)

    def answer(self, client: Client, request: Packet, answers: list[Packet]) -> list[Packet]:
        if request.command != wire.CMD_GET_FREE_SIZES:
            return answers
        return [answer._replace(data=bytes(4)) for answer in answers]


class Tail(ConversationFault):
    """The log can be read from its beginning only."""

    quirks = (8, 21)
    value = Value(
        "refused, zero (served from byte 0) or full (all of it is served)",
        "refused",
        one_of("refused", "zero", "full"),
    )

    def answer(self, client: Client, request: Packet, answers: list[Packet]) -> list[Packet]:
        if request.command != wire.CMD_READ_BUFFER or not client.skipped:
            return answers
        if self.given == "refused":
            return refused(request, wire.CMD_ACK_ERROR)
        return client.transfer(request, 0, None if self.given == "full" else struct.unpack("<ii", request.data)[1])


class NoRange(ConversationFault):
    """Reading by time (10004) is unknown."""

    quirks = (16,)
    value = Value("the code it answers", "65535", up_to(65535))

    def answer(self, client: Client, request: Packet, answers: list[Packet]) -> list[Packet]:
        return refused(request, self.given) if prepares(request, wire.CMD_ATTLOG_BY_TIME) else answers


class Race(ConversationFault):
    """People punch between the count and the next reading of the log, once."""

    quirks = (21,)
    value = Value("punches", "1", up_to(1000))

    def accepts(self, client: Client, request: Packet) -> bool:
        if requests_log(request):
            punches, self.given = self.given, 0
            for _ in range(punches):
                self.terminal.punch(self.terminal.any_pin())
        return True


class PunchInRead(ConversationFault):
    """People punch while the log is being sent, once: their events stand in the middle of it."""

    quirks = (30, 21)
    value = Value("punches", "3", up_to(1000))

    def answer(self, client: Client, request: Packet, answers: list[Packet]) -> list[Packet]:
        if not any(answer.command == wire.CMD_DATA for answer in answers):
            return answers
        punches, self.given = self.given, 0
        for _ in range(punches):
            self.terminal.punch(self.terminal.any_pin())
        events = [client.events.popleft() for _ in range(len(client.events))]
        before = 1 if len(answers) > 1 else 0
        return [*answers[:before], *events, *answers[before:]]


class WrongSession(ConversationFault):
    """The session field of answers is not the one that CONNECT gave. That of data is their number, and stays."""

    quirks = (1,)

    def answer(self, client: Client, request: Packet, answers: list[Packet]) -> list[Packet]:
        if request.command in (wire.CMD_CONNECT, wire.CMD_AUTH):
            return answers
        return [
            answer if answer.command == wire.CMD_DATA else answer._replace(session=answer.session ^ 0x5A5A)
            for answer in answers
        ]


class WrongReply(ConversationFault):
    """The reply number of answers is not that of the request."""

    quirks = (1,)

    def answer(self, client: Client, request: Packet, answers: list[Packet]) -> list[Packet]:
        return [answer._replace(reply=(answer.reply + 7) & wire.USHRT_MAX) for answer in answers]


class Mute(ConversationFault):
    """A registration for events is accepted, and no event is sent."""

    quirks = (32,)

    def event(self, event: Packet) -> list[Packet]:
        return []


class NoEvents(ConversationFault):
    """A registration for events is refused."""

    quirks = (32,)

    def answer(self, client: Client, request: Packet, answers: list[Packet]) -> list[Packet]:
        if request.command != wire.CMD_REG_EVENT:
            return answers
        client.listening = False
        return refused(request, wire.CMD_ACK_ERROR)


class Phantom(ConversationFault):
    """An event reports a punch that the log never holds."""

    quirks = (31,)
    lasting = False

    def begin(self) -> None:
        self.terminal.send_event(self.terminal.any_pin(), self.terminal.clock())


class EventLength(ConversationFault):
    """Events have an unknown length."""

    quirks = (29,)
    value = Value("bytes", "41", up_to(65000, 0))

    def event(self, event: Packet) -> list[Packet]:
        return [event._replace(data=event.data[: self.given].ljust(self.given, b"\0"))]


class EventDiffers(ConversationFault):
    """Events have another in/out state and another way of verification than the log."""

    quirks = (19, 31)

    def event(self, event: Packet) -> list[Packet]:
        width = wire.EVENT_ID_WIDTH.get(len(event.data))
        if width is None:
            return [event]
        verify, state = event.data[width], event.data[width + 1]
        changed = bytes((verify ^ 4, state ^ 1))
        return [event._replace(data=event.data[:width] + changed + event.data[width + 2 :])]


_FINGER_SCORE = Packet(wire.CMD_REG_EVENT, EF_FINGER_SCORE, 0, b"\x64")


class OtherEvents(ConversationFault):
    """Events of other kinds are sent before and after each punch without a request, some of a failed finger."""

    quirks = (31,)
    value = Value("events", "2", up_to(1000))

    def event(self, event: Packet) -> list[Packet]:
        others = [_FINGER_SCORE] * self.given
        return [*others, event, *others]


class Chatter(ConversationFault):
    """Events of other kinds come before every answer."""

    quirks = (30, 31)
    value = Value("events", "3", up_to(1_000_000))

    def answer(self, client: Client, request: Packet, answers: list[Packet]) -> list[Packet]:
        return [_FINGER_SCORE] * self.given + answers if answers else answers
