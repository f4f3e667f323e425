# In the place of the official image of Podman, where no registry is reached: Debian's own, the same release.
# Built by `deploy/docker/engine.sh stand-ins`.
ARG DEBIAN=debian:trixie-slim
FROM ${DEBIAN}
# checkov:skip=CKV_DOCKER_2:tests/deploy/node.yaml asks how it is, as the official image has no check of its own
# checkov:skip=CKV_DOCKER_3:as the official image; it starts containers of its own, and only checks start it
# With runc, as Debian's crun does not work with control groups of the first version.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends podman runc netavark aardvark-dns catatonit nftables \
 && rm -rf /var/lib/apt/lists/*
VOLUME /var/lib/containers
CMD ["sleep", "infinity"]
