#!/bin/sh
# Installs what building, testing and the lab need on Debian 12, and only what is missing. None of it starts a daemon.
# Usage: install-packages.sh [build] [lab] [test] [system] [bench] [full]; without a word: the first three.
# GRIVET_NO_INSTALL=1: install nothing, trust that all is there (other distributions).
set -eu

build="gcc libc6-dev meson ninja-build pkg-config libevent-dev libnl-3-dev libnl-route-3-dev libsodium-dev libjansson-dev libyaml-dev
libsystemd-dev libcap-dev libseccomp-dev libcurl4-openssl-dev libssl-dev libsqlite3-dev check"
# haproxy itself is only unpacked (unpack-haproxy.sh): its package would start it. These are the libraries it loads.
lab="python3 curl iproute2 iputils-ping nftables util-linux openssl liblua5.3-0 libopentracing-c-wrapper0 libpcre2-8-0"
test="python3-pytest python3-pytest-xdist strace jq sqlite3 busybox dropbear-bin clang-format-14"
system="qemu-system-x86 mmdebstrap e2fsprogs util-linux" # a virtual machine; KVM helps where it works, and is not needed
bench="ipset iptables stress-ng" # what Grivet is measured beside
full="clang-14 clang-tidy-14 libclang-rt-14-dev cppcheck" # analysers and fuzzers

fail() {
    echo "install-packages.sh: $1" >&2
    exit 1
}

words=""
[ $# -gt 0 ] || set -- build lab test
for group in "$@"; do
    case $group in
    build) words="$words $build" ;;
    lab) words="$words $lab" ;;
    test) words="$words $test" ;;
    system) words="$words $system" ;;
    bench) words="$words $bench" ;;
    full) words="$words $full" ;;
    *) echo "install-packages.sh: unknown group '$group': build, lab, test, system, bench or full" >&2; exit 2 ;;
    esac
done
[ -z "${GRIVET_NO_INSTALL:-}" ] || exit 0
[ -x /usr/bin/dpkg-query ] && [ -x /usr/bin/apt-get ] ||
    fail "this is not Debian (no apt-get): install the equivalents of these packages, then set GRIVET_NO_INSTALL=1:
$(echo $words)"

missing=""
for package in $words; do
    case $(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null) in
    ?"i "*) ;; # also on hold
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

as_root=""
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || fail "you are not root and there is no sudo; as root: apt-get install$missing"
    as_root="sudo"
fi
echo "Installing:$missing"
options="-q -o DPkg::Lock::Timeout=120"
# shellcheck disable=SC2086  # words are meant to be split
$as_root env DEBIAN_FRONTEND=noninteractive apt-get $options update &&
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get $options install -y --no-install-recommends $missing </dev/null ||
    fail "apt-get could not install$missing
Its own words stand above. Is there a network, and is Debian 12 (bookworm) in /etc/apt/sources.list or sources.list.d?"
