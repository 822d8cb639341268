#!/bin/sh
# Builds the extension once more, by other flags, in a copy of the project: the one in place stays as it is.
#
#   CFLAGS=… LDFLAGS=… scripts/variant.sh NAME        makes build/NAME
set -eu

folder=$PWD/build/$1
temp=$PWD/build/$1-temp
python=$PWD/.venv/bin/python

# The kernel side is the same: it is compiled in one place.
${MAKE:-make} --no-print-directory -C tests/core skeleton
rm -rf "$folder" "$temp"
mkdir -p "$folder" "$temp"
for each in aa_fileio benchmarks bpf csrc docs examples scripts tests *.py *.toml *.md *.in LICENSE Makefile; do
    [ ! -e "$each" ] || cp -r "$each" "$folder/"
done
rm -f "$folder"/aa_fileio/*.so
# As new as the copies of the sources.
cp -r build/tests-core-temp/bpf "$temp/"
cd "$folder"
PYTHONDONTWRITEBYTECODE='' "$python" setup.py -q build_ext --inplace --build-temp "$temp"
