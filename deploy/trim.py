"""Take out of the API's installed packages what the service never loads: `trim.py SITE_PACKAGES`, at an image's build.

Modules that it always imports are left compiled alone, as nothing would read their sources: a traceback still names
their file and line. Modules that are imported only when they are asked for keep their sources. What others may look
for is untouched: licences, descriptions of packages, data files.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

UNUSED = {
    "click_repl": "Celery's own prompt",
    "prompt_toolkit": "Celery's own prompt",
    "wcwidth": "Celery's own prompt",
    "sqlalchemy/testing": "SQLAlchemy's tests of its dialects",
    "alembic/testing": "Alembic's own tests",
    "celery/contrib": "for Celery's users' documents and tests",
    "sqlalchemy/dialects/mssql": "a database that the service does not speak",
    "sqlalchemy/dialects/mysql": "a database that the service does not speak",
    "sqlalchemy/dialects/oracle": "a database that the service does not speak",
}
KEPT = {
    "botocore/data": {"s3", "sts"},  # of some 400 services of Amazon's
    "boto3/data": {"s3"},
    "pygments/lexers": {"__init__.py", "_mapping.py", "python.py", "javascript.py", "data.py", "special.py"},
}
"""Folders of which little is ever read: of lexers, those of what a traceback or the client may print."""
SOURCES = (".pyi", ".pyx", ".pxd", ".pxi", ".c", ".h", ".proto")
"""What compilers and type checkers read."""
STRIPPED = ("uvloop", "sqlalchemy", "yaml", "httptools", "google", "charset_normalizer")
"""Symbols for debuggers are 24 MB. Libraries that a wheel brings beside its own are left alone: they were patched."""
IMPORTED = (
    "fastapi, uvicorn.protocols.http.httptools_impl, uvicorn.loops.uvloop, uvicorn.lifespan.on, "
    "celery.app.amqp, kombu.transport.redis, boto3, alembic.command, psycopg, psycopg_binary, jinja2, "
    "prometheus_client, typer, rich.console, rich.table, structlog, pydantic_settings, httpx2, sqlalchemy.orm, "
    "sqlalchemy.dialects.postgresql.psycopg, vl_convert, yaml, opentelemetry.sdk.trace.export"
)


def main() -> None:
    """Trim the packages in the folder that is named."""
    packages = Path(sys.argv[1]).resolve()
    before = size(packages)
    drop(packages)
    strip(packages)
    compile_imported(packages)
    print(f"{before / 1e6:.0f} MB of packages trimmed to {size(packages) / 1e6:.0f} MB")


def drop(packages: Path) -> None:
    """Remove what is never read; FileNotFoundError where a name here is one that is no longer there."""
    for name in UNUSED:
        shutil.rmtree(packages / name)
    for folder, kept in KEPT.items():
        found = {each.name: each for each in (packages / folder).iterdir()}
        if missing := kept - set(found):
            raise FileNotFoundError(f"expected {sorted(missing)} in {folder}")
        for each in (each for name, each in found.items() if name not in kept):
            if each.is_dir():
                shutil.rmtree(each)
            elif each.suffix == ".py":
                each.unlink()
    for each in [each for each in packages.rglob("*") if each.suffix in SOURCES]:
        each.unlink()


def strip(packages: Path) -> None:
    """Remove symbols from what is compiled."""
    libraries = [each for name in STRIPPED for each in (packages / name).rglob("*.so")]
    subprocess.run(["strip", "--strip-unneeded", *libraries], check=True)


def compile_imported(packages: Path) -> None:
    """Compile what is imported, put the compiled file where the source was."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    code = f"import sys; sys.path.insert(0, {str(packages)!r}); import {IMPORTED}"
    subprocess.run([sys.executable, "-S", "-c", code], env=environment, check=True)
    for compiled in packages.rglob(f"__pycache__/*.{sys.implementation.cache_tag}.pyc"):
        name = compiled.name.partition(".")[0]
        source = compiled.parents[1] / f"{name}.py"
        compiled.replace(source.with_suffix(".pyc"))
        source.unlink()
    for folder in list(packages.rglob("__pycache__")):
        folder.rmdir()


def size(packages: Path) -> int:
    """Bytes of all files."""
    return sum(each.stat().st_size for each in packages.rglob("*") if each.is_file())


if __name__ == "__main__":
    main()
