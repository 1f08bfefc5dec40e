#!/bin/sh
# gcc -fanalyzer, clang-tidy and cppcheck over the programs (not the tests). Any finding fails.
#
# All three see one file at a time. What they can't know is that a function of another file which returns 0 has written its
# result, and that error_set() and its kin never return 0. Hence off, because each of their findings here was of that kind:
#   gcc: null-dereference, null-argument, use-of-uninitialized-value; malloc-leak (it loses what a struct holds, gcc 12)
#   clang-analyzer: core.NullDereference, core.NonNullParamChecker, core.CallAndMessage, core.UndefinedBinaryOperatorResult,
#       core.uninitialized, core.DivideZero, optin.portability.UnixAPI; unix.Malloc and deadcode.DeadStores (don't know
#       _cleanup_); valist (false from the second file of a run on, LLVM 14)
#   cppcheck: memleak (does not know _cleanup_), uninitvar, nullPointer; unknownMacro, internalAstError (its own parser)
# The sanitizers and fuzzers watch the same at run time. Off as a matter of style:
#   DeprecatedOrUnsafeBufferHandling (wants Annex K, which glibc lacks), strcpy; and of bugprone: easily-swappable-parameters,
#   reserved-identifier, suspicious-string-compare (strcmp() as a truth), narrowing-conversions and implicit-widening (sizes are
#   bounded where they come in), sizeof-expression (arrays of pointers), branch-clone, integer-division and misplaced-widening
#   (seconds from nanoseconds, json_int_t)
set -eu
cd "$(dirname "$0")/.."

scripts/install-packages.sh build full
[ -f build/build.ninja ] || meson setup build >/dev/null
ninja -C build --quiet
sources=$(find agent cli common coordinator faults probes -name '*.c' | sort)
found=0

echo "== gcc -fanalyzer"
# with -c: -fsyntax-only would silently analyse nothing
export FLAGS; FLAGS="-std=gnu17 -D_GNU_SOURCE -DGRIVET_VERSION=\"0\" -I. -Ibuild -Ibuild/cli -O1 -fanalyzer -Wno-analyzer-null-dereference
-Wno-analyzer-null-argument -Wno-analyzer-use-of-uninitialized-value -Wno-analyzer-malloc-leak -Werror
$(pkg-config --cflags libnl-3.0 jansson libsodium libevent libcurl sqlite3 libcap libsystemd)"
# shellcheck disable=SC2086  # words are meant to be split
printf '%s\n' $sources | xargs -P 2 -n 8 sh -c 'for file; do gcc $FLAGS -c -o /dev/null "$file" || exit 1; done' sh || found=1

echo "== clang-tidy"
checks="-*,clang-analyzer-*,-clang-analyzer-unix.Malloc,-clang-analyzer-valist*,-clang-analyzer-core.NullDereference"
checks="$checks,-clang-analyzer-core.NonNullParamChecker,-clang-analyzer-core.CallAndMessage"
checks="$checks,-clang-analyzer-core.UndefinedBinaryOperatorResult,-clang-analyzer-core.uninitialized*"
checks="$checks,-clang-analyzer-core.DivideZero,-clang-analyzer-optin.portability.UnixAPI,-clang-analyzer-deadcode.DeadStores"
checks="$checks,-clang-analyzer-security.insecureAPI.DeprecatedOrUnsafeBufferHandling,-clang-analyzer-security.insecureAPI.strcpy"
checks="$checks,bugprone-*,-bugprone-easily-swappable-parameters,-bugprone-reserved-identifier"
checks="$checks,-bugprone-suspicious-string-compare,-bugprone-narrowing-conversions,-bugprone-sizeof-expression"
checks="$checks,-bugprone-implicit-widening-of-multiplication-result,-bugprone-branch-clone,-bugprone-integer-division"
checks="$checks,-bugprone-misplaced-widening-cast"
# shellcheck disable=SC2086
printf '%s\n' $sources | xargs -P 2 -n 24 clang-tidy-14 -p build --quiet --warnings-as-errors='*' --checks="$checks" 2>/dev/null ||
    found=1

echo "== cppcheck"
# shellcheck disable=SC2086
cppcheck -q -j2 --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 -I. -D_GNU_SOURCE \
    --include=/usr/include/jansson.h --include="$(gcc -print-multiarch | sed "s,.*,/usr/include/&/sys/queue.h,")" --suppress=memleak \
    --suppress=uninitvar --suppress=nullPointer --suppress=unknownMacro --suppress=internalAstError $sources || found=1

[ $found = 0 ] || echo "analyse.sh: mend what stands above; what is false by nature is listed in this script, with its reason" >&2
exit $found
