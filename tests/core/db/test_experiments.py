from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, event, func, select

from transfusion_core.db import comparisons, datasets, events, experiments, jobs, removals, runs
from transfusion_core.db.engine import unit_of_work
from transfusion_core.db.facts import run_facts
from transfusion_core.db.placing import Cache
from transfusion_core.db.scope import Scope
from transfusion_core.db.tables import Experiment, Job
from transfusion_core.errors import Conflict, IdempotencyMismatch, NotFound
from transfusion_core.specs.comparing import comparison_draft
from transfusion_core.specs.comparison import ComparisonSpec
from transfusion_core.specs.job import JobDraft


def make(engine: Engine, world, name: str = "e", **changes) -> str:
    return experiments.create(Scope(engine), world.expansion(**changes), name=name).id


def ids_of(engine: Engine, experiment_id: str) -> list[str]:
    return [job.id for job, _ in experiments.jobs_of(Scope(engine), experiment_id)]


def states(engine: Engine, experiment_id: str) -> Counter[str]:
    return Counter(job.state for job, _ in experiments.jobs_of(Scope(engine), experiment_id))


def count(engine: Engine, table: type) -> int:
    with unit_of_work(engine, write=False) as session:
        return session.scalar(select(func.count()).select_from(table))


def claim(engine: Engine):
    return jobs.claim(engine, worker="w", queues=["gpu", "cpu"], lease_seconds=60)


def test_an_experiment_goes_from_queued_to_succeeded(engine, world, drain):
    expansion = world.expansion()
    created = experiments.create(Scope(engine), expansion, name="e", parent="p")
    assert created.queues == ["cpu"]
    experiment = experiments.get(Scope(engine), created.id)
    assert (experiment.state, experiment.progress, experiment.parent) == ("queued", 0, "p")
    assert experiment.counts == {"queued": 2, "waiting": len(expansion.drafts) - 2}
    assert experiment.spec["dataset"] == "demo-retina@1"
    labels = [labels for _, labels in experiments.jobs_of(Scope(engine), created.id)]
    assert labels == [draft.labels for draft in expansion.drafts]
    job = claim(engine)
    jobs.beat(engine, job.id, 1, lease_seconds=60, progress={"step": 1, "steps": 2})
    running = experiments.get(Scope(engine), created.id)
    assert running.state == "running"
    assert running.progress == pytest.approx(0.5 / len(expansion.drafts), abs=1e-4)
    assert running.eta_seconds >= 0
    jobs.release(engine, job.id, 1)
    drain()
    done = experiments.get(Scope(engine), created.id)
    assert (done.state, done.progress, done.eta_seconds) == ("succeeded", 1, None)
    assert done.created_at <= done.finished_at
    assert experiments.report_job(Scope(engine), created.id).result == {"complete": True}
    dataset = datasets.get(Scope(engine), "demo-retina")
    assert (dataset.name, dataset.state, dataset.images) == ("demo-retina@1", "succeeded", 100)


def test_the_same_spec_twice_shares_every_job(engine, world, drain):
    first = make(engine, world)
    drain()
    again = experiments.create(Scope(engine), world.expansion(), name="again")
    assert ids_of(engine, first) == ids_of(engine, again.id)
    assert again.queues == []
    assert experiments.get(Scope(engine), again.id).state == "succeeded"


@pytest.mark.parametrize("cache", ["refresh", "off"])
def test_a_refresh_replaces_shared_work_and_off_keeps_apart(engine, world, drain, cache: Cache):
    first = make(engine, world)
    drain()
    second = make(engine, world, cache=cache)
    old, new = ids_of(engine, first), ids_of(engine, second)
    both = {jobs.get(engine, job_id).kind for job_id in set(old) & set(new)}
    assert both == {"ingest", "pixels"}
    drain()
    assert experiments.get(Scope(engine), second).state == "succeeded"
    third = ids_of(engine, make(engine, world))
    assert third == (new if cache == "refresh" else old)


def test_work_whose_bytes_are_gone_is_done_again(engine, world, drain):
    first = make(engine, world)
    drain()
    expansion = world.expansion()
    ingest, cell = expansion.drafts[0], expansion.cells[0]
    missing = frozenset({ingest.key, cell.key})
    again = experiments.create(Scope(engine), expansion, name="again", verified_missing=missing)
    assert len(set(ids_of(engine, first)) & set(ids_of(engine, again.id))) == len(expansion.drafts) - 3
    assert states(engine, again.id) == {"queued": 1, "waiting": 2, "succeeded": len(expansion.drafts) - 3}
    retina = datasets.get(Scope(engine), "demo-retina")
    assert (retina.state, retina.digest) == ("queued", "d")
    drain()
    assert experiments.get(Scope(engine), again.id).state == "succeeded"


def test_a_failure_fails_the_experiment_and_a_retry_mends_it(engine, world, drain):
    experiment_id = make(engine, world)
    drain("random")
    failed = experiments.get(Scope(engine), experiment_id)
    assert failed.state == "failed"
    assert failed.counts["failed"] == 5
    old_report = experiments.report_job(Scope(engine), experiment_id)
    assert old_report.result == {"complete": False}
    with pytest.raises(Conflict, match="have to be cancelled"):
        experiments.resume(Scope(engine), experiment_id)
    assert experiments.retry(Scope(engine), experiment_id) == ["gpu"]
    drain()
    assert experiments.get(Scope(engine), experiment_id).state == "succeeded"
    assert experiments.report_job(Scope(engine), experiment_id).id != old_report.id
    assert [job.id for job in experiments.earlier_reports(Scope(engine), experiment_id)] == [old_report.id]
    assert sum(states(engine, experiment_id).values()) == 10, "what it said before is none of its jobs"
    experiments.remove(Scope(engine), experiment_id)
    with pytest.raises(NotFound):
        jobs.get(engine, old_report.id)


def test_posting_a_failed_spec_again_revives_what_failed_and_draws_a_new_report(engine, world, drain):
    first = make(engine, world)
    drain("random")
    second = make(engine, world)
    assert states(engine, second) == {"succeeded": 4, "queued": 2, "waiting": 4}
    drain()
    assert experiments.get(Scope(engine), second).state == "succeeded"
    assert experiments.report_job(Scope(engine), second).result == {"complete": True}
    assert experiments.report_job(Scope(engine), first).result == {"complete": False}


def test_many_at_once_make_each_job_once(engine, world):
    expansion = world.expansion()
    with ThreadPoolExecutor(6) as pool:
        created = list(pool.map(lambda n: experiments.create(Scope(engine), expansion, name=f"e{n}").id, range(6)))
    assert len(set(created)) == count(engine, Experiment) == 6
    assert count(engine, Job) == len(expansion.drafts)
    assert len({tuple(ids_of(engine, experiment_id)) for experiment_id in created}) == 1


def test_a_repeated_request_makes_one_experiment(engine, world):
    expansion = world.expansion()
    request = ("key", "/v1/experiments", "digest")

    def post(_: int) -> str:
        return experiments.create(Scope(engine), expansion, name="e", idempotency=request).id

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(post, range(4)))) == 1
    assert count(engine, Experiment) == 1
    with pytest.raises(IdempotencyMismatch):
        experiments.create(Scope(engine), expansion, name="e", idempotency=("key", "/v1/experiments", "other"))


def test_a_cancel_stops_what_nobody_else_wants(engine, world):
    first, second = make(engine, world), make(engine, world, seeds=2)
    shared = set(ids_of(engine, first)) & set(ids_of(engine, second))
    assert experiments.cancel(Scope(engine), second) == []
    assert {jobs.get(engine, job_id).state for job_id in shared} == {"queued", "waiting"}
    alone = set(ids_of(engine, second)) - shared
    assert {jobs.get(engine, job_id).state for job_id in alone} == {"cancelled"}
    assert experiments.get(Scope(engine), second).state == "cancelled"
    assert experiments.get(Scope(engine), first).state == "queued"
    with pytest.raises(Conflict, match="already"):
        experiments.cancel(Scope(engine), second)


def test_a_running_job_is_asked_to_stop_and_its_experiment_resumes(engine, world, drain):
    experiment_id = make(engine, world)
    for _ in range(4):
        ingest = claim(engine)
        jobs.succeed(engine, ingest.id, 1, {**INGESTED})
    job = claim(engine)
    experiments.cancel(Scope(engine), experiment_id)
    assert experiments.get(Scope(engine), experiment_id).state == "running"
    assert jobs.beat(engine, job.id, 1, lease_seconds=60).cancel_requested
    with pytest.raises(Conflict, match="stopping already"):
        experiments.cancel(Scope(engine), experiment_id)
    jobs.cancelled(engine, job.id, 1)
    cancelled = experiments.get(Scope(engine), experiment_id)
    assert (cancelled.state, set(cancelled.counts)) == ("cancelled", {"succeeded", "cancelled"})
    assert experiments.resume(Scope(engine), experiment_id) == ["gpu"]
    drain()
    assert experiments.get(Scope(engine), experiment_id).state == "succeeded"


INGESTED = {
    "digest": "d",
    "task": "ordinal",
    "images": 9,
    "classes": ["a"],
    "splits": {"train": 5, "val": 2, "test": 2},
    "channels": 3,
    "annotations": {"key": "k", "size_bytes": 1, "sha256": "0" * 64},
    "pack": [],
    "manifest": {"key": "m", "size_bytes": 1, "sha256": "0" * 64},
}


def test_a_stopping_job_that_is_wanted_again_is_queued_again(engine, world):
    first = make(engine, world)
    for _ in range(4):  # two datasets, and their pixels
        jobs.succeed(engine, claim(engine).id, 1, INGESTED)
    job = claim(engine)
    experiments.cancel(Scope(engine), first)
    second = make(engine, world)
    assert jobs.cancelled(engine, job.id, 1) == ["gpu"]
    assert jobs.get(engine, job.id).state == "queued"
    assert experiments.get(Scope(engine), second).counts == {"succeeded": 4, "queued": 2, "waiting": 4}


def test_a_crash_or_release_of_a_stopping_job_ends_it(engine, world):
    experiment_id = make(engine, world)
    for _ in range(4):  # two datasets, and their pixels
        jobs.succeed(engine, claim(engine).id, 1, INGESTED)
    first, second = claim(engine), claim(engine)
    experiments.cancel(Scope(engine), experiment_id)
    jobs.crash(engine, first.id, 1, max_crashes=3, error="e")
    jobs.release(engine, second.id, 1)
    assert states(engine, experiment_id) == {"succeeded": 4, "cancelled": 6}


def test_a_cancelled_experiment_still_reports_the_runs_that_it_has(engine, world, drain):
    experiment_id = make(engine, world, seeds=2)
    for _ in range(4):  # two datasets, and their pixels
        jobs.succeed(engine, claim(engine).id, 1, INGESTED)
    first, second = claim(engine), claim(engine)
    jobs.succeed(engine, first.id, 1, {})
    assert experiments.cancel(Scope(engine), experiment_id) == [], "one of its runs has not stopped yet"
    assert experiments.report_job(Scope(engine), experiment_id).state == "waiting"
    assert jobs.cancelled(engine, second.id, 1) == ["cpu"]
    assert experiments.get(Scope(engine), experiment_id).state == "cancelled"
    drain()
    assert experiments.report_job(Scope(engine), experiment_id).state == "succeeded"
    assert experiments.get(Scope(engine), experiment_id).state == "cancelled"
    experiments.resume(Scope(engine), experiment_id)
    assert experiments.report_job(Scope(engine), experiment_id).state == "waiting", "made anew once all is there"
    drain()
    assert experiments.get(Scope(engine), experiment_id).state == "succeeded"


def test_a_cancel_spares_what_a_comparison_or_another_experiments_source_needs(engine, world):
    first = make(engine, world)
    run = next(job for job, labels in experiments.jobs_of(Scope(engine), first) if labels.get("role") == "cell")
    facts = run_facts(Scope(engine), run.id)
    spec = ComparisonSpec(a=f"{run.id}@init", b=f"{run.id}@final", measures=["cka"])
    asked = comparisons.create(Scope(engine), comparison_draft(spec, facts, facts, facts.dataset), spec.a, spec.b)
    other = make(engine, world, sources={"natural": {"run": f"{run.id}@final"}}, inits=["random", PRETRAINED])
    experiments.cancel(Scope(engine), first)
    assert jobs.get(engine, run.id).state == "waiting"
    experiments.cancel(Scope(engine), other)
    assert jobs.get(engine, run.id).state == "waiting"
    assert comparisons.get(Scope(engine), asked.id).state == "waiting"


PRETRAINED = {"kind": "pretrained", "source": "natural"}


def test_a_need_that_failed_or_is_not_there_is_a_conflict(engine, world, drain):
    with pytest.raises(Conflict, match="does not exist"):
        world.place(world.draft("a", world.draft("nothing")))
    need = world.draft("need")
    world.place(need)
    drain("train")
    with pytest.raises(Conflict, match="is needed, and is failed"):
        world.place(world.draft("a", need))


def test_an_unshared_run_can_still_be_a_source(engine, world, drain):
    first = make(engine, world, cache="off")
    drain()
    run = next(job for job, labels in experiments.jobs_of(Scope(engine), first) if labels.get("role") == "cell")
    assert not run.shared
    other = make(engine, world, sources={"natural": {"run": f"{run.id}@final"}}, inits=[PRETRAINED])
    assert states(engine, other)["queued"] == 1


def test_a_demo_name_that_was_taken_meanwhile_is_a_conflict(engine, world):
    expansion = world.expansion()
    spec = expansion.new_datasets[0].model_copy(update={"split_seed": 7})
    datasets.register(Scope(engine), spec, JobDraft.make("ingest", {"other": 1}))
    with pytest.raises(Conflict, match="send the spec again"):
        experiments.create(Scope(engine), expansion, name="late")


def test_a_hit_raises_the_priority_of_what_waits(engine, world):
    first = make(engine, world)
    make(engine, world, priority=7)
    assert {job.priority for job, _ in experiments.jobs_of(Scope(engine), first)} == {7}


def test_a_delete_frees_what_nobody_else_uses(engine, world, drain):
    first, second = make(engine, world), make(engine, world, seeds=2)
    with pytest.raises(Conflict, match="cancel it first"):
        experiments.remove(Scope(engine), second)
    drain()
    shared = set(ids_of(engine, first)) & set(ids_of(engine, second))
    alone = set(ids_of(engine, second)) - shared
    removal = experiments.remove(Scope(engine), second)
    (mark,) = removals.unfinished(engine)
    assert (mark.id, mark.places) == (removal, [f"jobs/{job_id}/" for job_id in sorted(alone)])
    assert removals.get(Scope(engine), removal).name == second
    for job_id in alone:
        with pytest.raises(NotFound):
            jobs.get(engine, job_id)
    assert experiments.get(Scope(engine), first).state == "succeeded"
    experiments.remove(Scope(engine), first)
    assert {job[1] for job in jobs.counts_by_state_kind(engine)} == {"ingest"}
    for act in (experiments.get, experiments.jobs_of, experiments.report_job, experiments.cancel, experiments.remove):
        with pytest.raises(NotFound, match="no experiment"):
            act(Scope(engine), first)


def test_pages_are_filtered(engine, world, drain):
    done = make(engine, world, "done")
    drain()
    queued = make(engine, world, "queued", dataset="demo-chest", inits=["random"], sources={})

    def found(**filters) -> list[str]:
        return [experiment.id for experiment in experiments.page(Scope(engine), limit=10, **filters).items]

    assert found() == [queued, done]
    assert found(state="succeeded") == [done]
    assert found(state="queued") == [queued]
    assert found(name="done") == [done]
    assert found(dataset="demo-chest") == found(dataset="demo-chest@1") == [queued]
    assert found(dataset="demo-chest@2") == []


def test_runs_are_listed_in_an_experiments_own_words(engine, world, drain):
    experiment_id = make(engine, world)
    drain()
    renamed = {"other": {"pretrain": {"dataset": "demo-natural", "training": {"steps": 2}}}}
    second = make(engine, world, sources=renamed, inits=["random", {"kind": "pretrained", "source": "other"}])
    everything = runs.page(Scope(engine), limit=10).items
    assert len(everything) == 3
    assert all(run.manifest is None and run.weight_report is None for run in everything)
    (run,) = runs.page(Scope(engine), limit=10, init="pretrained", model="cbr-tiny", experiment=experiment_id).items
    assert (run.source, run.metrics, run.dataset) == ("natural", {"auroc": 0.75}, "demo-retina@1")
    (same,) = runs.page(Scope(engine), limit=10, init="pretrained", experiment=second).items
    assert (same.id, same.source) == (run.id, "other")
    assert runs.get(Scope(engine), run.id).manifest == {"m": 1}
    assert len(runs.page(Scope(engine), limit=10, dataset="demo-retina", state="succeeded").items) == 2
    assert runs.page(Scope(engine), limit=10, dataset="demo-retina@2").items == []
    with pytest.raises(NotFound):
        runs.get(Scope(engine), experiments.report_job(Scope(engine), experiment_id).id)


def test_an_experiments_events_hold_those_of_its_jobs_and_end_in_success(engine, world, drain):
    experiment_id = make(engine, world)
    drain()
    found = events.after(engine, experiment_id=experiment_id)
    assert [event.id for event in found] == sorted(event.id for event in found)
    assert [event.kind for event in found if event.experiment_id] == ["created"]
    ends = Counter(event.data["to"] for event in found if event.kind == "state")
    assert ends["succeeded"] == len(ids_of(engine, experiment_id))


def test_news_names_whom_it_is_about(engine, world, monkeypatch):
    start = events.news(engine, None)
    assert (start.about, events.news(engine, start.last_id)) == (frozenset(), start)
    one, other = make(engine, world), make(engine, world, "other", seeds=3)
    both = events.news(engine, start.last_id)
    assert {one, other} <= both.about
    assert events.news(engine, both.last_id).about == frozenset()
    job = jobs.claim(engine, worker="w", queues=["gpu", "cpu"], lease_seconds=60)
    assert {job.id, one} <= events.news(engine, both.last_id).about
    monkeypatch.setattr(events, "_MOST_NEWS", 2)
    assert events.news(engine, start.last_id).about is None, "too many to tell"


def test_what_exists_is_what_was_neither_failed_nor_cancelled(engine, world, drain):
    expansion = world.expansion()
    keys = [draft.key for draft in expansion.drafts]
    assert experiments.existing(engine, keys) == frozenset()
    experiments.create(Scope(engine), expansion, name="e")
    assert experiments.existing(engine, keys) == frozenset(keys)
    drain("ingest")
    assert experiments.existing(engine, keys) == {keys[-1]}


def test_a_cancel_against_finishing_workers_leaves_nothing_undecided(engine, world, drain):
    for _ in range(4):
        experiment_id = make(engine, world, cache="off", seeds=2)
        with ThreadPoolExecutor(3) as pool:
            working = [pool.submit(drain), pool.submit(drain)]
            try:
                pool.submit(experiments.cancel, Scope(engine), experiment_id).result()
            except Conflict:
                assert experiments.get(Scope(engine), experiment_id).state == "succeeded"
            for work in working:
                work.result()
        drain()  # the report of what there is may have come after both had found nothing to do
        assert not {"waiting", "queued", "running"} & set(states(engine, experiment_id))
        assert experiments.get(Scope(engine), experiment_id).state in ("cancelled", "succeeded")


def test_overlapping_grids_at_once_share_what_they_have_in_common(engine, world):
    grids = [world.expansion(seeds=seeds, inits=inits) for seeds in (1, 2, 3) for inits in (ARMS, ARMS[::-1])]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda grid: experiments.create(Scope(engine), grid, name="g"), grids))
    keys = {draft.key for grid in grids for draft in grid.drafts}
    assert count(engine, Job) == len(keys)


ARMS = ["random", PRETRAINED]


def test_a_new_experiment_is_answered_as_it_stands(engine, world, drain):
    """Whatever of its jobs is there already: none, all, some at work, all done, some failed and tried again."""
    stages = (lambda: None, lambda: None, lambda: claim(engine), drain, lambda: drain("train"))
    for number, stage in enumerate(stages):
        stage()
        for changes in ({}, {"seeds": number + 1}):
            created = experiments.create(Scope(engine), world.expansion(**changes), name="e")
            assert created.made == experiments.get(Scope(engine), created.id)


def test_a_post_of_work_that_is_there_takes_few_statements(engine, world):
    """What makes most of the time of a post: each is a trip to PostgreSQL."""
    make(engine, world)
    asked: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *of: asked.append(of[2]))
    expansion = world.expansion()
    assert len(asked) == 2, "one for each dataset"
    asked.clear()
    experiments.create(Scope(engine), expansion, name="again")
    assert len(asked) <= 7, asked
    asked.clear()
    experiments.create(Scope(engine), world.expansion(seeds=3), name="more")
    assert len(asked) <= 15, asked
