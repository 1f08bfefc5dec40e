"""A holder under a parent without keys (holder-parent.c): for what is the holder's own business."""

import contextlib
import json
import os
import signal

from lab.host import LAB, wait_until
from rig import Rig, boot_ns, mandate


class HolderRig(Rig):
    """The parent is the service `parent`; what the holder tells it is in its log."""

    def start(self, duration_ms, prefix=(), is_waiting=True):
        """Starts the fault and waits until it is armed; returns when that was."""
        self.host.write("/run/mandate.json", json.dumps(mandate(max(duration_ms, 100))))
        self.host.sh("rm -f /run/parent.in; mkfifo /run/parent.in")
        command = f"exec {LAB}/build/tests/crash/holder-parent /run/mandate.json lose-az2 victim apse2-az1 " \
                  f"{duration_ms} {' '.join(prefix)} <>/run/parent.in"
        (self.host.logs / "parent.log").unlink(missing_ok=True)
        self.host.service("parent", ["sh", "-c", command], restart=False)
        if is_waiting:
            self.wait_state("armed")
            self.holder = self.holder_pid()
        self.order = self.said("order")
        self.deadline = self.said("deadline_boot_nsec")
        return boot_ns()

    def lines(self):
        lines = self.host.log("parent").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def said(self, key):
        return next((line[key] for line in self.lines() if key in line), None)

    def state(self, name):
        return next((line for line in self.lines() if line.get("state") == name), None)

    def wait_state(self, name, timeout=5):
        def has_state():
            failed = self.state("failed")
            assert name == "failed" or failed is None, failed
            return self.state(name)
        return wait_until(has_state, timeout, f"state {name}; so far:\n{self.host.log('parent')}")

    def signal(self, number=signal.SIGKILL):
        """Sends a signal to the holder; returns when."""
        at = boot_ns()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.holder, number)
        return at
