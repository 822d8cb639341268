#!/bin/sh
# Traces a small job made of ordinary tools, and shows what it did to the files of its directory. Needs root.
set -eu

if [ "${1-}" = job ]; then
    cd "$2"
    printf 'a first line\n' >draft.txt    # created, written
    printf 'a second line\n' >>draft.txt  # appended to
    sed -i s/line/word/ draft.txt         # written anew beside it, then renamed over it
    mv draft.txt final.txt
    sort -r final.txt
    mkdir kept
    cp final.txt kept/copy.txt            # bytes go from file to file without a read or a write
    truncate -s 6 kept/copy.txt
    cat missing.txt 2>/dev/null || true   # a failure is an event, too
    rm final.txt
    exit
fi

here=$(cd "$(dirname "$0")" && pwd)
aa_fileio=$here/../.venv/bin/aa-fileio
[ -x "$aa_fileio" ] || aa_fileio=aa-fileio
directory=$(mktemp -d)
trace=$(mktemp)
trap 'rm -rf "$directory" "$trace"' EXIT

"$aa_fileio" run -o "$trace" -- sh "$0" job "$directory"

echo
head -n 1 "$trace"
grep -F "$directory/" "$trace"
echo "… and what the loader and the C library read for each tool: $(wc -l <"$trace") lines in all."
tail -n 1 "$trace"
