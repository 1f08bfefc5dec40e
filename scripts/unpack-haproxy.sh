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
download="apt-get download -qq -o APT::Sandbox::User=root haproxy" # _apt may not reach this folder
if ! $download; then
    as_root=""
    [ "$(id -u)" = 0 ] || as_root="sudo"
    $as_root apt-get update -qq
    $download
fi
dpkg-deb -x haproxy_*.deb .
rm haproxy_*.deb
cd ..
rm -rf "$folder"
mv "$folder.new" "$folder"
