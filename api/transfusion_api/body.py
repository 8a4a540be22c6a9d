"""Request bodies: JSON read strictly, so that no NaN, no bottomless nesting and no broken text gets any further."""

import asyncio
import json
import math
import re
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, NoReturn, TypeVar

from anyio.to_thread import run_sync
from fastapi import Depends, HTTPException, Request
from pydantic import BaseModel, ValidationError

from transfusion_api.service import service_of
from transfusion_core.errors import InvalidRequest
from transfusion_core.specs.fault import Fault, faults_of, pointer

MAX_DEPTH = 40
"""Levels of nesting; the deepest spec has seven."""
_SMALL_BYTES = 1 << 14
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
Model = TypeVar("Model", bound=BaseModel)


async def raw_body(request: Request) -> bytes:
    """The body as it came, within the size limit."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise InvalidRequest(f"expected a JSON body with Content-Type: application/json, got {kind[:100]!r}")
    return await taken(request)


async def taken(request: Request) -> bytes:
    """The whole body, which is small. HTTPException 408 where it takes too long, however its pieces come."""
    whole_seconds = service_of(request).settings.whole_body_seconds
    try:
        async with asyncio.timeout(whole_seconds):
            return b"".join([piece async for piece in pieces(request)])
    except TimeoutError as error:
        raise HTTPException(408, f"the body was not there within {whole_seconds:g} seconds") from error


async def pieces(request: Request) -> AsyncIterator[bytes]:
    """The pieces of the body as they come. HTTPException 408 where the next does not come in time."""
    patience_seconds = service_of(request).settings.body_seconds
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(patience_seconds):
                piece = await anext(stream, None)
        except TimeoutError as error:
            raise HTTPException(408, f"the body did not go on within {patience_seconds:g} seconds") from error
        if piece is None:
            return
        yield piece


async def json_body(raw: Annotated[bytes, Depends(raw_body)]) -> Any:
    """The body as JSON."""
    # A change of threads takes longer than to read what nearly all send.
    return parsed(raw) if len(raw) <= _SMALL_BYTES else await run_sync(parsed, raw)


def parsed(raw: bytes) -> Any:
    """A body as JSON. InvalidRequest says where it is not JSON, or not JSON that can be stored."""
    try:
        value = json.loads(raw.decode(), parse_constant=_no_constant)
    except RecursionError as error:
        raise InvalidRequest(f"the body is nested more than {MAX_DEPTH} deep") from error
    except ValueError as error:
        raise InvalidRequest(f"the body is not JSON: {error}"[:300]) from error
    return storable(value)


def storable(value: Any) -> Any:
    """The same value; InvalidRequest says where it is nothing that can be stored as JSON."""
    faults = [fault for _, fault in zip(range(20), _unfit(value), strict=False)]
    if faults:
        raise InvalidRequest("The body cannot be stored as JSON.", faults=faults)
    return value


Body = Annotated[Any, Depends(json_body)]


def read(model: type[Model], body: Any) -> Model:
    """The body as a `model`; InvalidRequest has every fault."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise InvalidRequest(faults=faults_of(error, model)) from error


def takes(model: type[BaseModel]) -> dict[str, Any]:
    """OpenAPI's words for a route that reads a `model` itself; its schema is among the components."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _unfit(body: Any) -> Iterator[Fault]:
    """What Python reads and a database does not: infinite numbers, lone surrogates, NUL, bottomless nesting."""
    waiting: list[tuple[Any, tuple[str | int, ...]]] = [(body, ())]
    while waiting:
        value, place = waiting.pop()
        if isinstance(value, str) and not _is_text(value):
            yield Fault(pointer=pointer(place), message="expected text without NUL and lone surrogates")
        elif isinstance(value, float) and not math.isfinite(value):
            yield Fault(pointer=pointer(place), message="the number is too large")
        elif isinstance(value, dict | list) and len(place) >= MAX_DEPTH:
            yield Fault(pointer=pointer(place), message=f"nested more than {MAX_DEPTH} deep")
        elif isinstance(value, dict):
            if not all(map(_is_text, value)):
                yield Fault(pointer=pointer(place), message="expected names without NUL and lone surrogates")
            else:
                waiting.extend((item, (*place, name)) for name, item in value.items())
        elif isinstance(value, list):
            waiting.extend((item, (*place, index)) for index, item in enumerate(value))


def _is_text(text: str) -> bool:
    return not _NO_TEXT.search(text)
