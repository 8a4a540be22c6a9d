"""A fault: one thing wrong with what somebody sent, and how pydantic's errors become faults with nearest names."""

import difflib
import math
import re
import types
import typing
from collections.abc import Iterable, Sequence
from typing import Any, TypeGuard

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

BOUNDS = {"ge": ">=", "le": "<=", "gt": ">", "lt": "<"}
"""How pydantic names the bound that a number broke, and how it is written."""


class Fault(BaseModel):
    """One thing wrong with a request: where, what came, and what would have been taken."""

    pointer: str
    """JSON pointer (RFC 6901) into the body that was sent."""
    message: str
    value: Any = None
    allowed: list[Any] | None = None
    nearest: str | None = None
    """The allowed value closest to what came, where one is close."""

    def __str__(self) -> str:
        hint = f" (did you mean {self.nearest!r}?)" if self.nearest else ""
        return f"{self.pointer}: {self.message}{hint}" if self.pointer else f"{self.message}{hint}"


def pointer(location: Iterable[str | int]) -> str:
    """The JSON pointer of a path of field names and indices."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in location)


def nearest(value: object, allowed: Iterable[str]) -> str | None:
    """The allowed name closest to `value`, or None where nothing is close."""
    close = difflib.get_close_matches(str(value)[:200].lower(), list(allowed), n=1, cutoff=0.5)
    return close[0] if close else None


def not_among(value: object, allowed: Sequence[Any], what: str) -> PydanticCustomError:
    """The validation error that says which names would have been taken."""
    return PydanticCustomError(
        "not_among",
        "there is no {what} {value}",
        {
            "what": what,
            "value": repr(value),
            "allowed": list(allowed),
            "nearest": nearest(value, map(str, allowed)),
        },
    )


_UNION_MEMBER = re.compile(r"(literal|list|union)\[.*\]", re.DOTALL)
"""How pydantic marks, in the middle of a path, which member of a union it speaks of."""


def faults_of(error: ValidationError, model: type[BaseModel]) -> list[Fault]:
    """Every fault that pydantic found in a body meant to be a `model`."""
    return [_fault(details, model) for details in error.errors(include_url=False)]


def _fault(details: ErrorDetails, model: type[BaseModel]) -> Fault:
    location = [part for part in details["loc"] if not _UNION_MEMBER.fullmatch(str(part))]
    context = details.get("ctx", {})
    allowed, close = context.get("allowed"), context.get("nearest")
    message, value = details["msg"].removeprefix("Value error, "), details["input"]
    if details["type"] == "extra_forbidden":
        allowed = _fields_at(model, location[:-1])
        close = nearest(location[-1], allowed)
        message = f"unknown field {str(location[-1])!r}"
    elif details["type"] == "literal_error":
        allowed = _literals_at(model, location)
        close = nearest(value, map(str, allowed))
    else:
        for name, sign in BOUNDS.items():
            if name in context:
                allowed, close = [f"{sign} {context[name]}"], str(context[name]) if "=" in sign else close
    return Fault(pointer=pointer(location), message=message, value=_plain(value), allowed=allowed, nearest=close)


def _plain(value: Any) -> Any:
    """The value as JSON can show it: numbers, text and flags as they are, the rest shortened."""
    if value is None or isinstance(value, bool | int | str):
        return value if not isinstance(value, str) else value[:200]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return repr(value)[:200]


def _fields_at(model: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    here = _annotation_at(model, location)
    kinds = [_bare(kind) for kind in typing.get_args(here)] or [here]
    return sorted(name for kind in kinds if _is_model(kind) for name in kind.model_fields)


def _is_model(annotation: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _literals_at(model: type[BaseModel], location: Sequence[str | int]) -> list[Any]:
    return _literals(_annotation_at(model, location))


def _literals(annotation: Any) -> list[Any]:
    """The words that an annotation allows, wherever in a union they stand."""
    if typing.get_origin(annotation) is typing.Literal:
        return list(typing.get_args(annotation))
    return [word for part in typing.get_args(annotation) for word in _literals(part)]


def _annotation_at(model: type[BaseModel], location: Sequence[str | int]) -> Any:
    here: Any = model
    for part in location:
        if _is_model(here):
            field = here.model_fields.get(str(part))
            here = _bare(field.annotation) if field else None
            continue
        kinds = [_bare(kind) for kind in typing.get_args(here)]
        named = [kind.model_fields[str(part)] for kind in kinds if _is_model(kind) and str(part) in kind.model_fields]
        here = _bare(named[0].annotation) if named else kinds[-1] if kinds else None
    return here


def _bare(annotation: Any) -> Any:
    """The annotation without Annotated and Optional."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _bare(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        kinds = [kind for kind in typing.get_args(annotation) if kind is not type(None)]
        return _bare(kinds[0]) if len(kinds) == 1 else annotation
    return annotation
