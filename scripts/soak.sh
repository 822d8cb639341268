#!/bin/sh
# Runs the real-probe tests again and again for so many seconds, to the first failure: leaks and races show in numbers.
#
#   scripts/soak.sh SECONDS COMMAND…
set -eu

seconds=$1
shift
end=$(($(date +%s) + seconds))
rounds=0
while [ "$(date +%s)" -lt "$end" ]; do
    "$@"
    rounds=$((rounds + 1))
done
echo "soak: $rounds rounds in $seconds s, no failure"
