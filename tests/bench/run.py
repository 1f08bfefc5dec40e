"""Measures Grivet beside what users would otherwise run, in the same minute on the same machine.

Usage: run.py [NAME...]; called by ./verify --bench. Prints medians and ratios and writes build/bench.json. Nothing here
passes or fails: a figure is a figure of this machine.
"""

import importlib
import json
import os
import pathlib
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/crash")]
BENCHES = ("orders", "rollback", "killed", "cidrs", "shape", "packets", "cpu", "processes")


def show(row):
    """One row is {"what", "unit", "ours", "others": {tool: value}, "goal"?}: medians, or what `what` says."""
    text = f"  {row['what']}: {row['ours']:.4g} {row['unit']}"
    if "goal" in row:
        text += f" (goal {row['goal']:g})"
    for tool, value in row.get("others", {}).items():
        text += f"; {tool} {value:.4g}" + (f" ({value / row['ours']:.1f}x)" if row["ours"] else "")
    print(text, flush=True)


def main(names):
    unknown = set(names) - set(BENCHES)
    if unknown:
        print(f"run.py: no bench '{sorted(unknown)[0]}'; there are {', '.join(BENCHES)}", file=sys.stderr)
        return 2
    if os.geteuid() != 0:
        print("run.py: these benches make namespaces: run them as root", file=sys.stderr)
        return 1
    results = {}
    for name in names or BENCHES:
        started = time.monotonic()
        print(f"{name}: {importlib.import_module('bench.' + name).__doc__.splitlines()[0]}", flush=True)
        results[name] = []
        for row in importlib.import_module("bench." + name).measure():
            results[name].append(row)
            show(row)
        print(f"  ({time.monotonic() - started:.0f} s)", flush=True)
    (ROOT / "build/bench.json").write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
