# The REST service: no torch, no numpy. Stages without cache mounts: docker-compose 1 builds without BuildKit, which
# alone knows them; layers go from what seldom changes to what often does.
FROM python:3.11-slim AS packages
COPY deploy/requirements/api.txt requirements.txt
RUN python3 -m venv --without-pip /opt/transfusion \
 && python3 -m pip --python /opt/transfusion/bin/python install --no-cache-dir --no-compile --require-hashes -r requirements.txt
# Of the descriptions of some 400 services of Amazon's only two are ever read, Celery's own prompt never.
# Symbols for debuggers are 20 MB. Compiled is what the service imports.
RUN cd /opt/transfusion/lib/python3.11/site-packages \
 && find botocore/data -mindepth 1 -maxdepth 1 -type d ! -name s3 ! -name sts -exec rm -r {} + \
 && rm -r click_repl prompt_toolkit wcwidth \
 && (command -v strip >/dev/null || (apt-get update && apt-get install -y --no-install-recommends binutils)) \
 && find uvloop sqlalchemy -name '*.so' -exec strip --strip-unneeded {} + \
 && /opt/transfusion/bin/python -c "import fastapi, uvicorn, celery.app.amqp, kombu.transport.redis, boto3, alembic.command, psycopg, jinja2, prometheus_client, typer, rich.console, structlog, pydantic_settings, httpx2, sqlalchemy.orm, sqlalchemy.dialects.postgresql, vl_convert"

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
RUN mkdir worker \
 && /build/bin/python -c "from setuptools import build_meta; build_meta.build_wheel('/wheels')"

FROM python:3.11-slim
RUN test -s /etc/ssl/certs/ca-certificates.crt \
 || (apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* /var/cache/apt/*)
RUN useradd --create-home --no-log-init --uid 10001 transfusion && mkdir /keys /passwords /scratch && chown transfusion /keys /passwords /scratch
COPY --from=packages /opt/transfusion /opt/transfusion
COPY --from=wheel /wheels /wheels
RUN python3 -m pip --python /opt/transfusion/bin/python install --no-cache-dir --no-deps --no-index /wheels/*.whl
ENV PATH=/opt/transfusion/bin:$PATH
USER 10001
EXPOSE 8000
CMD ["transfusion", "api", "--host", "0.0.0.0", "--port", "8000"]
