"""The sweep alone: what it ends, what it leaves alone, and what it says about the rest."""

import os
import re
import subprocess

import pytest

import lab.host
from lab.host import wait_until
from rig import GRACE_MS, boot_ns

ORDER = "01900000-0000-7000-8000-00000000abcd"
TABLE = "grivet-00000000abcd"
ACTIVE = "/run/grivet/active/" + ORDER
FAR_NS = 3600 * 10**9


def now_usec():
    import time
    return time.time_ns() // 1000


def record(boot_nsec=None, real_usec=None, boot=None, pid=0, ticks=0):
    boot = boot or open("/proc/sys/kernel/random/boot_id").read().strip()
    return (f"order {ORDER}\nboot {boot}\nfault zone.block\nholder_pid {pid}\nholder_start_ticks {ticks}\n"
            f"deadline_boot_nsec {boot_nsec if boot_nsec is not None else boot_ns() + FAR_NS}\n"
            f"deadline_real_usec {real_usec if real_usec is not None else now_usec() + FAR_NS // 1000}\n"
            f"undo nft-table inet {TABLE}\n")


def put(host, text):
    """As record_write() does: whole, by a rename."""
    host.write("/run/grivet/active/.new", text)
    os.rename(host.path("/run/grivet/active/.new"), host.path(ACTIVE))


def tables(host):
    return host.run(["nft", "list", "tables"]).stdout


def result(host):
    path = host.path("/run/grivet/results/" + ORDER)
    return dict(line.partition(" ")[::2] for line in path.read_text().splitlines()) if path.exists() else None


def test_it_links_little():
    out = subprocess.run(["ldd", lab.host.BUILD / "agent/grivet-sweep"], capture_output=True, text=True, check=True).stdout
    names = set(re.findall(r"(\S+?)\.so", out)) - {"linux-vdso", "/lib64/ld-linux-x86-64", "/lib/ld-linux-aarch64"}
    assert {name.rpartition("/")[2] for name in names} <= {"libc", "libnl-3", "libseccomp", "ld-linux-x86-64", "ld-linux-aarch64"}


def test_pass_over_nothing(host):
    host.sh("rm -rf /run/grivet")
    done = host.run(["grivet-sweep"])
    assert done.stderr == ""
    assert host.path("/run/grivet/active").is_dir()
    assert "usage" in host.run(["grivet-sweep", "--bogus"], check=False).stderr


@pytest.mark.parametrize("late", ["boot", "real"])
def test_watch_ends_what_is_past_on_either_clock(host, late):
    host.run(["nft", "add", "table", "inet", TABLE])
    host.service("sweep", ["grivet-sweep", "--watch"])
    due = boot_ns() + 300 * 10**6  # deadline and grace, so the deadline itself is past
    if late == "boot":
        put(host, record(boot_nsec=due - GRACE_MS * 10**6))
    else:
        put(host, record(real_usec=now_usec() + 300_000 - GRACE_MS * 1000))
    host.wait_for(lambda: result(host), 5, "a result")
    assert (boot_ns() - due) / 1e6 < 1000
    assert int(result(host)["reverted_usec"]) > 0
    host.wait_for(lambda: not host.path(ACTIVE).exists(), 1)
    assert TABLE not in tables(host)


def test_watch_leaves_the_living_alone(host):
    host.run(["nft", "add", "table", "inet", TABLE])
    host.service("sweep", ["grivet-sweep", "--watch"])
    put(host, record())
    put(host, record(boot_nsec=boot_ns() + FAR_NS))
    other = ORDER.replace("abcd", "abce")
    text = record(boot_nsec=boot_ns() - FAR_NS).replace("abcd", "abce")
    host.write("/run/grivet/active/.new", text)
    os.rename(host.path("/run/grivet/active/.new"), host.path("/run/grivet/active/" + other))
    host.wait_for(lambda: not host.path("/run/grivet/active/" + other).exists(), 5, "the end of the one that is due")
    assert host.path(ACTIVE).exists() and TABLE in tables(host)


def test_another_boot_is_over(host):
    host.run(["nft", "add", "table", "inet", TABLE])
    host.service("nap", ["sleep", "60"])
    host.service("sweep", ["grivet-sweep", "--watch"])
    put(host, record(boot="00000000-0000-4000-8000-000000000000", pid=host.pid("nap"), ticks=1))
    host.wait_for(lambda: result(host), 5, "a result")
    assert TABLE not in tables(host)


def test_who_is_no_holder_is_not_killed(host):
    host.service("nap", ["sleep", "60"])
    pid = host.pid("nap")
    ticks = host.sh(f"cat /proc/{pid}/stat").stdout.rpartition(")")[2].split()[19]
    put(host, record(pid=pid, ticks=ticks))
    host.run(["grivet-sweep"])
    assert host.status("nap")["state"] == "active" and host.status("nap")["starts"] == 1


def test_recorded_holder_is_killed(host):
    # its name is what makes it a holder
    host.sh("mkdir /run/x; cp /bin/sleep /run/x/grivet-holder")
    host.service("holder", ["/run/x/grivet-holder", "60"], restart=False)
    pid = host.pid("holder")
    ticks = host.sh(f"cat /proc/{pid}/stat").stdout.rpartition(")")[2].split()[19]
    put(host, record(pid=pid, ticks=int(ticks) + 1))
    host.run(["grivet-sweep"])
    assert host.status("holder")["state"] == "active"  # a reused pid
    put(host, record(pid=pid, ticks=ticks))
    host.run(["grivet-sweep"])
    wait_until(lambda: host.status("holder")["state"] == "exited", 2)


@pytest.mark.parametrize("arguments", [[], ["--watch"]])
def test_unreadable_record_is_undone_by_its_name(host, arguments):
    host.run(["nft", "add", "table", "inet", TABLE])
    put(host, record().replace("deadline", "dead"))
    host.service("sweep", ["grivet-sweep", *arguments], is_oneshot=not arguments)
    host.wait_for(lambda: result(host), 5, "a result")
    assert "not a whole record" in result(host)["reason"] and result(host)["fault"] == "unknown"
    assert len(result(host)["boot"]) == 36  # the executor reads what is whole only
    host.wait_for(lambda: not host.path(ACTIVE).exists(), 1)
    assert TABLE not in tables(host)


def test_strays_go_and_others_stay(host):
    host.sh(f"nft add table inet {TABLE}; nft add table inet somebody; touch /run/grivet/active/.{ORDER}")
    done = host.run(["grivet-sweep"])
    assert "had no record" in done.stderr
    assert tables(host) == "table inet somebody\n"
    assert os.listdir(host.path("/run/grivet/active")) == []


def test_what_is_left_is_said(host):
    host.write("/run/grivet/active/notes.txt", "hello")
    done = host.run(["grivet-sweep"], check=False)
    assert done.returncode == 1
    assert "notes.txt: is not named after an order" in done.stderr


def test_record_of_a_table_that_somebody_holds_stays(host):
    holding = f"printf 'add table inet {TABLE} {{ flags owner; }}\\n'; exec sleep 60"
    host.service("owner", ["sh", "-c", f"({holding}) | nft -i"], restart=False)
    host.wait_for(lambda: TABLE in tables(host))
    put(host, record())
    done = host.run(["grivet-sweep"], check=False)
    assert done.returncode == 1 and ORDER in done.stderr
    assert host.path(ACTIVE).exists()
