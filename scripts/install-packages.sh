#!/bin/sh
# Installs what building, testing and the lab need on Debian 12, and only what is missing. None of it starts a daemon.
# Usage: install-packages.sh [build] [lab] [test]; without a word: all three.
set -eu

build="gcc libc6-dev meson ninja-build pkg-config libevent-dev libnl-3-dev libsodium-dev libjansson-dev libyaml-dev
libseccomp-dev libsystemd-dev libcap-dev libcurl4-openssl-dev libssl-dev libsqlite3-dev check"
# haproxy itself is only unpacked (unpack-haproxy.sh): its package would start it. These are the libraries it loads.
lab="python3 iproute2 iputils-ping nftables util-linux openssl liblua5.3-0 libopentracing-c-wrapper0 libpcre2-8-0"
test="python3-pytest strace curl jq"

words=""
for group in "${@:-build lab test}"; do
    for name in $group; do
        case $name in
        build) words="$words $build" ;;
        lab) words="$words $lab" ;;
        test) words="$words $test" ;;
        *) echo "install-packages.sh: unknown group '$name': build, lab or test" >&2; exit 2 ;;
        esac
    done
done

missing=""
for package in $words; do
    case $(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null) in
    "ii "*) ;;
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

as_root=""
[ "$(id -u)" = 0 ] || as_root="sudo"
echo "Installing:$missing"
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -q
# shellcheck disable=SC2086  # words are meant to be split
$as_root apt-get install -q -y --no-install-recommends $missing
