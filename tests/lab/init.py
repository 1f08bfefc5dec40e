"""The init of a lab host: a small stand-in for systemd, process 1 of the host's own namespaces.

Started by host.py through unshare(1), with a JSON configuration as its only argument and a control socket on fd 3.
When the socket closes (the lab is gone, however it died) it exits, and the kernel ends everything else in the host.
"""

import ctypes
import json
import os
import selectors
import signal
import socket
import struct
import subprocess
import sys
import time

CONTROL_FD = 3
LAB = "/run/lab"
NOTIFY = "/run/systemd/notify"
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18

libc = ctypes.CDLL(None, use_errno=True)


def mount(source, target, kind=None, flags=0, data=None):
    encoded = [value.encode() if value is not None else None for value in (source, target, kind, data)]
    if libc.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3]) < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"mount {source} on {target}: {os.strerror(error)}")


def bind(fd, target, is_read_only=False):
    """Binds by fd, because the path may be hidden by then."""
    os.makedirs(target, exist_ok=True)
    mount(f"/proc/self/fd/{fd}", target, flags=MS_BIND | MS_REC)
    os.close(fd)
    if is_read_only:
        mount(None, target, flags=MS_BIND | MS_REMOUNT | MS_RDONLY)


def write(path, text, mode=0o644):
    with open(path, "w", opener=lambda name, flags: os.open(name, flags, mode)) as file:
        file.write(text)


def build_etc(config, machine_etc):
    """An /etc of our own: links to a read-only view of the machine's, but our own of what makes a host a host."""
    original = LAB + "/etc"
    bind(machine_etc, original, is_read_only=True)
    mount("tmpfs", "/etc", "tmpfs", data="mode=755")
    own = {"passwd", "group", "shadow", "gshadow", "hosts", "hostname", "resolv.conf", "grivet", "mtab"}
    for name in os.listdir(original):
        if name not in own:
            os.symlink(f"{original}/{name}", f"/etc/{name}")
    write("/etc/hostname", config["name"] + "\n")
    write("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n")
    write("/etc/resolv.conf", "")
    passwd, group = "root:x:0:0:root:/root:/bin/sh\n", "root:x:0:\n"
    for user, number in config["users"].items():
        passwd += f"{user}:x:{number}:{number}::/var/lib/{user}:/usr/sbin/nologin\n"
        group += f"{user}:x:{number}:\n"
    write("/etc/passwd", passwd + "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n")
    write("/etc/group", group + "nogroup:x:65534:\n")
    os.mkdir("/etc/grivet", 0o755)


def build_folders(config):
    """What tmpfiles and StateDirectory= make on a real host."""
    for path in ("/run/systemd", "/run/grivet", "/run/grivet/active", "/run/grivet/results"):
        os.mkdir(path, 0o755)
    os.mkdir("/var/lib/grivet", 0o700)
    for user in ("grivet-courier", "grivet-coordinator"):
        os.mkdir("/var/lib/" + user, 0o700)
        os.chown("/var/lib/" + user, config["users"][user], config["users"][user])
    os.mkdir(LAB + "/bin")
    for program, path in config["programs"].items():
        os.symlink(f"{LAB}/build/{path}", f"{LAB}/bin/{program}")


def build_root(config):
    """Mounts of the host: nothing that it writes is seen outside, nothing of another lab host is seen in here."""
    umask = os.umask(0o022)
    mount(None, "/", flags=MS_REC | MS_PRIVATE)
    fds = {name: os.open(path, os.O_PATH) for name, path in config["folders"].items()}
    machine_etc = os.open("/etc", os.O_PATH)
    mount("tmpfs", "/run", "tmpfs", data="mode=755")
    for name, fd in fds.items():
        bind(fd, f"{LAB}/{name}", is_read_only=name != "logs")
    build_etc(config, machine_etc)
    for path, mode in (("/tmp", "1777"), ("/var/tmp", "1777"), ("/dev/shm", "1777"), ("/var/lib", "755"),
                       ("/root", "700")):
        mount("tmpfs", path, "tmpfs", data="mode=" + mode)
    mount("proc", "/proc", "proc")
    mount("sysfs", "/sys", "sysfs")
    try:
        mount("cgroup2", "/sys/fs/cgroup", "cgroup2")
    except OSError:
        pass  # not allowed in some containers: the host then has no view of cgroups
    build_folders(config)
    libc.sethostname(config["name"].encode(), len(config["name"].encode()))
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    os.umask(umask)


class Service:
    """One unit: what to start and what became of it."""

    def __init__(self, definition):
        self.name = definition["name"]
        self.argv = definition["argv"]
        self.uid = definition.get("uid", 0)
        self.environment = definition.get("environment", {})
        self.after = definition.get("after", [])
        self.stop_post = definition.get("stop_post")
        self.is_notify = definition.get("is_notify", False)
        self.is_oneshot = definition.get("is_oneshot", False)
        self.is_restarted = definition.get("restart", True) and not self.is_oneshot
        self.restart_ms = definition.get("restart_ms", 100)
        self.score = definition.get("oom_score_adjust")
        self.state = "waiting"  # waiting, starting, active, stopping, post, delayed, exited, stopped
        self.pid = None
        self.starts = 0
        self.status = None
        self.due = None

    def describe(self):
        return {"name": self.name, "state": self.state, "pid": self.pid, "starts": self.starts, "status": self.status}


class Init:
    def __init__(self, config, control):
        self.control = control
        self.has_cgroups = os.access("/sys/fs/cgroup/cgroup.procs", os.W_OK)
        self.services = {}
        self.children = {}  # pid -> service
        self.is_stopping = False
        self.selector = selectors.DefaultSelector()
        self.selector.register(control, selectors.EVENT_READ, self.on_control)
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self.notify.bind(NOTIFY)
        os.chmod(NOTIFY, 0o777)
        self.notify.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.selector.register(self.notify, selectors.EVENT_READ, self.on_notify)
        wake, self.wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(self.wake_write)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        self.selector.register(wake, selectors.EVENT_READ, self.on_signal)
        self.wake = wake

    # ---- starting and ending

    def is_active(self, name):
        service = self.services.get(name)
        return service is not None and (service.state == "active" or
                                        (service.is_oneshot and service.state == "exited" and service.status == 0))

    def advance(self):
        """Starts what waits and may."""
        now = time.monotonic()
        for service in self.services.values():
            if service.state == "delayed" and service.due <= now:
                service.state = "waiting"
            if service.state == "waiting" and all(map(self.is_active, service.after)):
                self.start(service)
            if service.state == "stopping" and service.due is not None and service.due <= now:
                os.kill(service.pid, signal.SIGKILL)
                service.due = None

    def next_due(self):
        due = [service.due for service in self.services.values()
               if service.state in ("delayed", "stopping") and service.due is not None]
        return max(0, min(due) - time.monotonic()) if due else None

    def prepare(self, service):
        """In the child, before exec."""
        signal.set_wakeup_fd(-1)
        os.setsid()
        if self.has_cgroups:
            folder = f"/sys/fs/cgroup/system.slice/{service.name}.service"
            os.makedirs(folder, exist_ok=True)
            write(folder + "/cgroup.procs", "0")
        if service.score is not None:
            try:
                write("/proc/self/oom_score_adj", str(service.score))
            except PermissionError:
                pass  # a machine without CAP_SYS_RESOURCE: the score only matters when memory runs out
        if service.uid:
            os.setgroups([])
            os.setresgid(service.uid, service.uid, service.uid)
            os.setresuid(service.uid, service.uid, service.uid)

    def spawn(self, service, argv):
        environment = {"PATH": f"{LAB}/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/root",
                       **service.environment}
        if service.is_notify:
            environment["NOTIFY_SOCKET"] = NOTIFY
        log = os.open(f"{LAB}/logs/{service.name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
                                       cwd="/", preexec_fn=lambda: self.prepare(service))
            process.returncode = 0  # reaped by on_signal(), never by subprocess
            return process.pid
        except (OSError, subprocess.SubprocessError) as error:
            os.write(log, f"init: {argv[0]}: {error}\n".encode())
            return None
        finally:
            os.close(log)

    def start(self, service):
        service.starts += 1
        service.due = None
        service.pid = self.spawn(service, service.argv)
        if service.pid is None:
            service.status = 203  # what systemd calls EXIT_EXEC
            self.after_end(service)
            return
        self.children[service.pid] = service
        service.state = "starting" if service.is_notify or service.is_oneshot else "active"

    def stop(self, service, grace):
        if service.state in ("starting", "active"):
            service.state = "stopping"
            service.due = time.monotonic() + grace
            os.kill(service.pid, signal.SIGTERM)
        elif service.state in ("waiting", "delayed"):
            service.state = "stopped"

    def after_end(self, service):
        """The main process is gone and ExecStopPost= has run."""
        service.pid = None
        if service.state in ("stopping", "stopping-post"):
            service.state = "stopped"
        elif service.is_restarted and not self.is_stopping:
            service.state, service.due = "delayed", time.monotonic() + service.restart_ms / 1000
        else:
            service.state = "exited"

    def on_exit(self, pid, status):
        service = self.children.pop(pid, None)
        if service is None:
            return
        if service.state in ("post", "stopping-post"):
            self.after_end(service)
            return
        service.status = os.waitstatus_to_exitcode(status)
        post = self.spawn(service, service.stop_post) if service.stop_post else None
        if post is None:
            self.after_end(service)
            return
        service.state = "stopping-post" if service.state == "stopping" else "post"
        service.pid, service.due = None, None
        self.children[post] = service

    def on_signal(self):
        numbers = os.read(self.wake, 512)
        if signal.SIGTERM in numbers or signal.SIGINT in numbers:
            self.is_stopping = True
            for service in self.services.values():
                self.stop(service, 2)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self.on_exit(pid, status)

    def on_notify(self):
        data, ancillary, _, _ = self.notify.recvmsg(4096, socket.CMSG_SPACE(12))
        pid = struct.unpack("3i", ancillary[0][2])[0] if ancillary else 0
        service = self.children.get(pid)
        if service is not None and service.state == "starting" and b"READY=1" in data.split(b"\n"):
            service.state = "active"

    # ---- the control socket

    def reply(self, **answer):
        try:
            self.control.send(json.dumps(answer).encode())
        except OSError:
            os._exit(0)

    def on_control(self):
        data = self.control.recv(1 << 16)
        if not data:
            os._exit(0)
        request = json.loads(data)
        handler = {"service": self.on_service, "stop": self.on_stop, "start": self.on_start,
                   "status": self.on_status, "set": self.on_set}[request.pop("do")]
        try:
            self.reply(ok=handler(**request))
        except (KeyError, OSError) as error:
            self.reply(error=repr(error))

    def on_service(self, **definition):
        previous = self.services.get(definition["name"])
        if previous is not None and previous.state not in ("exited", "stopped"):
            raise KeyError(f"{previous.name} is {previous.state}")
        service = self.services[definition["name"]] = Service(definition)
        self.advance()
        return service.describe()

    def on_stop(self, name, grace):
        self.stop(self.services[name], grace)
        return self.services[name].describe()

    def on_start(self, name):
        service = self.services[name]
        if service.state in ("exited", "stopped"):
            service.state = "waiting"
        self.advance()
        return service.describe()

    def on_set(self, name, restart):
        self.services[name].is_restarted = restart
        return self.services[name].describe()

    def on_status(self, name=None):
        if name is not None:
            return self.services[name].describe()
        return [service.describe() for service in self.services.values()]

    def loop(self):
        self.reply(ok="up")
        while True:
            for key, _ in self.selector.select(self.next_due()):
                key.data()
            self.advance()
            if self.is_stopping and not self.children:
                os._exit(0)


def main():
    config = json.loads(sys.argv[1])
    control = socket.socket(fileno=CONTROL_FD)
    os.set_inheritable(CONTROL_FD, False)
    build_root(config)
    Init(config, control).loop()


if __name__ == "__main__":
    main()
