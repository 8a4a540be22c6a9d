# A worker: trains and compares, on a GPU where the container is given one, else on the processor.
FROM python:3.11-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home --uid 10001 transfusion && mkdir /cache && chown transfusion /cache
WORKDIR /app
COPY deploy/requirements/worker.txt requirements.txt
RUN python3 -m pip install --no-cache-dir --require-hashes -r requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY core core
COPY worker worker
COPY clients clients
RUN mkdir api
RUN python3 -m pip install --no-cache-dir --no-deps .
USER transfusion
ENV TRANSFUSION_CACHE_DIR=/cache
CMD ["transfusion", "worker", "--queues", "gpu,cpu"]
