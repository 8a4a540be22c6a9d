"""What follows for somebody who has to choose: which network and init, and what transfer buys."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from transfusion_core.reporting.statistics import EQUIVALENCE_MARGIN, UNIT, Summary, summarise
from transfusion_core.reporting.steps import steps_to, threshold
from transfusion_core.reporting.study import Arm, Study
from transfusion_core.specs.report import Row


@dataclass(frozen=True)
class Candidate:
    """An arm with what it reaches and what it costs."""

    arm: Arm
    quality: Summary
    parameters: int
    steps: float | None

    @property
    def name(self) -> str:
        """The arm in words."""
        source = f" ({self.arm.source})" if self.arm.source else ""
        return f"{self.arm.model} from {self.arm.init}{source}"


def advice(study: Study) -> Iterator[Row]:
    """Rows of question `advice`: what to take, and what transfer buys in AUROC, steps, labels and parameters."""
    sizes = sorted({cell.arm.train_size for cell in study.cells}, key=_images)
    candidates = [_candidate(study, arm) for arm in study.arms if arm.train_size == sizes[-1]]
    found = [candidate for candidate in candidates if candidate]
    if not found:
        yield Row(question="advice", value=None, reason="no run has ended well", text="No run has ended well.")
        return
    yield _to_take(found)
    yield from _bought(study, found)
    yield from _labels(study, sizes)


def _images(size: int | str) -> float:
    return float("inf") if size == "all" else float(size)


def _candidate(study: Study, arm: Arm) -> Candidate | None:
    cells = study.seeds_of(arm)
    quality = summarise([cell.auroc for cell in cells if cell.auroc is not None], bounds=UNIT)
    if quality is None or cells[0].result is None:
        return None
    level = threshold(study, arm)
    steps = [steps_to(cell, level) if level is not None else None for cell in cells]
    reached = summarise([float(step) for step in steps if step is not None])
    return Candidate(
        arm, quality, cells[0].result.parameters, reached.mean if reached and reached.n == len(steps) else None
    )


def _to_take(found: Sequence[Candidate]) -> Row:
    """The smallest network whose mean is within the margin of the best, and of its inits the best."""
    best = max(found, key=lambda each: each.quality.mean)
    near = [each for each in found if each.quality.mean > best.quality.mean - EQUIVALENCE_MARGIN]
    taken = min(near, key=lambda each: (each.parameters, -each.quality.mean))
    text = f"Take {taken.name}: test AUROC {taken.quality.mean:.3f} with {taken.parameters:,} parameters"
    if taken is best:
        text += ", the best mean of all."
    else:
        text += f"; the best mean is {best.quality.mean:.3f} of {best.name} with {best.parameters:,}."
    if taken.quality.n == 1:
        text += " With one seed this is a guess."
    return _row(taken.arm, "auroc", taken.quality, text)


def _bought(study: Study, found: Sequence[Candidate]) -> Iterator[Row]:
    """Best transfer against best random: AUROC, steps, parameters."""
    randoms = [each for each in found if each.arm.init == "random"]
    others = [each for each in found if each.arm.init != "random"]
    if not randoms or not others:
        return
    random, other = (max(group, key=lambda each: each.quality.mean) for group in (randoms, others))
    yield _gained(study, random, other)
    same = next((each for each in randoms if each.arm == other.arm.random), None)
    if same and same.steps and other.steps:
        factor = same.steps / other.steps
        text = (
            f"On {other.arm.model} it reaches the threshold in {other.steps:,.0f} steps, random in {same.steps:,.0f}."
        )
        yield Row(**other.arm.words, question="advice", metric="speed_up", value=factor, n=other.quality.n, text=text)
    enough = [each for each in others if each.quality.mean >= random.quality.mean]
    small = min(enough, key=lambda each: each.parameters, default=other)
    share = small.parameters / random.parameters
    if small in enough and share < 1:
        text = f"{small.name} has as high a mean AUROC as {random.name} with {share:.0%} of its parameters."
        yield Row(**small.arm.words, question="advice", metric="parameters", value=share, text=text)
    else:
        text = f"No init has as high a mean AUROC as {random.name} with fewer parameters."
        reason = "none is smaller"
        yield Row(**random.arm.words, question="advice", metric="parameters", value=None, reason=reason, text=text)


def _gained(study: Study, random: Candidate, other: Candidate) -> Row:
    """What the best init other than random changes, over the seeds that it shares with the best random arm."""
    theirs = {cell.seed: cell.auroc for cell in study.seeds_of(random.arm)}
    deltas = [
        cell.auroc - base
        for cell in study.seeds_of(other.arm)
        if cell.auroc is not None and (base := theirs.get(cell.seed)) is not None
    ]
    paired = summarise(deltas)
    gain = paired.mean if paired else other.quality.mean - random.quality.mean
    words = {**other.arm.words, "question": "advice", "metric": "auroc", "pair": "best-random", "value": gain}
    interval = paired.interval if paired else None
    spread = f" ({interval[0]:+.3f} to {interval[1]:+.3f})" if interval else ""
    unsure = "" if interval and interval[0] * interval[1] > 0 else " These seeds do not show that it changes anything."
    text = f"The best init other than random ({other.name}) changes the best mean AUROC by {gain:+.3f}{spread}.{unsure}"
    return Row(**words, sd=paired.sd if paired else None, n=len(deltas), interval=interval, text=text)


def _labels(study: Study, sizes: Sequence[int | str]) -> Iterator[Row]:
    """The smallest train size at which an init does as well as random on all images."""
    arms = [arm for arm in study.arms if arm.train_size == sizes[-1] and arm.init != "random"]
    for arm in arms if len(sizes) > 1 else ():
        goal = _mean(study, arm.random)
        smaller = [Arm(**(arm.words | {"train_size": size})) for size in sizes]
        enough = [each for each in smaller if goal is not None and (_mean(study, each) or 0) >= goal]
        if enough:
            size = enough[0].train_size
            text = (
                f"{arm.model} from {arm.init} has with {size} images as high a mean AUROC as random with {sizes[-1]}."
            )
            value = None if size == "all" else float(size)
            reason = "all images" if size == "all" else None
            yield Row(**enough[0].words, question="advice", metric="images", value=value, reason=reason, text=text)


def _mean(study: Study, arm: Arm) -> float | None:
    found = summarise([cell.auroc for cell in study.seeds_of(arm) if cell.auroc is not None])
    return found.mean if found else None


def _row(arm: Arm, metric: str, found: Summary, text: str) -> Row:
    return Row(
        **arm.words,
        question="advice",
        metric=metric,
        value=found.mean,
        sd=found.sd,
        n=found.n,
        interval=found.interval,
        text=text,
    )
