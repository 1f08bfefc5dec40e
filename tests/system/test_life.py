"""One machine's life with Grivet as README.md tells it: install, join, run, a power cut in mid fault, uninstall in mid fault.

It is coordinator, laptop and host in one. The tests follow one another; each needs the ones before.
"""

import json
import re

import pytest

from installed import FAR, Installed
from lab.host import SOURCE

ADDRESS = "10.1.0.11"
ON_THE_HOST = ("grivet-sweep", "grivetd", "grivet-courier", "grivet-prober", "grivet-ready")
EXPERIMENT = f"""schema: grivet.experiment/1
name: cut-off
environment: staging
expect: {{hosts: 1}}
max_runs: 9
settle_s: 0
steps:
  - name: no-far
    fault: network.block
    parameters: {{cidrs: [{FAR}]}}
    hosts: {{labels: {{group: web}}}}
    duration_s: 300
"""
# What an NTP client tells the kernel: struct timex of adjtimex(2) with ADJ_MAXERROR | ADJ_STATUS, 1 ms, STA_PLL.
SYNCHRONISE = """
import ctypes, struct
timex = ctypes.create_string_buffer(struct.pack("@Illlli", 0x0004 | 0x0010, 0, 0, 1000, 0, 1), 512)
assert ctypes.CDLL(None).adjtimex(timex) >= 0
"""
# Every file but what lives in memory, what the system logs and caches by itself, and the second disk.
LIST_FILES = r"""find / \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /var/tmp -o -path /var/log
    -o -path /var/lib/systemd -o -path /var/cache -o -name __pycache__ \) -prune -o -printf '%p %m %u\n' | sort; cat /etc/passwd /etc/group"""


class Life(Installed):
    def files(self):
        return self.sh(LIST_FILES.replace("\n", " ")).splitlines()

    def cli(self, script, **options):
        return self.sh("export HOME=/root; cd /root; " + script, **options)

    def synchronise(self):
        self.run(["python3", "-c", SYNCHRONISE])

    def wait_up(self):
        """Until every unit is active, and the coordinator has heard of the host."""
        for name in ("grivet-coordinator", *ON_THE_HOST):
            self.wait_for(lambda name=name: self.is_active(name), what=f"{name} to be active")
        self.wait_for(lambda: re.search(r"^web-1 +yes ", self.cli("grivet hosts"), re.M), what="contact with web-1")

    def report(self, run):
        return json.loads(self.cli(f"grivet report {run} -o json"))

    def begin_run(self):
        """Plans, signs and starts the experiment, and waits until the packets are lost. Returns the run."""
        self.cli("rm -f cut-off.json; grivet plan cut-off.yaml --file cut-off.json")
        self.cli("for person in alice bob; do grivet sign cut-off.json --key $person.key --hosts 1; done")
        run = self.cli("grivet run cut-off.json --detach").strip()
        self.wait_for(self.is_cut, what="the fault")
        self.cut_at = self.meter()[-1][1]
        return run


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    with Life(tmp_path_factory.mktemp("life"), keeps_disk=True) as made:
        made.boot()
        made.wire()
        made.sh("mkdir -p /usr/share/man/man1")  # every system has it but the image
        made.before = set(made.files())
        yield made


def test_install_and_join(machine):
    machine.install()
    machine.synchronise()
    said = machine.cli(f"""
        mkdir .config
        for person in alice bob; do grivet key new $person --no-passphrase >&2; done
        grivet-coordinator init --person alice.pub --person bob.pub --name {ADDRESS} --environment staging --zone z1=10.1.0.0/24
        grivet-coordinator operator add alice --out .config/grivet --coordinator https://{ADDRESS}:8443 >&2
        systemctl enable --quiet --now grivet-coordinator""")
    pins = re.search(r"--ca sha256:\S+ --roots sha256:\S+", said)[0]
    machine.wait_for(lambda: machine.run(["ss", "-Hltn", "sport = 8443"]).stdout, what="the coordinator")
    machine.cli(f"""
        token=$(grivet token new --label group=web)
        grivet join https://{ADDRESS}:8443 --token $token {pins} --name web-1 --address {ADDRESS} \\
            --label group=web --label zone=z1 --environment staging
        systemctl enable --quiet --now {" ".join(ON_THE_HOST)}""")
    machine.wait_up()
    assert "ready" in machine.sh("journalctl -b -u grivet-ready") and "NOT ready" not in machine.sh("journalctl -b -u grivet-ready")
    assert all(machine.unit(name, "NRestarts")["NRestarts"] == "0" for name in ON_THE_HOST)
    machine.write("/root/cut-off.yaml", EXPERIMENT)


def test_run_and_halt(machine):
    run = machine.begin_run()
    machine.cli("grivet halt --fleet")
    assert not machine.left() and not machine.is_cut()
    report = machine.report(run)
    assert report["state"] == "halted" and report["faults"][0]["state"] == "reverted"


def test_power_loss_in_mid_fault(machine):
    run = machine.begin_run()
    machine.sh("sync /usr/sbin/grivet*")  # it was installed long ago; no file of a running fault is given this help
    machine.pull_plug()
    machine.boot()
    machine.wire()
    machine.synchronise()
    machine.wait_up()
    assert not machine.left() and not machine.is_cut()
    (fault,) = machine.report(run)["faults"]
    assert (fault["state"], fault["ended_by"], fault["why"]) == (
        "reverted", "restart", "it was interrupted: the host was restarted during the fault")
    assert "fault.reverted: network.block" in machine.sh("journalctl -b -u grivetd")


def test_uninstall_in_mid_fault(machine):
    machine.begin_run()
    machine.write("/root/uninstall.sh", (SOURCE / "scripts/uninstall.sh").read_text(), 0o755)
    machine.run(["/root/uninstall.sh"])
    machine.wait_for(lambda: not machine.is_cut(), what="the packets")
    assert not machine.sh("nft list ruleset; pgrep -l grivet || :; ls -d /run/grivet* 2>/dev/null || :; "
                          "systemctl list-units --all --plain --no-legend 'grivet*'")
    machine.sh("rm -r /root/*.key /root/*.pub /root/cut-off.* /root/uninstall.sh /root/.config")
    difference = set(machine.files()) ^ machine.before
    assert not difference
