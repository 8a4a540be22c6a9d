"""Writes a compose file that pins the images of others by digest, as they were pulled here: see docs/operating.md.

A tag can be pushed again; a digest cannot. Digests are asked of Docker, since they are told by the registry alone.
"""

import json
import subprocess
import sys
from pathlib import Path

import yaml

COMPOSE = Path(__file__).resolve().parents[1] / "docker-compose.yml"


def main() -> None:
    """Print the file. Ends with a sentence where an image was not pulled from a registry."""
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    pinned = {name: {"image": digest(of["image"])} for name, of in services.items() if "build" not in of}
    print("# docker compose -f docker-compose.yml -f deploy/compose.digests.yml up")
    print(yaml.safe_dump({"services": pinned}, sort_keys=False), end="")


def digest(image: str) -> str:
    """The image by tag and digest."""
    asked = ["docker", "image", "inspect", "--format", "{{json .RepoDigests}}", image]
    found = subprocess.run(asked, capture_output=True, text=True, check=False)
    digests = json.loads(found.stdout) if found.returncode == 0 else None
    if not digests:
        why = "it came from no registry" if digests == [] else f"docker pull {image}"
        sys.exit(f"there is no digest of {image} here: {why}")
    return f"{image}@{digests[0].rpartition('@')[2]}"


if __name__ == "__main__":
    main()
