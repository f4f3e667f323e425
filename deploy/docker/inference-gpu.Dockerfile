# The inference service on NVIDIA GPUs: vLLM's own image, and on it what Parley adds.
# Built from the repository's root: docker build --file deploy/docker/inference-gpu.Dockerfile .
# VLLM may name the same base by its digest; its release is the one that pyproject.toml names.
ARG VLLM=vllm/vllm-openai:v0.32.0
ARG PYTHON=python:3.11.14-slim-trixie

FROM ${PYTHON} AS build
WORKDIR /build
COPY deploy/docker/requirements/build.txt requirements/
RUN pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements/build.txt
COPY . source
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir wheels ./source

FROM ${VLLM}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="parley-inference-gpu" \
      org.opencontainers.image.description="Chat, completions and embeddings on NVIDIA GPUs, by vLLM" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="${VLLM}"
RUN groupadd --system --gid 10001 parley \
 && useradd --system --uid 10001 --gid parley --home-dir /nonexistent --shell /usr/sbin/nologin parley \
 && install -d -o parley -g parley -m 0700 /var/lib/parley /var/cache/parley
COPY deploy/docker/requirements/inference.txt /tmp/requirements.txt
RUN --mount=type=bind,from=build,source=/build/wheels,target=/tmp/wheels \
    python3 -m pip install --no-cache-dir --require-hashes --only-binary :all: -r /tmp/requirements.txt \
 && python3 -m pip install --no-cache-dir --no-deps /tmp/wheels/*.whl \
 && rm /tmp/requirements.txt
ENV PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    HF_HOME=/var/cache/parley/huggingface \
    VLLM_CACHE_ROOT=/var/cache/parley/vllm
USER 10001:10001
WORKDIR /
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=15s --start-period=120s --retries=3 \
  CMD ["python3", "-P", "-m", "cli.probe", "inference"]
ENTRYPOINT ["python3", "-P", "-m", "services.inference"]
