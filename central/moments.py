"""Moments for people: in the zone of the office, with the zone's name. Pure but for the zone of this computer."""

from datetime import datetime, tzinfo


def print_moment(moment: str, zone: tzinfo | None) -> str:
    """Return a moment (ISO with an offset or ``Z``) as ``2026-09-02 08:00:00 WIB``, fractions of a second left out.

    Without a zone it is this computer's. A zone that has a number instead of a name stands as ``UTC+08``. What is no
    such moment stays what it is.
    """
    try:
        local = datetime.fromisoformat(moment)
        if local.tzinfo is None:
            return moment
        local = local.astimezone(zone)
    except (ValueError, OverflowError):
        return moment
    name = local.tzname() or ""
    return f"{local:%Y-%m-%d %H:%M:%S} {name if name[:1].isalpha() else f'UTC{name}'}"
