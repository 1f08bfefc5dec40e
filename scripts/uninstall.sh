#!/bin/sh
# Removes Grivet from this machine, and everything that it ever made here: faults are ended, then go programs, units, users, keys,
# policy and memory. A coordinator's keys and reports as well: save /var/lib/grivet-coordinator first if you want them.
# Usage: uninstall.sh [PREFIX]; PREFIX is that of `meson setup`, /usr without.
set -eu
prefix=${1:-/usr}

fail() {
    echo "uninstall.sh: $1" >&2
    exit 1
}

[ "$(id -u)" = 0 ] || fail "run it as root"
[ -x "$prefix/sbin/grivet-sweep" ] || fail "$prefix/sbin/grivet-sweep is not there: name the prefix that Grivet was installed under"
for unit in "$prefix"/lib/systemd/system/grivet*.service; do
    [ "${unit##*/}" = grivet-sweep.service ] || systemctl disable --quiet --now "${unit##*/}"
done
# grivetd ended its faults before it stopped; this pass is for what an earlier accident left. The last hand goes after it.
"$prefix/sbin/grivet-sweep" ||
    fail "a fault's traces are still there; no file was removed, and grivet-sweep goes on trying (see docs/runbook.md)"
systemctl disable --quiet --now grivet-sweep.service
systemctl stop 'grivet*.slice'

rm -f "$prefix"/lib/systemd/system/grivet*.service "$prefix"/lib/systemd/system/grivet*.slice \
    "$prefix/lib/sysusers.d/grivet.conf" "$prefix/lib/tmpfiles.d/grivet.conf" "$prefix"/share/man/man1/grivet.1* \
    "$prefix/bin/grivet" "$prefix/sbin/grivetd" "$prefix"/sbin/grivet-*
rm -rf /run/grivet /etc/grivet /var/lib/grivet /var/lib/grivet-courier /var/lib/grivet-coordinator
for user in grivet-courier grivet-prober grivet-holder grivet-coordinator; do
    if getent passwd $user >/dev/null; then
        userdel $user
    fi
done
systemctl daemon-reload
systemctl reset-failed 'grivet*' 2>/dev/null || :
