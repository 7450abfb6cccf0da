"""Texts of `hadir doctor` and `hadir init`; those of its findings are in :mod:`gateway.findings`."""

from gateway.texts import _

STEPS = {
    "configuration": _("configuration"),
    "network": _("network"),
    "daemon": _("daemon"),
    "data_dir": _("data folder"),
    "ledger": _("ledger"),
    "disk": _("room on the disk"),
    "clock": _("this computer's clock"),
    "receiver": _("port for terminals that call"),
    "route": _("way to it"),
    "port": _("port"),
    "key": _("communication key"),
    "serial": _("serial number"),
    "terminal_clock": _("its clock"),
    "log": _("its log"),
    "record": _("last record"),
    "name": _("name"),
    "broker_port": _("port"),
    "tls": _("encryption"),
    "login": _("login"),
    "receipts": _("may read receipts"),
    "publish": _("may publish"),
    "subscriber": _("subscriber"),
    "receipt": _("receipt of the centre"),
    "session": _("daemon's connection"),
}

PARTS = {"gateway": _("gateway"), "broker": _("broker")}


DOCTOR = {
    "all_well": _("Nothing is in the way."),
    "unconfirmed": _(
        "Nothing is in the way here. The centre has confirmed nothing yet: ask its people whether punches arrive."
    ),
    "in_the_way": _("Begin with: {part}, {step}: {text}"),
    "next": _("Next: {advice}"),
    "advice": _("→ {advice}"),
    "because": _("→ comes from: {part}, {step}"),
    "counted": _("In the way (✗): {failed}. To be mended, but nothing stops (!): {warned}."),
    "reported": _("Report: {file}"),
}

QUESTIONS = {
    "site": _("Code of the office (a-z, 0-9 and -), such as 3602-bkpsdm"),
    "gateway": _("Name of this computer (a-z, 0-9 and -)"),
    "timezone": _("Time zone: WIB, WITA or WIT"),
    "broker": _("Address of the broker, such as mqtts://broker.example.go.id:8883"),
    "username": _("User name at the broker (- for none)"),
    "password": _("Its password (not shown; empty for none)"),
    "ca_file": _("File with the certificate of the broker's authority (- for the system's)"),
    "range": _(
        "Where terminals are: networks such as 192.168.1.0/24, addresses, NAME=ADDRESS for one that is off, or "
        "NAME@SERIAL for one that calls this computer (ADMS, cloud server); NAME=soap:ADDRESS for the web service of a "
        "Solution terminal, NAME@app:SERIAL for an app that posts, with a serial number of your own"
    ),
    "key": _("{address} wants its communication key (not shown; empty to leave it for later)"),
    "name": _("{address}, {model}, serial {serial}: its name (a-z, 0-9 and -; - alone leaves it out)"),
}
"""Questions of `hadir init`."""

WRONG = {
    "site": _("Only a-z, 0-9 and hyphens, no blanks."),
    "gateway": _("Only a-z, 0-9 and hyphens, no blanks."),
    "timezone": _("No time zone: WIB, WITA, WIT, or a name such as Asia/Jakarta."),
    "broker": _("No broker's address: mqtt://host:1883, or mqtts://host:8883 with TLS; no user or password in it."),
    "username": _("Letters and digits; no blank at an end."),
    "password": _("The password begins or ends with a blank, or has an invisible character."),
    "ca_file": _("There is no such file to read, or no certificate (PEM) in it."),
    "range": _(
        "No private network or address (192.168.1.0/24, 192.168.1.201, lobby=192.168.1.201), and no serial number "
        "(gate@SYN0000000001); 1,024 addresses at most."
    ),
    "key": _("A key is a number from 0 to 999999."),
    "key_refused": _("The terminal refuses this key."),
    "name": _("Only a-z, 0-9 and hyphens, and no name twice."),
    "no_terminal": _("No terminal answers there."),
}
"""Why an answer is wrong: shown before the question is repeated."""

INIT = {
    "exists": _("{file} is there already: nothing is written."),
    "written": _("Written: {files}"),
    "calling": _(
        "Type into the terminals that call (COMM. > Cloud Server Setting, or ADMS): server address {address}, "
        "port {port}; proxy and HTTPS off."
    ),
    "posting": _(
        "Give to the developers of the app {name}: the address {url}, the secret in {file}, and docs/webhook.md."
    ),
    "start": _("Start it with: systemctl start hadir, or hadir run -c {file}"),
}

COMMENTS = {
    "head": _(
        "Configuration of a Hadir gateway, made by `hadir init`. What else can be set: gateway.example.yaml\n"
        "(in config/, or /usr/share/doc/hadir/examples/ where the package is installed).\n"
        "Check it after each change with `hadir check`; find what is in the way with `hadir doctor`."
    ),
    "site": _("The code of the office; part of every topic."),
    "gateway": _("The name of this computer; every gateway of an office has its own."),
    "timezone": _("The time zone of the office: Asia/Jakarta (WIB), Asia/Makassar (WITA) or Asia/Jayapura (WIT)."),
    "data_dir": _("The folder of the ledger."),
    "mqtt": _("The broker that passes the punches on to the centre. Passwords are in files of their own, never here."),
    "receiver": _("The port for terminals that call this computer; its address and port are typed into them."),
    "terminals": _(
        "The terminals: one entry for each. A serial number makes sure that no other terminal is read in its place."
    ),
}
"""Comments in the configuration that `hadir init` writes."""
