"""Records stay on their line, whatever is in them."""

import io
import logging

from transfusion_core.logs import FORMAT, OneLine
from transfusion_core.specs.text import is_text, lines, one_line

EVIL = "a\nERROR root admin logged in\r\x1b[2J\u202e\ud800\0b"


def test_a_name_makes_up_no_record_of_its_own() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(OneLine(FORMAT))
    log = logging.Logger("test")
    log.addHandler(handler)
    log.warning("path %s", EVIL)
    try:
        raise ValueError(EVIL)
    except ValueError as error:
        log.error("failed", exc_info=error)
    first, second, *trace = stream.getvalue().splitlines()
    assert first.endswith("path a ERROR root admin logged in ?[2J???b")
    assert second.endswith("ERROR test failed")
    assert trace
    assert all(line.startswith("  ") for line in trace)


def test_text_is_made_fit_to_be_shown_and_stored() -> None:
    assert one_line(EVIL, most=100) == "a ERROR root admin logged in ?[2J???b"
    assert one_line("x" * 50, most=10) == "x" * 9 + "…"
    assert lines("a\nb\0\rc", most=100) == "a\nb? c"
    assert lines("ab\n" * 50, most=8) == "ab\nab\na…"
    assert is_text("für Müller 名前 😀")
    assert not any(map(is_text, ("a\nb", "\0", "\ud800", "\u202e", "\u2028")))
