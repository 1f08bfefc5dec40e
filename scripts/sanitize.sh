#!/bin/sh
# Builds with AddressSanitizer, LeakSanitizer and UndefinedBehaviorSanitizer in build-asan, and runs with it the unit tests, the
# executor's and the namespace tests, and one rehearsal. Fails on a failed test and on a report in any program's log.
set -eu
cd "$(dirname "$0")/.."

as_root=""
[ "$(id -u)" = 0 ] || as_root="sudo"
logs=$PWD/build-asan/sanitizer-logs
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1

[ -f build-asan/build.ninja ] ||
    meson setup build-asan -Db_sanitize=address,undefined -Db_lundef=false -Doptimization=1 -Dtest_hooks=true >/dev/null
ninja -C build-asan --quiet
echo "== sanitizers: unit"
meson test -C build-asan --suite unit --no-rebuild --print-errorlogs --quiet
echo "== sanitizers: executor, network namespaces, a rehearsal"
$as_root rm -rf "$logs"
mkdir -p "$logs"
$as_root env GRIVET_BUILD="$PWD/build-asan" /usr/bin/python3 -m pytest -q -c tests/pytest.ini tests/crash/test_executor.py \
    tests/crash/test_executor_files.py tests/netns --basetemp="$logs/tests" --numprocesses=4 --dist=loadgroup
$as_root env GRIVET_BUILD="$PWD/build-asan" /usr/bin/python3 tests/lab/gameday.py run "$logs/gameday" zone-outage no \
    >"$logs/gameday.log" 2>&1 || { tail -n 40 "$logs/gameday.log" >&2; exit 1; }
# A service's log has the report of a program that the tests themselves did not miss: a leak at exit, for one.
if $as_root grep -rnE "ERROR: (Address|Leak)Sanitizer|runtime error:|SUMMARY: .*Sanitizer" "$logs"; then
    echo "sanitize.sh: reports stand in the logs above" >&2
    exit 1
fi
