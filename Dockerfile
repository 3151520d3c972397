# The gate, with support for Redis, PostgreSQL and advice in refusals. Settings come from the environment
# (docs/settings.md) or from a file, secrets from files:
#   docker build -t bqgate .
#   docker run -p 127.0.0.1:8080:8080 -v "$PWD/settings:/etc/bqgate:ro" -e BQGATE_CONFIG=/etc/bqgate/bqgate.yaml bqgate
# A folder is mounted, not the file: an editor puts a new file in the old one's place, which a mounted file does not show.
# deploy/compose.yaml runs it with Redis and PostgreSQL.

FROM python:3.11-slim AS build
WORKDIR /src
RUN python -m venv /opt/bqgate
ENV PATH=/opt/bqgate/bin:$PATH
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY config config
COPY bqgate bqgate
RUN pip install --no-cache-dir --disable-pip-version-check --constraint constraints.txt '.[redis,postgres,advice]'

FROM python:3.11-slim
RUN useradd --system --uid 10001 --home-dir /var/lib/bqgate --create-home bqgate
COPY --from=build /opt/bqgate /opt/bqgate
# Host and port stand over those of a settings file, because nobody outside reaches a container's loopback, and EXPOSE,
# published ports and the health check go by this port. In production give the control plane a port of its own,
# server.control_port: 8081, and do not publish that one to BigQuery's clients.
ENV PATH=/opt/bqgate/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    BQGATE_SERVER__HOST=0.0.0.0 \
    BQGATE_SERVER__PORT=8080
USER bqgate
# Where the default ledger, sqlite:///bqgate.db, and the journal are kept: mount a volume here, or set BQGATE_LEDGER__URL.
WORKDIR /var/lib/bqgate
VOLUME /var/lib/bqgate
EXPOSE 8080 8081
# Reads the settings as `bqgate serve` does, so it follows TLS and control_port wherever they are set.
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s --retries=3 CMD ["bqgate", "healthcheck"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["bqgate"]
CMD ["serve"]
