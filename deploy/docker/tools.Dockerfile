# The tools service. Under a container engine Landlock shuts programs in: bubblewrap would need rights of its own.
# Built from the repository's root: docker build --file deploy/docker/tools.Dockerfile .
# PYTHON may name the same base by its digest.
ARG PYTHON=python:3.11.14-slim-trixie

FROM ${PYTHON} AS build
WORKDIR /build
COPY deploy/docker/requirements/build.txt deploy/docker/requirements/tools.txt requirements/
RUN python -m venv --without-pip /opt/parley \
 && pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements/build.txt \
 && pip --python /opt/parley/bin/python install --no-cache-dir --require-hashes --only-binary :all: \
      -r requirements/tools.txt
COPY . source
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir wheels ./source

FROM ${PYTHON}
RUN groupadd --system --gid 10001 parley \
 && useradd --system --uid 10001 --gid parley --home-dir /nonexistent --shell /usr/sbin/nologin parley \
 && install -d -o parley -g parley -m 0700 /var/lib/parley
COPY --from=build /opt/parley /opt/parley
# A layer of its own: a release whose packages stayed is small to send.
RUN --mount=type=bind,from=build,source=/build/wheels,target=/tmp/wheels \
    pip --python /opt/parley/bin/python install --no-cache-dir --no-deps /tmp/wheels/*.whl
ENV PATH=/opt/parley/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1
# After what costs time, as they differ in each build.
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="parley-tools" \
      org.opencontainers.image.description="Tools that models call, sandboxed and permissioned" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="${PYTHON}"
USER 10001:10001
WORKDIR /
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=15s --start-period=120s --retries=3 \
  CMD ["python", "-P", "-m", "cli.probe", "tools"]
ENTRYPOINT ["python", "-P", "-m", "services.tools"]
