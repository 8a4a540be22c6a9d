# The REST service: no torch, no numpy. Stages without cache mounts: docker-compose 1 builds without BuildKit, which
# alone knows them; layers go from what seldom changes to what often does.
FROM python:3.11-slim AS packages
COPY deploy/requirements/api.txt requirements.txt
RUN python3 -m venv --without-pip /opt/transfusion \
 && python3 -m pip --python /opt/transfusion/bin/python install --no-cache-dir --no-compile --require-hashes -r requirements.txt
# What is never loaded is 50 MB; deploy/trim.py says what and why.
COPY deploy/trim.py trim.py
RUN (command -v strip >/dev/null || (apt-get update && apt-get install -y --no-install-recommends binutils)) \
 && /opt/transfusion/bin/python trim.py /opt/transfusion/lib/python3.11/site-packages

FROM python:3.11-slim AS wheel
COPY deploy/requirements/build.txt requirements.txt
RUN python3 -m venv --without-pip /build \
 && python3 -m pip --python /build/bin/python install --no-cache-dir --require-hashes -r requirements.txt
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY core core
COPY api api
COPY clients clients
COPY docs docs
# Installed here, so that the image has no layer with the wheel beside what was in it. The science is the workers'.
RUN mkdir worker \
 && /build/bin/python -c "from setuptools import build_meta; build_meta.build_wheel('/wheels')" \
 && python3 -m venv --without-pip /opt/transfusion \
 && python3 -m pip --python /opt/transfusion/bin/python install --no-cache-dir --no-compile --no-deps --no-index /wheels/*.whl \
 && /opt/transfusion/bin/python -m compileall -q -x transfusion_core/science /opt/transfusion/lib

FROM python:3.11-slim
RUN test -s /etc/ssl/certs/ca-certificates.crt \
 || (apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* /var/cache/apt/*)
RUN useradd --create-home --no-log-init --uid 10001 transfusion && mkdir /keys /passwords /scratch && chown transfusion /keys /passwords /scratch
COPY --from=packages /opt/transfusion /opt/transfusion
COPY --from=wheel /opt/transfusion /opt/transfusion
ENV PATH=/opt/transfusion/bin:$PATH
USER 10001
EXPOSE 8000
CMD ["transfusion", "api", "--host", "0.0.0.0", "--port", "8000"]
