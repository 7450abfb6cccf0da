"""Texts of ``hadir-central partitions`` and ``transfer``: what only a database on a server has."""

from central.texts import _

PARTITIONS = {
    "sqlite": _("This database is a SQLite file, which keeps all punches in one table: there are no months to manage."),
    "month": _("{month}: about {rows} punches, {size}"),
    "others": _("months without a partition: {rows} punches, {size}"),
    "outside": _("  {month}: {rows} punches"),
    "more": _("  and {months} more months"),
    "archived": _("detached for the archive: {months}"),
    "missing": _("without a partition: {months}; an inbox makes them daily, `hadir-central partitions make` at once"),
    "made": _("Made: {months}"),
    "none_missing": _("No month is missing."),
    "busy": _("Other transactions use the table of punches for too long; nothing was changed. Try again in a minute."),
    "not_over": _("{month} is not over yet; nothing was changed."),
    "none_before": _("No month before {month} has a partition; nothing was changed."),
    "held": _("Holds are in force ({holds}): nothing is detached until they are lifted. `hadir-central hold list`"),
    "waiting": _("{marks} changes about days until {until} are to be judged first: run `hadir-central recompute`."),
    "undecided": _("{days} days until {until} are not decided: settle them first, see `hadir-central doubts`."),
    "not_closed": _(
        "{days} days until {until} are in no closed period, or differ from what was closed: close their periods first."
    ),
    "would_detach": _("Would detach {months}: no day until {until} would be judged again. Add --yes to do it."),
    "detached": _("{month}: {rows} punches are in the table {table} now, apart from all that is judged and shown"),
    "settled": _("Until {until} no day is judged again: its verdicts and totals stay as they are."),
    "next_dump": _(
        "Next: pg_dump --table={table} into the archive, verify that file, then DROP TABLE. The archive is deleted "
        "when its retention ends, like any copy."
    ),
}
"""Texts of ``partitions``."""

TRANSFER = {
    "target": _("write the address of a PostgreSQL database: postgresql://USER@HOST/NAME"),
    "at_server": _("{database} is on a server already; name the SQLite file with --db"),
    "no_file": _("{file}: no SQLite database to transfer"),
    "not_empty": _("{database}: not empty: {tables} hold rows; nothing was transferred. Name an empty database."),
    "copying": _("{table}: {rows} rows"),
    "would": _("Would transfer {rows} rows of {tables} tables from {file}; {database} is empty. Nothing was written."),
    "table": _("{table}: {rows} rows, digest {digest} on both sides"),
    "done": _("OK: {database} holds the {rows} rows of {file}: number and digest of each of {tables} tables agree"),
    "verified": _("verified: {events} events, {faults} faults, as in the file"),
    "verified_otherwise": _("WRONG: verify finds other faults in the new database than in the file: {faults}"),
    "next": _(
        "Next: write the address {database} as `postgresql: url:` into the settings, then `hadir-central doctor`, "
        "`hadir-central rebuild`, and start the services. {file} is unchanged: keep it until the new database has a "
        "backup."
    ),
}
"""Texts of ``transfer``."""
