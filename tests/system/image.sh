#!/bin/bash
# Makes Debian 12 with systemd and Debian's own kernel as two files for QEMU, disk.ext4 and kernel, and prints the folder they are in.
# They are kept under the user's cache folder by the hash of this file, so that only a change here builds them again. Nothing of Grivet
# is in them: its programs come by a second disk (machine.py).
set -euo pipefail

packages=systemd,systemd-sysv,dbus,python3-minimal,libpython3-stdlib,nftables,iproute2,kmod,procps
# What Grivet's programs link, but for what is there already.
packages+=,libevent-2.1-7,libevent-openssl-2.1-7,libnl-3-200,libnl-route-3-200,libsodium23,libjansson4,libyaml-0-2,libcap2,libcurl4,libssl3,libsqlite3-0
kernel=linux-image-cloud-amd64 # NVMe and ext4 are built in: no initrd

cache=${XDG_CACHE_HOME:-$HOME/.cache}/grivet
wanted=$cache/image-$(sha256sum "${BASH_SOURCE[0]}" | cut -c1-16)
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9 # a second run waits for what the first one builds
if [ -d "$wanted" ]; then
    touch "$wanted"
    echo "$wanted"
    exit 0
fi

work=$(mktemp -d "$cache/building-XXXXXX")
trap 'rm -rf "$work"' EXIT
find "$cache" -maxdepth 1 \( -name 'image-*' -mtime +14 -o -name 'building-*' ! -path "$work" \) -exec rm -rf {} +
tree=$work/tree

# The kernel is unpacked, not installed: its package would want an initrd.
cat >"$work/add-kernel" <<'HOOK'
set -eu
cd "$1/tmp"
name=$(chroot "$1" apt-cache depends "$2" | awk '/Depends: linux-image/ {print $2; exit}')
chroot "$1" sh -c "cd /tmp && apt-get -q download $name && dpkg-deb -x $name*.deb /tmp/kernel && rm $name*.deb"
mv "$1"/tmp/kernel/lib/modules "$1/usr/lib/modules"
mv "$1"/tmp/kernel/boot/vmlinuz-* "$3"
rm -r "$1/tmp/kernel"
chroot "$1" depmod "$(ls "$1/usr/lib/modules")"
HOOK
# What the second disk brings is installed and started at boot. Without udev nothing else loads modules.
cat >"$work/test-agent.service" <<'UNIT'
[Unit]
Description=What the tests say to this machine
[Service]
ExecStartPre=/usr/sbin/modprobe -a virtio_pci virtio_console veth
ExecStartPre=mkdir -p /run/carried
ExecStartPre=mount -o ro /dev/nvme1n1 /run/carried
ExecStart=/usr/bin/python3 /run/carried/agent.py
OOMScoreAdjust=-1000
[Install]
WantedBy=multi-user.target
UNIT
{
    mmdebstrap --quiet --mode=root --variant=minbase --include=$packages \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --customize-hook="copy-in $work/test-agent.service /etc/systemd/system" \
        --customize-hook="sh $work/add-kernel \"\$1\" $kernel $work/kernel" \
        --customize-hook='chroot "$1" systemctl --quiet enable test-agent.service' \
        --customize-hook='chroot "$1" systemctl --quiet mask getty.target apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer' \
        --customize-hook='echo grivet-test >"$1/etc/hostname"; : >"$1/etc/machine-id"; rm "$1/etc/resolv.conf"' \
        bookworm "$tree"
    mke2fs -q -t ext4 -d "$tree" "$work/disk.ext4" 1G
    rm -rf "$tree" "$work/add-kernel" "$work/test-agent.service"
} >&2
chmod 0755 "$work"
mv -T "$work" "$wanted"
echo "$wanted"
