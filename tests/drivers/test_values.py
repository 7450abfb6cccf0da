"""Addresses and durations as people write them."""

import pytest
from pydantic import TypeAdapter, ValidationError

from drivers.values import MAX_DURATION_S, STRICT, Seconds, address_fault, decimal_reading, host_fault, same_address


@pytest.mark.parametrize(
    "host", ["192.168.1.201", "10.0.0.1", "mesin-1", "mesin.kantor.local", "mesin.kantor.", "1.2.example.com", "a_b"]
)
def test_good_hosts(host: str) -> None:
    """Four decimal numbers, or a host name."""
    assert host_fault(host) is None


@pytest.mark.parametrize(
    ("host", "better"),
    [
        ("192.168.001.010", "leading zeros, which make them octal; write 192.168.1.10"),
        ("192.168.1.2O1", "write 192.168.1.201"),
        ("l92.168.1.201", "write 192.168.1.201"),
        ("192,168,1,201", "write 192.168.1.201"),
        ("192.168.201", "write four numbers of 0 to 255"),
        ("3232235977", "write four numbers of 0 to 255"),
        ("0xC0A801C9", "write four numbers of 0 to 255"),
        ("192.168.1.0xc9", "write four numbers of 0 to 255"),
        ("192.168.1.256", "write four numbers of 0 to 255"),
        ("192.168.1.x", "write four numbers of 0 to 255"),
        ("192.168.1.201.", "write four numbers of 0 to 255"),
        ("host.5", "write four numbers of 0 to 255"),
        ("mesin lobby", "or a host name"),
        ("-mesin", "or a host name"),
        ("mesin..lobby", "or a host name"),
        ("a" * 64, "or a host name"),
        ("", "or a host name"),
        ("\u0661.2.3.4", "write four numbers of 0 to 255"),
    ],
)
def test_bad_hosts(host: str, better: str) -> None:
    """T1: what the C library would read as another machine's address, with the decimal reading offered."""
    fault = host_fault(host)
    assert fault is not None
    assert better in fault


@pytest.mark.parametrize(
    ("address", "better"),
    [
        ("http://192.168.1.201", "an address of a web page; write the terminal's address alone, 192.168.1.201"),
        ("https://192.168.001.201:80/", "address alone, 192.168.1.201"),
        ("fe80::1", "an IPv6 address"),
        ("[::1]:4370", "an IPv6 address"),
        ("192.168.1.201/", "without the slash"),
        ("0.0.0.0:4370", "no terminal can have"),
        ("255.255.255.255:4370", "no terminal can have"),
        ("224.0.0.1", "no terminal can have"),
    ],
)
def test_bad_addresses(address: str, better: str) -> None:
    """T5: what people copy from a browser or from another kind of network."""
    fault = address_fault(address)
    assert fault is not None
    assert better in fault


def test_one_address_in_several_spellings() -> None:
    """Upper case, the usual port, a dot at the end, leading zeros."""
    spellings = ["192.168.1.10", " 192.168.001.010", "192.168.1.10:4370", "192.168.1.10:04370"]
    assert {same_address(spelling, 4370) for spelling in spellings} == {"192.168.1.10:4370"}
    assert same_address("Mesin.Local.", 4370) == same_address("mesin.local", 4370)
    assert same_address("192.168.1.10:5010", 4370) != same_address("192.168.1.10", 4370)
    assert decimal_reading("300.1.1.1") is None


def test_duration_that_no_clock_can_wait_for() -> None:
    """T4: refused where a person types it; elsewhere cut to a year, which nothing waits out."""
    seconds: TypeAdapter[float] = TypeAdapter(Seconds)
    assert seconds.validate_python("9999999d") == MAX_DURATION_S
    with pytest.raises(ValidationError, match="too long; write 366d or less"):
        seconds.validate_python("9999999d", context={STRICT: True})
