"""The app: every route, every error as a problem, one service behind them. Nothing is opened until it is made."""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from anyio.to_thread import run_sync
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.types import ASGIApp

from transfusion_api import problems
from transfusion_api.answers import Completion, KeyRequest, PartsRequest, UploadRequest, WeightsRequest
from transfusion_api.auth import ensure_admin_key
from transfusion_api.border import Border
from transfusion_api.examples import add_examples
from transfusion_api.problems import Problem
from transfusion_api.routes import (
    comparisons,
    datasets,
    documents,
    experiments,
    health,
    keys,
    models,
    pages,
    removals,
    reports,
    runs,
    sessions,
    uploads,
    weights,
    workers,
)
from transfusion_api.service import open_service
from transfusion_core.settings import Settings
from transfusion_core.specs.combining import CombineSpec
from transfusion_core.specs.comparison import ComparisonSpec
from transfusion_core.specs.dataset import DatasetSpec
from transfusion_core.specs.experiment import ExperimentSpec

DESCRIPTION = "Trains image models from several initialisations, compares what they learned, and says what helped."
DRAWING_SECONDS = 60
"""After the start: until then the worker beside it, and whoever waits for it, have more use for the cores."""
WRITTEN: tuple[type[BaseModel], ...] = (
    ExperimentSpec,
    CombineSpec,
    ComparisonSpec,
    DatasetSpec,
    UploadRequest,
    PartsRequest,
    Completion,
    WeightsRequest,
    KeyRequest,
)
"""What the routes read by themselves, so that FastAPI does not know of it."""


class Application(FastAPI):
    """FastAPI within our border, with the schemas of the bodies that we read ourselves."""

    def build_middleware_stack(self) -> ASGIApp:
        """The framework's layers, inside of ours."""
        return Border(super().build_middleware_stack(), self.state.service)

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document, made once."""
        if self.openapi_schema is None:
            document = get_openapi(
                title=self.title, version=self.version, description=self.description, routes=self.routes
            )
            _complete(document)
            self.openapi_schema = document
        return self.openapi_schema


def create_app(settings: Settings) -> FastAPI:
    """The service with these settings. The database must have its tables (`transfusion migrate`) before it starts."""
    app = Application(
        title="Transfusion",
        version=version("transfusion"),
        description=DESCRIPTION,
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        max_body_size=settings.max_body_bytes,
        generate_unique_id_function=_operation_id,
    )
    app.state.service = open_service(settings)
    problems.install(app)
    app.add_exception_handler(pages.LogInFirst, pages.log_in_first)
    for noun in (
        experiments,
        reports,
        runs,
        comparisons,
        datasets,
        weights,
        models,
        keys,
        workers,
        removals,
        documents,
        health,
        pages,
        sessions,
    ):
        app.include_router(noun.router)
    app.include_router(uploads.router(settings))
    return app


def _operation_id(route: APIRoute) -> str:
    return route.name


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service = app.state.service
    if service.settings.mode == "service":
        await run_sync(ensure_admin_key, service)
    # Before a browser asks, as nobody likes to wait for their first chart; and after those who come as the service
    # begins, whose pages would share the cores with it.
    drawing = threading.Timer(DRAWING_SECONDS, pages.vega)
    drawing.daemon = True
    drawing.start()
    yield
    drawing.cancel()
    await run_sync(service.close)


def _complete(document: dict[str, Any]) -> None:
    """Add what FastAPI cannot know: problems, the bodies that we read ourselves, and the key."""
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    models: tuple[type[BaseModel], ...] = (*WRITTEN, Problem)
    for model in models:
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(schema.pop("$defs", {}))
        schemas[model.__name__] = schema
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    add_examples(document)
    for path, methods in document["paths"].items():
        if path.startswith("/v1/"):
            for operation in methods.values():
                operation["security"] = [{"key": []}]
