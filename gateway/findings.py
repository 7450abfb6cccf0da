"""Texts of what the doctor may find, and advice where that is a problem; the status page and alarms use them too.

Values replace the names in braces; ``reason`` is a technical text in English.
"""

from collections.abc import Mapping
from typing import NamedTuple

from gateway.texts import Text, _, in_context


class FindingText(NamedTuple):
    """Text of a finding, and advice where the finding is a problem."""

    text: Text
    advice: Text | None = None


FINDINGS: Mapping[str, FindingText] = {
    # In general.
    "fine": FindingText(_("fine")),
    "not_reached": FindingText(_("not reached")),
    "too_slow": FindingText(
        _("nothing came within {seconds} s"),
        _("Try again; if it stays so, look at this computer's network, its DNS server and its load."),
    ),
    # The configuration and this machine.
    "configuration_read": FindingText(_("{file}: no mistakes")),
    "configuration_outdated": FindingText(
        _("{file} is used as before; {count} lines must be changed: see `hadir check`")
    ),
    "configuration_wrong": FindingText(
        _("mistakes: {count}; the first: {first}"),
        _("Correct the lines that `hadir check` shows; without a configuration, make one with `sudo hadir init`."),
    ),
    "network": FindingText(_("connected")),
    "network_unused": FindingText(_("not needed: all addresses are this computer's own")),
    "no_cable": FindingText(
        _("no network cable is connected, and no Wi-Fi"),
        _("Plug the network cable in at both ends (its lamps must light), or connect the Wi-Fi. Punches wait safely."),
    ),
    "no_network": FindingText(
        _("this computer has no address in any network"),
        _("Look at `ip address` and at the router (DHCP), or set a fixed address. Punches wait safely."),
    ),
    "no_daemon": FindingText(_("no daemon answers here")),
    "daemon_mute": FindingText(
        _("one has the ledger in {folder}, and does not answer"),
        _("Look at its log (`journalctl -u hadir`), then restart it (`systemctl restart hadir`)."),
    ),
    "daemon_hidden": FindingText(
        _("you may not look whether one runs in {folder}"),
        _("Run this as the user that runs the daemon, or with sudo."),
    ),
    "daemon_runs": FindingText(_("runs, version {version}")),
    "writable": FindingText(_("{folder} can be written")),
    "made_at_start": FindingText(_("{folder} is made at the first start")),
    "disk_full": FindingText(
        _("{folder}: the disk is full ({reason})"),
        _("Make room on the disk (`df`). Nothing is lost: the terminals keep what is not read yet."),
    ),
    "read_only": FindingText(
        _("{folder}: the disk is read-only ({reason})"),
        _("The disk or card may be failing: look at `dmesg`, save data_dir, exchange it."),
    ),
    "no_permission": FindingText(
        _("{folder}: you may not write there ({reason})"),
        _("Run this as the user that runs the daemon, or with sudo; if you are it, give it the folder (chown)."),
    ),
    "not_writable": FindingText(
        _("{folder} cannot be written ({reason})"),
        _("Look at the disk (`df`, `dmesg`), or choose another data_dir."),
    ),
    "no_ledger": FindingText(_("none yet; the first start makes it")),
    "ledger_counts": FindingText(_("{events} events, {waiting} of them wait")),
    "ledger_unusable": FindingText(
        _("{reason}"),
        _("`hadir verify` looks closer; a daemon that is started saves what can be read by itself."),
    ),
    "ledger_altered": FindingText(
        _("{events} events are not what was written: they are kept and not sent"),
        _("Keep a copy of data_dir as it is, look at the disk, and run `hadir verify`; find out who had access."),
    ),
    "room": FindingText(_("{free} free, {floor} are kept free")),
    "below_floor": FindingText(
        _("{free} free, but {floor} are to stay free: reading stops"),
        _("Make room on the disk; or, if that is meant, lower retention.free_floor."),
    ),
    "clock_synchronised": FindingText(_("synchronised")),
    "clock_not_synchronised": FindingText(
        _("not synchronised: punches are marked unverified"),
        _("Switch on time synchronisation (`timedatectl set-ntp true`) with a time server that can be reached."),
    ),
    # Terminals that call.
    "receiver_unused": FindingText(_("none is configured, and no terminal needs one")),
    "receiver_open": FindingText(_("{listen} is open")),
    "receiver_free": FindingText(_("{listen} can be opened")),
    "receiver_unreported": FindingText(_("the daemon does not report it; restart the daemon after an upgrade")),
    "receiver_closed": FindingText(
        _("{listen} is not open ({reason}): no terminal can call"),
        _("Write an address of this computer (`ip address`) and a free port in receiver.listen, then `hadir reload`."),
    ),
    "callers_without_tls": FindingText(
        _("callers speak without encryption, and the receiver has a certificate: {count} connections failed"),
        _("Switch HTTPS on in the terminals, or remove cert_file and key_file from receiver."),
    ),
    "callers_with_tls": FindingText(
        _("callers speak HTTPS, and the receiver has no certificate: {addresses}"),
        _("Switch HTTPS off in the terminal's menu (Cloud Server Setting), or give the receiver a certificate."),
    ),
    "strangers_call": FindingText(
        _("terminals call that are not configured: {serials}"),
        _("Add those of the office (`driver: push`, `serial:`), then `hadir reload`. They keep their punches."),
    ),
    "calls_only": FindingText(_("it calls the gateway, and no daemon runs here that it could call")),
    "calls": FindingText(_("it calls from {address}")),
    "never_called": FindingText(
        _("it has never called"),
        _(
            "In its menu (COMM. > Cloud Server Setting, or ADMS) write server address {host} and port {port}, each in "
            "its own field; domain name off, proxy off, HTTPS off; then restart the terminal. Compare its own IP "
            "address, mask and gateway, and let this computer's firewall admit the port."
        ),
    ),
    "receiver_is_local": FindingText(
        _("it has never called, and {listen} can be reached from this computer only"),
        _("Write this computer's address in the office's network (`ip address`) in receiver.listen, then reload."),
    ),
    "not_called": FindingText(
        _("it does not call ({reason})"),
        _("Check its power and network cable; `hadir doctor` names what to compare in its menu."),
    ),
    "first_call": FindingText(
        _("its first call is awaited ({reason})"),
        _("A terminal calls within two minutes. If not, `hadir doctor` names what to compare in its menu."),
    ),
    "another_serial_calls": FindingText(
        _("it has never called; terminals with other serial numbers do: {serials}"),
        _("If one of these is this terminal, correct `serial:` in its entry, then `hadir reload`."),
    ),
    "called_from_elsewhere": FindingText(
        _("it calls from {address}, which `from:` does not allow"),
        _("If the terminal has this address now, correct `from:`; if not, find out what uses its serial number."),
    ),
    "stopped_calling": FindingText(
        _("it has not called for {minutes} minutes, last from {address}"),
        _("Check its power, its network cable and whether its server settings were changed."),
    ),
    "proxy_is_on": FindingText(
        _("it calls through a proxy setting, from {address}"),
        _("Switch the proxy off in its menu (COMM. > Cloud Server Setting); some models are sold with it on."),
    ),
    "port_in_address": FindingText(
        _("a port stands in its field for the server address: {host}"),
        _("Write the address alone there, and the port in its own field."),
    ),
    "calls_too_often": FindingText(
        _("it calls more often than the limit allows"),
        _("Restart it; if that does not help, find out whether a second device uses its serial number."),
    ),
    "access_control_mode": FindingText(
        _("it calls as an access-control panel (A&C PUSH)"),
        _("Switch it to T&A PUSH in Menu > System > Device type, where it has that; some of its records are not sent."),
    ),
    "only_polls": FindingText(
        _("it calls, and no punch has arrived yet"),
        _("Punch once at the terminal. If nothing arrives within two minutes, restart it and try again."),
    ),
    # Apps that post.
    "never_posted": FindingText(
        _("nothing has been posted to {path} since the gateway started"),
        _(
            "Give the app's developers {url}, the secret and docs/webhook.md; let this computer's firewall admit the "
            "port. Where nobody has punched in the app since then, nothing is wrong."
        ),
    ),
    "posts": FindingText(_("its last post came from {address}, {minutes} minutes ago")),
    "posts_to": FindingText(_("it posts to {path}")),
    "posts_too_often": FindingText(
        _("it posts more often than the limit allows"),
        _("Ask its developers to post several records at once, and to wait after an answer 429."),
    ),
    "signature_wrong": FindingText(
        _("{count} of its posts had a wrong signature, or none, and were refused"),
        _(
            "Compare the app's secret with secret_file; the app must sign exactly the bytes that it sends "
            "(docs/webhook.md). If both are right, find out what else posts there."
        ),
    ),
    "posts_unreadable": FindingText(
        _("{count} of its posts could not be read and were refused; the app keeps them"),
        _("Show docs/webhook.md to its developers: JSON in UTF-8, its list where `items` points to, up to 1 MiB."),
    ),
    "app_clock_ahead": FindingText(
        _("the newest record of its last post lies {seconds} s in the future"),
        _("The app should take the time of its server, not of a phone; compare `timezone:` where it sends no offset."),
    ),
    # Terminals.
    "daemon_holds_it": FindingText(_("the daemon talks to it")),
    "left_alone": FindingText(_("not tried: a daemon may be talking to it")),
    "still_busy": FindingText(_("the daemon is busy with it; see `hadir status`")),
    "daemon_refuses": FindingText(
        _("the daemon does not report it ({reason})"),
        _("It runs with an older configuration: `hadir reload`."),
    ),
    "daemon_silent": FindingText(
        _("the daemon does not report it"),
        _("It has ended, or hangs: look at its log, restart it (`systemctl restart hadir`)."),
    ),
    "not_visited": FindingText(
        _("the daemon has not met it yet ({reason})"),
        _("Check power, cable and address; then call the doctor once more."),
    ),
    "terminal_name_unknown": FindingText(
        in_context("terminal_name_unknown", "{reason}"),
        _("Check the spelling of its address, or write its IP address."),
    ),
    "no_route": FindingText(
        _("this computer has no way there ({reason})"),
        _("Check this computer's own cable, address and gateway."),
    ),
    "port_closed": FindingText(
        _("a machine is there, but nothing listens at this port ({reason})"),
        _("Compare address and port with the terminal's menu (Comm. > Ethernet): the address may be another's."),
    ),
    "silent": FindingText(
        _("no answer ({reason})"),
        _("Check power, network cable and address; some terminals talk to one program only."),
    ),
    "port_permission": FindingText(
        _("this user may not use the port ({reason})"),
        _("usermod -a -G dialout USER, then log in again."),
    ),
    "port_in_use": FindingText(
        _("another program has the port ({reason})"),
        _("Stop it: the vendor's software, a console or a modem manager."),
    ),
    "port_missing": FindingText(
        _("there is no such port ({reason})"),
        _("Plug the adapter in; /dev/serial/by-id has names that stay the same."),
    ),
    "files_unreadable": FindingText(
        _("its files cannot be read ({reason})"),
        _("Check `path:` and whether the flash disk is in its place and readable by everybody (umask=022)."),
    ),
    "key_file": FindingText(
        _("the file with the key cannot be used ({reason})"),
        _("Write the key, a number, into the file that comm_key_file names; the service reads /etc/hadir/secrets."),
    ),
    "driver_failed": FindingText(
        _("a fault in hadir ({reason})"),
        _("Update hadir; send the log and `hadir doctor --report` to whoever helps. The terminal keeps its punches."),
    ),
    "key_refused": FindingText(
        _("refused ({reason})"),
        _("Write the key of the terminal's menu (Comm. > PC connection) into the file that comm_key_file names."),
    ),
    "encrypted": FindingText(
        in_context("encrypted", "{reason}"),
        _("Switch the secure mode off in the terminal's menu."),
    ),
    "panel": FindingText(
        _("a door panel answers ({reason})"),
        _("Correct the address: it is not the terminal's."),
    ),
    "service_missing": FindingText(
        _("it has no web service for its log ({reason})"),
        _(
            "Write `driver: zkteco` in its entry; where port 4370 is shut too, let the terminal call this computer "
            "(`driver: push`). `hadir probe` shows which ways it offers."
        ),
    ),
    "log_cut": FindingText(
        _("its web service does not send the whole log ({reason})"),
        _("Write `driver: zkteco` in its entry: over port 4370 the log is read in parts. Nothing is lost meanwhile."),
    ),
    "refuses": FindingText(
        _("refused ({reason})"),
        _("Look at the terminal's own menu."),
    ),
    "not_a_terminal": FindingText(
        _("what answers is no terminal we know ({reason})"),
        _("Check address, port and driver; if it is a terminal, send the report to whoever helps."),
    ),
    "broke_off": FindingText(
        _("the conversation broke off ({reason})"),
        _("Check cable and network; does another program talk to the terminal too?"),
    ),
    "serial": FindingText(_("{serial}")),
    "serial_not_told": FindingText(
        _("the terminal does not report it"),
        _("Write the number on its back into `serial:`, in quotes."),
    ),
    "serial_differs": FindingText(
        _("another terminal answers: {reason}"),
        _("If it was replaced, write the new number into `serial:`; otherwise correct the address."),
    ),
    "serial_twice": FindingText(
        in_context("serial_twice", "{reason}"),
        _("If it was renamed or moved, write its `serial:` here and remove the other entry."),
    ),
    "clock_right": FindingText(_("{seconds} s off")),
    "clock_zone": FindingText(
        _("{seconds} s off, about whole hours or quarters: most likely the time zone, not the clock"),
        _(
            "Look at the terminal's display first. If it shows the right local time, leave it alone and correct "
            "`timezone:` in the configuration; only if the display is wrong, set the clock in its menu."
        ),
    ),
    "clock_unjudged": FindingText(
        _("{seconds} s off this computer's clock, which is not synchronised"),
        _("Do not touch the terminal's clock: mend the clock of this computer first (`timedatectl`)."),
    ),
    "clock_off": FindingText(
        _("{seconds} s off, more than {tolerance} s"),
        _(
            "Compare the terminal's display with a right clock; if it is wrong, set it in its menu. Until then its "
            "punches are marked."
        ),
    ),
    "clock_impossible": FindingText(
        _("shows no possible date"),
        _("Set the clock at the terminal, and change its battery."),
    ),
    "no_clock": FindingText(_("it has none")),
    "log_size": FindingText(_("{records} of {capacity} records")),
    "log_filling": FindingText(
        _("nearly full: {records} of {capacity} records"),
        _("When `hadir status` shows that everything is confirmed, clear it in the terminal's menu."),
    ),
    "not_counted": FindingText(_("it does not report its size")),
    "no_log": FindingText(_("a line keeps no log")),
    "no_medium": FindingText(_("no flash disk is there")),
    "medium_there": FindingText(_("files can be looked at")),
    "not_read": FindingText(_("not read, to spare the line")),
    "no_punch_yet": FindingText(_("none yet")),
    "last_punch": FindingText(_("{local_time} by its clock")),
    "last_record": FindingText(_("{local_time} by its clock, layout {layout}")),
    "record_unreadable": FindingText(
        _("its last record cannot be read in layout {layout}"),
        _("Make a test punch and call the doctor again; if it stays so, send the report to whoever helps."),
    ),
    "layout_unknown": FindingText(
        _("its records are laid out in no known way ({reason})"),
        _("Nothing is lost, the terminal keeps them. Send the report and data_dir/captures to whoever helps."),
    ),
    # The broker.
    "address": FindingText(_("{addresses}")),
    "broker_name_unknown": FindingText(
        _("{host} cannot be looked up ({reason})"),
        _("Check the spelling of mqtt.url, and this computer's DNS server (`resolvectl status`)."),
    ),
    "broker_port_open": FindingText(_("{where} answers")),
    "broker_refuses_port": FindingText(
        _("nothing listens at {where} ({reason})"),
        _("Check the port in mqtt.url; if it is right, the broker is down: ask whoever runs it."),
    ),
    "broker_silent": FindingText(
        _("{where} does not answer ({reason})"),
        _("Check this computer's network; then ask whether a firewall lets it out to that port."),
    ),
    "not_encrypted": FindingText(_("none: mqtt.url begins with mqtt://")),
    "tls": FindingText(_("{version}, its certificate is trusted")),
    "tls_incomplete": FindingText(
        _("the broker's certificate is incomplete ({reason}); it is accepted today"),
        _("Ask whoever runs the broker for complete certificates: docs/broker.md shows how they are made."),
    ),
    "tls_files": FindingText(
        _("the certificate files cannot be used ({reason})"),
        _("Check mqtt.ca_file, cert_file and key_file."),
    ),
    "not_trusted": FindingText(
        _("its certificate is not trusted ({reason})"),
        _("Name the authority's certificate with mqtt.ca_file; check the host in mqtt.url and this computer's date."),
    ),
    "no_tls": FindingText(
        _("no encrypted connection comes about ({reason})"),
        _("Is it the port for TLS, usually 8883? Otherwise ask whoever runs the broker."),
    ),
    "login": FindingText(_("accepted")),
    "login_nameless": FindingText(_("accepted without a name")),
    "login_files": FindingText(
        in_context("login_files", "{reason}"),
        _("Run this as the user that runs the daemon; check the files that mqtt names."),
    ),
    "login_broke": FindingText(
        _("the broker closes the connection ({reason})"),
        _("Is it a broker? With TLS, mqtt.url begins with mqtts://. Otherwise look at the broker's log."),
    ),
    "wants_certificate": FindingText(
        _("the broker closes the connection ({reason})"),
        _("Most likely it does not take this gateway's certificate, or wants one: mqtt.cert_file and key_file."),
    ),
    "broker_broke": FindingText(
        _("the connection breaks ({reason})"),
        _("If it stays so, look at this computer's network and at the broker's log."),
    ),
    "client_taken": FindingText(
        in_context("client_taken", "{reason}"),
        _("Two machines use the same `site` and `gateway`: find the other one; docs/operations.en.md, section 7."),
    ),
    "copy_stopped": FindingText(
        in_context("copy_stopped", "{reason}"),
        _("Switch this copy off, or give it a name of its own; docs/operations.en.md, section 7."),
    ),
    "says_nothing": FindingText(
        _("the broker does not answer"),
        _("Is it a broker at all? Check mqtt.url."),
    ),
    "login_refused": FindingText(
        _("refused ({reason})"),
        _("Check mqtt.username, the password file, and the broker's list of users."),
    ),
    "connection_refused": FindingText(
        _("the broker refuses the connection ({reason})"),
        _("Ask whoever runs the broker; for a broker that speaks MQTT 3.1.1 only, set mqtt.protocol."),
    ),
    "subscription_granted": FindingText(_("{topic} is granted")),
    "subscription_refused": FindingText(
        _("{topic} is refused ({reason})"),
        _("The broker's access list must let this gateway read its receipt and cmd/+: docs/broker.md."),
    ),
    "subscription_unanswered": FindingText(
        _("the broker does not answer a subscription"),
        _("Look at the broker's log and access list."),
    ),
    "publish_taken": FindingText(_("{topic} is taken")),
    "publish_forbidden": FindingText(
        _("{topic} is forbidden to this gateway"),
        _("Let the broker's access list grant it: docs/broker.md has a sample."),
    ),
    "publish_refused": FindingText(
        _("{topic} is refused ({reason})"),
        _("Look at the broker's log and limits."),
    ),
    "publish_unanswered": FindingText(
        _("the broker does not acknowledge {topic}"),
        _("Look at the broker's log and access list."),
    ),
    "refusals_invisible": FindingText(_("with MQTT 3.1.1 a broker cannot report it")),
    "subscriber_there": FindingText(_("the broker names no lack of it")),
    "no_subscriber": FindingText(
        _("no client subscribes to {topic}"),
        _("The centre is down or subscribes to something else: ask its people. Events are kept and tried again."),
    ),
    "no_subscriber_to_alarms": FindingText(
        _("no client subscribes to alarms; whether one subscribes to punches shows when the first one is recorded")
    ),
    "receipt_seen": FindingText(_("covers {upto} of {assigned}, {missing} missing")),
    "no_receipt": FindingText(_("none; a centre may do without (delivery.confirm)")),
    "receipt_empty": FindingText(_("there is one that confirms nothing yet")),
    "receipt_missing": FindingText(
        _("none, and delivery.confirm waits for it"),
        _("Ask the centre's people; until it comes, nothing is removed from this machine."),
    ),
    "receipt_unreadable": FindingText(
        _("it cannot be read"),
        _("Ask the centre's people: docs/contract.md shows one."),
    ),
    "receipt_foreign": FindingText(
        _("it speaks of a stream this ledger never had"),
        _("Do two machines use the same site and gateway, or was data_dir made anew?"),
    ),
    "receipt_unjudged": FindingText(_("there is one, but no ledger yet")),
    "daemon_connected": FindingText(_("connected")),
    "daemon_not_connected": FindingText(
        in_context("daemon_not_connected", "{reason}"),
        _("The broker lets us in just now: restart the daemon, or wait until it tries again."),
    ),
    "daemon_troubled": FindingText(
        _("{reason}"),
        _("The centre must subscribe, or the broker's access list must grant it: docs/broker.md."),
    ),
}
