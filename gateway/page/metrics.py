"""Metrics in Prometheus's text format. Pure; without PINs, and with no names but those of terminals."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from gateway.broker_status import BrokerStatus
from gateway.ledger import Counts


class _Metric(NamedTuple):
    name: str
    kind: str
    help: str
    samples: Iterable[tuple[Mapping[str, str], float | None]]


def metrics(status: Mapping[str, Any], counts: Counts, zones: Mapping[str, ZoneInfo], now: datetime) -> str:
    """Return every metric; an unknown value has no sample. ``zones`` are those of the terminals' clocks."""
    return "".join((*_lines(_gateway(status, counts, now)), *_lines(_terminals(status["terminals"], zones, now))))


def _gateway(status: Mapping[str, Any], counts: Counts, now: datetime) -> Iterator[_Metric]:
    health = status["health"]

    def gauge(name: str, help_: str, value: float | None, kind: str = "gauge") -> _Metric:
        return _Metric(name, kind, help_, [({}, value)])

    yield _Metric("info", "gauge", "Version of hadir.", [({"version": status["version"]}, 1)])
    yield gauge("uptime_seconds", "Since the daemon started.", health["uptime_s"])
    yield gauge("broker_connected", "1 while the broker is connected.", BrokerStatus.of(status).connected)
    yield gauge("events_recorded_total", "Events in the ledger, ever.", counts.sequence, "counter")
    yield gauge("events_sent", "Of these, the broker has taken so many; fewer after a replay.", counts.sent)
    yield gauge("events_confirmed", "Of these, the centre has confirmed so many.", counts.confirmed)
    yield gauge("events_missing", "Events that the centre says it lacks.", counts.missing)
    yield gauge("events_parked", "Events that the broker refused for good.", counts.parked)
    yield gauge("backlog_events", "Events that wait for the broker.", counts.waiting)
    for name, moment_ms, help_ in (
        ("oldest_waiting_age_seconds", counts.oldest_waiting_ms, "Age of the oldest of them."),
        ("last_sent_age_seconds", counts.last_sent_ms, "Since the broker last took an event."),
        ("last_receipt_age_seconds", counts.last_confirmed_ms, "Since the centre last confirmed more than before."),
    ):
        yield gauge(name, help_, None if moment_ms is None else now.timestamp() - moment_ms / 1000)
    yield gauge("disk_free_bytes", "Free on the ledger's disk.", health["disk_free_bytes"])
    yield gauge("ledger_bytes", "Size of the ledger.", health["ledger_bytes"])
    yield gauge("memory_bytes", "Resident memory of the daemon.", health["memory_bytes"])
    yield gauge("reading_postponed", "1 while a full disk lets not everything be read.", health["room"] != "all")
    yield gauge("clock_synchronised", "1 while the machine's clock is.", health["clock_synchronised"])
    receiver = status.get("receiver")
    if receiver is not None:
        yield gauge("receiver_open", "1 while terminals can call.", receiver["open"])
        yield gauge("receiver_strangers", "Terminals that called and are not configured.", len(receiver["strangers"]))
        yield _Metric(
            "receiver_replies_total",
            "counter",
            "Replies to terminals that call, by status code.",
            [({"code": code}, number) for code, number in receiver["replies"].items()],
        )
    alarms = Counter(alarm["alarm"] for alarm in status["alarms"])
    yield _Metric(
        "alarms",
        "gauge",
        "Alarms among the newest hundred since the start.",
        [({"alarm": code}, number) for code, number in sorted(alarms.items())],
    )


def _terminals(
    terminals: Mapping[str, Mapping[str, Any]], zones: Mapping[str, ZoneInfo], now: datetime
) -> Iterator[_Metric]:
    def each(name: str, help_: str, values: Iterable[tuple[str, float | None]]) -> _Metric:
        return _Metric(f"terminal_{name}", "gauge", help_, [({"terminal": of}, value) for of, value in values])

    states = terminals.items()
    clocks = [(name, state["clock"] or {}) for name, state in states]
    yield each("up", "1 while it answers.", ((name, state["state"] == "online") for name, state in states))
    yield each(
        "last_visit_age_seconds",
        "Since it was last visited.",
        ((name, _age_s(state["last_visit"], now)) for name, state in states),
    )
    yield each(
        "last_punch_age_seconds",
        "Since its last punch, by its own clock.",
        ((name, _punch_age_s(state, zones[name], now)) for name, state in states if name in zones),
    )
    yield each(
        "clock_offset_seconds",
        "Its clock minus ours, as measured last.",
        ((name, _seconds(clock.get("offset_ms"))) for name, clock in clocks),
    )
    yield each(
        "clock_bound_seconds",
        "The true offset is within this of it.",
        ((name, _seconds(clock.get("bound_ms"))) for name, clock in clocks),
    )
    yield each("log_records", "Records in its log.", ((name, state["records"]) for name, state in states))
    yield each("log_capacity", "Records its log can hold.", ((name, state["capacity"]) for name, state in states))


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _age_s(utc: str | None, now: datetime) -> float | None:
    return None if utc is None else (now - datetime.fromisoformat(utc)).total_seconds()


def _punch_age_s(state: Mapping[str, Any], zone: ZoneInfo, now: datetime) -> float | None:
    """Return the age of the last punch, corrected by the measured offset of the terminal's clock."""
    if state["last_punch"] is None:
        return None
    offset = timedelta(milliseconds=state["clock"]["offset_ms"] if state["clock"] else 0)
    there = now.astimezone(zone).replace(tzinfo=None) + offset
    return (there - datetime.fromisoformat(state["last_punch"])).total_seconds()


def _lines(group: Iterable[_Metric]) -> Iterator[str]:
    for metric in group:
        samples = [(labels, value) for labels, value in metric.samples if value is not None]
        if samples:
            name = f"hadir_{metric.name}"
            yield f"# HELP {name} {metric.help}\n# TYPE {name} {metric.kind}\n"
        for labels, value in samples:
            pairs = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
            yield f"{name}{{{pairs}}} {float(value):.10g}\n" if pairs else f"{name} {float(value):.10g}\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
