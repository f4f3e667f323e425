# In the place of the official image of Prometheus, where no registry is reached: Debian's own, of the major release before.
# Built by `deploy/docker/engine.sh stand-ins`.
ARG DEBIAN=debian:trixie-slim
FROM ${DEBIAN}
# checkov:skip=CKV_DOCKER_2:compose.yaml asks how it is, as the official image has no check of its own
# The user and the folder are the official image's; wget asks how it is.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends prometheus wget \
 && rm -rf /var/lib/apt/lists/* \
 && install -d -o nobody -g nogroup /prometheus
USER 65534:65534
WORKDIR /prometheus
EXPOSE 9090
ENTRYPOINT ["prometheus"]
