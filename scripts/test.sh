#!/bin/sh
# Every tier of tests, one after the other, and then the sum. A failing tier does not hide the next.
#
#   scripts/test.sh TARGET…      the Makefile's targets to run, in this order
set -u

reports=build/reports
rm -rf $reports build/kernels
mkdir -p $reports

for tier in "$@"; do
    echo
    echo "==== $tier"
    started=$(date +%s)
    ${MAKE:-make} --no-print-directory "$tier"
    echo "$tier $? $(($(date +%s) - started))" >>$reports/tiers
done
echo
exec "${PYTHON:-python3}" scripts/verdict.py $reports build/kernels
