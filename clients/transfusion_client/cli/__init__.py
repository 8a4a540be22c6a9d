"""The command line: `transfusion`. Needs the extra `cli` (typer, rich, PyYAML)."""

import sys


def main() -> None:
    """The console script. The exit code is the outcome: 0 succeeded, 1 failed or cancelled, 2 could not be asked."""
    try:
        from transfusion_client.cli.app import build_app
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich", "yaml"):
            raise
        print("the command line needs more than the client: pip install 'transfusion[cli]'", file=sys.stderr)
        sys.exit(2)
    build_app()()
