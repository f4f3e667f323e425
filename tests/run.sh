#!/usr/bin/env bash
# Runs the tests under coverage, the processes that they start included but for
# the real engine's and those of `parley up` (docs/decisions/0293), and fails
# below the limit. Arguments go to pytest; with some, the limit is off.
# A worker per processor runs them, four at most; what shares a platform stays
# on one (tests/scheduling.py). Of the whole suite, a few tests that failed are
# run once more with nothing beside them, and named (docs/decisions/0207).
set -euo pipefail
cd "$(dirname "$0")/.."
BIN=.venv/bin
LIMIT=85
MOST_UNSTEADY=3
FAILED_TESTS=1 # pytest's exit status where tests failed and nothing worse happened

whole=1 limit=(--fail-under "$LIMIT")
if (($#)); then whole=0 limit=(); fi

# Hundreds of processes start: each would compile all that it imports.
unset PYTHONDONTWRITEBYTECODE
# Tests cut connections by the hundred, and gRPC remarks on each.
export GRPC_VERBOSITY=ERROR

run() { "$BIN/coverage" run -m pytest "$@"; }

unsteady() { "$BIN/python" -c 'import json, sys; print(*json.load(open(sys.argv[1])), sep="\n")' \
  .pytest_cache/v/cache/lastfailed; }

"$BIN/coverage" erase
status=0 failed=()
run --numprocesses auto --maxprocesses 4 --durations 30 "$@" || status=$?
if ((whole && status == FAILED_TESTS)); then mapfile -t failed < <(unsteady); fi
if ((${#failed[@]} && ${#failed[@]} <= MOST_UNSTEADY)); then
  echo "==> once more, alone"
  run --last-failed --last-failed-no-failures none && status=0
  if ((!status)); then printf '==> UNSTEADY, failed beside others and passed alone: %s\n' "${failed[@]}"; fi
fi
"$BIN/coverage" combine --quiet
"$BIN/coverage" report "${limit[@]}"
exit "$status"
