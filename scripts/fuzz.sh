#!/bin/bash
# Runs each fuzz target of tests/fuzz for SECONDS (20 without a word) under AddressSanitizer and UndefinedBehaviorSanitizer,
# from its seeds. Fails on a crash, a leak or a target that came to fewer executions than MINIMUM. A crashing input is kept.
# Usage: fuzz.sh [SECONDS [TARGET...]]
set -euo pipefail
cd "$(dirname "$0")/.."

MINIMUM=5000
seconds=${1:-20}
shift || true
scripts/install-packages.sh build full
[ -f build-fuzz/build.ninja ] || CC=clang-14 meson setup build-fuzz -Dfuzz=true -Dtests=false -Db_lundef=false \
    -Db_sanitize=address,undefined -Doptimization=1 >/dev/null
ninja -C build-fuzz --quiet
[ $# -gt 0 ] || set -- $(cd tests/fuzz && printf '%s\n' fuzz-*.c | sed 's/^fuzz-//; s/\.c$//')

work=$(mktemp -d /dev/shm/grivet-fuzz-XXXXXX)
trap 'rm -rf "$work"' EXIT
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
top=$PWD
for target in "$@"; do
    mkdir "$work/$target"
    if ! (cd "$work" && "$top/build-fuzz/tests/fuzz/fuzz-$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 \
        -artifact_prefix="$top/build-fuzz/$target-" "$target" "$top/tests/fuzz/seeds/$target" >"$target.log" 2>&1); then
        tail -n 60 "$work/$target.log" >&2
        echo "fuzz.sh: $target failed; its input: build-fuzz/$target-*; again: build-fuzz/tests/fuzz/fuzz-$target FILE" >&2
        exit 1
    fi
    executions=$(sed -n 's/^#\([0-9]*\)[[:space:]]*DONE.*/\1/p' "$work/$target.log")
    echo "fuzz $target: $executions executions"
    if [ "${executions:-0}" -lt $MINIMUM ]; then
        echo "fuzz.sh: $target came to fewer than $MINIMUM executions in $seconds s" >&2
        exit 1
    fi
done
