#!/bin/sh
# Fails if a C file is not formatted as .clang-format says; with --fix, formats it. The version is pinned: others differ.
set -eu
cd "$(dirname "$0")/.."

mode="--dry-run --Werror"
[ "${1:-}" != --fix ] || mode="-i"
# shellcheck disable=SC2086  # words are meant to be split
if ! find agent cli common coordinator faults probes tests -name '*.[ch]' -exec clang-format-14 $mode {} +; then
    echo "format-check.sh: not formatted as .clang-format says: scripts/format-check.sh --fix" >&2
    exit 1
fi
