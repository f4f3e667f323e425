#!/usr/bin/env bash
# Every check that needs no running process, as many at once as there are processors. All of them run; any failure fails.
set -uo pipefail
cd "$(dirname "$0")/.."
BIN=.venv/bin
AT_ONCE=$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/failed"

check() {
  while (($(jobs -rp | wc -l) >= AT_ONCE)); do wait -n; done
  judge "$@" &
}

# What is told is told in one piece, so that the words of two checks do not mix.
judge() {
  local name=$1 output
  shift
  if output=$("$@" 2>&1); then
    printf '\033[1m%-18s\033[0mok\n' "$name"
  else
    : >"$work/failed/$name"
    printf '\033[1m%-18s\033[0mFAILED\n    %s\n' "$name" "${output//$'\n'/$'\n'    }"
  fi
}

# The longest first.
check "mypy" "$BIN/mypy"
if [[ -x $BIN/../checkov/bin/checkov ]]; then
  check "checkov" deploy/scan_manifests.sh
fi
check "ruff check" "$BIN/ruff" check
check "ruff format" "$BIN/ruff" format --check
check "import-linter" "$BIN/lint-imports" --no-cache
check "stubs' drift" "$BIN/python" protos/generate.py --check
check "clients' drift" "$BIN/python" -m protos.generate_clients --check
check "docs' drift" "$BIN/python" docs/generate.py --check
check "dashboards' drift" "$BIN/python" -m deploy.observability.dashboards --check
judge "contract image" "$BIN/python" protos/generate.py --image "$work/contract.binpb"
check "buf lint" "$BIN/buf" lint "$work/contract.binpb" --config protos/buf.yaml
check "buf breaking" "$BIN/buf" breaking "$work/contract.binpb" --against protos/baseline.binpb --config protos/buf.yaml
if [[ -d clients/typescript/node_modules ]]; then
  check "tsc" clients/typescript/node_modules/.bin/tsc --project clients/typescript
fi
mapfile -t scripts < <(git ls-files '*.sh' .ci/run)
check "shell syntax" bash -n "${scripts[@]}"
# Bandit's low findings are ruff's S, with their exceptions at the line; here are those that ruff does not know.
check "bandit" "$BIN/bandit" --quiet --severity-level medium --recursive services web cli deploy parley_client
check "secrets" "$BIN/python" deploy/scan_secrets.py
check "workflows" "$BIN/zizmor" --offline --quiet --config .github/zizmor.yml .github/workflows
mapfile -t dockerfiles < <(git ls-files '*Dockerfile*')
if ((${#dockerfiles[@]})); then
  check "hadolint" "$BIN/hadolint" "${dockerfiles[@]}"
fi

wait
failed=("$work"/failed/*)
if [[ -e ${failed[0]} ]]; then
  printf 'failed: %s\n' "${failed[*]##*/}"
  exit 1
fi
