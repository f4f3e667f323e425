#!/usr/bin/env bash
# Has Prometheus' own tool check the rules and play them through (promtool, which deploy/setup.sh --dev brings).
set -euo pipefail
cd "$(dirname "$0")"
PATH=$PWD/../../.venv/bin:$PATH
command -v promtool >/dev/null || { echo "promtool is missing: install your system's package 'prometheus'" >&2; exit 1; }

promtool check rules rules.yaml
promtool test rules rules_test.yaml
