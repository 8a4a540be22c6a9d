"""What can be looked at without the internet: secrets in tracked files, and the pinned requirements.

Secrets are told by their shapes, or by a long random value beside a telling name; what is meant to be there is marked
on its line by `not a secret`. Requirements must be pinned and hashed, hold whatever pyproject.toml asks for, and be
none of deploy/advisories.txt, which is kept by hand: it finds what is listed and nothing else.
"""

import math
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
FILES = {"api": "api", "worker": "worker", "worker-cpu": "worker", "build": None}
"""Pinned requirements, and which extra asks for them; None for what builds the package."""
ELSEWHERE = {"worker-cpu": ("torch", "torchvision")}
"""What deploy/requirements/without_gpu.awk leaves out: it comes from another index."""
MAX_BYTES = 1_000_000
MARK = "not a secret"
SHAPES = {
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "an AWS key": re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    "a GitHub token": re.compile(r"\bgh[pousr]_[A-Za-z0-9]{36,}\b"),
    "a Slack token": re.compile(r"\bxox[baprs]-[A-Za-z0-9-]{20,}\b"),
    "an API key of ours": re.compile(r"\btf_[0-9a-z]{26}_[A-Za-z0-9_-]{43}\b"),
    "a token of a web service": re.compile(r"\beyJ[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{10,}\b"),
    "a password in an address": re.compile(r"\b[a-z][a-z0-9+]*://[^/\s:@$\"']+:([^@/\s$\"'{}]{8,})@"),
}
NAMED = re.compile(r"(?i)(?:secret|passw|token|api_?key|credential)\w*[\"']?\s*[:=]\s*[\"']([^\"'\s]{20,})[\"']")
RANDOM_BITS = 3.5
"""Bits per character from which a value looks drawn at random: words have fewer, hexadecimal digits about 4."""
KNOWN = frozenset({"transfusion", "transfusion-local"})
"""Passwords of the compose file, which are published on 127.0.0.1 alone and documented."""


def main() -> int:
    """1 where something was found, each on a line of its own."""
    found = [*secrets_in(tracked()), *faults_of_requirements(ROOT)]
    print("\n".join(found) or "no secrets in tracked files; requirements pinned, hashed, complete, none listed")
    return 1 if found else 0


def tracked() -> list[Path]:
    """The files that git keeps, and those that it would."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name]


def secrets_in(files: list[Path]) -> Iterator[str]:
    """Lines that look as if they held a secret, without the secret."""
    for file in files:
        if not file.is_file() or file.stat().st_size > MAX_BYTES:
            continue
        for number, line in enumerate(file.read_text("utf-8", "replace").splitlines(), 1):
            if MARK not in line and (what := secret_in(line)):
                yield f"{file.relative_to(ROOT) if file.is_relative_to(ROOT) else file}:{number}: looks like {what}"


def secret_in(line: str) -> str | None:
    """What kind of secret a line looks like."""
    for what, shape in SHAPES.items():
        if (match := shape.search(line)) and not KNOWN.intersection(match.groups()):
            return what
    named = NAMED.search(line)
    return "a secret beside its name" if named and _bits(named[1]) >= RANDOM_BITS else None


def _bits(text: str) -> float:
    """Shannon's entropy, bits per character."""
    return -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values())


def faults_of_requirements(root: Path) -> Iterator[str]:
    """What is wrong with the pinned requirements."""
    advisories = [*_advisories(root / "deploy" / "advisories.txt")]
    document = tomllib.loads((root / "pyproject.toml").read_text())
    for part, extra in FILES.items():
        file = root / "deploy" / "requirements" / f"{part}.txt"
        pinned = dict(_pinned(file))
        for name, (version, hashes) in pinned.items():
            if version is None or not hashes:
                yield f"{file.name}: {name} is not pinned and hashed; run make lock"
            yield from (
                f"{file.name}: {name} {version} is listed: {why}"
                for bad, why in advisories
                if version and bad.name == name and Version(version) in bad.specifier
            )
        asked = _wanted(document["project"], extra) if extra else map(Requirement, document["build-system"]["requires"])
        for wanted in asked:
            if wanted.name in ELSEWHERE.get(part, ()):
                continue
            version = pinned.get(canonicalize_name(wanted.name), (None, 0))[0]
            if version is None or not wanted.specifier.contains(version, prereleases=True):
                yield f"{file.name}: {wanted} is asked for and {version or 'nothing'} pinned; run make lock"


def _pinned(file: Path) -> Iterator[tuple[str, tuple[str | None, int]]]:
    for entry in file.read_text().replace("\\\n", " ").splitlines():
        if entry.strip() and not entry.startswith("#"):
            requirement = Requirement(entry.partition("--hash")[0].strip())
            exact = [each.version for each in requirement.specifier if each.operator == "=="]
            version = exact[0] if len(exact) == 1 else None
            yield canonicalize_name(requirement.name), (version, entry.count("--hash=sha256:"))


def _wanted(project: dict[str, Any], part: str) -> Iterator[Requirement]:
    """What an extra asks for, through the extras of ours that it names, and what everything needs."""
    extras = project["optional-dependencies"]
    waiting: list[str] = [part]
    seen: set[str] = set()
    asked = [Requirement(line) for line in project["dependencies"]]
    while waiting:
        extra = waiting.pop()
        seen.add(extra)
        for line in extras[extra]:
            requirement = Requirement(line)
            if requirement.name == project["name"]:
                waiting += sorted(requirement.extras - seen)
            else:
                asked.append(requirement)
    yield from asked


def _advisories(file: Path) -> Iterator[tuple[Requirement, str]]:
    for line in file.read_text().splitlines():
        if line and not line.startswith("#"):
            what, _, why = line.partition(" ")
            yield Requirement(what), why


if __name__ == "__main__":
    sys.exit(main())
