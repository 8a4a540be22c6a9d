"""From a body to jobs: facts are looked up, every fault is told at once, and what the store has lost is found out."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from transfusion_api.expansions import Expansions
from transfusion_api.service import Service
from transfusion_core.db import experiments, jobs, quotas, workers
from transfusion_core.db.facts import facts_for
from transfusion_core.db.scope import Scope
from transfusion_core.errors import InvalidRequest
from transfusion_core.specs import combining
from transfusion_core.specs.expand import Expansion
from transfusion_core.specs.experiment import Plan
from transfusion_core.specs.fault import Fault
from transfusion_core.specs.fitting import unmet
from transfusion_core.specs.job import OF_DATASETS, JobKind
from transfusion_core.specs.quota import Account
from transfusion_core.specs.removal import object_digests
from transfusion_core.store import Store, damaged_in

LOOKS = 8
"""At the store, at once: ten thousand finished runs are looked through in seconds."""
_EXPANSIONS = Expansions()


def expansion_of(scope: Scope, body: Any) -> Expansion:
    """The jobs of a body that is meant to be an ExperimentSpec; InvalidRequest has every fault."""
    return _EXPANSIONS.of(body, facts_for(scope, body if isinstance(body, dict) else {}))


def beside_the_fleet(scope: Scope, plan: Plan) -> Plan:
    """The plan with what the workers that are there cannot do, and what the quota of whoever asks leaves."""
    fleet = {worker.name: worker for worker in workers.living(scope.engine)}
    warnings = [*plan.warnings, *unmet(plan.demands, fleet)]
    standing = quotas.standing(scope)
    if standing is None:
        return plan.model_copy(update={"warnings": warnings})
    account = Account(quota=standing[0], used=standing[1])
    hours = sum(demand.minutes for demand in plan.demands if demand.queue == "gpu") / 60
    short = account.short_of(gpu_hours=hours, stored_bytes=plan.estimated_bytes)
    return plan.model_copy(update={"account": account, "warnings": [*warnings, *short]})


def combined_of(scope: Scope, body: Any) -> Expansion:
    """The jobs of several experiments as those of one, by a body that is meant to be a CombineSpec."""
    stored = experiments.specs(scope, combining.named_in(body).values())
    facts = {name: facts_for(scope, spec) for name, spec in stored.items()}
    specs, faults = combining.read(body, stored, facts)
    if faults:
        raise InvalidRequest(faults=faults)
    whole = combining.combined(combining.CombineSpec.model_validate(body), specs)
    try:
        return expansion_of(scope, whole.model_dump(mode="json"))
    except InvalidRequest as error:
        raise InvalidRequest(faults=[_of_all(fault) for fault in error.faults]) from error


def _of_all(fault: Fault) -> Fault:
    """A fault of the spec that experiments make together, which nobody has sent."""
    return fault.model_copy(update={"pointer": "/experiments", "message": f"together they ask too much: {fault}"})


def lost_keys(service: Service, expansion: Expansion) -> frozenset[str]:
    """Keys of succeeded jobs whose bytes are no longer in the store: a cache hit is one only while its bytes are there.

    Datasets are shared under every `cache`.
    """
    ours = {"train", "compare", "profile", "report"} if expansion.spec.cache == "use" else set()
    wanted = [draft.key for draft in expansion.drafts if draft.kind in OF_DATASETS | ours]
    return lost_among(service, wanted, asked_by=[draft.key for draft in expansion.drafts])


def lost_of(service: Service, kinds: Mapping[str, JobKind]) -> frozenset[str]:
    """Of an experiment's jobs, by key, the ingests and pixels whose bytes are no longer in the store as they were."""
    return lost_among(service, [key for key, kind in kinds.items() if kind in OF_DATASETS], asked_by=list(kinds))


def lost_among(service: Service, keys: Sequence[str], *, asked_by: Sequence[str] = ()) -> frozenset[str]:
    """Those of the keys whose jobs have succeeded, and whose bytes are gone, or damaged as jobs of `asked_by` told.

    To look for damage is to read: only what a job has failed by is read. Asked outside of any transaction.
    """
    return lost_of_results(service, jobs.results(service.engine, keys), asked_by=asked_by)


def lost_of_results(service: Service, done: Mapping[str, Any], *, asked_by: Sequence[str] = ()) -> frozenset[str]:
    """As `lost_among`, of what jobs have found, by key."""
    wanted = {key: dict(object_digests(result)) for key, result in done.items()}
    if not any(wanted.values()):
        return frozenset()
    gone = _gone(service.store, set().union(*wanted.values()))
    blamed = {damaged_in(told) for told in jobs.complaints(service.engine, asked_by)} - gone
    digests = {key: sha256 for objects in wanted.values() for key, sha256 in objects.items() if key in blamed}
    gone |= {key for key, sha256 in digests.items() if _digest_of(service.store, key) != sha256}
    return frozenset(key for key, objects in wanted.items() if not gone.isdisjoint(objects))


def _digest_of(store: Store, key: str) -> str:
    sha256 = hashlib.sha256()
    for piece in store.open_stream(key):
        sha256.update(piece)
    return sha256.hexdigest()


def _gone(store: Store, keys: Iterable[str]) -> set[str]:
    """Those of the keys under which there is nothing. What one attempt of a job made is listed by one question."""
    folders: defaultdict[str, set[str]] = defaultdict(set)
    for key in keys:
        folders[key.rpartition("/")[0]].add(key)

    def gone_of(folder: str) -> set[str]:
        mine = folders[folder]
        if len(mine) == 1 or not folder.startswith("jobs/"):  # others hold what is of many
            return {key for key in mine if not store.exists(key)}
        return mine.difference(listed.key for listed in store.list(f"{folder}/"))

    with ThreadPoolExecutor(LOOKS) as pool:
        return set().union(*pool.map(gone_of, folders))
