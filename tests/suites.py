"""Runs the suites, holds what passed against tests/counts and what was skipped against tests/skips, and sums up.

Usage: suites.py [--quick | --full | --count]. Called by ./verify when everything is built.
"""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[1]
COUNTS, SKIPS = ROOT / "tests/counts", ROOT / "tests/skips"
TIMEOUT_S = {"unit": 300, "netns": 900, "crash": 1500, "lab": 900, "system": 2400}
QUICK = ("unit", "netns")
WORKERS_PER_CPU = {"netns": 3, "crash": 2, "lab": 2}  # most of their tests wait; there is one virtual machine for all
WORKERS_MAX = 16
FULL_CRASH_S = 4 * 3600  # some 48,000 points of tests/crash/test_points.py, 0.1 s of CPU each


class Result:
    def __init__(self, suite):
        self.suite = suite
        self.passed = self.failed = 0
        self.skipped = []
        self.seconds = 0.0


def run(argv, suite, **environment):
    """Runs a command with the suite's time limit; its whole process group ends with it. Returns the exit code."""
    process = subprocess.Popen(argv, cwd=ROOT, env={**os.environ, **environment}, start_new_session=True,
                               stdin=subprocess.DEVNULL)
    try:
        return process.wait(TIMEOUT_S[suite])
    except subprocess.TimeoutExpired:
        print(f"{suite}: not done after {TIMEOUT_S[suite]} s", flush=True)
        return 1
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def run_unit(result):
    code = run(["meson", "test", "-C", "build", "--suite", "unit", "--no-rebuild", "--print-errorlogs"], "unit")
    log = ROOT / "build/meson-logs/testlog.json"
    for line in log.read_text().splitlines() if log.exists() else []:
        test = json.loads(line)
        checks = re.search(r"Checks: (\d+), Failures: (\d+), Errors: (\d+)", test.get("stdout", ""))
        if checks and test["result"] in ("OK", "FAIL"):
            total, failures, errors = map(int, checks.groups())
            result.passed += total - failures - errors
            result.failed += failures + errors
        elif test["result"] == "SKIP":
            result.skipped.append(test["name"])
        elif test["result"] != "OK":
            result.failed += 1
    return code


def run_pytest(result):
    # What a virtual machine gets is what users get: without the lab's hooks.
    build = ROOT / ("build" if result.suite == "system" else "build-hooks")
    workers = min(WORKERS_PER_CPU.get(result.suite, 0) * len(os.sched_getaffinity(0)), WORKERS_MAX)
    with tempfile.TemporaryDirectory(prefix="grivet-verify-") as folder:
        report = pathlib.Path(folder, "report.xml")
        code = run([sys.executable, "-m", "pytest", "-q", "-c", "tests/pytest.ini", f"tests/{result.suite}",
                    f"--junitxml={report}", f"--basetemp={folder}/tmp", f"--numprocesses={workers}", "--dist=loadgroup"],
                   result.suite,
                   GRIVET_BUILD=os.environ.get("GRIVET_BUILD", str(build)))
        if not report.exists():
            return code or 1
        for case in xml.etree.ElementTree.parse(report).getroot().iter("testcase"):
            kinds = {child.tag for child in case}
            for told in case.iter("property") if workers else ():
                print(told.get("value"))
            if kinds & {"failure", "error"}:
                result.failed += 1
            elif "skipped" in kinds:
                result.skipped.append(case.get("name"))
            else:
                result.passed += 1
    return code


def read_table(path):
    """Lines of `word rest`; # starts a comment."""
    lines = [line.split("#")[0].split(None, 1) for line in path.read_text().splitlines()] if path.exists() else []
    return {words[0]: words[1].strip() if len(words) > 1 else "" for words in lines if words}


def complain(result, text):
    print(f"{result.suite}: {text}", flush=True)
    result.failed += 1


def hold_against_files(result, counts, skips):
    if result.suite not in counts:
        complain(result, "is not in tests/counts: nobody would notice what is missing (./verify --count)")
    expected = int(counts.get(result.suite, 0))
    if result.passed < expected and not result.failed:
        complain(result, f"{result.passed} passed, but tests/counts says {expected}")
    elif result.passed > expected:
        print(f"{result.suite}: tests/counts says {expected}: raise it (./verify --count)")
    for name in result.skipped:
        if f"{result.suite}/{name}" not in skips:
            complain(result, f"{name} was skipped and is not listed in tests/skips")


def main(arguments):
    counts, skips, results = read_table(COUNTS), read_table(SKIPS), []
    if "--full" in arguments:
        os.environ["GRIVET_FULL"] = "1"
        TIMEOUT_S["crash"] = FULL_CRASH_S
        WORKERS_PER_CPU["crash"] = 0  # the points take all there is
    for suite in QUICK if "--quick" in arguments else TIMEOUT_S:
        if suite != "unit" and not list((ROOT / "tests" / suite).glob("test_*.py")) and suite not in counts:
            continue
        print(f"== {suite}", flush=True)
        result, started = Result(suite), time.monotonic()
        code = (run_unit if suite == "unit" else run_pytest)(result)
        result.seconds = time.monotonic() - started
        if code and not result.failed:
            complain(result, f"ended with exit code {code}")
        if "--count" not in arguments:
            hold_against_files(result, counts, skips)
        results.append(result)
    if "--count" in arguments:
        COUNTS.write_text("# Tests that passed, by suite. Fewer fail ./verify; ./verify --count writes this file.\n" +
                          "".join(f"{result.suite} {result.passed}\n" for result in results))
    print()
    for result in results:
        skipped = f", {len(result.skipped)} skipped" if result.skipped else ""
        print(f"{result.suite}: {result.passed} passed, {result.failed} failed{skipped} in {result.seconds:.0f} s")
    failed = sum(result.failed for result in results)
    print(f"{sum(result.passed for result in results)} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
