#!/bin/sh
# clang-tidy over the C core, the binding and the core's unit tests, one process a core.
#
#   scripts/tidy.sh [FILE…]      default: all of them
set -eu

cd "$(dirname "$0")/.."
# The core includes the skeleton, which the build makes from bpf/. It is bpftool's, so nothing in it is ours to mend; the
# analyzer follows calls into it all the same, and does not know that bpf_object__destroy_skeleton() frees.
"${MAKE:-make}" --no-print-directory -s -C tests/core skeleton
mkdir -p build/tidy
for name in fileio fileio_direct; do
    {
        echo '/* NOLINTBEGIN */'
        cat "build/tests-core-temp/bpf/$name.skel.h"
        echo '/* NOLINTEND */'
    } >"build/tidy/$name.skel.h"
done
PYTHON_INCLUDE=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("include"))')
export PYTHON_INCLUDE

[ $# -gt 0 ] || set -- csrc/core/*.c csrc/binding/*.c tests/core/*.c
# Findings and errors go to stdout; stderr only counts what was not shown. xargs fails if one of them did.
# shellcheck disable=SC2016 # the inner shell's
printf '%s\n' "$@" | xargs -n 1 -P "$(nproc)" sh -c 'clang-tidy --quiet "$0" -- \
    -std=c11 -D_GNU_SOURCE -DPy_LIMITED_API=0x030B0000 -Wall -Wextra -Wno-unused-parameter \
    -I csrc/core -I bpf -isystem build/tidy -isystem "$PYTHON_INCLUDE" 2>/dev/null'
