# syntax=docker/dockerfile:1
# The REST API and the viewer, without torch.
#   docker build -f docker/api.Dockerfile -t wsi-heatmap-api .
FROM debian:13.1-slim AS wheel
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
# Versions come from the release that the base image pins.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends \
    python3 python3-venv python3-dev gcc libc6-dev nodejs npm \
 && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /build
COPY . /source
WORKDIR /source
# the page is built into the wheel; the first command fails where it cannot be
RUN npm --prefix service/viewer ci --no-audit --no-fund && npm --prefix service/viewer run build
RUN /build/bin/pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . \
 && python3 -m zipfile --list /wheels/*.whl | grep 'wsi/_area.*so' # what is compiled

FROM debian:13.1-slim
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends python3 python3-venv ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --user-group --home-dir /data --no-create-home wsi \
 && install --directory --owner=wsi --group=wsi /data
RUN python3 -m venv /opt/wsi
COPY docker/api-requirements.txt /opt/requirements.txt
RUN /opt/wsi/bin/pip install --no-cache-dir --requirement /opt/requirements.txt
COPY --from=wheel /wheels /opt/wheels
RUN /opt/wsi/bin/pip install --no-cache-dir --no-deps /opt/wheels/*.whl && rm -r /opt/wheels
ENV PATH=/opt/wsi/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    MPLCONFIGDIR=/tmp \
    WSI_DATA=/data \
    WSI_HOST=0.0.0.0 \
    WSI_WORKERS=0
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
  CMD ["python3", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/livez', timeout=4)"]
CMD ["wsi", "serve"]
