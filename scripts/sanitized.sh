#!/bin/sh
# Runs Python suites over an extension that is built with the address and undefined-behaviour sanitizers.
#
#   scripts/sanitized.sh TEST…
set -eu

python=$PWD/.venv/bin/python
flags="-fsanitize=address -fsanitize=undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -g -O1"
CFLAGS=$flags LDFLAGS="-fsanitize=address -fsanitize=undefined" scripts/variant.sh sanitized

cd build/sanitized
# What the interpreter itself never frees is no leak of ours. Its own allocator hides what is read behind an object's end.
export ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1
export PYTHONMALLOC=malloc PYTHONDONTWRITEBYTECODE=1 PYTHONPATH="$PWD" AA_FILEIO_TEST_CFLAGS="$flags"
for tests in "$@"; do
    LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)" \
        "$python" -m pytest -p no:cacheprovider -q "$tests"
done
