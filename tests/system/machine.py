"""A virtual machine: Debian's kernel and systemd in QEMU, with a serial port to an agent in it. It has no network card.

The disk is the cached image (image.sh), never written; what differs from test run to test run comes on a second disk.
"""

import functools
import json
import os
import pathlib
import select
import shutil
import socket
import subprocess
import tempfile
import time

from lab.host import LabError, die_with_parent, wait_until

HERE = pathlib.Path(__file__).resolve().parent
BOOT_S = 240  # 10 s on an idle machine, without KVM
PATIENCE_S = 60  # a request that waits in the guest is late by no more than this
APPEND = "console=ttyS0 quiet panic=-1 mitigations=off systemd.show_status=0 net.ifnames=0"


@functools.cache
def image():
    """The folder with disk.ext4 and kernel."""
    made = subprocess.run([HERE / "image.sh"], stdout=subprocess.PIPE, text=True, timeout=600, check=True)
    return pathlib.Path(made.stdout.strip())


@functools.cache
def accelerator():
    """KVM only if it boots a kernel: where it fails or hangs in spite of /dev/kvm, QEMU's own fallback does not see it.

    Emulated, the guest's clocks count instructions, 2 ns each (-icount), and the time that it has nothing to do. So what it
    measures is exact, however busy this machine is; it only gets slower, and its clock falls behind ours. One CPU: with two,
    7.2 does not boot that way.
    """
    if os.access("/dev/kvm", os.W_OK):
        argv = ["qemu-system-x86_64", "-accel", "kvm", "-cpu", "max", "-m", "256", "-nodefaults", "-display", "none",
                "-no-reboot", "-serial", "stdio", "-kernel", image() / "kernel", "-append", "console=ttyS0 panic=-1"]
        try:
            tried = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False)
            if b"Unable to mount root fs" in tried.stdout:
                return "-accel", "kvm", "-smp", "2"
        except subprocess.TimeoutExpired:
            pass
    return "-accel", "tcg", "-icount", "shift=1", "-smp", "1"


def make_disk(path, tree, size):
    """An ext4 file system with the tree's files, all of them root's."""
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-E", "root_owner=0:0", "-d", tree, path, size], check=True,
                   stdin=subprocess.DEVNULL, capture_output=True)


class Machine:
    def __init__(self, folder, carried, keeps_disk=False):
        """`carried` is a folder that the guest sees as /run/carried; `keeps_disk`: what is written outlasts the machine."""
        self.folder = pathlib.Path(folder)
        self.process = None
        self.disk = image() / "disk.ext4"
        if keeps_disk:
            self.disk = self.folder / "disk.ext4"
            subprocess.run(["cp", "--sparse=always", image() / "disk.ext4", self.disk], check=True)
        self.is_kept = keeps_disk
        self.carried = self.folder / "carried.ext4"
        with tempfile.TemporaryDirectory(dir=self.folder) as tree:
            shutil.copytree(carried, tree, dirs_exist_ok=True, symlinks=True)
            shutil.copy(HERE / "guest_agent.py", f"{tree}/agent.py")
            make_disk(self.carried, tree, "64M")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.pull_plug()

    def boot(self):
        """Starts QEMU and waits for the agent's first word. It dies with us, and writes what its console says to console.log."""
        ours, theirs = socket.socketpair()
        monitor, monitored = socket.socketpair()
        snapshot = "off" if self.is_kept else "on"
        argv = ["qemu-system-x86_64", *accelerator(), "-cpu", "max", "-m", "448", "-nodefaults", "-no-user-config", "-nic", "none", "-display", "none", "-no-reboot",
                "-serial", f"file:{self.folder / 'console.log'}", "-kernel", image() / "kernel", "-initrd", image() / "initrd",
                "-append", APPEND, "-drive", f"file={self.disk},if=virtio,format=raw,snapshot={snapshot}",
                "-drive", f"file={self.carried},if=virtio,format=raw,readonly=on",
                "-chardev", f"socket,id=agent,fd={theirs.fileno()}", "-device", "virtio-serial-pci",
                "-device", "virtserialport,chardev=agent",
                "-chardev", f"socket,id=monitor,fd={monitored.fileno()}", "-mon", "chardev=monitor,mode=control"]
        with open(self.folder / "qemu.log", "ab") as log:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            pass_fds=[theirs.fileno(), monitored.fileno()], start_new_session=True,
                                            preexec_fn=die_with_parent)
        theirs.close()
        monitored.close()
        self.port, self.rest = ours, b""
        self.monitor = monitor.makefile("rw")
        monitor.close()
        self.monitor.readline()  # the greeting
        self.command("qmp_capabilities")
        started = time.monotonic()
        self.read_answer(BOOT_S)
        self.boot_s = time.monotonic() - started

    # ---- talking to the agent

    def trouble(self, what):
        logs = [(self.folder / name).read_text(errors="replace")[-1500:] for name in ("console.log", "qemu.log")]
        return LabError("\n".join([f"virtual machine: {what}", *logs]))

    def read_answer(self, timeout):
        deadline = time.monotonic() + timeout
        while b"\n" not in self.rest:
            if not select.select([self.port], [], [], max(0, deadline - time.monotonic()))[0]:
                raise self.trouble(f"no answer in {timeout} s")
            chunk = self.port.recv(65536)
            if not chunk:
                raise self.trouble("it has ended")
            self.rest += chunk
        line, self.rest = self.rest.split(b"\n", 1)
        return json.loads(line)

    def ask(self, do, **request):
        """Sends one request of guest_agent.py and returns its answer."""
        self.port.sendall(json.dumps({"do": do, **request}).encode() + b"\n")
        answer = self.read_answer(request.get("timeout", 10) + PATIENCE_S)
        if "failed" in answer:
            raise LabError(f"virtual machine: {do}: {answer['failed']}")
        return answer

    def run(self, argv, check=True, timeout=60, text=""):
        """Runs a command as root; returns its CompletedProcess."""
        argv = list(map(str, argv))
        done = self.ask("run", timeout=timeout, argv=argv, input=text)
        if done["code"] is None or check and done["code"]:
            raise LabError(f"virtual machine: {' '.join(argv)}: exit code {done['code']}\n{done['out']}{done['error']}")
        return subprocess.CompletedProcess(argv, done["code"], done["out"], done["error"])

    def sh(self, script, **options):
        """What a shell script says."""
        return self.run(["sh", "-euc", script], **options).stdout

    def now(self):
        """Its CLOCK_BOOTTIME in ns."""
        return self.ask("clock")["boot_ns"]

    def write(self, path, text, mode=0o644):
        self.run(["sh", "-euc", 'umask 077; mkdir -p "${1%/*}"; cat >"$1"; chmod "$2" "$1"', "sh", path, f"{mode:o}"],
                 text=text)

    def wait_for(self, predicate, timeout=90.0, what="condition"):
        return wait_until(predicate, timeout, f"{what} in the virtual machine", 0.3)

    def wait_end(self, pid, timeout=30):
        """Until a process has ended, by its own seconds; it costs the machine nothing."""
        self.ask("gone", pid=pid, timeout=timeout)

    # ---- snapshots

    def command(self, execute, **arguments):
        """One command of QEMU's monitor (QMP); what happens meanwhile is of no interest."""
        self.monitor.write(json.dumps({"execute": execute, "arguments": arguments}) + "\n")
        self.monitor.flush()
        while "event" in (answer := json.loads(self.monitor.readline())):
            pass
        if answer.get("return"):
            raise self.trouble(f"{execute} {arguments}: {answer}")

    def save(self, name):
        """Saves the whole machine, disk and clocks included; it goes on."""
        self.command("human-monitor-command", **{"command-line": f"savevm {name}"})

    def restore(self, name):
        """All of it is as it was when that was saved, and it knows of nothing since."""
        self.command("human-monitor-command", **{"command-line": f"loadvm {name}"})

    # ---- ending

    def power_off(self, timeout=120):
        self.run(["systemctl", "--no-block", "poweroff"])
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise self.trouble(f"it has not powered off in {timeout} s") from None
        self.pull_plug()

    def pull_plug(self):
        """As a power cut: QEMU is killed."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.port.close()
            self.monitor.close()
            self.process = None
