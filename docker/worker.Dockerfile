# syntax=docker/dockerfile:1
# A worker: reads slides, runs the network, writes results.
#   docker build -f docker/worker.Dockerfile -t wsi-heatmap-worker .
#   docker build -f docker/worker.Dockerfile --build-arg DEVICE=cuda -t wsi-heatmap-worker:cuda .
# torch as the package index has it works on both, and brings CUDA. For a smaller
# CPU image, name PyTorch's own index of CPU wheels: --build-arg TORCH_INDEX_URL=...
FROM debian:13.1-slim AS wheel
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
# Versions come from the release that the base image pins.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends \
    python3 python3-venv python3-dev gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /build
COPY . /source
WORKDIR /source
# without Node no page is built, and a worker shows none
RUN /build/bin/pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . \
 && python3 -m zipfile --list /wheels/*.whl | grep 'wsi/_area.*so' # what is compiled

FROM debian:13.1-slim
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
ARG DEVICE=cpu
ARG TORCH_INDEX_URL=
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends python3 python3-venv ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --user-group --home-dir /data --no-create-home wsi \
 && install --directory --owner=wsi --group=wsi /data
RUN python3 -m venv /opt/wsi
# a layer of its own: torch is large, and changes seldom
# hadolint ignore=DL3059
RUN /opt/wsi/bin/pip install --no-cache-dir ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} \
    'torch>=2.14' 'torchvision>=0.29'
COPY --from=wheel /wheels /opt/wheels
RUN wheel=$(ls /opt/wheels/*.whl) \
 && /opt/wsi/bin/pip install --no-cache-dir "${wheel}[postgresql]" \
 && rm -r /opt/wheels
ENV PATH=/opt/wsi/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    MPLCONFIGDIR=/tmp \
    WSI_DATA=/data \
    WSI_DEVICE=$DEVICE \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
WORKDIR /data
VOLUME /data
CMD ["wsi", "worker"]
