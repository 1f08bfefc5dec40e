"""Lab hosts: a host is a set of namespaces whose process 1 is init.py, and a lab is some hosts wired together.

Nothing of a host is made on the machine itself: interfaces are born inside, mounts are private, users are names in a
file that only the host sees. Hosts end with their init; inits end with the lab, even when the lab is killed.
"""

import ctypes
import json
import os
import pathlib
import signal
import socket
import struct
import subprocess
import tempfile
import time

SOURCE = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("GRIVET_BUILD", SOURCE / "build")).resolve()
PYTHON = "/usr/bin/python3"  # the machine's own may be in a home folder, which a host does not see
LAB = "/run/lab"  # inside a host: source/, build/, logs/, bin/
USERS = {"grivet-courier": 64001, "grivet-prober": 64002, "grivet-coordinator": 64003, "grivet-holder": 64004}
PROGRAMS = {"grivetd": "agent", "grivet-sweep": "agent", "grivet-courier": "agent", "grivet-prober": "agent",
            "grivet-coordinator": "coordinator", "grivet": "cli"}
NAMESPACES = ["--net", "--mount", "--pid", "--uts", "--ipc", "--cgroup"]
PR_SET_PDEATHSIG = 1

libc = ctypes.CDLL(None, use_errno=True)


class LabError(Exception):
    pass


def wait_until(predicate, timeout=10.0, what="condition", interval=0.01):
    """Polls until predicate() is true and returns its value; LabError when time is up."""
    deadline = time.monotonic() + timeout
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > deadline:
            raise LabError(f"waited {timeout} s in vain for {getattr(predicate, '__doc__', None) or what}")
        time.sleep(interval)


def die_with_parent():
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def die_with_parent_only():
    """Ctrl-C is for the command inside: nsenter has to wait for what it makes of it."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def set_namespace(fd):
    if libc.setns(fd, 0) < 0:
        raise LabError(f"setns: {os.strerror(ctypes.get_errno())}")


def find_cgroup():
    """Our own folder in the cgroup2 hierarchy, or None where there is none to write to."""
    own = next((line[3:].rstrip("\n") for line in open("/proc/self/cgroup") if line.startswith("0::")), None)
    for line in open("/proc/self/mountinfo"):
        fields = line.split()
        if own is not None and "cgroup2" in fields[fields.index("-") + 1:]:
            folder = pathlib.Path(fields[4] + own)
            return folder if os.access(folder / "cgroup.procs", os.W_OK) else None
    return None


def enter_words(init_pid, user=None, is_inside=True):
    words = ["nsenter", "--target", str(init_pid), "--net"]
    if is_inside:
        words += ["--mount", "--uts", "--ipc", "--pid", "--cgroup", "--wd=/"]
    if user and user != "root":
        words += ["--setuid", str(USERS[user]), "--setgid", str(USERS[user])]
    return [*words, "--"]


def host_variables():
    return {"PATH": f"{LAB}/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8",
            "TERM": os.environ.get("TERM", "dumb")}


class Lab:
    """Some hosts that live and die together.

    A small shell process outlives us by a moment: when our end of its pipe closes, however that came about, it kills
    what is left in the lab's cgroup and removes its folders.
    """

    JANITOR = """cat >/dev/null; [ -z "$2" ] || rm -rf "$2"
    n=0; while [ -d "$1" ] && [ $((n += 1)) -le 600 ]; do
        [ ! -w "$1/cgroup.kill" ] || echo 1 >"$1/cgroup.kill"
        find "$1" -depth -type d -exec rmdir {} + 2>/dev/null; sleep 0.05; done"""

    def __init__(self, logs=None):
        self.hosts = {}
        self.logs = pathlib.Path(logs or tempfile.mkdtemp(prefix="grivet-lab-"))
        self.logs.mkdir(parents=True, exist_ok=True)
        self.logs.chmod(0o755)
        self.name = f"grivet-lab-{os.getpid()}-{os.urandom(3).hex()}"
        parent = find_cgroup()
        self.cgroup = parent / self.name if parent else None
        if self.cgroup:
            self.cgroup.mkdir()
        leavings = [str(self.cgroup or "/nonexistent"), str(self.logs) if logs is None else ""]
        self.janitor = subprocess.Popen(["sh", "-c", self.JANITOR, "janitor", *leavings], stdin=subprocess.PIPE,
                                        start_new_session=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def host(self, name):
        return Host(name, lab=self)

    def list_hosts(self):
        """logs/hosts.json: for whoever wants to enter a host from outside."""
        pids = {name: host.init_pid for name, host in self.hosts.items()}
        (self.logs / "hosts.json").write_text(json.dumps(pids))

    def wire(self, first, first_interface, second, second_interface):
        """A cable: a pair of veths born inside the two hosts."""
        first.run(["ip", "link", "add", first_interface, "type", "veth", "peer", "name", second_interface,
                   "netns", f"/proc/{second.init_pid}/ns/net"], is_inside=False)
        for host, interface in ((first, first_interface), (second, second_interface)):
            host.ip(f"link set {interface} up")

    def close(self):
        for host in list(self.hosts.values()):
            host.close()
        (self.logs / "hosts.json").unlink(missing_ok=True)
        if self.janitor:
            self.janitor.stdin.close()
            self.janitor.wait()
            self.janitor = None


class Host:
    """One lab host. Without a lab it makes one of its own, which ends with it."""

    def __init__(self, name, lab=None):
        self.own_lab = None
        self.name = name
        self.lab = lab or Lab()
        if lab is None:
            self.own_lab = self.lab
        self.logs = self.lab.logs / name
        self.logs.mkdir(exist_ok=True)
        self.logs.chmod(0o1777)
        self.environment = {}
        cgroup = self.lab.cgroup / name if self.lab.cgroup else None
        if cgroup:
            cgroup.mkdir()
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.control.settimeout(20)
        self.process = self.start_init(cgroup, theirs)
        theirs.close()
        self.init_pid = None
        self.lab.hosts[name] = self
        try:
            self.receive()
        except Exception:
            self.close()
            raise
        self.lab.list_hosts()

    def start_init(self, cgroup, control):
        programs = {}
        for program, folder in PROGRAMS.items():
            if (BUILD / folder / program).exists():
                programs[program] = f"{folder}/{program}"
        folders = {"source": str(SOURCE), "logs": str(self.logs)}
        if BUILD.is_dir():
            folders["build"] = str(BUILD)
        config = {"name": self.name, "users": USERS, "programs": programs, "folders": folders}

        def prepare():
            die_with_parent()
            os.dup2(control.fileno(), 3)
            if cgroup:
                (cgroup / "cgroup.procs").write_text("0")

        argv = ["unshare", *NAMESPACES, "--fork", "--kill-child=KILL", "--", PYTHON,
                str(pathlib.Path(__file__).with_name("init.py")), json.dumps(config)]
        with open(self.logs / "init.log", "ab") as log:
            return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                                    preexec_fn=prepare, pass_fds=[3], cwd="/")

    # ---- talking to the init

    def receive(self):
        """One answer; the kernel stamps it with the sender's process id as we see it."""
        try:
            data, ancillary, _, _ = self.control.recvmsg(1 << 16, socket.CMSG_SPACE(12))
        except OSError as error:
            raise LabError(f"host {self.name} does not answer: {error}") from error
        if not data:
            log = (self.logs / "init.log").read_text(errors="replace")
            raise LabError(f"host {self.name} has gone down:\n{log[-2000:]}")
        self.init_pid = struct.unpack("3i", ancillary[0][2])[0]
        answer = json.loads(data)
        if "error" in answer:
            raise LabError(f"host {self.name}: {answer['error']}")
        return answer["ok"]

    def ask(self, do, **request):
        self.control.send(json.dumps({"do": do, **request}).encode())
        return self.receive()

    # ---- services

    def service(self, name, argv, user=None, restart=True, is_notify=False, after=(), stop_post=None,
                is_oneshot=False, environment=None, oom_score_adjust=None, restart_ms=100, wait=True, timeout=10):
        """Defines and starts a service, and waits until it is active (a one-shot: until it has ended well)."""
        self.ask("service", name=name, argv=[str(word) for word in argv], uid=USERS.get(user, 0) if user else 0,
                 restart=restart, is_notify=is_notify, is_oneshot=is_oneshot, after=list(after),
                 stop_post=stop_post, environment={**self.environment, **(environment or {})},
                 oom_score_adjust=oom_score_adjust, restart_ms=restart_ms)
        if wait:
            self.wait_active(name, timeout)

    def wait_active(self, name, timeout=10):
        def is_up():
            status = self.status(name)
            if status["state"] == "exited" and not (status["status"] == 0):
                raise LabError(f"{name} on {self.name} ended with {status['status']}:\n{self.log(name)[-2000:]}")
            return status["state"] in ("active", "exited")
        try:
            wait_until(is_up, timeout, f"{name} on {self.name} to be active")
        except LabError as error:
            raise LabError("\n".join([str(error), *self.troubles()])) from None

    def troubles(self):
        """A line for each service that is not up, with the last that it said."""
        return [f"{service['name']}: {service['state']}, started {service['starts']} times, ended with "
                f"{service['status']}: {self.log(service['name'])[-500:].strip()}"
                for service in self.status() if service["state"] != "active" and service["status"] != 0]

    def status(self, name=None):
        """{"state", "pid", "starts", "status"} of a service, or a list of all."""
        return self.ask("status", name=name)

    def pid(self, name):
        """The main process of a service as it is numbered inside the host."""
        return self.status(name)["pid"]

    def outside_pid(self, name):
        """The main process of a service as it is numbered on the machine."""
        inside = self.pid(name)
        folder = self.lab.cgroup and self.lab.cgroup / self.name / "system.slice" / f"{name}.service"
        among = (folder / "cgroup.procs").read_text().split() if folder and folder.exists() else None
        return next((process["pid"] for process in self.processes(among) if process["inside"] == inside), None)

    def processes(self, among=None):
        """Every process of this host: {"pid" outside, "inside", "parent" (outside), "name", "argv"}, oldest first."""
        namespace = os.readlink(f"/proc/{self.init_pid}/ns/pid")
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")) if among is None else among:
            try:
                if os.readlink(f"/proc/{pid}/ns/pid") != namespace:
                    continue
                fields = dict(line.split(":\t", 1) for line in open(f"/proc/{pid}/status").read().splitlines()
                              if ":\t" in line)
                argv = open(f"/proc/{pid}/cmdline").read().split("\0")[:-1]
            except OSError:
                continue  # it ended while we looked
            if fields["State"][0] not in "ZX":
                found.append({"pid": int(pid), "inside": int(fields["NSpid"].split()[-1]), "name": fields["Name"],
                              "parent": int(fields["PPid"]), "argv": argv})
        return sorted(found, key=lambda process: process["inside"])

    def kill(self, name, number=signal.SIGKILL):
        """Sends a signal to the main process of a service."""
        pid = self.outside_pid(name)
        if pid is None:
            raise LabError(f"{name} on {self.name} is not running")
        os.kill(pid, number)

    def stop(self, name, grace=5.0):
        """SIGTERM, then SIGKILL after the grace; the service is not started again."""
        self.ask("stop", name=name, grace=grace)
        wait_until(lambda: self.status(name)["state"] in ("stopped", "exited"), grace + 5, f"{name} to stop")

    def start(self, name, timeout=10):
        self.ask("start", name=name)
        self.wait_active(name, timeout)

    def set_restart(self, name, restart):
        self.ask("set", name=name, restart=restart)

    def log(self, name):
        path = self.logs / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    # ---- running things, files, network

    def enter(self, user=None, is_inside=True):
        """The words that put a command into this host; is_inside False = only into its network."""
        return enter_words(self.init_pid, user, is_inside)

    def variables(self):
        return {**host_variables(), **self.environment}

    def popen(self, argv, user=None, is_inside=True, prepare=die_with_parent, **options):
        return subprocess.Popen([*self.enter(user, is_inside), *map(str, argv)], env=self.variables(),
                                preexec_fn=prepare, **options)

    def run(self, argv, user=None, check=True, timeout=20, text=None, is_inside=True):
        """Runs a command in the host, with `text` as its input, and returns its CompletedProcess."""
        process = self.popen(argv, user, is_inside, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True)
        try:
            out, error = process.communicate(text or "", timeout)
        except BaseException as failure:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            if isinstance(failure, subprocess.TimeoutExpired):
                raise LabError(f"{self.name}: {' '.join(map(str, argv))}: not done after {timeout} s") from None
            raise
        if check and process.returncode:
            raise LabError(f"{self.name}: {' '.join(map(str, argv))}: exit code {process.returncode}\n{out}{error}")
        return subprocess.CompletedProcess(argv, process.returncode, out, error)

    def sh(self, script, **options):
        return self.run(["sh", "-c", script], **options)

    def path(self, path):
        """A file of the host, for reading and writing from outside."""
        return pathlib.Path(f"/proc/{self.init_pid}/root{path}")

    def write(self, path, text, mode=0o644, user=None):
        file = self.path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)
        if user:
            os.chown(file, USERS[user], USERS[user])

    def read(self, path):
        return self.path(path).read_text()

    def ip(self, *lines):
        """Lines for `ip -batch` in the host's network."""
        self.run(["ip", "-batch", "-"], text="\n".join(lines) + "\n", is_inside=False)

    def connect(self, address, port, timeout=5.0):
        """A TCP connection from the host's network (a socket keeps the network that it was born in)."""
        with open("/proc/self/ns/net") as ours, open(f"/proc/{self.init_pid}/ns/net") as theirs:
            set_namespace(theirs.fileno())
            try:
                connection = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
            finally:
                set_namespace(ours.fileno())
        connection.settimeout(timeout)
        try:
            connection.connect((address, port))
        except OSError:
            connection.close()
            raise
        return connection

    def wait_listening(self, port, timeout=10):
        """Until something on this host accepts connections to the port."""
        def is_listening():
            try:
                self.connect("127.0.0.1", port).close()
                return True
            except OSError:
                return False
        wait_until(is_listening, timeout, f"port {port} of {self.name}")

    def wait_for(self, predicate, timeout=10.0, what="condition"):
        return wait_until(predicate, timeout, f"{what} on {self.name}")

    def close(self):
        self.control.close()  # the init ends when it sees this
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.lab.hosts.pop(self.name, None)
        if self.own_lab:
            self.own_lab.close()
