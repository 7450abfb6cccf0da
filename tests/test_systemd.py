"""The units, judged by systemd's own tools."""

import shutil
import subprocess
import sys
from configparser import RawConfigParser
from pathlib import Path

import pytest

from tests.broker import WAIT_S

UNITS = Path(__file__).parent.parent / "systemd"
OF_THE_CENTRE = sorted(path.name for path in UNITS.glob("hadir-central*.service"))
SERVICES = ["hadir.service", *OF_THE_CENTRE]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Lay the units out with programs that are there."""
    programs = Path(sys.executable).parent
    for unit in SERVICES:
        text = (UNITS / unit).read_text("ascii")
        home = f"/opt/{'hadir' if unit == 'hadir.service' else 'hadir-central'}/bin/"
        assert f"ExecStart={home}" in text
        (tmp_path / unit).write_text(text.replace(home, f"{programs}/"))
    for timer in UNITS.glob("*.timer"):
        shutil.copy(timer, tmp_path)
    return tmp_path


def add_serial(folder: Path) -> None:
    """Put the drop-in for serial lines where it belongs."""
    (folder / "hadir.service.d").mkdir()
    shutil.copy(UNITS / "serial.conf", folder / "hadir.service.d")


def analyse(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Ask systemd-analyze."""
    command = ["systemd-analyze", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)


@pytest.mark.parametrize(
    ("unit", "serial"),
    [("hadir.service", True), *((unit, False) for unit in (*SERVICES, *(path.name for path in UNITS.glob("*.timer"))))],
)
def test_systemd_finds_nothing_wrong(folder: Path, unit: str, serial: bool) -> None:
    """No unknown key, no missing program, no contradiction: not one line."""
    if serial:
        add_serial(folder)
    done = analyse("verify", "--man=no", folder / unit)

    ours = [line for line in done.stderr.splitlines() if "hadir" in line or "serial.conf" in line]
    assert (done.returncode, ours) == (0, [])


@pytest.mark.parametrize(
    ("unit", "serial", "threshold"),
    [("hadir.service", False, 15), ("hadir.service", True, 20), *((unit, False, 15) for unit in OF_THE_CENTRE)],
)
def test_exposure_is_low(folder: Path, unit: str, serial: bool, threshold: int) -> None:
    """In tenths: 1.5 over the network, 2.0 with serial ports."""
    if serial:
        add_serial(folder)
    done = analyse("security", "--offline=yes", "--no-pager", f"--threshold={threshold}", folder / unit)

    assert "Overall exposure level" in done.stdout
    assert done.returncode == 0, done.stdout
    assert ("char-ttyUSB" in done.stdout) == serial  # the drop-in is part of what was judged


def test_the_unit_allows_what_the_gateway_needs(folder: Path) -> None:
    """Asking the kernel about its clock, which looks like setting it; and time-outs that are longer than our own."""
    unit = RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(folder / "hadir.service", encoding="ascii")
    filtered = (folder / "hadir.service").read_text("ascii").splitlines()

    question = filtered.index("SystemCallFilter=adjtimex clock_adjtime clock_adjtime64")
    assert question > filtered.index("SystemCallFilter=~@privileged @resources")
    assert "ProtectClock=yes" not in filtered
    service = unit["Service"]
    # Pages and terminals that call reach ports from 1024 on; below that the service would need a right of root.
    assert {"AF_INET", "AF_INET6"} <= set(service["RestrictAddressFamilies"].split())
    assert not {"PrivateNetwork", "SocketBindDeny", "IPAddressDeny", "AmbientCapabilities"} & set(service)
    assert service["CapabilityBoundingSet"] == ""
    assert service["Type"] == "notify"
    assert service["RestartPreventExitStatus"] == "78"
    from gateway.app import LEDGER_HUNG_S, SHUTDOWN_S, WATCHDOG_TRANSACTION_S

    assert int(service["WatchdogSec"]) > LEDGER_HUNG_S + SHUTDOWN_S > WATCHDOG_TRANSACTION_S
    assert int(service["TimeoutStopSec"]) > SHUTDOWN_S


def test_more_judges_and_workers_are_services_like_the_first() -> None:
    """Templates, for any number of each on a machine: the command differs and nothing else, and none is enabled."""
    found = []
    for name, command in (("", "inbox"), ("-inbox@", "inbox"), ("-judge@", "judge")):
        _, _, service = (UNITS / f"hadir-central{name}.service").read_text("ascii").partition("[Service]\n")
        lines = [line for line in service.splitlines() if not line.startswith("#")]
        program = "/opt/hadir-central/bin/hadir-central --config /etc/hadir-central/centre.yaml"
        lines.remove(f"ExecStart={program} {command}")
        found.append(lines)
    assert found[0] == found[1] == found[2]
    assert "Restart=always" in found[0]


def test_each_service_has_only_its_own_secrets() -> None:
    """S28: the centre's process never sees a terminal's key, nor the gateway's the centre's password."""
    folders = {
        line.partition("=")[2]
        for unit in SERVICES
        for line in (UNITS / unit).read_text("ascii").splitlines()
        if line.startswith("LoadCredential=")
    }
    assert folders == {"secrets:/etc/hadir/secrets", "secrets:/etc/hadir-central/secrets"}
    assert "LoadCredential" not in (UNITS / "hadir-central-backup.service").read_text("ascii")
