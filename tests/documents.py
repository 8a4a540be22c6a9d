"""Documents as tests see them: their blocks of code in order, each with what must be so for it to run."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

REPOSITORY = Path(__file__).resolve().parents[1]
DOCUMENTS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
NOTEBOOKS = sorted((REPOSITORY / "docs" / "notebooks").glob("*.ipynb"))
GENERATED = {"rest.md", "spec.md"}
"""Nothing in these is for a reader to execute."""
NOT_RUN = re.compile(r"<!-- not run: (?P<reason>[^>]+) -->\s*$")
NOT_CODE = {"", "text"}


@dataclass(frozen=True)
class Block:
    """A fenced block of a document."""

    language: str
    code: str
    line: int
    reason: str | None
    """Why it is not run here."""


def blocks_of(document: Path) -> Iterator[Block]:
    """Every block of code, in order."""
    comment = ""
    for token in MarkdownIt().parse(document.read_text()):
        if token.type == "fence":
            reason = NOT_RUN.search(comment)
            place = token.map[0] + 1 if token.map else 0
            language = token.info.strip()
            if language not in NOT_CODE:
                yield Block(language, token.content, place, reason["reason"] if reason else None)
        comment = token.content if token.type == "html_block" else ""
