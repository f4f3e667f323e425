# The inference service on CPUs, with the demonstration model. TORCH_INDEX offers the CPU build of torch.
# Built from the repository's root: docker build --file deploy/docker/inference-cpu.Dockerfile .
# PYTHON may name the same base by its digest.
ARG PYTHON=python:3.11.14-slim-trixie

FROM ${PYTHON} AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /build
COPY deploy/docker/requirements/build.txt deploy/docker/requirements/inference-cpu.txt requirements/
RUN python -m venv --without-pip /opt/parley \
 && pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements/build.txt \
 && pip --python /opt/parley/bin/python install --no-cache-dir --require-hashes --only-binary :all: \
      --no-deps --extra-index-url "${TORCH_INDEX}" -r requirements/inference-cpu.txt
COPY . source
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir wheels ./source

FROM ${PYTHON}
# vLLM asks where memory lies by it. The base's release fixes which version there is.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends libnuma1 \
 && rm -rf /var/lib/apt/lists/*
RUN groupadd --system --gid 10001 parley \
 && useradd --system --uid 10001 --gid parley --home-dir /nonexistent --shell /usr/sbin/nologin parley \
 && install -d -o parley -g parley -m 0700 /var/lib/parley /var/cache/parley
COPY --from=build /opt/parley /opt/parley
# A layer of its own: a release whose packages stayed is small to send.
RUN --mount=type=bind,from=build,source=/build/wheels,target=/tmp/wheels \
    pip --python /opt/parley/bin/python install --no-cache-dir --no-deps /tmp/wheels/*.whl
COPY models/parley-demo /opt/models/parley-demo
ENV PATH=/opt/parley/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    HF_HOME=/var/cache/parley/huggingface \
    VLLM_CACHE_ROOT=/var/cache/parley/vllm \
    PARLEY_INFERENCE_MODEL=/opt/models/parley-demo
# After what costs time, as they differ in each build.
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="parley-inference-cpu" \
      org.opencontainers.image.description="Chat, completions and embeddings on CPUs, by vLLM" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="${PYTHON}"
USER 10001:10001
WORKDIR /
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=15s --start-period=120s --retries=3 \
  CMD ["python", "-P", "-m", "cli.probe", "inference"]
ENTRYPOINT ["python", "-P", "-m", "services.inference"]
