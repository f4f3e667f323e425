#!/usr/bin/env bash
# Writes the exact packages of each image, with their hashes, to deploy/docker/requirements/.
# What pyproject.toml asks for decides; run it again after a change there. uv must reach a registry.
# The CPU build of torch is in no registry: UV_FIND_LINKS or UV_EXTRA_INDEX_URL tells uv where it is.
#
# Usage: deploy/docker/lock.sh [IMAGE...]
set -euo pipefail
cd "$(dirname "$0")/../.."
UV=.venv/bin/uv
FOLDER=deploy/docker/requirements

lock() {
  "$UV" pip compile --quiet --upgrade --python-version 3.11 --generate-hashes \
    --no-header --no-annotate --no-emit-index-url --no-emit-find-links "$@"
}

# All that is installed stands in it, so that pip, which knows no overrides, need not look further.
lock_cpu() {
  lock pyproject.toml --extra cpu --python-platform x86_64-manylinux_2_36 --index-strategy unsafe-best-match \
    --override deploy/setup-overrides.txt --output-file "$FOLDER/inference-cpu.txt"
}

images=("$@")
if ((!$#)); then images=(auth tools web edge store inference inference-cpu); fi
for image in "${images[@]}"; do
  echo "$image"
  case $image in
    inference-cpu) lock_cpu ;;
    *) lock --universal pyproject.toml --extra "$image" --output-file "$FOLDER/$image.txt" ;;
  esac
done
# What turns our own sources into a package; none of it stays in an image.
lock --universal - --output-file "$FOLDER/build.txt" <<<"hatchling>=1.27"
