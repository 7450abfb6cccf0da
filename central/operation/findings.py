"""Findings of ``hadir-central doctor``: what each is, and what to do about it."""

from collections.abc import Mapping

from central.texts import Text, _, in_context

PARTS: Mapping[str, Text] = {
    "centre": in_context("doctor", "centre"),
    "broker": in_context("doctor", "broker"),
    "office": in_context("doctor", "office"),
    "evidence": in_context("doctor", "evidence"),
    "pages": in_context("doctor", "pages"),
}
DOCTOR: Mapping[str, Text] = {
    "counted": _("In the way (✗): {failed}. To be mended, but nothing stops (!): {warned}. Begin with the first."),
    "well": _("Nothing is in the way."),
}
_START = _("Start the receiver: systemctl start hadir-central; `journalctl -u hadir-central` shows why it ended.")

FINDINGS: Mapping[str, tuple[Text, Text | None]] = {
    # mails and retention
    "mails": (_("mails: {sent} sent, {waiting} wait"), None),
    "mails_off": (_("mails are switched off"), None),
    "bad_mail": (_("the settings of mails: {reason}"), _("Correct the file; `hadir-central mail preview` tries it.")),
    "mails_failing": (
        _("mails: {failing} of {waiting} wait after a failure, {refused} given up; the last failure: {failure}"),
        _("Correct the server in the settings of mails, or the account's address, then `hadir-central mail retry`."),
    ),
    "bad_retention": (
        _("the settings of retention: {reason}"),
        _("Correct the file; `hadir-central retention plan` tries it."),
    ),
    # centre
    "database": (_("database {file}, {size}"), None),
    "no_database": (_("no database {file} yet"), _START),
    "old_database": (
        _("the database is of an older version: {reason}"),
        _(
            "The receiver brings it up to date when it starts: systemctl restart hadir-central. A failure leaves "
            "it as it was."
        ),
    ),
    "bad_database": (
        _("the database cannot be read: {reason}"),
        _(
            "Where rights are in the way, run this with sudo. A damaged file: `hadir-central restore` with the "
            "newest copy."
        ),
    ),
    "bad_server": (
        _("the database cannot be read: {reason}"),
        _(
            "Check that the server runs, the address, and the role with its password and rights; see docs/centre.md, "
            "PostgreSQL."
        ),
    ),
    "receiver": (_("the receiver runs"), None),
    "receiver_stopped": (_("no receiver runs: gateways wait, and nothing is judged"), _START),
    "receiver_hidden": (_("whether a receiver runs is not known: {reason}"), _("Run this with sudo.")),
    "standby_synchronous": (_("synchronous standby: {names}"), None),
    "standby_missing": (
        _(
            "the server names a synchronous standby ({wanted}), and none is connected: commits wait for it, unless "
            "`synchronous_commit` is local or off"
        ),
        _(
            "Bring the standby back, or let the server wait for none meanwhile: docs/runbooks.md, “A lost standby”. "
            "Gateways keep what they record."
        ),
    ),
    "standby_unset": (
        _("receipts wait for a synchronous standby, and the server has none: gateways delete nothing"),
        _(
            "Name the standby in `synchronous_standby_names` of the server (docs/lanes.md, “Receipts and a standby”), "
            "or set `inbox: synchronous: false`."
        ),
    ),
    "standby_hidden": (
        _("whether the server has a synchronous standby is not shown to this role"),
        _("On the server: GRANT pg_monitor TO the role of the database's address. Receipts may wait until then."),
    ),
    "lanes_held": (_("every lane is held by a worker"), None),
    "lanes_free": (
        _("lanes that no worker holds: {lanes}; nothing of their sites is received"),
        _(
            "Look at the log of each machine with `hadir-central inbox --lanes` (lane_failed, database_lost) and "
            "restart its service: docs/runbooks.md, “A stuck lane”."
        ),
    ),
    "room": (_("room in {folder}: {free}"), None),
    "little_room": (
        _("little room in {folder}: {free}"),
        _(
            "Move old copies and files named …replaced-… elsewhere, or give the disk more room. On a full disk "
            "nothing is received."
        ),
    ),
    "clock": (_("this computer's clock is synchronised"), None),
    "clock_free": (
        _("this computer's clock is not synchronised"),
        _(
            "timedatectl set-ntp true; name the office's time server in /etc/systemd/timesyncd.conf. Moments of "
            "entry rest on it."
        ),
    ),
    "copy": (_("last copy {copy}, {hours} hours old"), None),
    "old_copy": (
        _("the last copy {copy} is {hours} hours old"),
        _(
            "systemctl enable --now hadir-central-backup.timer; `journalctl -u hadir-central-backup` shows why it "
            "failed."
        ),
    ),
    "no_copy": (
        _("no copy in {folder}"),
        _(
            "sudo hadir-central backup, then systemctl enable --now hadir-central-backup.timer; carry copies to "
            "another place."
        ),
    ),
    "copies_at_server": (
        _("copies of the database are the server's matter (pg_dump, archived log): not looked at here"),
        None,
    ),
    "copies_hidden": (_("copies in {folder} cannot be listed: {reason}"), _("Run this with sudo.")),
    # broker
    "broker_files": (
        _("password or certificate for the broker cannot be used: {reason}"),
        _(
            "Put the file into /etc/hadir-central/secrets (chmod 600) and name it in the settings; without "
            "rights: sudo."
        ),
    ),
    "broker_reached": (_("{host} takes connections at port {port}"), None),
    "broker_silent": (
        _("{host} port {port}: {reason}"),
        _("Check name and port in the settings, that the broker runs, and the firewall between."),
    ),
    "broker_certificate": (_("its certificate is trusted, until {until}"), None),
    "broker_certificate_ends": (_("its certificate ends on {until}"), _("Let the broker's people renew it before.")),
    "broker_tls": (
        _("encryption with {host} port {port} fails: {reason}"),
        _("Name the certificate of the broker's authority as broker.ca_file, and the broker as its certificate does."),
    ),
    "broker_login": (_("login as {user} is taken"), None),
    "broker_refuses": (
        _("the broker refuses the login: {reason}"),
        _(
            "Compare user name and password file with the broker's list of users; there too the centre needs an "
            "account."
        ),
    ),
    "broker_small": (
        _("the broker takes messages of {bytes} bytes at most"),
        _("Set max_packet_size 4194304 at the broker: gateways send batches as large as that."),
    ),
    "broker_subscribes": (_("the subscription to what gateways publish is granted"), None),
    "broker_subscribe": (
        _("may not read {topics}"),
        _("Give the centre's user `topic read hadir/v1/#` in the broker's access list (docs/contract.md)."),
    ),
    "broker_receipts": (_("may publish receipts"), None),
    "broker_receipt": (
        _("may not publish {topic}: {reason}"),
        _(
            "Give the centre's user `topic write {topic}` in the broker's access list: without it gateways "
            "delete nothing."
        ),
    ),
    "broker_slow": (
        _("the broker does not answer within {seconds} s"),
        _("Look at its log and at the load of its computer."),
    ),
    # office
    "accounts": (_("accounts: {count}"), None),
    "bad_accounts": (
        _("accounts cannot be used: {reason}"),
        _("Mend the line that is named, or make a first account: hadir-central account add."),
    ),
    "no_bkd": (
        _("no account of the personnel agency (BKD) can log in: {file}"),
        _("sudo hadir-central account add NAME --role bkd"),
    ),
    "strange_units": (
        _("accounts name units that the register does not have today: {units}"),
        _("Import the units, or correct the accounts: an account with such a unit sees no person."),
    ),
    "policies": (_("policies in use: {names}"), None),
    "no_policies": (_("no folder of policies: {folder}"), _("Make it, or mend `policies:` in the settings.")),
    "bad_policy": (
        _("a policy cannot be used: {reason}"),
        _("Mend the line that is named; `hadir-central policy check FILE` names all."),
    ),
    "unknown_policies": (
        _("assignments name policies that are not there: {names}"),
        _(
            "Put NAME.yaml into the folder of policies, or import assignments with another name: days are not "
            "judged meanwhile."
        ),
    ),
    "no_policy": (
        _("no unit has a policy today"),
        _("Fill in assignments.csv and import it: `hadir-central import assignments FILE`."),
    ),
    "people": (_("people employed: {count}"), None),
    "no_people": (
        _("no person is employed today by the registers"),
        _("Import units, people, timetables, schedules and assignments (docs/registers.md)."),
    ),
    "judging": (_("days wait to be judged: {marks} marks"), None),
    "without_unit": (
        _("people without a unit: {count}"),
        _("Give them a unit in the register of people; the page “People without a unit” names them."),
    ),
    "without_plan": (
        _("people who were not judged for yesterday: {count}"),
        _(
            "Give them or their unit a schedule and a policy (assignments); `hadir-central why PERSON DATE` says "
            "what is missing."
        ),
    ),
    # evidence
    "gateways": (_("gateways known: {count}"), None),
    "no_gateways": (
        _("no gateway has sent anything yet"),
        _(
            "Name this broker in the gateways' configuration, `sudo hadir doctor` there. Some brokers grant a "
            "subscription and deliver nothing: the centre's user needs `topic read hadir/v1/#`."
        ),
    ),
    "away": (_("gateways offline: {names}"), _("Look at their power and network; what they record is sent later.")),
    "out_of_contact": (
        _("gateways out of contact since the receiver had no connection to the broker: {names}"),
        _(
            "They have sent nothing since, and verdicts of people at terminals without a log are provisional. A "
            "gateway that runs ends this within two minutes once its clock is synchronised (`timedatectl` there) and "
            "its disk has room; one that is gone: `hadir-central serial assign`, or a decision `out_of_use`."
        ),
    ),
    "gone": (
        _("events whose content was removed at the gateway before it arrived here: {count}"),
        _(
            "`hadir-central report` says which. One may have been a punch at a terminal without a log: enter what "
            "people can show as corrections."
        ),
    ),
    "months": (
        _("months of punches without a partition: {names}"),
        _(
            "Punches of these months are kept together with those of clocks that are wrong. The receiver makes the "
            "partitions daily, `hadir-central partitions make` at once and names what is in the way."
        ),
    ),
    "missing": (
        _("events that are missing: {count}"),
        _("Gateways send them again when they are there; `hadir-central report` says which."),
    ),
    "unread": (
        _("terminals whose log has not been read for two days: {names}"),
        _(
            "Their verdicts stay provisional. Look at the terminal, its gateway, and whether the gateway's clock is "
            "synchronised (`timedatectl` there); one that is gone: a decision `out_of_use`."
        ),
    ),
    "findings": (
        _("findings on streams: {count}"),
        _("`hadir-central report`, and “What to do about a finding” in docs/centre.md."),
    ),
    "rejected": (_("messages kept aside: {count}"), _("`hadir-central report` says of whom and why.")),
    "marks_failed": (
        _("days whose judging failed: {count} marks"),
        _("A mistake in hadir-central: report it. Then `hadir-central recompute --retry`."),
    ),
    "refused": (
        _("messages about results that the broker refused for good: {count}"),
        _("Give the centre's user `topic write hadir/result/v1/#`; they are tried again when the receiver starts."),
    ),
    "waiting": (_("messages about results that wait for the broker: {count}"), None),
    # pages
    "certificate": (_("their certificate is valid until {until}"), None),
    "certificate_ends": (
        _("their certificate ends on {until}"),
        _("Renew it, then systemctl restart hadir-central-serve."),
    ),
    "bad_certificate": (
        _("{file}: {reason}"),
        _("Name a certificate (PEM) and its key as pages.cert_file and pages.key_file."),
    ),
    "pages": (_("answer at {listen}"), None),
    "pages_silent": (
        _("do not answer at {listen}: {reason}"),
        _("systemctl start hadir-central-serve; `journalctl -u hadir-central-serve` shows why they ended."),
    ),
    "pages_strange": (_("another program answers at {listen} ({reason})"), _("Choose another port as pages.listen.")),
    "pages_ill": (
        _("answer at {listen} with {status}"),
        _("They cannot read the database, or another program is there: journalctl -u hadir-central-serve."),
    ),
}
"""By code: the text, and what to do."""
