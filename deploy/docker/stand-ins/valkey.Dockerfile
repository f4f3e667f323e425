# In the place of the official image of Valkey, where no registry is reached: Debian's own, with TLS, the same release.
# Built by `deploy/docker/engine.sh stand-ins`.
ARG DEBIAN=debian:trixie-slim
FROM ${DEBIAN}
# checkov:skip=CKV_DOCKER_2:compose.yaml asks how it is, as the official image has no check of its own
# The user and the folder are the official image's.
# hadolint ignore=DL3008
RUN groupadd --system --gid 1000 valkey \
 && useradd --system --uid 999 --gid valkey --home-dir /data valkey \
 && apt-get update \
 && apt-get install --yes --no-install-recommends valkey-server valkey-tools \
 && rm -rf /var/lib/apt/lists/* \
 && install -d -o valkey -g valkey /data
USER 999:1000
WORKDIR /data
EXPOSE 6379
CMD ["valkey-server"]
