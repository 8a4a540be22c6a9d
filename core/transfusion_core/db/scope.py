"""The one door to what projects own: whoever reads or writes such rows names the project that it is for.

A project groups API keys; experiments, comparisons, datasets, weights, uploads and idempotency keys belong to one.
Jobs belong to nobody: the same key is computed once for all. A project sees of them what its own rows point at.
"""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Engine, and_, exists, func, or_, select, true
from sqlalchemy.orm import InstrumentedAttribute, aliased

from transfusion_core.db.tables import Comparison, Experiment, ExperimentJob, Job

LOCAL = "default"
"""The project of an embedded service, and that of a service's first admin key: its admins run the service, and its
accounts (keys, deeds, deletions) are theirs for all projects."""


@dataclass(frozen=True)
class Scope:
    """The rows of one project."""

    engine: Engine
    project: str = LOCAL
    actor: str = "local"
    """Who asks, for the audit: id of an API key."""
    request_id: str | None = None
    traceparent: str | None = None
    """The span of the request, see tracing.py."""
    reads_only: bool = False
    """Who asks may start no work."""

    def answers_for(self, project: InstrumentedAttribute[str]) -> ColumnElement[bool]:
        """SQL over an account's column: the project's own entries, for those who run the service all of them."""
        return true() if self.project == LOCAL else project == self.project


def is_first_link(scope: Scope) -> ColumnElement[bool]:
    """SQL that joins jobs to `ExperimentJob`: the link by which the project first asked for the job, if it did."""
    link = aliased(ExperimentJob)
    first = (
        select(func.min(link.experiment_id))
        .join(Experiment, Experiment.id == link.experiment_id)
        .where(link.job_id == Job.id, Experiment.project == scope.project)
        .correlate(Job)
        .scalar_subquery()
    )
    return and_(ExperimentJob.job_id == Job.id, ExperimentJob.experiment_id == first)


def is_reached(scope: Scope) -> ColumnElement[bool]:
    """SQL over `Job`: an experiment or a comparison of the project asked for it."""
    by_experiment = exists().where(
        ExperimentJob.job_id == Job.id,
        Experiment.id == ExperimentJob.experiment_id,
        Experiment.project == scope.project,
    )
    by_itself = exists().where(Comparison.id == Job.id, Comparison.project == scope.project)
    return or_(by_experiment.correlate(Job), by_itself.correlate(Job))
