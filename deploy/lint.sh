#!/usr/bin/env bash
# Every check that needs no running process. All of them run; any failure fails.
set -uo pipefail
cd "$(dirname "$0")/.."
BIN=.venv/bin
failed=()

check() {
  local name=$1
  shift
  printf '\033[1m%-18s\033[0m' "$name"
  local output
  if output=$("$@" 2>&1); then
    echo ok
  else
    echo FAILED
    printf '%s\n' "$output" | sed 's/^/    /'
    failed+=("$name")
  fi
}

image=$(mktemp --suffix .binpb)
trap 'rm -f "$image"' EXIT

check "ruff check" "$BIN/ruff" check
check "ruff format" "$BIN/ruff" format --check
check "mypy" "$BIN/mypy"
check "import-linter" "$BIN/lint-imports" --no-cache
check "stubs' drift" "$BIN/python" protos/generate.py --check
check "clients' drift" "$BIN/python" -m protos.generate_clients --check
check "docs' drift" "$BIN/python" docs/generate.py --check
check "dashboards' drift" "$BIN/python" -m deploy.observability.dashboards --check
check "contract image" "$BIN/python" protos/generate.py --image "$image"
check "buf lint" "$BIN/buf" lint "$image" --config protos/buf.yaml
check "buf breaking" "$BIN/buf" breaking "$image" --against protos/baseline.binpb --config protos/buf.yaml
if [[ -d clients/typescript/node_modules ]]; then
  check "tsc" clients/typescript/node_modules/.bin/tsc --project clients/typescript
fi
check "shell syntax" bash -n deploy/setup.sh deploy/lint.sh deploy/scan_manifests.sh tests/run.sh deploy/docker/build.sh deploy/docker/engine.sh deploy/docker/lock.sh deploy/docker/stand-ins/postgres-entrypoint.sh deploy/observability/check.sh
# Bandit's low findings are ruff's S, with their exceptions at the line; here are those that ruff does not know.
check "bandit" "$BIN/bandit" --quiet --severity-level medium --recursive services web cli deploy parley_client
check "secrets" "$BIN/python" deploy/scan_secrets.py
check "workflows" "$BIN/zizmor" --offline --quiet --config .github/zizmor.yml .github/workflows
mapfile -t dockerfiles < <(git ls-files '*Dockerfile*')
if ((${#dockerfiles[@]})); then
  check "hadolint" "$BIN/hadolint" "${dockerfiles[@]}"
fi
if [[ -x $BIN/../checkov/bin/checkov ]]; then
  check "checkov" deploy/scan_manifests.sh
fi

if ((${#failed[@]})); then
  printf 'failed: %s\n' "${failed[*]}"
  exit 1
fi
