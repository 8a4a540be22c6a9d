"""The web pages: shells with what is known when they are asked for, which scripts of ours then keep up to date.

Everything comes from this service: one stylesheet, plain modules, the Vega bundle. What changes things goes through the
API, with a token that only our pages hold.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import Annotated, Any, get_args
from urllib.parse import urlencode

import yaml
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment, PackageLoader, select_autoescape

from transfusion_api.answers import Cursor, Id
from transfusion_api.auth import (
    COOKIE,
    DRAWN,
    Caller,
    Scoped,
    address_of,
    caller_of,
    form_token,
    needs,
    scope_for,
)
from transfusion_api.body import Body, storable
from transfusion_api.reports import report_of
from transfusion_api.routes import documents, models
from transfusion_api.routes.comparisons import similarity_report
from transfusion_api.routes.experiments import plan_experiment
from transfusion_api.service import Service, Serving, service_of
from transfusion_core.db import api_keys, comparisons, datasets, experiments, runs
from transfusion_core.db.clock import rfc3339
from transfusion_core.db.scope import Scope
from transfusion_core.errors import InvalidRequest, NotFound, NotReady
from transfusion_core.specs.comparison import Measure
from transfusion_core.specs.dataset import Kind, RecipeName, Task
from transfusion_core.specs.job import State
from transfusion_core.specs.report import ReportSection, Row

router = APIRouter(include_in_schema=False)
SHOWN = 50
STATIC_SECONDS = 365 * 86_400
MAX_YAML_CHARACTERS = 200_000
KINDS = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}
VEGA = "vega.js"
Asked = Annotated[str | None, Query(max_length=200)]


class LogInFirst(Exception):
    """A page was asked for by nobody that we know."""


def _reader(request: Request) -> Scope:
    caller, rate = caller_of(request), service_of(request).limits.rate
    rate.take(caller.key_id if caller else address_of(request))
    if caller is None:
        raise LogInFirst
    request.state.caller = caller
    return scope_for(request, caller)


Reading = Annotated[Scope, Depends(_reader)]
"""What whoever reads a page may reach."""


@router.get("/", response_class=HTMLResponse)
def show_experiments(
    request: Request, scope: Reading, state: Asked = None, name: Asked = None, cursor: Cursor = None
) -> HTMLResponse:
    """The newest experiments of whoever has logged in."""
    wanted = state if state in get_args(State) else None
    page = experiments.page(scope, limit=SHOWN, cursor=cursor, state=wanted, name=name or None)
    words: dict[str, Any] = {"state": wanted, "name": name, "cursor": cursor}
    following = _following(page.next, words)
    return _page(request, "index.html", experiments=page.items, states=get_args(State), following=following, **words)


@router.get("/experiments/new", response_class=HTMLResponse)
def show_new_experiment(
    request: Request, scope: Reading, fork: Annotated[str | None, Query(alias="from", max_length=128)] = None
) -> HTMLResponse:
    """The form of a new experiment, or of one that differs from another."""
    return _page(request, "new.html", fork=fork)


@router.post("/experiments/draft", dependencies=[needs("read"), DRAWN])
def look_at_draft(service: Serving, scope: Scoped, body: Body) -> dict[str, Any]:
    """What has been written of a spec so far, as YAML or JSON: the spec, with its plan or what is wrong with it.

    To have faults is what drafts are like, so this is no error, as a plan that cannot be made is.
    """
    spec = body.get("spec") if isinstance(body, dict) else None
    try:
        spec = _read_yaml(spec) if isinstance(spec, str) else spec
        return {"spec": spec, "plan": plan_experiment(service, scope, spec)}
    except InvalidRequest as error:
        return {"spec": spec, "problem": {"detail": str(error), "errors": error.faults}}


def _read_yaml(text: str) -> dict[str, Any]:
    try:
        if len(text) > MAX_YAML_CHARACTERS:
            raise ValueError(f"it has more than {MAX_YAML_CHARACTERS} characters")
        found = json.loads(json.dumps(yaml.load(text, Loader=_PlainLoader)))
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise InvalidRequest(f"this is no spec in YAML: {' '.join(str(error).split())}"[:300]) from error
    if not isinstance(found, dict):
        raise InvalidRequest("expected a spec: names with values, 'name: ...'")
    storable(found)
    return found


class _PlainLoader(yaml.SafeLoader):
    """Without aliases, which make much of little, and with dates as the text that they are."""

    yaml_implicit_resolvers = {
        first: [pair for pair in pairs if pair[0] != "tag:yaml.org,2002:timestamp"]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuse an alias."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not taken")
        return super().compose_node(parent, index)


@router.get("/experiments/{experiment_id}", response_class=HTMLResponse)
def show_experiment(request: Request, scope: Reading, experiment_id: Id) -> HTMLResponse:
    """One experiment as it happens."""
    experiment = experiments.get(scope, experiment_id)
    return _page(request, "experiment.html", experiment=experiment, spec=_as_yaml(experiment.spec))


@router.get("/experiments/{experiment_id}/report", response_class=HTMLResponse)
def show_report(service: Serving, request: Request, scope: Reading, experiment_id: Id) -> HTMLResponse:
    """The report: sections, charts, downloads."""
    experiment = experiments.get(scope, experiment_id)
    try:
        report, reason = report_of(service, scope, experiment_id), None
    except NotReady as error:
        report, reason = None, str(error)
    sections = dict(sorted(report.sections.items(), key=lambda one: one[0] != "verdict")) if report else {}
    words: dict[str, Any] = {"columns": _columns, "cell": _cell}
    return _page(
        request, "report.html", experiment=experiment, report=report, reason=reason, sections=sections, **words
    )


@router.get("/runs/{run_id}", response_class=HTMLResponse)
def show_run(request: Request, scope: Reading, run_id: Id) -> HTMLResponse:
    """One run: curves, checkpoints, log, provenance."""
    run = runs.get(scope, run_id)
    weights, manifest = (said and _as_yaml(said) for said in (run.weight_report, run.manifest))
    asked_by = runs.first_experiment(scope, run_id)
    return _page(request, "run.html", run=run, asked_by=asked_by, weights=weights, manifest=manifest)


@router.get("/comparisons", response_class=HTMLResponse)
def show_comparisons(request: Request, scope: Reading, a: Asked = None, cursor: Cursor = None) -> HTMLResponse:
    """The newest comparisons, and a form for one more."""
    page = comparisons.page(scope, limit=SHOWN, cursor=cursor)
    rows = [{**vars(row), "created_at": rfc3339(row.created_at)} for row in page.items]
    words: dict[str, Any] = {"a": a, "measures": get_args(Measure), "following": _following(page.next, {})}
    named = _in_words(scope, [name for row in page.items for name in (row.a, row.b)])
    return _page(request, "comparisons.html", comparisons=rows, words=named, **words)


@router.get("/comparisons/{comparison_id}", response_class=HTMLResponse)
def show_comparison(service: Serving, request: Request, scope: Reading, comparison_id: Id) -> HTMLResponse:
    """A similarity report: heat map, nulls, numbers."""
    found = similarity_report(service, comparisons.get(scope, comparison_id))
    return _page(request, "comparison.html", comparison=found, words=_in_words(scope, [found.a, found.b]))


@router.get("/datasets", response_class=HTMLResponse)
def show_datasets(request: Request, scope: Reading, cursor: Cursor = None) -> HTMLResponse:
    """The newest datasets, and a form for one more."""
    page = datasets.page(scope, limit=SHOWN, cursor=cursor)
    words: dict[str, Any] = {"kinds": get_args(Kind), "tasks": get_args(Task), "recipes": get_args(RecipeName)}
    return _page(request, "datasets.html", datasets=page.items, following=_following(page.next, {}), **words)


@router.get("/datasets/{name}", response_class=HTMLResponse)
def show_dataset(service: Serving, request: Request, scope: Reading, name: Id) -> HTMLResponse:
    """One dataset version and what it is like."""
    dataset = datasets.get(scope, name)
    looked = dataset.state == "succeeded" and _profile_state(service, scope, dataset.name)
    return _page(request, "dataset.html", dataset=dataset, looked=looked or None, spec=_as_yaml(dataset.spec))


@router.get("/keys", response_class=HTMLResponse)
def show_keys(request: Request, scope: Reading) -> HTMLResponse:
    """The project's API keys, for its admins."""
    if request.state.caller.role != "admin":
        raise NotFound("there is no such page")
    page = api_keys.page(scope, limit=200)
    rows = [
        {**vars(key), "created_at": rfc3339(key.created_at), "expires_at": key.expires_at and rfc3339(key.expires_at)}
        for key in page.items
    ]
    return _page(request, "keys.html", keys=rows)


@router.get("/docs", response_class=HTMLResponse)
def show_documentation(request: Request) -> HTMLResponse:
    """Every route, from the same OpenAPI document that /openapi.json serves."""
    document = request.app.openapi()
    words: dict[str, Any] = {"documents": documents.found(), "schemas": models.SCHEMAS}
    return _page(request, "docs.html", document=document, operations=_operations(document), **words)


@router.get("/static/{digest}/{name}")
def get_static(digest: str, name: str) -> Response:
    """A stylesheet or a script; `digest` changes with any of them, so that browsers may keep them."""
    content = vega() if name == VEGA else _statics().get(name)
    if content is None:
        raise NotFound("there is no such file")
    headers = {"Cache-Control": f"public, max-age={STATIC_SECONDS}, immutable"}
    return Response(content, media_type=KINDS[name.rpartition(".")[2]], headers=headers)


def log_in_first(request: Request, error: Exception) -> HTMLResponse:
    """What a page is for those who have not logged in."""
    return log_in_page(request)


def log_in_page(request: Request, *, fault: str | None = None, status: int = 200) -> HTMLResponse:
    """Where to log in, and then go on to the page that was asked for."""
    query = f"?{request.url.query}" if request.url.query else ""
    return _page(request, "login.html", status=status, fault=fault, next=f"{request.url.path}{query}")


def _in_words(scope: Scope, checkpoints: Iterable[str]) -> dict[str, str]:
    """What checkpoints of runs (`RUN@final`) are called by their experiments; weights have a name of their own."""
    known = runs.labels(scope, [name.partition("@")[0] for name in checkpoints])
    return {
        name: f"{_run_in_words(known[run])}, {checkpoint}"
        for name in checkpoints
        for run, _, checkpoint in [name.partition("@")]
        if run in known
    }


def _run_in_words(labels: dict[str, Any]) -> str:
    init = f"{labels['init']} from {labels['source']}" if labels["source"] else labels["init"]
    size = "" if labels["train_size"] == "all" else f", {labels['train_size']} images"
    return f"{labels['model']}, {init}{size}, seed {labels['seed']}"


def _profile_state(service: Service, scope: Scope, name: str) -> str:
    """The state of the job that looks at a dataset, which is made when somebody who may write first asks; "" before."""
    try:
        job, queues = datasets.profile_job(scope, name)
    except NotFound:
        return ""
    service.ring(queues)
    return job.state


def _following(cursor: str | None, words: Mapping[str, str | None]) -> str | None:
    """The query of the next page."""
    return urlencode({**{name: word for name, word in words.items() if word}, "cursor": cursor}) if cursor else None


def _as_yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True)


def _operations(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"path": path, "method": method.upper(), "tag": operation["tags"][0], **operation}
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def _columns(section: ReportSection) -> list[str]:
    from transfusion_core.reporting.html import columns_of  # the drawing engine takes long to import

    return columns_of(section)


def _cell(row: Row, column: str) -> str:
    from transfusion_core.reporting.html import cell

    return cell(getattr(row, column), column)


@cache
def _statics() -> dict[str, bytes]:
    folder = files("transfusion_api").joinpath("pages", "static")
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name.rpartition(".")[2] in KINDS}


def vega() -> bytes:
    """The Vega bundle, which takes seconds when it is first asked for."""
    from transfusion_core.reporting.html import vega_bundle

    return vega_bundle().encode()


@cache
def _static_digest() -> str:
    whole = hashlib.sha256(version("vl-convert-python").encode())
    for name, content in sorted(_statics().items()):
        whole.update(name.encode() + content)
    return whole.hexdigest()[:12]


def _static(name: str) -> str:
    return f"/static/{_static_digest()}/{name}"


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("transfusion_api", "pages"), autoescape=select_autoescape(), trim_blocks=True
    )


def _page(request: Request, template: str, *, status: int = 200, **words: Any) -> HTMLResponse:
    caller = caller_of(request)
    frame = {
        "caller": caller,
        "may_write": caller is not None and caller.role != "read",
        "session": _session(service_of(request), request, caller),
        "static": _static,
    }
    content = _templates().get_template(template).render(here=request.url.path, **frame, **words)
    return HTMLResponse(content, status, headers={"Cache-Control": "no-store"})


def _session(service: Service, request: Request, caller: Caller | None) -> dict[str, str] | None:
    token = request.cookies.get(COOKIE, "")
    return {"project": caller.project, "csrf": form_token(service, token)} if caller and token else None
