#!/usr/bin/env bash
# Builds the images and says how large they are, compressed as a registry would keep them.
#
# Usage: deploy/docker/build.sh [--no-sizes] [IMAGE...]
#   IMAGE        default: all but inference-gpu, whose base has 10 GB
#   --no-sizes   without saying how large they are, which takes minutes
#
# Environment:
#   DOCKER      the engine's command; default docker
#   REGISTRY    prefix of the images' names; default parley
#   BUILD_ARGS  further arguments of the build, as --build-arg PYTHON=python@sha256:…
set -euo pipefail
cd "$(dirname "$0")/../.."
DOCKER=${DOCKER:-docker}
REGISTRY=${REGISTRY:-parley}
VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
REVISION=$(git rev-parse HEAD)

sizes=yes
if [[ ${1:-} == --no-sizes ]]; then
  sizes=no
  shift
fi
images=("$@")
if ((!$#)); then images=(store auth tools web edge inference-cpu); fi
for image in "${images[@]}"; do
  name=$REGISTRY/$image:$VERSION
  # shellcheck disable=SC2086 # several arguments in one variable
  "$DOCKER" build --quiet --file "deploy/docker/$image.Dockerfile" --tag "$name" \
    --build-arg "VERSION=$VERSION" --build-arg "REVISION=$REVISION" ${BUILD_ARGS:-} . >/dev/null
  if [[ $sizes == no ]]; then continue; fi
  printf '%-32s %5d MiB compressed\n' "$name" "$(($("$DOCKER" save "$name" | gzip -6 | wc -c) / 1048576))"
done
