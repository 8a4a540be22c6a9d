"""The audit finds what it is for, and says nothing of what it is not."""

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    found = importlib.util.spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("-----BEGIN RSA " + "PRIVATE KEY-----", "a private key"),
        ("id = AKIA" + "ABCDEFGHIJKLMNOP", "an AWS key"),
        ("ghp_" + "a1B2" * 9, "a GitHub token"),
        ("xoxb-" + "1234567890-" * 3, "a Slack token"),
        ("key tf_" + "0123456789abcdefghjkmnpqrs" + "_" + "Ab3-" * 10 + "xyz", "an API key of ours"),
        ("eyJ" + "a" * 30 + "." + "b" * 30 + "." + "c" * 20, "a token of a web service"),
        ("postgresql://me:" + "hunter2hunter2@db/x", "a password in an address"),
        ('secret_key = "' + "8f14e45fceea167a5a36dedd4bea2543" + '"', "a secret beside its name"),
    ],
)
def test_what_looks_like_a_secret_is_told_without_it(audit: ModuleType, tmp_path: Path, line: str, what: str) -> None:
    file = tmp_path / "a.txt"
    file.write_text(f"first\n{line}\n")
    (told,) = audit.secrets_in([file])
    assert told.endswith(f":2: looks like {what}")
    assert line not in told
    file.write_text(f"{line}  # not a secret\n")
    assert list(audit.secrets_in([file])) == []


@pytest.mark.parametrize(
    "line",
    [
        'ADMIN = "tf_admin_" + "0" * 64',
        'token = "please put the token of your service here"',
        "postgresql+psycopg://transfusion:${POSTGRES_PASSWORD:-transfusion}@postgres:5432/transfusion",
        'api_key = os.environ["TRANSFUSION_API_KEY"]',
        'secret = "aaaaaaaaaaaaaaaaaaaaaaaaaaaa"',
    ],
)
def test_words_are_no_secrets(audit: ModuleType, line: str) -> None:
    assert audit.secret_in(line) is None


def test_this_repository_passes(audit: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert audit.main() == 0, capsys.readouterr().out


def test_requirements_that_are_open_missing_old_or_listed_are_told(audit: ModuleType, tmp_path: Path) -> None:
    for name in ("pyproject.toml", "deploy"):
        source = ROOT / name
        shutil.copytree(source, tmp_path / name) if source.is_dir() else shutil.copy(source, tmp_path)
    assert list(audit.faults_of_requirements(tmp_path)) == []
    api = tmp_path / "deploy" / "requirements" / "api.txt"
    whole = api.read_text()
    hashed = " --hash=sha256:" + "0" * 64
    entries = {entry.partition("==")[0]: entry for entry in whole.replace("\\\n", " ").splitlines()}
    for changed, told in (
        ("fastapi>=1" + hashed, "fastapi is not pinned and hashed"),
        ("fastapi==99", "fastapi is not pinned and hashed"),
        ("", "fastapi>=0.160 is asked for and nothing pinned"),
        ("fastapi==0.1" + hashed, "fastapi>=0.160 is asked for and 0.1 pinned"),
    ):
        api.write_text("\n".join({**entries, "fastapi": changed}.values()))
        assert any(told in fault for fault in audit.faults_of_requirements(tmp_path)), told
    api.write_text("\n".join({**entries, "jinja2": "jinja2==3.1.5" + hashed}.values()))
    (fault,) = audit.faults_of_requirements(tmp_path)
    assert "jinja2 3.1.5 is listed: CVE-2025-27516" in fault


@pytest.mark.parametrize(
    ("name", "package", "asked"), [("build", "setuptools", "setuptools>="), ("worker-cpu", "numpy", "numpy>=")]
)
def test_what_builds_and_what_runs_without_a_gpu_is_looked_at_too(
    audit: ModuleType, tmp_path: Path, name: str, package: str, asked: str
) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    file = tmp_path / "deploy" / "requirements" / f"{name}.txt"
    assert package in dict(audit._pinned(file))
    file.write_text(f"{package}>=1\n")
    faults = list(audit.faults_of_requirements(tmp_path))
    assert f"{name}.txt: {package} is not pinned and hashed; run make lock" in faults
    assert any(fault.startswith(f"{name}.txt: {asked}") for fault in faults)
