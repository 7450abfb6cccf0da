"""Which ways a terminal offers: port 4370 over TCP and UDP, the web service (SOAP), and calls of its own (PUSH).

Each way costs one conversation that only reads, within :data:`LOOK_S` for each answer. Whether a terminal calls is
known from the gateway that runs here: its receiver knows who called.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from drivers import DRIVERS
from drivers.base import DriverError, Reason, TerminalRefused, TerminalUnavailable
from drivers.soap.service import Service
from drivers.soap.terminal import SoapOptions
from drivers.soap.wire import PATH
from drivers.zkteco.terminal import ZktecoOptions
from gateway.cli.network import own_address
from gateway.control import Done, Failed, ask
from gateway.settings import Settings, host_and_port

LOOK_S = 3.0
"""Timeout of each answer, beside that of the conversation that is held anyway."""
CALLER_PORT = 8088
"""The port that this project's documents use for the receiver."""
ANYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared
MENU = (
    "in its menu (COMM. > Cloud Server Setting, or ADMS) type server address {host} and port {port}, each in its own "
    "field; domain name off, proxy off, HTTPS off; device type T&A PUSH; then switch it off and on"
)
_KNOWN: Mapping[Reason | None, str] = {
    Reason.KEY_REFUSED: "it answers, and refuses the communication key",
    Reason.KEY_FILE: "the file of the communication key cannot be read",
    Reason.ENCRYPTED: "it answers, and wants the encrypted variant",
    Reason.ACCESS_PANEL: "a door access panel answers",
    Reason.PORT_CLOSED: "the port is closed",
    Reason.NO_ROUTE: "no route to it",
    Reason.NAME_UNKNOWN: "its name cannot be resolved",
    Reason.SERVICE_MISSING: f"no web service {PATH}",
}
"""What was found."""
Options = ZktecoOptions | SoapOptions


class Way(NamedTuple):
    """One way, and whether the terminal offers it."""

    name: str
    offered: bool | None
    """None: it cannot be known here."""
    detail: str
    """For people: what was found, how the way is configured, or what to do."""


def ways_of(options: Options, serial: str | None, met: DriverError | None, settings: Settings | None) -> Iterator[Way]:
    """Yield the ways of the terminal at an address.

    ``serial`` is what it reported, ``met`` the error that ended the conversation held with ``options``. ``settings``
    are those of the gateway here.
    """
    if isinstance(options, SoapOptions):
        port_4370, web_port, held = options.port_4370(), options.web_port, "soap"
    else:
        port_4370, web_port, held = options, 80, options.transport
    for transport in ("tcp", "udp"):
        error = met if transport == held else _met_4370(port_4370, transport)
        how = "`driver: zkteco`" if transport == "tcp" else "`driver: zkteco`, `transport: udp`"
        yield _judged(f"4370 over {transport.upper()}", error, how)
    host = options.address.partition(":")[0]
    error = met if held == "soap" else _met_service(port_4370, host, web_port)
    yield _judged(f"SOAP, port {web_port}", error, "`driver: soap`")
    yield _calls(host, serial, settings)


def _met_4370(options: ZktecoOptions, transport: str) -> DriverError | None:
    """Hold a conversation over a transport; return the error that ended it."""
    changed = {"transport": transport, "timeout": min(options.timeout, LOOK_S)}
    try:
        with DRIVERS["zkteco"].connect(options.model_copy(update=changed)) as terminal:
            terminal.serial()
    except DriverError as exc:
        return exc
    return None


def _met_service(options: ZktecoOptions, host: str, port: int) -> DriverError | None:
    """Request the time from the web service, which changes nothing; return the error that ended it."""
    try:
        key = options.comm_key()
        Service(host, port, key, timeout_s=LOOK_S, bulk_timeout_s=LOOK_S, may_be_absent=True).clock()
    except DriverError as exc:
        return exc
    return None


def _judged(name: str, error: DriverError | None, how: str) -> Way:
    if error is None:
        return Way(name, True, how)
    found = _KNOWN.get(error.reason)
    if found is None:
        found = "no answer" if isinstance(error, TerminalUnavailable) else "something else answers"
    offered = isinstance(error, TerminalRefused) and error.reason in (Reason.KEY_REFUSED, Reason.KEY_FILE)
    return Way(name, offered, found)


def _calls(host: str, serial: str | None, settings: Settings | None) -> Way:
    """Judge from the receiver of the gateway that runs here whether the terminal calls."""
    name = "PUSH (it calls)"
    listen = None if settings is None or settings.receiver is None else settings.receiver.listen
    ours, port = (None, CALLER_PORT) if listen is None else host_and_port(listen)
    if ours is None or ours in ANYWHERE:
        ours = own_address() or "of this computer"
    menu = MENU.format(host=ours, port=port)
    if settings is None or listen is None:
        return Way(name, None, f"no receiver is configured here (docs/push.md); then {menu}")
    answer = ask(settings.data_dir, "status")
    if not isinstance(answer, Done) or (receiver := answer.data.get("receiver")) is None:
        why = "this user may not query the running gateway" if isinstance(answer, Failed) else "no gateway runs here"
        return Way(name, None, f"{why}, so that it is not known whether it calls; {menu}")
    callers = [*receiver["callers"].values(), *receiver["strangers"]]
    for caller in callers:
        if caller["serial"] == serial or (serial is None and caller["address"] == host):
            return Way(name, True, _called(caller, receiver))
    return Way(name, False, f"it has not called {listen}; {menu}")


def _called(caller: Mapping[str, Any], receiver: Mapping[str, Any]) -> str:
    known = any(other["serial"] == caller["serial"] for other in receiver["callers"].values())
    how = "" if known else f"; it is not configured: `driver: push`, `serial: {caller['serial']}`"
    return f"{caller['serial']} called from {caller['address']}, last at {caller['last_seen']}{how}"
