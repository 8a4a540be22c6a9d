"""Every kind of job. Importing this imports torch and the science: supervisors name it, children import it."""

from transfusion_worker.child import JobFunction
from transfusion_worker.jobs import barrier, compare, ingest, moments, pixels, probe, profile, report, train

KINDS: dict[str, JobFunction] = {
    "ingest": ingest.run,
    "pixels": pixels.run,
    "train": train.run,
    "moments": moments.run,
    "compare": compare.run,
    "profile": profile.run,
    "probe": probe.run,
    "barrier": barrier.run,
    "report": report.run,
}
