#!/usr/bin/env bash
# Checkov over images' files, workflows and, where kubectl renders them, every overlay.
# What is excepted is in checkov.yaml, each with its reason.
set -euo pipefail
cd "$(dirname "$0")/.."
PROGRAM=.venv/checkov/bin/checkov

rendered=$(mktemp -d)
trap 'rm -rf "$rendered"' EXIT
if command -v kubectl >/dev/null; then
  for overlay in deploy/kubernetes/overlays/*/; do
    kubectl kustomize "$overlay" >"$rendered/$(basename "$overlay").yaml"
  done
fi
# Nothing from the network, not even its own words for a finding.
"$PROGRAM" --config-file deploy/checkov.yaml \
  --directory deploy/docker --directory .github --directory "$rendered"
