"""What importing the client costs."""

import subprocess
import sys

import pytest

import transfusion_client


def _loaded(statement: str) -> set[str]:
    script = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_client_imports_no_terminal_no_frames_and_no_networks() -> None:
    loaded = _loaded("from transfusion_client import Client; Client")
    assert not loaded & {"typer", "rich", "yaml", "pandas", "torch", "numpy", "sqlalchemy", "transfusion_core.db"}


def test_the_command_line_is_built_without_the_client() -> None:
    loaded = _loaded("from transfusion_client.cli.app import build_app; build_app()")
    assert not loaded & {"pydantic", "httpx2", "torch", "fastapi", "celery"}


def test_the_package_has_its_names_and_no_others() -> None:
    for name in transfusion_client.__all__:
        assert getattr(transfusion_client, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Session'"):
        transfusion_client.__getattr__("Session")
