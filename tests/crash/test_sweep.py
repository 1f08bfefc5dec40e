"""The sweep alone: what it ends, what it leaves alone, and what it says about the rest."""

import os
import re
import subprocess
import time

import pytest

import lab.host
from lab.host import wait_until
from rig import GRACE_MS, boot_ns

ORDER = "01900000-0000-7000-8000-00000000abcd"
TABLE = "grivet-00000000abcd"
ACTIVE = "/run/grivet/active/" + ORDER
FAR_NS = 3600 * 10**9


def now_usec():
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


def start_named(host, name, user=None, before=()):
    """A process that calls itself so; returns its pid and start time, as a record names it."""
    host.sh(f"mkdir -p /run/x; cp /bin/sleep /run/x/{name}")
    host.service("named", [*before, f"/run/x/{name}", "60"], user, restart=False)
    pid = host.pid("named")
    return pid, host.sh(f"cat /proc/{pid}/stat").stdout.rpartition(")")[2].split()[19]


@pytest.mark.parametrize("user", ["root", "grivet-holder"])
def test_recorded_holder_is_killed(host, user):
    pid, ticks = start_named(host, "grivet-holder", user)
    host.service("sweep", ["grivet-sweep", "--watch"])
    put(host, record(pid=pid, ticks=int(ticks) + 1, boot_nsec=0))
    host.wait_for(lambda: result(host), 5, "a result")
    assert host.status("named")["state"] == "active"  # a reused pid
    put(host, record(pid=pid, ticks=ticks, boot_nsec=0))
    wait_until(lambda: host.status("named")["state"] == "exited", 2)


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


@pytest.mark.parametrize("user", ["root", "grivet-holder"])
def test_a_holder_that_no_record_names_is_waited_for(host, user):
    """A record without its head does not say whose fault it is: no end is told while that holder may live."""
    pid, _ = start_named(host, "grivet-holder", user)
    host.service("sweep", ["grivet-sweep", "--watch"])
    put(host, record()[:60])
    host.wait_for(lambda: f"holder {pid} may be its own" in host.log("sweep"), 5, "the sweep to say so")
    assert host.path(ACTIVE).exists() and not result(host)
    host.stop("named", grace=0)
    host.wait_for(lambda: result(host) and not host.path(ACTIVE).exists(), 5, "a result")


def test_a_name_alone_makes_no_holder(host):
    """Or any user could keep a fault alive by it."""
    start_named(host, "grivet-holder", "grivet-prober")
    host.service("sweep", ["grivet-sweep", "--watch"])
    put(host, record()[:60])
    host.wait_for(lambda: result(host), 5, "a result")
    assert host.status("named")["state"] == "active"


@pytest.mark.parametrize("name", ["grivet-holder", "burn-0123456789"])
def test_processes_that_no_record_names_are_killed(host, name):
    """Whatever took its record away: a pass that says nothing is the proof that nothing of ours is left."""
    pid, _ = start_named(host, name, "grivet-holder")
    done = host.run(["grivet-sweep"])
    assert "1 processes and 0 objects had no record" in done.stderr
    assert host.status("named")["state"] == "exited"
    assert host.run(["grivet-sweep"]).stderr == ""


@pytest.mark.parametrize("name, user, before", [
    ("grivet-holder", "grivet-prober", ()), ("burn-0123456789", "grivet-prober", ()), ("burn-in", "grivet-holder", ()),
    ("burn-012345678g", "grivet-holder", ()), ("grivet-reserve", "grivet-holder", ()),
    ("grivet-holder", "root", ("unshare", "--pid", "--fork", "--kill-child"))])
def test_processes_of_others_are_let_live(host, name, user, before):
    """A user's, one of another name, one that a container with an agent of its own has."""
    start_named(host, name, user, before)
    host.wait_for(lambda: not host.run(["pgrep", "-x", name], check=False).returncode, what="its start")
    assert host.run(["grivet-sweep"]).stderr == ""
    assert host.status("named")["state"] == "active"


def test_burners_that_a_record_names(host):
    """They outlived their holder: said to be reverted is what burns no more."""
    name = f"burn-{ORDER[-10:]}"
    start_named(host, name, "grivet-holder")
    host.service("sweep", ["grivet-sweep", "--watch"])
    put(host, record(0).replace(f"nft-table inet {TABLE}", f"burners {name}"))
    host.wait_for(lambda: result(host), 5, "a result")
    assert not host.run(["pgrep", "-x", "--runstates", "R,S,D,T", name], check=False).stdout
    assert host.status("named")["state"] == "exited"


def test_what_a_holder_appended_does_not_hide_it(host):
    """Its head is the executor's: who is to be killed stands there, whatever the holder wrote behind it."""
    pid, ticks = start_named(host, "grivet-holder")
    host.service("sweep", ["grivet-sweep", "--watch"])
    put(host, record(pid=pid, ticks=ticks) + "nonsense\n")
    wait_until(lambda: host.status("named")["state"] == "exited", 2)
    host.wait_for(lambda: result(host), 2, "a result")
    assert "damaged behind its head" in result(host)["reason"] and result(host)["fault"] == "zone.block"


def test_a_halt_makes_all_due(host):
    """Whoever hears of it by himself has a second for that; a sweep that starts meanwhile begins to count anew."""
    pid, ticks = start_named(host, "grivet-holder")
    host.run(["nft", "add", "table", "inet", TABLE])
    host.service("sweep", ["grivet-sweep", "--watch"])
    put(host, record(pid=pid, ticks=ticks))
    host.sh("touch /run/grivet/halt; rm /run/grivet/halt")
    time.sleep(1.5)  # nothing shall happen
    assert host.status("named")["state"] == "active" and host.path(ACTIVE).exists()
    at = boot_ns()
    host.sh("touch /run/grivet/halt")
    host.wait_for(lambda: result(host), 5, "a result")
    print(f"{(boot_ns() - at) / 1e6:.0f} ms after the file was made")
    assert 1.0 <= (boot_ns() - at) / 1e9 < 2
    assert "/run/grivet/halt" in result(host)["reason"] and TABLE not in tables(host)
    wait_until(lambda: host.status("named")["state"] == "exited", 2)


def owned(host, table):
    """A table whose owner lives: nobody else can remove it."""
    holding = f"printf 'add table netdev {table} {{ flags owner; }}\\n'; exec sleep 60"
    host.service(f"owner-{table}", ["sh", "-c", f"({holding}) | nft -i"], restart=False)
    host.wait_for(lambda: table in tables(host))


def test_no_device_goes_before_the_rules_that_lead_to_it(host):
    """Or all that they send there would be lost."""
    owned(host, TABLE)
    host.run(["ip", "link", "add", "grivet-000abcdo", "type", "ifb"])
    put(host, record().replace("undo nft-table inet", "undo link grivet-000abcdo\nundo nft-table netdev"))
    done = host.run(["grivet-sweep"], check=False)
    assert done.returncode == 1 and host.path(ACTIVE).exists()
    assert "grivet-000abcdo" in host.run(["ip", "link"]).stdout
    host.run(["pkill", "-x", "nft"])
    host.wait_for(lambda: TABLE not in tables(host))
    host.run(["grivet-sweep"])
    assert "grivet-000abcdo" not in host.run(["ip", "link"]).stdout and not host.path(ACTIVE).exists()


def test_one_that_does_not_go_keeps_no_other_waiting(host):
    """Four stuck ones had made the next five seconds late."""
    for number in range(4):
        name = f"grivet-0000000000{number:02d}"
        owned(host, name)
        other = f"{ORDER[:-4]}00{number:02d}"
        host.write("/run/grivet/active/.new", record(boot_nsec=boot_ns() - FAR_NS).replace(ORDER, other).replace(
            f"inet {TABLE}", f"netdev {name}"))
        os.rename(host.path("/run/grivet/active/.new"), host.path("/run/grivet/active/" + other))
    host.run(["nft", "add", "table", "inet", TABLE])
    host.service("sweep", ["grivet-sweep", "--watch"])
    due = boot_ns() + 1500 * 10**6
    put(host, record(boot_nsec=due - GRACE_MS * 10**6))
    host.wait_for(lambda: result(host), 10, "a result")
    late_ms = (int(result(host)["revert_error_nsec"]) - GRACE_MS * 10**6) / 1e6
    print(f"{late_ms:.0f} ms after deadline and grace, beside four that do not go")
    assert 0 <= late_ms < 1000


def test_only_names_of_our_own_shape_are_strays(host):
    host.sh("nft add table inet grivet-firewall; ip link add grivet-br0 type bridge; nft add table inet grivet-0123456789ab; "
            "ip link add grivet-0123456o type ifb")
    host.run(["grivet-sweep"])
    assert tables(host) == "table inet grivet-firewall\n"
    links = host.run(["ip", "link"]).stdout
    assert "grivet-br0" in links and "grivet-0123456o" not in links
