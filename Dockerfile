# syntax=docker/dockerfile:1
# Two stages: the first installs pinned, hashed wheels (no source builds, so nothing runs code while installing); the
# second has only the result, runs as nobody in particular, and writes nowhere but /data.

FROM python:3.11-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
RUN python -m venv /opt/relay
COPY requirements/runtime.txt requirements/runtime.txt
RUN /opt/relay/bin/pip install --no-deps --require-hashes --only-binary :all: -r requirements/runtime.txt
COPY pyproject.toml README.md ./
COPY relay relay
RUN pip install "hatchling>=1.27,<2" \
    && pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/relay/bin/pip install --no-deps /wheels/*.whl

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="dyte-relay" \
      org.opencontainers.image.description="Relays Dyte and RealtimeKit webhooks to Kafka, HTTP services and Slack"
RUN groupadd --gid 10001 relay \
    && useradd --uid 10001 --gid relay --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin relay \
    && install -d -o relay -g relay -m 0700 /data
COPY --from=build /opt/relay /opt/relay
COPY relay.yaml /etc/relay/relay.yaml
# relay.yaml names data/relay.db: under / that is the volume. The public side must be reachable from outside, the
# private one only from the network of the container.
WORKDIR /
ENV PATH=/opt/relay/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    RELAY_LISTEN=0.0.0.0:8080 RELAY_ADMIN_LISTEN=0.0.0.0:8081
USER 10001:10001
VOLUME /data
EXPOSE 8080 8081
STOPSIGNAL SIGTERM
# Alive, not ready: a relay that has no key yet must not be restarted for it. No shell tool is needed.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8081/livez', timeout=2)"]
ENTRYPOINT ["relay"]
CMD ["serve", "-c", "/etc/relay/relay.yaml", "--log-format", "json"]
