"""The OpenAPI document as a file: `python -m transfusion_api.openapi --write` makes it, `--check` compares it."""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from transfusion_api.app import create_app
from transfusion_core.settings import Settings

FILE = Path(__file__).parents[1] / "openapi.json"


def document() -> str:
    """The OpenAPI document of this code."""
    with tempfile.TemporaryDirectory() as folder:
        app = create_app(
            Settings(mode="service", database_url=f"sqlite:///{folder}/unused.db", store_url=f"file://{folder}")
        )
        written = json.dumps(app.openapi(), indent=1, sort_keys=True) + "\n"
        app.state.service.engine.dispose()
    return written


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where the file is in step with the code, or now is."""
    parser = argparse.ArgumentParser(prog="transfusion_api.openapi")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--check", action="store_true")
    what.add_argument("--write", action="store_true")
    if parser.parse_args(arguments).write:
        FILE.write_text(document())
        return 0
    if FILE.exists() and FILE.read_text() == document():
        return 0
    print(f"{FILE.name} is not what the code says; run python -m transfusion_api.openapi --write", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
