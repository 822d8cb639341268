#!/bin/sh
# Whether .venv is this tree's own and its Python runs: 0 or 1.
set -eu

.venv/bin/python -c '' 2>/dev/null || exit 1
made_by=$(sed -n 's/^command = .* -m venv //p' .venv/pyvenv.cfg)
[ "$made_by" = "$(pwd -P)/.venv" ]
