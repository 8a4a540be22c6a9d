"""The Python client of Transfusion: synchronous, typed, and light (pydantic and httpx2).

    from transfusion_client import Client

    with Client() as client:
        experiment = client.experiments.create("experiment.yaml").wait()
        frame = experiment.report().to_frame("performance")

Errors are the service's own classes: see `transfusion_core.errors`. Names are loaded when they are first asked for, so
that `transfusion --help` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transfusion_client.client import Client
    from transfusion_client.experiments import Experiment
    from transfusion_client.reports import Report
    from transfusion_core.errors import TransfusionError
    from transfusion_core.specs.comparison import Comparison

__all__ = ["Client", "Comparison", "Experiment", "Report", "TransfusionError"]

_HOMES = {
    "Client": "transfusion_client.client",
    "Comparison": "transfusion_core.specs.comparison",
    "Experiment": "transfusion_client.experiments",
    "Report": "transfusion_client.reports",
    "TransfusionError": "transfusion_core.errors",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
