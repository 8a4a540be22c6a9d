"""What the parts of `docker compose up` know one another by: made at the first start, kept in a volume, never printed.

`python -m transfusion_api.passwords FOLDER` writes `.env`, which holds all of them; of the same what each server needs
and no other (`postgres.env`, `s3.env`); and what PostgreSQL's and Amazon's clients read. What the environment brings
stands in place of what would be made.
"""

import os
import secrets
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

_BYTES = 24
_SERVERS = {"postgres.env": "POSTGRES_", "s3.env": "AWS_"}
"""A server's environment can be read by whoever is in charge of it: another's password is not for there."""
_NAMES: dict[str, Callable[[], str]] = {
    "POSTGRES_PASSWORD": lambda: secrets.token_hex(_BYTES),
    "AWS_ACCESS_KEY_ID": lambda: f"transfusion{secrets.token_hex(4)}",
    "AWS_SECRET_ACCESS_KEY": lambda: secrets.token_hex(_BYTES),
}


def write(folder: Path, environment: Mapping[str, str]) -> None:
    """Write what is not there yet, and what the environment has otherwise."""
    file = folder / ".env"
    kept = dict(line.split("=", 1) for line in file.read_text().splitlines()) if file.exists() else {}
    words = {name: environment.get(name) or kept.get(name) or make() for name, make in _NAMES.items()}
    for name, value in words.items():
        if not value.isascii() or not value.isprintable() or set(value) & set(" '\"\\$:#"):
            raise SystemExit(f"{name}: expected letters, digits and plain signs, got another one among them")
    _write(file, _lines(words))
    for name, beginning in _SERVERS.items():
        _write(folder / name, _lines({word: value for word, value in words.items() if word.startswith(beginning)}))
    _write(folder / "pgpass", f"*:*:*:*:{words['POSTGRES_PASSWORD']}\n")
    key, secret = words["AWS_ACCESS_KEY_ID"], words["AWS_SECRET_ACCESS_KEY"]
    _write(folder / "aws", f"[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n")


def _lines(words: Mapping[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in words.items())


def _write(path: Path, text: str) -> None:
    draft = path.with_suffix(".part")
    draft.unlink(missing_ok=True)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
    draft.replace(path)


if __name__ == "__main__":
    write(Path(sys.argv[1]), os.environ)
