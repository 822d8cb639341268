#!/bin/sh
# What does not fit into `make test`, stage by stage. A stage that fails does not hide the next; the last lines say how
# each ended and how long it took. Its words are in build/reports/soak-STAGE.log.
#
#   scripts/soak.sh [STAGE…]       default: all of them, in the order below
#
# From the environment: SECONDS_OF_ROUNDS (600), SECONDS_OF_FUZZ (60, each fuzzer), SECONDS_OF_THREADS (60), KERNELS, OTHER_KERNELS,
# JOBS, and SUDO for what needs root.
set -u

python=.venv/bin/python
reports=build/reports
stages="fuzz threads address references failures guests kernels rounds"

# The fuzzers, and how much of the decoder their inputs reach.
run_fuzz() {
    ${MAKE:-make} --no-print-directory fuzz SECONDS="${SECONDS_OF_FUZZ:-60}"
}

# The thread sanitizer over the core: its unit tests, and a session in the hands of eight threads.
run_threads() {
    ${MAKE:-make} --no-print-directory -C tests/core SANITIZE=thread &&
        ${MAKE:-make} --no-print-directory -C tests/soak &&
        ${SUDO:-} setarch -R build/tests-soak/session_threads "${SECONDS_OF_THREADS:-60}"
}

# The address and undefined-behaviour sanitizers over the Python suites.
run_address() {
    scripts/sanitized.sh tests/python tests/consumers
}

# References on a Python that counts them.
run_references() {
    command -v python3-dbg >/dev/null || { echo "there is no python3-dbg here"; return 1; }
    # What the extension takes and gives back is counted, too, if it is built for that.
    CFLAGS=-DPy_REF_DEBUG scripts/variant.sh counted &&
        ${SUDO:-} env PYTHONPATH=build/counted PYTHONDONTWRITEBYTECODE=1 python3-dbg tests/soak/references.py
}

# Each call and each allocation that fails, not only some of them.
run_failures() {
    ${SUDO:-} env AA_FILEIO_EVERYTHING=1 AA_FILEIO_REQUIRE=1 $python -m pytest -p no:cacheprovider -q \
        tests/native/test_failures.py tests/native/test_no_memory.py
}

# All real-probe tests in every guest.
run_guests() {
    $python -m tests.native.workload_programs || return 1
    AA_FILEIO_EVERYTHING=1 $python -m tests.kernels.guest test --suites "${KERNELS:-bullseye bookworm trixie sid}" \
        --jobs "${JOBS:-2}" --timeout 5400
}

# Whether what other kernels are offered is sound.
run_kernels() {
    $python -m tests.kernels.guest test --suites "${OTHER_KERNELS:-trixie-rt backports-6.18}" --jobs "${JOBS:-2}" \
        --timeout 1800
}

# All of them here again and again, to the first failure: leaks and races show in numbers.
run_rounds() {
    end=$(($(date +%s) + ${SECONDS_OF_ROUNDS:-600}))
    rounds=0
    while [ "$(date +%s)" -lt "$end" ]; do
        ${SUDO:-} $python -m pytest -p no:cacheprovider -q tests/native || return 1
        rounds=$((rounds + 1))
    done
    echo "$rounds rounds without a failure"
}

run() {
    case $1 in
    fuzz) run_fuzz ;;
    threads) run_threads ;;
    address) run_address ;;
    references) run_references ;;
    failures) run_failures ;;
    guests) run_guests ;;
    kernels) run_kernels ;;
    rounds) run_rounds ;;
    *)
        echo "there is no such stage: $stages"
        return 1
        ;;
    esac
}

mkdir -p $reports
# shellcheck disable=SC2086 # a list of words
[ $# -gt 0 ] || set -- $stages
summary=
failed=0
for stage in "$@"; do
    echo "==== soak: $stage"
    started=$(date +%s)
    if run "$stage" >"$reports/soak-$stage.log" 2>&1; then
        how=passed
    else
        how=FAILED
        failed=1
        tail -40 "$reports/soak-$stage.log"
    fi
    summary="$summary
soak: $stage $how in $(($(date +%s) - started)) s"
done
echo "$summary"
exit $failed
