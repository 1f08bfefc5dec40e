#!/bin/bash
# Makes Debian 12 with systemd and Debian's own kernel as files for QEMU, disk.ext4, kernel and initrd, and prints the folder they are in.
# They are kept under the user's cache folder by the hash of this file, so that only a change here builds them again. Nothing of Grivet
# is in them: its programs come by a second disk (machine.py).
set -euo pipefail

packages=systemd,systemd-sysv,dbus,python3-minimal,libpython3-stdlib,nftables,iproute2,kmod,procps,busybox-static
# What Grivet's programs link, but for what is there already.
packages+=,libevent-2.1-7,libevent-openssl-2.1-7,libnl-3-200,libnl-route-3-200,libsodium23,libjansson4,libyaml-0-2,libcap2,libcurl4,libssl3,libsqlite3-0
kernel=linux-image-cloud-amd64
# It has NVMe built in, but QEMU saves no machine that has one. So an initrd loads these, in this order, and does nothing else.
modules="virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk"

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
# What the kernel needs to find its disk, and nothing else.
cat >"$work/add-initrd" <<'HOOK'
set -eu
root=$1
initrd=$root/tmp/initrd
shift
mkdir -p "$initrd/bin" "$initrd/dev" "$initrd/root"
cp "$root/bin/busybox" "$initrd/bin/"
{
    echo "#!/bin/busybox sh"
    for module in $1; do
        find "$root/usr/lib/modules" -name "$module.ko" -exec cp {} "$initrd/" ';'
        echo "/bin/busybox insmod /$module.ko"
    done
    echo "/bin/busybox mount -t devtmpfs dev /dev"
    echo "until /bin/busybox mount -t ext4 /dev/vda /root 2>/dev/null; do :; done"
    echo "/bin/busybox mount --move /dev /root/dev"
    echo "exec /bin/busybox switch_root /root /sbin/init"
} >"$initrd/init"
chmod 0755 "$initrd/init"
chroot "$root" sh -c 'cd /tmp/initrd && find . | busybox cpio -o -H newc 2>/dev/null' >"$2"
rm -r "$initrd"
HOOK
# What the second disk brings is installed and started at boot. Without udev nothing else loads modules.
cat >"$work/test-agent.service" <<'UNIT'
[Unit]
Description=What the tests say to this machine
[Service]
ExecStartPre=/usr/sbin/modprobe -a virtio_console veth
ExecStartPre=mkdir -p /run/carried
ExecStartPre=mount -o ro /dev/vdb /run/carried
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
        --customize-hook="sh $work/add-initrd \"\$1\" '$modules' $work/initrd" \
        --customize-hook='chroot "$1" systemctl --quiet enable test-agent.service' \
        --customize-hook='chroot "$1" systemctl --quiet mask getty.target apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer' \
        --customize-hook='echo grivet-test >"$1/etc/hostname"; : >"$1/etc/machine-id"; rm "$1/etc/resolv.conf"' \
        bookworm "$tree"
    mke2fs -q -t ext4 -d "$tree" "$work/disk.ext4" 1G
    rm -rf "$tree" "$work/add-kernel" "$work/add-initrd" "$work/test-agent.service"
} >&2
chmod 0755 "$work"
mv -T "$work" "$wanted"
echo "$wanted"
