#!/usr/bin/env bash
# Takes the centre's package through its life in a fresh Debian: check_deb_central.sh RELEASE ARCHITECTURE, with revisions 0
# and 1 of it in dist/. As root; see `make check-deb`.
#
# First without systemd: install, first settings, upgrade with an older database, a migration that fails, remove, install
# again. Then it boots with a broker, and the services run as they will in an office. Last it is purged.
set -euo pipefail
cd "$(dirname "$0")/../.."
release=$1
case $release in bookworm) suffix=+deb12 ;; trixie) suffix=+deb13 ;; *) echo "no such release: $release" >&2; exit 2 ;; esac
older=$(cd dist && ls hadir-central_*-0"${suffix}_$2.deb") newer=$(cd dist && ls hadir-central_*-1"${suffix}_$2.deb")
work=$PWD/build/check-deb/$release
tree=$work/tree-central
data=$tree/var/lib/hadir-central

say() { printf '\n== %s\n' "$*"; }
# Nothing that was started in the tree outlives the command.
in_tree() { systemd-nspawn --quiet --directory="$tree" --register=no --keep-unit --as-pid2 --pipe "$@" \
  2> >(grep -v 'remove disk file system' >&2); }
apt() { in_tree env DEBIAN_FRONTEND=noninteractive apt-get "$@" < /dev/null 2>&1 | { grep -E '^hadir|sudo|error|^E:' || true; }; }
expect() { # EXPECTED WHAT ACTUAL
  if [ "$1" = "$3" ]; then echo "ok: $2: $3"; else echo "FAILED: $2: $3, not $1" >&2; exit 1; fi; }
code() { in_tree sh -c "$1 > /srv/output 2>&1; echo \$?"; }

mkdir -p "$work"
if [ ! -e "$work/fresh.tar" ]; then
  say "Debian, $release"
  debootstrap --variant=minbase "$release" "$work/fresh" > "$work/debootstrap.log"
  tar -C "$work/fresh" -cf "$work/fresh.tar" . && rm -rf "$work/fresh"
fi
rm -rf "$tree" && mkdir "$tree" && tar -C "$tree" -xf "$work/fresh.tar"
in_tree sh -c 'apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
  python3 ca-certificates sqlite3 mosquitto systemd-sysv dbus > /dev/null 2>&1'
mkdir "$tree/debs" && cp "dist/$older" "dist/$newer" "$tree/debs"

say "install"
apt install -y -qq --no-install-recommends "/debs/$older"
expect 78 "exit code of check without settings" "$(code 'hadir-central -c /etc/hadir-central/centre.yaml check')"
expect "" "links that start it" "$(find "$tree/etc/systemd" -name 'hadir-central*')"
expect "" "files that are not as packed" "$(in_tree dpkg --verify hadir-central)"
expect "hadir-central 750" "owner and rights of the data" "$(in_tree stat --format '%U %a' /var/lib/hadir-central)"
expect "" "parts of the gateway" "$(find "$tree/opt/hadir-central" -type d \( -name gateway -o -name drivers \) -path '*site-packages/*' -prune)"

say "first settings"
echo 'not a real password' > "$tree/srv/password"
in_tree hadir-central init --broker mqtt://127.0.0.1:1883 --username centre --password-file /srv/password --lang id < /dev/null
expect 0 "exit code of check" "$(code 'hadir-central check')"
expect "root 600" "owner and rights of the password" "$(in_tree stat --format '%U %a' /etc/hadir-central/secrets/broker-password)"
expect "hadir-central 600" "owner and rights of the accounts" "$(in_tree stat --format '%U %a' /var/lib/hadir-central/accounts.yaml)"
for kind in units people timetables schedules; do
  in_tree hadir-central import "$kind" "/usr/share/doc/hadir-central/examples/$kind.csv" --by check --paper check > /dev/null
done
in_tree hadir-central import assignments /etc/hadir-central/assignments.csv --by check --paper check
expect "" "files that the service does not own" "$(in_tree find /var/lib/hadir-central ! -user hadir-central)"
in_tree hadir-central backup
expect "" "files that the service does not own" "$(in_tree find /var/lib/hadir-central ! -user hadir-central)"

say "upgrade with a database of an older revision"
settings=$(sha256sum < "$tree/etc/hadir-central/centre.yaml")
cat > "$tree/srv/older.py" <<'PY'
"""Make a database as an earlier version left it: older.py FILE REVISION."""
import sys
from pathlib import Path
from alembic import command
from alembic.config import Config
from central.store import engine, sqlite

file = sqlite.File(Path(sys.argv[1]), read_only=False, busy_s=5)
file.prepare(create=True)
database = file.engine()
with database.connect() as connection, connection.begin():
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(engine.__file__).parent / "migrations"))
    command.upgrade(config, sys.argv[2])
    connection.exec_driver_sql(f"PRAGMA user_version = {sqlite.MANAGED}")
database.dispose()
PY
mv "$data/centre.db" "$data/kept.db" && rm -f "$data"/centre.db-*
in_tree /opt/hadir-central/bin/python3 /srv/older.py /var/lib/hadir-central/centre.db 0008
apt install -y -qq --no-install-recommends "/debs/$newer"
expect "${newer#hadir-central_}" "version" "$(in_tree dpkg-query --show --showformat '${Version}_${Architecture}.deb' hadir-central)"
expect "$settings" "settings" "$(sha256sum < "$tree/etc/hadir-central/centre.yaml")"
revision() { in_tree sqlite3 /var/lib/hadir-central/centre.db 'SELECT version_num FROM alembic_version'; }
expect 0008 "revision before the receiver runs" "$(revision)"
expect 74 "exit code of a reader before" "$(code 'hadir-central report')"

say "a migration that fails leaves the old database"
cp -p "$data/centre.db" "$data/sound.db"
in_tree sqlite3 /var/lib/hadir-central/centre.db 'CREATE TABLE request_step (foreign_to_us)'
before=$(in_tree sqlite3 /var/lib/hadir-central/centre.db .dump | sha256sum)
expect 74 "exit code of the receiver" "$(code 'timeout 60 hadir-central inbox')"
grep -h "request_step" "$tree/srv/output"
expect "$before" "content" "$(in_tree sqlite3 /var/lib/hadir-central/centre.db .dump | sha256sum)"
mv "$data/sound.db" "$data/centre.db" && rm -f "$data"/centre.db-*
expect 124 "the receiver runs until it is stopped" "$(code 'timeout 30 hadir-central inbox')"
expect 0 "exit code of a reader afterwards" "$(code 'hadir-central report')"
rm -f "$data"/centre.db* && mv "$data/kept.db" "$data/centre.db"

say "remove, and install again"
apt remove -y -qq hadir-central
expect no "/opt/hadir-central" "$([ -e "$tree/opt/hadir-central" ] && echo yes || echo no)"
expect "$settings" "settings" "$(sha256sum < "$tree/etc/hadir-central/centre.yaml")"
apt install -y -qq --no-install-recommends "/debs/$newer"
expect 124 "the receiver runs until it is stopped" "$(code 'timeout 30 hadir-central inbox')" # the older package wrote it
expect 2 "rows of people, from before the upgrade" \
  "$(in_tree sqlite3 /var/lib/hadir-central/centre.db "SELECT count(*) FROM statements WHERE kind = 'people'")"

say "boot"
cat > "$tree/etc/mosquitto/conf.d/check.conf" <<'CONF'
listener 1883 127.0.0.1
allow_anonymous false
password_file /etc/mosquitto/passwords
max_packet_size 4194304
max_queued_messages 100000
CONF
in_tree sh -c 'touch /etc/mosquitto/passwords && mosquitto_passwd -b /etc/mosquitto/passwords centre "$(cat /srv/password)" \
  && chown mosquitto /etc/mosquitto/passwords'
cat > "$tree/etc/systemd/system/trial.service" <<'UNIT'
[Service]
Type=oneshot
ExecStart=/srv/trial
ExecStopPost=/bin/systemctl --no-block poweroff
StandardOutput=file:/srv/trial.log
StandardError=inherit
[Install]
WantedBy=multi-user.target
UNIT
cat > "$tree/srv/trial" <<'SH'
#!/bin/bash
# What the services do in a booted system; one line for each thing that holds.
set -eu
holds() { for second in $(seq 180); do sleep 1; if eval "$2" > /dev/null 2>&1; then echo "holds: $1"; return; fi; done
  echo "does not hold: $1"; systemctl status 'hadir-central*' --no-pager --full; journalctl -u 'hadir-central*' --no-pager -n 60; exit 1; }
fetch() { python3 -c "import urllib.request as u, sys; print(u.urlopen('http://127.0.0.1:8090/$1', timeout=20).read().decode())"; }
pid() { systemctl show --property MainPID --value "$1"; }

systemctl enable --quiet --now hadir-central hadir-central-serve hadir-central-backup.timer hadir-central-check.timer
holds "the receiver has found the broker" 'journalctl -u hadir-central | grep broker_found'
holds "the pages answer on loopback" 'fetch healthz'
holds "the form to log in is shown, in Indonesian" 'fetch login | grep -i "kata sandi"'
holds "a login is taken" 'python3 /srv/login'
holds "neither runs as root" '[ "$(stat --format %U /proc/$(pid hadir-central))$(stat --format %U /proc/$(pid hadir-central-serve))" = hadir-centralhadir-central ]'
holds "more judges wait until they are enabled" '[ -z "$(systemctl list-units --no-legend "hadir-central-*@*")" ]'
systemctl enable --quiet --now hadir-central-judge@1 hadir-central-judge@2
holds "two more judges run" '[ "$(journalctl -u "hadir-central-judge@*" | grep -c judging_started)" = 2 ]'
systemctl enable --quiet --now hadir-central-inbox@2
holds "a file has one receiver" '[ "$(systemctl show --property ExecMainStatus --value hadir-central-inbox@2)" = 75 ]'
systemctl disable --quiet --now hadir-central-inbox@2
holds "both timers wait" '[ "$(systemctl list-timers --no-legend "hadir-central*" | wc -l)" -ge 2 ]'
systemctl start hadir-central-backup
holds "a copy is made and verified by the service" '[ "$(find /var/lib/hadir-central/backups -name SHA256SUMS | wc -l)" -ge 2 ]'
hadir-central doctor > /srv/doctor.log 2>&1 || true
cat /srv/doctor.log
holds "the doctor reaches the broker and the pages" '! grep -E "^[✗X] (broker|pages|halaman)" /srv/doctor.log && grep -E "^[✓+] broker" /srv/doctor.log'
systemctl start hadir-central-check || true
holds "the nightly check has verified events and access log" '[ "$(journalctl -u hadir-central-check -o cat | grep -c "^OK: ")" -ge 2 ]'
systemctl stop hadir-central hadir-central-serve 'hadir-central-judge@*'
hadir-central restore /var/lib/hadir-central/backups > /dev/null
systemctl start hadir-central hadir-central-serve hadir-central-judge@1
holds "what root restored is the services'" '[ -z "$(find /var/lib/hadir-central ! -user hadir-central)" ] && fetch healthz'
kill -9 "$(pid hadir-central)"
holds "a killed receiver is started again" 'systemctl is-active hadir-central && [ "$(journalctl -u hadir-central | grep -c broker_found)" -ge 3 ]'
printf 'mistaken: true\n' >> /etc/hadir-central/centre.yaml
systemctl restart hadir-central || true
holds "mistaken settings are not tried again and again" \
  '[ "$(systemctl show --property ExecMainStatus,ActiveState --value hadir-central | tr "\n" " ")" = "78 failed " ]'
sed -i '$d' /etc/hadir-central/centre.yaml
systemctl start hadir-central
holds "it runs after the mistake was mended" 'systemctl is-active hadir-central'
DEBIAN_FRONTEND=noninteractive apt-get remove -y -qq hadir-central > /dev/null
holds "removing the package stops everything" '! systemctl is-active hadir-central hadir-central-serve hadir-central-judge@1 && [ ! -e /opt/hadir-central ]'
echo "all holds"
SH
cat > "$tree/srv/login" <<'PY'
import http.cookiejar, re, urllib.parse, urllib.request
opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
page = opener.open("http://127.0.0.1:8090/login", timeout=20).read().decode()
fields = dict(re.findall(r'<input[^>]*type="hidden"[^>]*name="([^"]+)"[^>]*value="([^"]*)"', page))
fields |= {"account": "bkd", "name": "bkd", "password": open("/etc/hadir-central/secrets/first-password").read().strip()}
request = urllib.request.Request("http://127.0.0.1:8090/login", urllib.parse.urlencode(fields).encode(), {"Origin": "http://127.0.0.1:8090"})
page = opener.open(request, timeout=30).read().decode()
assert "logout" in page, page
PY
chmod +x "$tree/srv/trial"
in_tree systemctl --quiet enable trial.service mosquitto.service
# Asking the kernel about its clock is what a container may not do by default.
timeout 1800 systemd-nspawn --quiet --directory="$tree" --register=no --keep-unit --system-call-filter=@clock --boot \
  < /dev/null > "$work/boot-central.log" 2>&1 || true
cat "$tree/srv/trial.log"
expect "all holds" "the last word of the trial" "$(tail -n 1 "$tree/srv/trial.log")"

say "purge"
apt purge -y -qq hadir-central
expect "" "settings and secrets" "$(find "$tree/etc/hadir-central" -type f 2> /dev/null)"
expect "" "links that start it" "$(find "$tree/etc/systemd" -name 'hadir-central*')"
expect yes "the database" "$([ -s "$data/centre.db" ] && echo yes || echo no)"
apt install -y -qq --no-install-recommends "/debs/$newer"
in_tree env HADIR_PURGE_DATA=yes apt-get purge -y -qq hadir-central > /dev/null 2>&1
expect no "the data, when they are to go" "$([ -e "$data" ] && echo yes || echo no)"
echo
echo "OK: $newer"
