# The REST service: no torch, no numpy.
FROM python:3.11-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home --uid 10001 transfusion && mkdir /keys && chown transfusion /keys
WORKDIR /app
COPY deploy/requirements/api.txt requirements.txt
RUN python3 -m pip install --no-cache-dir --require-hashes -r requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY core core
COPY api api
COPY clients clients
COPY docs docs
RUN mkdir worker
RUN python3 -m pip install --no-cache-dir --no-deps .
USER transfusion
EXPOSE 8000
CMD ["transfusion", "api", "--host", "0.0.0.0", "--port", "8000"]
