"""The workers that are there, and what each has."""

from fastapi import APIRouter

from transfusion_api.answers import Page
from transfusion_api.auth import needs
from transfusion_api.problems import documented
from transfusion_api.service import Serving
from transfusion_core.db import workers
from transfusion_core.specs.worker import Worker

router = APIRouter(prefix="/v1/workers", tags=["health"])


@router.get("", dependencies=[needs("read")], responses=documented())
def list_workers(service: Serving) -> Page[Worker]:
    """The workers that were seen in the last minute, all of them, by name."""
    return Page[Worker](items=workers.living(service.engine))
