"""What tests need of this machine is installed or named, and where it is required a test without it fails."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hosts import hosts

SCRIPT = Path(__file__).resolve().parents[2] / ".ci" / "servers"
BASH = shutil.which("bash") or "/bin/bash"


def test_what_is_missing_and_cannot_be_installed_is_named(tmp_path: Path) -> None:
    for program in ("id", "ls"):
        (tmp_path / program).symlink_to(str(shutil.which(program)))
    done = subprocess.run([BASH, SCRIPT], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=True)
    for name in ("redis", "browser", "prometheus", "iproute2", "latex", "go"):
        assert f"!!! no {name} here: the tests that need one will be SKIPPED" in done.stderr


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="simulated hosts need Linux and root")
def test_simulated_hosts_are_required_where_only_their_program_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("TRANSFUSION_TESTS_REQUIRE_SERVERS", "1")
    with pytest.raises(pytest.fail.Exception, match="no ip is installed"), hosts(1):
        pass
    monkeypatch.delenv("TRANSFUSION_TESTS_REQUIRE_SERVERS")
    with pytest.raises(pytest.skip.Exception, match="no ip is installed"), hosts(1):
        pass
