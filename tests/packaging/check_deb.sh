#!/usr/bin/env bash
# Takes the package through its life in a fresh Debian: check_deb.sh RELEASE ARCHITECTURE, with revisions 0 and 1 of it
# in dist/. As root; see `make check-deb`.
#
# First without systemd, as in an image that is being built: install, upgrade with a full ledger, remove, install again,
# purge. Then it boots, and the service runs as it will in an office: dynamic user, credentials, filters, watchdog.
set -euo pipefail
cd "$(dirname "$0")/../.."
release=$1
case $release in bookworm) suffix=+deb12 ;; trixie) suffix=+deb13 ;; *) echo "no such release: $release" >&2; exit 2 ;; esac
older=$(cd dist && ls hadir_*-0"${suffix}_$2.deb") newer=$(cd dist && ls hadir_*-1"${suffix}_$2.deb")
work=$PWD/build/check-deb/$release
tree=$work/tree
punches=20000

say() { printf '\n== %s\n' "$*"; }
# Nothing that was started in the tree outlives the command.
in_tree() { systemd-nspawn --quiet --directory="$tree" --register=no --keep-unit --as-pid2 --pipe "$@" \
  2> >(grep -v 'remove disk file system' >&2); }
install_deb() { in_tree env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$1" < /dev/null 2>&1 |
  { grep -E '^hadir|sudo|error' || true; }; }
expect() { # EXPECTED WHAT ACTUAL
  if [ "$1" = "$3" ]; then echo "ok: $2: $3"; else echo "FAILED: $2: $3, not $1" >&2; exit 1; fi; }
events() { in_tree hadir tail --lines 100000 --json --pins | sha256sum; }

mkdir -p "$work"
if [ ! -e "$work/fresh.tar" ]; then
  say "Debian, $release"
  debootstrap --variant=minbase "$release" "$work/fresh" > "$work/debootstrap.log"
  tar -C "$work/fresh" -cf "$work/fresh.tar" . && rm -rf "$work/fresh"
fi
rm -rf "$tree" && mkdir "$tree" && tar -C "$tree" -xf "$work/fresh.tar"
in_tree sh -c 'apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
  python3 ca-certificates > /dev/null 2>&1'
say "checksums and bill of materials"
(cd dist && sha256sum --check --quiet SHA256SUMS)
.venv/bin/python -m json.tool "dist/${newer%.deb}.cdx.json" > /dev/null
mkdir "$tree/debs" && cp "dist/$older" "dist/$newer" "$tree/debs"

say "install"
install_deb "/debs/$older"
expect 78 "exit code of hadir check on the starter" "$(in_tree sh -c 'hadir check > /dev/null 2>&1; echo $?')"
expect "" "links that start it" "$(find "$tree/etc/systemd" -name 'hadir*.service')"
expect "" "files that are not as packed" "$(in_tree dpkg --verify hadir)"

say "a full ledger"
cat > "$tree/etc/hadir/gateway.yaml" <<'YAML'
site: office
gateway: gw-01
timezone: Asia/Jakarta
mqtt: {url: 'mqtt://127.0.0.1:9', username: gw, password_file: secrets/mqtt-password}
terminals:
  - {name: lobby, driver: zkteco, address: '127.0.0.1:24370', comm_key_file: secrets/lobby-key}
YAML
echo 'not a real password' > "$tree/etc/hadir/secrets/mqtt-password"
echo 1234 > "$tree/etc/hadir/secrets/lobby-key"
chmod 600 "$tree"/etc/hadir/secrets/*
cat > "$tree/srv/simulator" <<SH
#!/bin/sh
tail -f /dev/null | hadir simulate zkteco --port 24370 --records $punches --comm-key 1234
SH
cat > "$tree/srv/fill" <<SH
#!/bin/sh
/srv/simulator > /dev/null &
hadir run 2> /srv/gateway.log &
gateway=\$!
for second in \$(seq 120); do
  sleep 1
  [ "\$(hadir tail --lines 100000 --json 2> /dev/null | wc -l)" -ge $punches ] && break
done
kill \$gateway
wait \$gateway
SH
chmod +x "$tree/srv/simulator" "$tree/srv/fill"
in_tree env DPKG_MAINTSCRIPT_PACKAGE=hadir deb-systemd-helper enable hadir.service # what systemctl enable would do
in_tree /srv/fill
in_tree hadir verify
before=$(events)
config=$(sha256sum < "$tree/etc/hadir/gateway.yaml")
held=$(in_tree hadir tail --lines 100000 --json | grep -c punch.recorded)
expect "$punches" "punches in the ledger" "$held"

say "upgrade"
install_deb "/debs/$newer"
expect "${newer#hadir_}" "version" "$(in_tree dpkg-query --show --showformat '${Version}_${Architecture}.deb' hadir)"
expect "$config" "configuration" "$(sha256sum < "$tree/etc/hadir/gateway.yaml")"
expect "$before" "events" "$(events)"

say "remove, and install again"
in_tree apt-get remove -y -qq hadir > /dev/null 2>&1
expect no "/opt/hadir" "$([ -e "$tree/opt/hadir" ] && echo yes || echo no)"
expect "$config" "configuration" "$(sha256sum < "$tree/etc/hadir/gateway.yaml")"
install_deb "/debs/$newer"
expect "$before" "events" "$(events)"
expect 1 "links that start it, as before" \
  "$(find "$tree/etc/systemd" -name hadir.service -lname '/lib/systemd/system/hadir.service' | wc -l)"

say "boot"
in_tree sh -c 'DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends systemd-sysv dbus > /dev/null 2>&1'
mkdir -p "$tree/etc/systemd/system/hadir.service.d"
printf '[Service]\nWatchdogSec=8\nTimeoutStopSec=3\n' > "$tree/etc/systemd/system/hadir.service.d/impatient.conf"
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
# What the service does in a booted system; one line for each thing that holds.
set -eu
holds() { for second in $(seq 60); do sleep 1; if eval "$2" > /dev/null 2>&1; then echo "holds: $1"; return; fi; done
  echo "does not hold: $1"; systemctl status hadir --no-pager --full; journalctl -u hadir --no-pager -n 30; exit 1; }
pid() { systemctl show --property MainPID --value hadir; }

systemd-run --quiet --unit=simulator /srv/simulator
holds "it was started at boot, and is ready" 'systemctl is-active hadir'
holds "the terminal answers, its key is a credential" 'systemctl show --property StatusText hadir | grep "1 of 1 terminals online"'
holds "it does not run as root" '[ "$(stat --format %u /proc/$(pid))" -gt 60000 ]'
holds "the ledger was moved to where a dynamic user may have it" '[ -d /var/lib/private/hadir ] && [ -L /var/lib/hadir ]'
systemctl stop hadir
cat > /usr/local/bin/ask-the-clock <<'PY'
#!/usr/bin/python3
import ctypes
print("the kernel says", ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512)))
PY
chmod +x /usr/local/bin/ask-the-clock
sed -e 's|^ExecStart=.*|ExecStart=/usr/local/bin/ask-the-clock|; s/^Type=.*/Type=exec/; s/^Restart=.*/Restart=no/; s/=hadir$/=clock/' \
  -e '/^ExecStartPre/d' /lib/systemd/system/hadir.service > /run/systemd/system/clock.service
systemctl daemon-reload
systemctl start clock
holds "the kernel may be asked about its clock from within" \
  '! ask-the-clock | grep -e -1 && journalctl -u clock | grep "$(ask-the-clock)"'
hadir ledger backup > /dev/null
hadir ledger restore > /dev/null 2>&1
systemctl start hadir
holds "what root restored is the service's again" '[ -z "$(find /var/lib/private/hadir -user root)" ]'
holds "the terminal answers again" 'systemctl show --property StatusText hadir | grep "1 of 1 terminals online"'
frozen=$(pid)
kill -STOP "$frozen"
holds "a frozen gateway is killed by the watchdog and started again" '[ "$(pid)" != "$frozen" ] && systemctl is-active hadir'
holds "the log says why" 'journalctl -u hadir | grep "Watchdog timeout"'
printf 'mistaken: true\n' >> /etc/hadir/gateway.yaml
systemctl stop hadir
systemctl start hadir || true
holds "a mistaken configuration is not tried again and again" \
  '[ "$(systemctl show --property ExecMainStatus,ActiveState --value hadir | tr "\n" " ")" = "78 failed " ]'
sed -i '$d' /etc/hadir/gateway.yaml
systemctl start hadir
holds "it runs after the mistake was mended" 'systemctl is-active hadir'
DEBIAN_FRONTEND=noninteractive apt-get remove -y -qq hadir > /dev/null
holds "removing the package stops it" '! systemctl is-active hadir && [ ! -e /opt/hadir ]'
echo "all holds"
SH
chmod +x "$tree/srv/trial"
in_tree systemctl --quiet enable trial.service
# Asking the kernel about its clock is what a container may not do by default.
timeout 600 systemd-nspawn --quiet --directory="$tree" --register=no --keep-unit --system-call-filter=@clock --boot \
  < /dev/null > "$work/boot.log" 2>&1 || true
cat "$tree/srv/trial.log"
expect "all holds" "the last word of the trial" "$(tail -n 1 "$tree/srv/trial.log")"

say "purge"
in_tree apt-get purge -y -qq hadir 2>&1 | grep '^hadir'
expect no "/etc/hadir" "$([ -e "$tree/etc/hadir" ] && echo yes || echo no)"
expect yes "the ledger" "$([ -e "$tree/var/lib/private/hadir/ledger.db" ] && echo yes || echo no)"
echo
echo "OK: $newer"
