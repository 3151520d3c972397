# The gate, with Redis and PostgreSQL support. Settings come from the environment (docs/settings.md) or from a file:
#   docker build -t bqgate .
#   docker run -p 8080:8080 -v "$PWD/bqgate.yaml:/etc/bqgate.yaml:ro" -e BQGATE_CONFIG=/etc/bqgate.yaml bqgate

FROM python:3.11-slim AS build
WORKDIR /src
RUN python -m venv /opt/bqgate
ENV PATH=/opt/bqgate/bin:$PATH
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY config/prices.yaml config/prices.yaml
COPY bqgate bqgate
RUN pip install --no-cache-dir --disable-pip-version-check --constraint constraints.txt '.[redis,postgres]'

FROM python:3.11-slim
RUN useradd --system --uid 10001 --home-dir /var/lib/bqgate --create-home bqgate
COPY --from=build /opt/bqgate /opt/bqgate
ENV PATH=/opt/bqgate/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    BQGATE_SERVER__HOST=0.0.0.0 \
    BQGATE_SERVER__PORT=8080
USER bqgate
# Where the default ledger, sqlite:///bqgate.db, is kept: mount a volume here, or set BQGATE_LEDGER__URL.
WORKDIR /var/lib/bqgate
VOLUME /var/lib/bqgate
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + (os.environ.get('BQGATE_SERVER__CONTROL_PORT') or os.environ['BQGATE_SERVER__PORT']) + '/healthz', timeout=2)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["bqgate"]
CMD ["serve"]
