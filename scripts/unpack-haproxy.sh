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
$download || { [ "$(id -u)" = 0 ] && apt-get update -qq || sudo apt-get update -qq; $download; }
dpkg-deb -x haproxy_*.deb .
rm haproxy_*.deb
cd ..
rm -rf "$folder"
mv "$folder.new" "$folder"
