#!/usr/bin/env bash
# Runs the tests under coverage, the processes that they start included, and
# fails below the limit. Arguments go to pytest; with some, the limit is off.
# A worker per processor runs them, four at most; what shares a platform stays
# on one (tests/scheduling.py).
set -euo pipefail
cd "$(dirname "$0")/.."
BIN=.venv/bin
LIMIT=85

limit=(--fail-under "$LIMIT")
if (($#)); then limit=(); fi

# `parley up` gives its processes only what they need; coverage needs this too.
export PARLEY_PASS_VARIABLES=COVERAGE_PROCESS_CONFIG
# Hundreds of processes start: each would compile all that it imports.
unset PYTHONDONTWRITEBYTECODE
# Tests cut connections by the hundred, and gRPC remarks on each.
export GRPC_VERBOSITY=ERROR

"$BIN/coverage" erase
"$BIN/coverage" run -m pytest --numprocesses auto --maxprocesses 4 --durations 30 "$@"
"$BIN/coverage" combine --quiet
"$BIN/coverage" report "${limit[@]}"
