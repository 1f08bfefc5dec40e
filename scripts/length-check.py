#!/usr/bin/python3
"""Fails if a file has more than 400 lines or a function more than 60: C (formatted, so a body is between braces in the
first column) and Python."""

import ast
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
FOLDERS = ("agent", "cli", "common", "coordinator", "faults", "probes", "scripts", "tests")
FILE_MAX, FUNCTION_MAX = 400, 60


def c_functions(lines):
    """(first line, length) of each function, its head included."""
    head = opened = None
    for number, line in enumerate(lines, 1):
        if line == "{":
            opened = number
        elif line == "}" and opened:
            yield head or opened, number - (head or opened) + 1
            head = opened = None
        elif opened is None:  # the head is what stands since the last empty line or comment
            head = None if not line or line.startswith(("/*", " *", "#")) else head or number


def python_functions(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            yield node.lineno, node.end_lineno - node.lineno + 1


def main():
    complaints = []
    files = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.[chp]*") if path.suffix in (".c", ".h", ".py"))
    for path in files:
        text, name = path.read_text(), path.relative_to(ROOT)
        lines = text.splitlines()
        if len(lines) > FILE_MAX:
            complaints.append(f"{name}: {len(lines)} lines; {FILE_MAX} at most: split it by purpose")
        for first, length in python_functions(text) if path.suffix == ".py" else c_functions(lines):
            if length > FUNCTION_MAX:
                complaints.append(f"{name}:{first}: a function of {length} lines; {FUNCTION_MAX} at most")
    print(*complaints, sep="\n", end="\n" if complaints else "", file=sys.stderr)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
