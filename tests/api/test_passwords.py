"""The passwords that `docker compose up` makes for itself."""

import subprocess
import sys
from pathlib import Path

import pytest
from botocore.session import Session

from transfusion_api import passwords

FILES = [".env", "aws", "pgpass", "postgres.env", "s3.env"]


def words(folder: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in (folder / ".env").read_text().splitlines())


def test_the_first_start_makes_them_and_later_ones_keep_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    command = [sys.executable, "-m", "transfusion_api.passwords", str(tmp_path)]
    first = subprocess.run(command, check=True, capture_output=True, text=True)
    made = words(tmp_path)
    assert {len(made["POSTGRES_PASSWORD"]), len(made["AWS_SECRET_ACCESS_KEY"])} == {48}
    assert first.stdout + first.stderr == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    passwords.write(tmp_path, {"POSTGRES_PASSWORD": ""})
    assert words(tmp_path) == made
    passwords.write(tmp_path / ".." / tmp_path.name, {"POSTGRES_PASSWORD": "mine", "AWS_ACCESS_KEY_ID": "key"})
    assert words(tmp_path) == made | {"POSTGRES_PASSWORD": "mine", "AWS_ACCESS_KEY_ID": "key"}
    assert (tmp_path / "pgpass").read_text() == "*:*:*:*:mine\n"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "aws"))
    found = Session().get_credentials()
    assert (found.access_key, found.secret_key) == ("key", made["AWS_SECRET_ACCESS_KEY"])


@pytest.mark.parametrize("value", ["a b", "a'b", "a$b", "a:b", "a\\b", "é", "a\nb"])
def test_a_password_that_a_shell_or_a_file_would_read_otherwise_is_refused(tmp_path: Path, value: str):
    with pytest.raises(SystemExit, match="POSTGRES_PASSWORD: expected letters, digits and plain signs"):
        passwords.write(tmp_path, {"POSTGRES_PASSWORD": value})
    assert list(tmp_path.iterdir()) == []
