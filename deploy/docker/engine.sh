#!/usr/bin/env bash
# A container engine for a Debian machine that has none and can reach no registry of images: Docker from Debian's packages,
# unpacked into a folder and never installed, with networks of its own that the machine does not see, and a base made of
# Debian's packages that stands in for the one that the Dockerfiles name. docs/decisions/0285 says why it is made so.
#
# Usage: deploy/docker/engine.sh up              fetch what is missing, start the engine, make the base
#        deploy/docker/engine.sh run COMMAND...  run a command beside it, as `make images` or `docker ps`
#        deploy/docker/engine.sh stand-ins       make what stands in for the images of other makers in compose.yaml and in the checks
#        deploy/docker/engine.sh down            stop the engine and all its containers, and remove the folder
#
# As root. Packages come from where apt and pip of the machine are set to find them.
#
# Environment:
#   ENGINE_FOLDER   where all of it lies, some 15 GB; default parley-engine below TMPDIR or /tmp
#   ENGINE_SUITE    Debian's release that Docker and the stand-ins are taken from; default trixie (bookworm's has no
#                   Compose 2)
#   ENGINE_BASE     Debian's release that the base is made of; default bookworm, whose Python is the Dockerfiles'
set -euo pipefail
SOURCES=$(cd "$(dirname "$0")/../.." && pwd)
SELF=$SOURCES/deploy/docker/engine.sh
FOLDER=${ENGINE_FOLDER:-${TMPDIR:-/tmp}/parley-engine}
SUITE=${ENGINE_SUITE:-trixie}
BASE=${ENGINE_BASE:-bookworm}
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
TORCH_PORT=8999 # in the engine's network, where nobody else listens
UNPACKED=$FOLDER/unpacked
PROGRAMS=(docker.io docker-cli containerd docker-buildx docker-compose)
# What is bound to the machine's own C library, and so comes from its own release.
OWN=(runc tini iptables libip6tc2 libip4tc2 libxtables12 libnftnl11 libnetfilter-conntrack3 libnfnetlink0 libmnl0
  slirp4netns libslirp0 mmdebstrap)
STAND_INS=$SOURCES/deploy/docker/stand-ins
NAMED=("$SOURCES/deploy/compose.yaml" "$SOURCES/tests/deploy/node.yaml") # what names the images that are stood in for
INSIDE_BASE=ca-certificates,python3,python3-pip,python3-venv,python-is-python3
WAIT_SECONDS=60

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
fail() { printf 'engine: %s\n' "$*" >&2; exit 1; }

main() {
  ((EUID == 0)) || fail "only root may start it"
  local libraries=$UNPACKED/usr/lib/$(uname -m)-linux-gnu
  export PATH=$UNPACKED/usr/bin:$UNPACKED/usr/sbin:$PATH
  export DOCKER_HOST=unix://$FOLDER/docker.sock DOCKER_CONFIG=$FOLDER/config
  case ${1:-} in
    up) up ;;
    run) shift; run "$@" ;;
    stand-ins) stand_ins ;;
    down) down ;;
    inside) export LD_LIBRARY_PATH=$libraries XTABLES_LIBDIR=$libraries/xtables; inside ;;
    *) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$SELF"; exit 2 ;;
  esac
}

up() {
  mkdir -p "$FOLDER"
  [[ -f $FOLDER/fetched ]] || fetch
  is_up || start
  make_python
  offer_torch
  say "the engine is up; deploy/docker/engine.sh run COMMAND... runs a command beside it"
}

fetch() {
  say "packages: ${PROGRAMS[*]} of $SUITE, ${OWN[*]}"
  mkdir -p "$FOLDER"/apt/{state/lists/partial,cache/archives/partial,packages} "$UNPACKED" "$FOLDER/config"
  source_of "$SUITE" >"$FOLDER/apt/sources.list"
  apart update -qq
  (cd "$FOLDER/apt/packages" && apart download -qq "${PROGRAMS[@]}" && apt-get download -qq "${OWN[@]}") 2>/dev/null ||
    fail "the packages cannot be had; apt-get update may help"
  local package
  for package in "$FOLDER"/apt/packages/*.deb; do dpkg -x "$package" "$UNPACKED"; done
  ln -sf xtables-nft-multi "$UNPACKED/usr/sbin/iptables"
  ln -sf xtables-nft-multi "$UNPACKED/usr/sbin/ip6tables"
  printf '{"cliPluginsExtraDirs": ["%s"]}\n' "$UNPACKED/usr/libexec/docker/cli-plugins" >"$FOLDER/config/config.json"
  touch "$FOLDER/fetched"
}

# A release, from where this machine has Debian's main archive.
source_of() {
  local archives
  # shellcheck disable=SC2016 # apt fills these in
  mapfile -t archives < <(apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' |
    sed -n 's/^Debian \([^ ]*\)$/\1/p' | sort -u)
  ((${#archives[@]})) || fail "apt knows no archive of Debian; apt-get update may help"
  echo "deb [signed-by=$KEYRING] ${archives[0]} $1 main"
}

# apt-get with lists of its own, and the machine's settings for all else.
apart() {
  apt-get -o "Dir::Etc::sourcelist=$FOLDER/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null \
    -o "Dir::State=$FOLDER/apt/state" -o "Dir::Cache=$FOLDER/apt/cache" -o Dir::State::status=/dev/null "$@"
}

is_up() { [[ -f $FOLDER/first.pid && -d /proc/$(<"$FOLDER/first.pid")/ ]] && docker version >/dev/null 2>&1; }

# In namespaces of its own: its bridges, rules and mounts end with it, and so does every process of a container.
start() {
  say "the engine starts; its log: $FOLDER/engine.log"
  unshare --net --mount --pid --fork --kill-child=SIGTERM --mount-proc "$SELF" inside >"$FOLDER/engine.log" 2>&1 &
  local shell=$! first began=$SECONDS
  until first=$(ps -o pid= --ppid "$shell" | tr -d ' ') && [[ -n $first ]]; do still_waiting "$shell"; done
  echo "$first" >"$FOLDER/first.pid"
  until [[ $(readlink "/proc/$first/ns/net") != $(readlink /proc/self/ns/net) ]]; do still_waiting "$shell"; done
  LD_LIBRARY_PATH=$UNPACKED/usr/lib/$(uname -m)-linux-gnu slirp4netns --configure --mtu=1500 --disable-host-loopback \
    "$first" tap0 >"$FOLDER/network.log" 2>&1 &
  echo $! >"$FOLDER/network.pid"
  until docker version >/dev/null 2>&1; do still_waiting "$shell"; done
}

still_waiting() {
  kill -0 "$1" 2>/dev/null || fail "the engine ended: $(tail -n 5 "$FOLDER/engine.log")"
  ((SECONDS - began < WAIT_SECONDS)) || fail "the engine did not start within $WAIT_SECONDS s"
  sleep 0.2
}

# The first process of the namespaces.
inside() {
  ip link set lo up
  exec dockerd --host "$DOCKER_HOST" --data-root "$FOLDER/data" --exec-root "$FOLDER/exec" --pidfile "$FOLDER/docker.pid"
}

# In the engine's network, where what it publishes is reached.
run() {
  is_up || fail "it is not up: deploy/docker/engine.sh up"
  # shellcheck disable=SC1091 # written by `up`
  [[ ! -f $FOLDER/environment ]] || . "$FOLDER/environment"
  exec nsenter --target "$(<"$FOLDER/first.pid")" --net -- "$@"
}

down() {
  local name
  for name in first network index; do
    if [[ -f $FOLDER/$name.pid ]]; then stop "$(<"$FOLDER/$name.pid")"; fi
  done
  if [[ -f $FOLDER/fetched ]]; then rm -rf "$FOLDER"; fi
}

stop() {
  # A number alone may be another's by now.
  grep -qsaF "$FOLDER" "/proc/$1/cmdline" "/proc/$1/environ" || return 0
  kill "$1" 2>/dev/null || return 0
  local began=$SECONDS
  while kill -0 "$1" 2>/dev/null; do
    ((SECONDS - began < WAIT_SECONDS)) || kill -KILL "$1" 2>/dev/null || true
    sleep 0.2
  done
}

base_name() { sed -n 's/^ARG PYTHON=//p' "$SOURCES/deploy/docker/auth.Dockerfile"; }

# Debian's Python in the place of the official image's, found by pip as the machine's own finds packages.
make_python() {
  local name index
  name=$(base_name)
  if has_image "$name"; then return; fi
  say "a base in the place of $name: $BASE with its own Python"
  bootstrap "$BASE" "$INSIDE_BASE"
  rm -f "$FOLDER"/base/usr/lib/python3*/EXTERNALLY-MANAGED
  index=${PIP_INDEX_URL:-$(python3 -m pip config get global.index-url 2>/dev/null || true)}
  if [[ -n $index ]]; then printf '[global]\nindex-url = %s\n' "$index" >"$FOLDER/base/etc/pip.conf"; fi
  bring_in "$name" python3
}

has_image() { docker image inspect "$1" >/dev/null 2>&1; }

# A Debian in a folder: its release, the packages in it.
bootstrap() {
  rm -rf "$FOLDER/base"
  mmdebstrap --quiet --mode=root --variant=minbase --include="$2" \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    "$1" "$FOLDER/base" "$(source_of "$1")" >&2
  cp /etc/ssl/certs/ca-certificates.crt "$FOLDER/base/etc/ssl/certs/ca-certificates.crt"
}

# The folder as an image: its name, its command.
bring_in() {
  tar --create --directory "$FOLDER/base" . | docker import --change "CMD [\"$2\"]" - "$1" >/dev/null
  rm -rf "$FOLDER/base"
}

# Debian's programs under the names of the images that are taken from their makers. Grafana is not in Debian.
stand_ins() {
  is_up || fail "it is not up: deploy/docker/engine.sh up"
  local debian file name
  debian=$(sed -n 's/^ARG DEBIAN=//p' "$STAND_INS"/*.Dockerfile | sort -u)
  if ! has_image "$debian"; then
    say "a base in the place of $debian"
    bootstrap "$SUITE" ca-certificates
    bring_in "$debian" bash
  fi
  for file in "$STAND_INS"/*.Dockerfile; do
    name=$(basename "$file" .Dockerfile)
    name=$(sed -n "s|^ *image: \([^ ]*\b$name\b[^ ]*\)$|\1|p" "${NAMED[@]}" | sort -u)
    say "in the place of $name: Debian's own"
    docker build --quiet --file "$file" --tag "$name" "$STAND_INS" >/dev/null
  done
}

# The CPU build of torch is in no registry. Where pip of this machine finds it, builds find it, too.
offer_torch() {
  local index=$FOLDER/index torch
  torch=$(sed -n 's/^\(torch==[^ ]*+cpu\).*/\1/p' "$SOURCES/deploy/docker/requirements/inference-cpu.txt")
  mkdir -p "$index/torch"
  if ! compgen -G "$index/torch/*.whl" >/dev/null; then
    python3 -m pip download --quiet --quiet --no-deps --only-binary :all: --python-version 3.11 \
      --dest "$index/torch" "$torch" ||
      { say "pip does not find $torch here: TORCH_INDEX stays what the Dockerfile says"; return; }
  fi
  if [[ -f $FOLDER/index.pid && -d /proc/$(<"$FOLDER/index.pid") ]]; then return; fi
  nsenter --target "$(<"$FOLDER/first.pid")" --net -- python3 -m http.server --bind 127.0.0.1 --directory "$index" \
    "$TORCH_PORT" >"$FOLDER/index.log" 2>&1 &
  echo $! >"$FOLDER/index.pid"
  echo "export BUILD_ARGS=\"--network host --build-arg TORCH_INDEX=http://127.0.0.1:$TORCH_PORT \${BUILD_ARGS:-}\"" \
    >"$FOLDER/environment"
}

main "$@"
