"""Texts of ``hadir-central init``, ``check``, ``backup`` and ``restore``."""

from central.texts import _, in_context

QUESTIONS = {
    "data": _("Folder for the database, the accounts and the copies"),
    "broker": _("Address of the broker, such as mqtts://broker.example.go.id:8883"),
    "username": _("User name of the centre at the broker (- for none)"),
    "password": _("Its password (not shown; empty for none)"),
    "ca_file": _("File with the certificate of the broker's authority (- for the system's)"),
    "account": _("Name of the first account, for the personnel agency (BKD)"),
    "account_password": _("Its password, 10 characters or more (not shown; empty for one made by chance)"),
    "policy": _("Policy to begin with"),
    "unit": _("Key of the office's uppermost unit (a-z, 0-9 and -)"),
}
"""Questions of ``init``."""

WRONG = {
    "data": _("Write the full path of a folder, one line of text."),
    "broker": _("No broker's address: mqtt://host:1883, or mqtts://host:8883 with TLS; no user or password in it."),
    "username": _("One line of text without blanks at its ends."),
    "password": _("The password begins or ends with a blank, or has an invisible character."),
    "ca_file": _("There is no such file to read, or no certificate (PEM) in it."),
    "account": _("Only a-z, 0-9, dot, hyphen and underscore, at most 64."),
    "account_password": _("A password has 10 to 200 characters; a sentence is best."),
    "policy": _("None of these policies: {names}"),
    "unit": _("Only a-z, 0-9 and hyphens."),
}
"""Why an answer is wrong."""

INIT = {
    "policies": _("Policies that are shipped; any can be replaced later, from a date on:"),
    "exists": _("{file} is there already: nothing is written."),
    "written": _("Written: {files}"),
    "made_password": _("{name} has a password that was made by chance, in {file}. Remove the file once it is noted."),
    "next": _("Next:"),
    "next_start": _(
        "  1. systemctl enable --now hadir-central hadir-central-serve   (or: hadir-central inbox, hadir-central serve)"
    ),
    "next_doctor": _("  2. hadir-central doctor   what is in the way, from the broker to the last copy"),
    "next_registers": _(
        "  3. hadir-central import units …, people …: the registers; {file} gives the unit {unit} the policy {policy}"
    ),
    "right": _("OK: {file}: broker {broker}, database {database}, pages at {pages}"),
}

COMMENTS = {
    "head": _(
        "Settings of a Hadir centre, made by `hadir-central init`. What else can be set: centre.example.yaml\n"
        "(in config/, or /usr/share/doc/hadir-central/examples/ where the package is installed).\n"
        "Verify them after each change with `hadir-central check`; `hadir-central doctor` names what is in the way."
    ),
    "language": _("Language of what the commands print: en or id."),
    "data": _("The folder of the database, the accounts and the copies."),
    "broker": _("The broker that gateways publish to. Passwords are in files of their own, never here."),
    "pages": _("Where the pages are served. Behind a web server with TLS, its address is the public_url."),
    "policies": _("The folder of the office's own policies; shipped ones need no file there."),
}
"""Comments in the settings that ``init`` writes."""

COPIES = {
    "made": _("OK: {copy}: {events} events of {streams} streams, verified by reading them again"),
    "removed": _("older copies removed: {copies}"),
    "server": _(
        "{database} is on a server: copy it there with `pg_dump --format=custom`, put it back with `pg_restore` into "
        "an empty database, and copy accounts, settings and policies as files; docs/centre.md#postgresql"
    ),
    "none": _("{folder}: no complete copy in it that is as it was written"),
    "passed_over": _("passed over: {reason}"),
    "clock_behind": _(
        "WARNING: the copy {copy} was made at {made}, and this computer's clock shows {now}. Correct the clock before "
        "the services start: moments of receipt and entry rest on it."
    ),
    "after_now": _(
        "WARNING: left out, because this computer's clock shows {now} and they were made after that: {copies}. If the "
        "clock is behind, correct it and restore again, or name the copy."
    ),
    "restored": _("OK: {database} is the copy {copy} now: {events} events"),
    "aside": _("What was there is kept: {file}. It holds people's data; remove it when it is no longer needed."),
    "unknown": _("Not in the copy: what was received and entered after {made}. Gateways send their part again."),
    "again": _(
        "{events} events are not in the copy. Gateways send them again once the inbox runs, as far as they still have "
        "them; `hadir-central report` shows what is missing."
    ),
    "lost_imports": _("Not in the copy, import again: files of registers: {rows}, the last at {last}"),
    "lost_requests": _("Not in the copy, enter again: steps of requests: {rows}, the last at {last}"),
    "lost_notes": _("Not in the copy, enter again: notes and answers on days: {rows}, the last at {last}"),
    "lost_decisions": _("Not in the copy, enter again: decisions on terminals: {rows}, the last at {last}"),
    "lost_closings": _("Not in the copy, close again: closed periods: {rows}, the last at {last}"),
    "lost_retained": _(
        "Not in the copy, carry out again, because what they deleted is back: holds and deletions: {rows}, the last at "
        "{last}"
    ),
    "lost_looks": _("Lines of the access log that only the file set aside has: {rows}, the last at {last}"),
    "written": _("put back: {file}"),
    "differing": _("differs from the copy, left as it is: {file}"),
    "secret": _("missing, and in no copy: {file}"),
    "start": _(
        "Next: systemctl start hadir-central hadir-central-serve, then hadir-central doctor. Programs that keep "
        "results by revision take them anew (`hadir-central export days`)."
    ),
}
"""What ``backup`` and ``restore`` have done."""

STATUS = {
    "database": in_context("status", "database"),
    "database_is": _("{kind}, {size}"),
    "standbys": _("standbys: {standbys}"),
    "standby": _("{name}, {age} behind"),
    "standby_hidden": _("{name}, how far behind is unknown: the database's role needs pg_monitor"),
    "commits_held": _(
        "commits have waited {age} for a synchronous standby that does not answer: nothing new is acknowledged, "
        "nothing is lost. docs/runbooks.md, “A lost standby”."
    ),
    "inbox": in_context("status", "inbox"),
    "inbox_connected": _("connected to the broker; lanes held: {held} of {lanes}"),
    "inbox_away": _(
        "no connection to the broker since {age} ago: it does not run, or the broker is away. `hadir-central doctor` "
        "says which."
    ),
    "inbox_never": _("has never been connected to a broker"),
    "events": in_context("status", "events"),
    "events_held": _("{held} held, the newest stored {age} ago, {lag} after its record at the gateway"),
    "events_none": _("none yet"),
    "events_missing": _("{count} are missing: gateways send them again (`hadir-central report`)"),
    "quarantined": _("{count} records that gateways could not read as punches"),
    "findings": _("{count} findings on streams (`hadir-central report`)"),
    "rejected": _("messages set aside: {reasons}"),
    "gateways": in_context("status", "gateways"),
    "gateways_are": _("{count} known"),
    "gateways_offline": _("{count} offline"),
    "gateways_away": _("{count} have not shown since this centre's last outage that they run"),
    "terminals": in_context("status", "terminals"),
    "terminals_are": _("{count} with a log, the least known one until {age} ago"),
    "terminals_none": _("none with a log"),
    "terminals_late": _("{count} are not known as far as an hour ago: {names}"),
    "judging": in_context("status", "judging"),
    "marks_none": _("no day waits"),
    "marks": _("{count} marks of days wait, the oldest for {age}"),
    "marks_failed": _("{count} set aside, because judging them failed: `hadir-central doctor`"),
    "yesterday": in_context("status", "yesterday"),
    "days": _("{final} final, {provisional} provisional, {open} open: {share} % are not final"),
    "days_none": _("no person was judged"),
    "outbox": in_context("status", "results"),
    "outbox_is": _("{count} messages wait for the broker"),
    "outbox_refused": _("{count} refused by the broker for good: `hadir-central doctor`"),
    "mails": in_context("status", "mails"),
    "mails_are": _("{count} wait"),
    "mails_refused": _("{count} given up"),
    "tasks": in_context("status", "tasks"),
    "task_done": _("{task}: done {age} ago"),
    "task_failed": _("{task}: FAILED {age} ago ({result} {status}); journalctl -u hadir-central-{task}"),
    "task_never": _("{task}: never ended yet"),
    "days_ago": _("{count} d"),
    "hours": _("{count} h"),
    "minutes": _("{count} min"),
    "seconds": _("{count} s"),
}
"""What ``status`` shows."""
