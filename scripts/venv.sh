#!/bin/sh
# Makes .venv and brings into it what pyproject.toml asks for.
#
#   scripts/venv.sh [EXTRA…]      the build's own requirements, the project's dependencies, and these extras
#
# The project itself is installed by the Makefile, without build isolation, so that a rebuild takes seconds.
set -eu

python=${PYTHON:-python3}
# A virtual environment whose Python has gone (upgraded, removed) is of no use, nor is one that came with a copy of the
# tree: what is installed there is the other tree's.
if ! scripts/venv_usable.sh; then
    rm -rf .venv
    "$python" -m venv .venv
fi

requirements=$(mktemp)
trap 'rm -f "$requirements"' EXIT
.venv/bin/python - "$@" >"$requirements" <<'PYTHON'
import sys
import tomllib

with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)
wanted = [*project["build-system"]["requires"], *project["project"].get("dependencies", [])]
for extra in sys.argv[1:]:
    wanted += project["project"]["optional-dependencies"][extra]
print(*wanted, sep="\n")
PYTHON
.venv/bin/python -m pip install -qq --disable-pip-version-check --requirement "$requirements"
