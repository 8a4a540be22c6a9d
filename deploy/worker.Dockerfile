# A worker: trains and compares, on a GPU where the container is given one, else on the processor.
# For machines without GPUs (a quarter of the size):  --build-arg TORCH_INDEX_URL=<an index of torch's CPU wheels>
FROM python:3.11-slim AS packages
ARG TORCH_INDEX_URL=
COPY deploy/requirements/worker.txt deploy/requirements/worker-cpu.txt ./
RUN python3 -m venv --without-pip /opt/transfusion \
 && install="python3 -m pip --python /opt/transfusion/bin/python install --no-cache-dir --no-compile" \
 && if [ -z "$TORCH_INDEX_URL" ]; then $install --require-hashes -r worker.txt; else \
      $install --no-deps --require-hashes -r worker-cpu.txt \
      && $install --no-deps --index-url "$TORCH_INDEX_URL" $(grep -ohE '^torch(vision)?==[^ ]+' worker.txt); fi

FROM python:3.11-slim AS wheel
COPY deploy/requirements/build.txt requirements.txt
RUN python3 -m venv --without-pip /build \
 && python3 -m pip --python /build/bin/python install --no-cache-dir --require-hashes -r requirements.txt
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY core core
COPY worker worker
COPY clients clients
RUN mkdir api \
 && /build/bin/python -c "from setuptools import build_meta; build_meta.build_wheel('/wheels')"

FROM python:3.11-slim
RUN test -s /etc/ssl/certs/ca-certificates.crt \
 || (apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* /var/cache/apt/*)
RUN useradd --create-home --no-log-init --uid 10001 transfusion && mkdir /cache /passwords && chown transfusion /cache /passwords
ENV TRANSFUSION_CACHE_DIR=/cache \
    HF_HOME=/cache/huggingface TORCHINDUCTOR_CACHE_DIR=/cache/inductor TRITON_CACHE_DIR=/cache/triton
COPY --from=packages /opt/transfusion /opt/transfusion
COPY --from=wheel /wheels /wheels
RUN python3 -m pip --python /opt/transfusion/bin/python install --no-cache-dir --no-deps --no-index /wheels/*.whl
ENV PATH=/opt/transfusion/bin:$PATH
USER 10001
CMD ["transfusion", "worker", "--queues", "gpu,cpu"]
