"""Bodies checked and expanded, and those that came lately kept: the same spec comes as a plan and then as a post, from
one who tries names, or from many at once. An expansion is a function of the body and the facts, and nobody changes it.
"""

import json
import threading
from collections import OrderedDict
from dataclasses import replace
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from transfusion_core.errors import InvalidRequest
from transfusion_core.specs.check import check
from transfusion_core.specs.expand import Expansion, expand
from transfusion_core.specs.experiment import ExperimentName, ExperimentSpec
from transfusion_core.specs.facts import Facts

MOST_DRAFTS = 1000
"""Of all that are kept together: some ten megabytes."""
MOST_CHARACTERS = 1 << 14
"""Of a body that is kept."""


_NAMES: TypeAdapter[str] = TypeAdapter(ExperimentName)


class _Kept(NamedTuple):
    facts: Facts
    expansion: Expansion


class Expansions:
    """The expansions made last, by their bodies without the name, which changes nothing in them but itself."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._drafts = 0
        self._lock = threading.Lock()

    def of(self, body: Any, facts: Facts) -> Expansion:
        """The jobs of a body that is meant to be an ExperimentSpec; InvalidRequest has every fault."""
        words = _words(body)
        kept = self._found(words) if words is not None else None
        if kept is not None and kept.facts == facts and (name := _name(body.get("name"))) is not None:
            return replace(kept.expansion, spec=kept.expansion.spec.model_copy(update={"name": name}))
        faults = check(body, facts)
        if faults:
            raise InvalidRequest(faults=faults)
        expansion = expand(ExperimentSpec.model_validate(body), facts)
        if words is not None:
            self._keep(words, _Kept(facts, expansion))
        return expansion

    def _found(self, words: str) -> _Kept | None:
        with self._lock:
            if words in self._kept:
                self._kept.move_to_end(words)
            return self._kept.get(words)

    def _keep(self, words: str, kept: _Kept) -> None:
        with self._lock:
            earlier = self._kept.pop(words, None)
            self._drafts += len(kept.expansion.drafts) - (len(earlier.expansion.drafts) if earlier else 0)
            self._kept[words] = kept
            while self._drafts > MOST_DRAFTS:
                _, oldest = self._kept.popitem(last=False)
                self._drafts -= len(oldest.expansion.drafts)


def _words(body: Any) -> str | None:
    """The body without its name, as it was written: the order of sources is that of their jobs."""
    if not isinstance(body, dict):
        return None
    words = json.dumps({name: value for name, value in body.items() if name != "name"})
    return words if len(words) <= MOST_CHARACTERS else None


def _name(name: Any) -> str | None:
    """The name; None where it is none. To read the whole spec for it would take as long as a statement."""
    try:
        return _NAMES.validate_python(name)
    except ValidationError:
        return None
