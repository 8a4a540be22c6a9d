"""What deploy/trim.py leaves of the API's packages: little enough for the image, enough for all that it does."""

import os
import re
import runpy
import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest

from documents import REPOSITORY
from serving_alone import WITHOUT_TORCH

TRIM = REPOSITORY / "deploy" / "trim.py"
PACKAGES_BYTES = 150e6
"""The image is to stay under 300 MB: python:3.11-slim has some 130, and our own code takes 5."""
AND_DRAWS = """
import boto3, io, sys
from transfusion_core.reporting import parquet, pictures
chart = {"data": {"values": [{"x": 1, "y": 2}]}, "mark": "point", "encoding": {"x": {"field": "x"}}}
assert pictures.svg(chart).startswith("<svg") and pictures.png(chart) and pictures.pdf(chart)
assert parquet.write({"x": (float, [1.0])}).startswith(b"PAR1")
s3 = boto3.client("s3", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
assert s3.generate_presigned_url("get_object", Params={"Bucket": "b", "Key": "k"})
import kombu, celery, psycopg, uvicorn.protocols.http.httptools_impl, uvloop, sqlalchemy
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
sqlalchemy.create_engine("postgresql+psycopg://h/d")
assert kombu.Connection("redis://h/0").transport and celery.Celery("x").amqp
from rich.console import Console
from rich.traceback import Traceback
try:
    1 / 0
except ZeroDivisionError:
    Console(file=io.StringIO()).print(Traceback(show_locals=True))
assert all("trimmed" in sys.modules[name].__file__ for name in ("sqlalchemy", "botocore", "vl_convert"))
print("drawn")
"""


@pytest.fixture(scope="module")
def trimmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages of api.txt as they are installed here, copied and trimmed."""
    if not shutil.which("strip"):
        pytest.skip("no strip is installed (binutils)")
    folder = tmp_path_factory.mktemp("trimmed")
    requirements = (REPOSITORY / "deploy" / "requirements" / "api.txt").read_text()
    pinned = set(re.findall(r"^([a-z0-9.-]+)==", requirements, re.MULTILINE))
    for name in pinned - {"async-timeout"}:  # which Python has since 3.11.3
        for file in distribution(name).files or []:
            if ".." not in file.parts and "__pycache__" not in file.parts:
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file.locate(), folder / file)
    done = subprocess.run([sys.executable, TRIM, folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"\d+ MB of packages trimmed to \d+ MB\n", done.stdout)
    return folder


def test_the_packages_leave_room_under_300_mb(trimmed: Path) -> None:
    assert sum(file.stat().st_size for file in trimmed.rglob("*") if file.is_file()) < PACKAGES_BYTES


def test_the_service_runs_and_draws_on_what_is_left(trimmed: Path, tmp_path: Path) -> None:
    (tmp_path / "transfusion-0.dist-info").mkdir()  # our own version, which the service tells
    (tmp_path / "transfusion-0.dist-info" / "METADATA").write_text("Name: transfusion\nVersion: 0\n")
    roots = [str(trimmed), str(tmp_path), *(str(REPOSITORY / name) for name in ("core", "api", "clients"))]
    for script, said in ((WITHOUT_TORCH, "fine"), (AND_DRAWS, "drawn")):
        done = subprocess.run(
            [sys.executable, "-S", "-B", "-c", script, str(tmp_path)],
            env={"PYTHONPATH": ":".join(roots), "PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == said


def test_licences_and_descriptions_stay(trimmed: Path) -> None:
    assert len(list(trimmed.glob("*.dist-info/METADATA"))) > 50
    assert list(trimmed.glob("celery-*.dist-info/licenses/LICENSE"))


@pytest.mark.parametrize("gone", ["click_repl", "boto3/data/s3"])
def test_a_name_that_is_no_longer_there_is_an_error(gone: str, tmp_path: Path) -> None:
    """Else what it kept small would grow unseen."""
    trim = runpy.run_path(str(TRIM))
    names = [*trim["UNUSED"], *(f"{folder}/{name}" for folder, kept in trim["KEPT"].items() for name in kept)]
    for name in set(names) - {gone}:
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "boto3" / "data").mkdir(parents=True, exist_ok=True)
    with pytest.raises(FileNotFoundError, match=gone.rpartition("/")[2]):
        trim["drop"](tmp_path)
