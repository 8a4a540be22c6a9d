"""Words of strangers, made fit to be shown and stored: no database, log or terminal takes all that a file may hold."""

import unicodedata

_UNFIT = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode's categories of controls, halves of characters and ends of lines."""
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""They show `gpj.exe` as `exe.jpg`."""


def is_text(text: str) -> bool:
    """Can text be shown and stored as it is: no control characters, no bytes that are no text, nothing turned round."""
    return not any(c in _TURNING or unicodedata.category(c) in _UNFIT for c in text)


def one_line(text: str, *, most: int) -> str:
    """The text as one line of `most` characters at most; what cannot be shown becomes a space or `?`."""
    return _cut("".join(_shown(c) for c in text[: most + 1]), most)


def lines(text: str, *, most: int) -> str:
    """As `one_line`, but lines stay lines."""
    return _cut("\n".join(one_line(line, most=most) for line in text[: most + 1].split("\n")), most)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _shown(c: str) -> str:
    if is_text(c):
        return c
    return " " if c.isspace() else "?"
