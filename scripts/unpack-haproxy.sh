#!/bin/sh
# Puts Debian's haproxy into FOLDER without installing it: the package would start a daemon on this machine.
# Usage: unpack-haproxy.sh FOLDER
set -eu

folder=${1:?usage: unpack-haproxy.sh FOLDER}
if [ -x "$folder/usr/sbin/haproxy" ]; then
    exit 0
fi
mkdir -p "$folder.new"
cd "$folder.new"
rm -rf ./*
echo "Unpacking haproxy into $folder"
if ! command -v apt-get >/dev/null; then
    echo "unpack-haproxy.sh: no apt-get here: put a haproxy (2.4 or newer) at $folder/usr/sbin/haproxy by hand" >&2
    exit 1
fi
download() {
    apt-get download -qq -o APT::Sandbox::User=root haproxy # _apt may not reach this folder
}
if ! download 2>/dev/null; then # lists that are missing or too old
    as_root=""
    [ "$(id -u)" = 0 ] || as_root="sudo"
    $as_root apt-get update -qq
    if ! download; then
        echo "unpack-haproxy.sh: can't download Debian's haproxy: is there a network, and bookworm in apt's sources?" >&2
        exit 1
    fi
fi
dpkg-deb -x haproxy_*.deb .
rm haproxy_*.deb
cd ..
rm -rf "$folder"
mv "$folder.new" "$folder"
