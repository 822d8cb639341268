#!/bin/sh
# Every tier of tests, and then the sum. A failing tier does not hide the next.
#
#   scripts/test.sh TARGET… [-- TARGET…]      the Makefile's targets to run, in this order; beside them, those behind --
set -u

reports=build/reports
rm -rf $reports build/kernels
mkdir -p $reports

run() {
    echo
    echo "==== $1"
    started=$(date +%s)
    ${MAKE:-make} --no-print-directory "$1"
    echo "$1 $? $(($(date +%s) - started))" >>$reports/tiers
}

all=$*
here=
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    here="$here $1"
    shift
done
[ $# -eq 0 ] || shift
for tier in "$@"; do
    run "$tier"
done &
for tier in $here; do
    run "$tier"
done
wait
# One that did not come to its end has failed.
for tier in $all; do
    [ "$tier" = -- ] || grep -q "^$tier " $reports/tiers || echo "$tier 1 0" >>$reports/tiers
done
echo
exec "${PYTHON:-python3}" scripts/verdict.py $reports build/kernels
