"""What ./gameday runs when everything is built: a lab, Grivet on it, one experiment, its report.

Usage: gameday.py run OUTPUT EXPERIMENT KEEP | gameday.py enter OUTPUT HOST [COMMAND...]
"""

import fcntl
import json
import os
import pathlib
import shutil
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from lab.fleet import Fleet  # noqa: E402
from lab.host import SOURCE, Lab, LabError, enter_words, host_variables  # noqa: E402
from lab.replacer import Replacer  # noqa: E402

DEPLOYMENT_ZONES = {"zone-outage-single-deployment": (1,)}
STEP_S = 0.1


def say(text):
    print(text, flush=True)


def prepare_output(path):
    """The folder, empty and locked: another game day needs another folder."""
    folder = pathlib.Path(path).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LabError(f"a game day is running in {folder}: wait for it, or name another folder by --output") from None
    shutil.rmtree(folder / "logs", ignore_errors=True)
    for name in ("report.json", "mandate.json"):
        (folder / name).unlink(missing_ok=True)
    return folder


def give_back(folder):
    """What root wrote belongs to whoever owns the source."""
    owner = SOURCE.stat()
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, owner.st_uid, owner.st_gid)


def run_experiment(fleet, replacer, mandate):
    """`grivet run` in the foreground, on this terminal; the replacer does its work meanwhile."""
    previous = signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is for `grivet run`, which asks what to do
    try:
        process = fleet.start_run(mandate)
        while process.poll() is None:
            replacer.step()
            time.sleep(STEP_S)
        return process.returncode
    finally:
        signal.signal(signal.SIGINT, previous)


def hold(lab):
    say(f"\nThe lab is up: {' '.join(lab.hosts)}\n"
        "Look around from another terminal: ./gameday enter HOST [COMMAND...]\nCtrl-C ends it.")
    try:
        signal.pause()
    except KeyboardInterrupt:
        pass


def rehearse(folder, experiment, is_kept):
    started = time.monotonic()
    with Lab(logs=folder / "logs") as lab:
        try:
            fleet = Fleet(lab, DEPLOYMENT_ZONES.get(experiment, (1, 2)))
            fleet.wait_ready()
            say(f"The lab is up after {time.monotonic() - started:.1f} s: three zones, six instances in service, "
                f"{len(fleet.agents)} agents.")
            mandate = fleet.plan_and_sign(SOURCE / "experiments" / f"{experiment}.yaml", say)
            with open(folder / "replacer.log", "w") as log:
                replacer = Replacer(fleet.zones, say=lambda text: print(text, file=log, flush=True))
                code = run_experiment(fleet, replacer, mandate)
            shutil.copy(fleet.operator.path(mandate), folder / "mandate.json")
            if report := fleet.report():
                (folder / "report.json").write_text(report)
                say(f"\nThe report: {os.path.relpath(folder / 'report.json')}")
            if is_kept:
                hold(lab)
            return code
        finally:
            give_back(folder)


def enter(folder, host, command):
    try:
        pids = json.loads((pathlib.Path(folder) / "logs/hosts.json").read_text())
        if host not in pids:
            raise LabError(f"no host {host}; there are: {' '.join(pids)}")
        is_init = "lab/init.py" in pathlib.Path(f"/proc/{pids[host]}/cmdline").read_text()
    except OSError:
        is_init = False
    if not is_init:  # the lab may have been killed, and its numbers belong to others by now
        raise LabError(f"no lab runs in {folder}")
    words = enter_words(pids[host])
    os.execvpe(words[0], [*words, *(command or ["bash", "--norc"])], {**host_variables(), "PS1": f"{host}# "})


def stop(number, _):
    raise SystemExit(128 + number)


def main(verb, output, *arguments):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job is born with it ignored
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, stop)
    try:
        if verb == "enter":
            enter(output, arguments[0], arguments[1:])
        experiment, keep = arguments
        return rehearse(prepare_output(output), experiment, keep == "yes")
    except LabError as error:
        print(f"gameday: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
