"""How a report's numbers were made, in prose for a paper: every setting of the spec and every digest of the runs."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from transfusion_core.reporting.study import Study
from transfusion_core.specs.dataset import IngestResult
from transfusion_core.specs.experiment import ExperimentSpec, Grid, SourceSpec
from transfusion_core.specs.init import LADDER, InitSpec
from transfusion_core.specs.training import Recipe

KNOWN_IMAGES = "A network may know such test images from training: its results here are better than on new patients."
SOFTWARE = ("transfusion", "python", "torch", "timm", "numpy")
_BEGINNINGS = {
    "random": "`{label}` draws all weights by each network's own rules",
    "pretrained": "`{label}` takes all weights but the head's from {source}",
    "mean_var": "`{label}` draws each tensor from a normal distribution with the mean and variance that it has in "
    "{source}, its batch norms by `{bn}`",
    "gabor": "`{label}` draws all weights at random but for the first layer's filters, which are Gabor functions",
    "transfuse": "`{label}` takes the stages up to {prefix} from {source} and starts the rest as `{rest}`",
    "slim": "`{label}` takes the stages up to {prefix} from {source}, before a random rest with {width:g} times the "
    "channels",
}


def methods(study: Study, jobs: Sequence[dict[str, Any]]) -> str:
    """The paragraphs, an empty line between them."""
    paragraphs = [_data(study, jobs), _starts(study), _training(study), _comparisons(study), _software(study)]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def _data(study: Study, jobs: Sequence[dict[str, Any]]) -> str:
    spec = study.spec
    sizes = listed(f"{size}" for size in spec.train_sizes)
    drawn = "" if spec.train_sizes == ["all"] else f" Networks were trained on {sizes} of the train split's images; "
    drawn += "smaller subsets lie inside larger ones." if drawn else ""
    stated = _stated(study, "dataset_digest")
    found = _ingest(stated, jobs)
    told = _told(found) if found else f"{study.task}{_digests(stated)}"
    return (
        f"Data. The images are those of {spec.dataset} ({told}), resized to {spec.image_size} x {spec.image_size} "
        f"pixels.{_leaks(found)}{drawn}"
    )


def _ingest(stated: Sequence[str], jobs: Sequence[dict[str, Any]]) -> IngestResult | None:
    """What the ingest of the study's dataset found; it is the one whose digest the runs state."""
    ingests = [job["result"] for job in jobs if job["kind"] == "ingest" and job["result"]]
    whole = [IngestResult.model_validate(found) for found in ingests if "digest" in found]
    return next((ingest for ingest in whole if ingest.digest in stated), None)


def _leaks(found: IngestResult | None) -> str:
    """What a network may know of the test images, in every report, whether or not it has the section `dataset`."""
    counted = [f"{count} {what}" for what, count in (found.across_splits if found else {}).items() if count]
    return f" Leaks: {listed(counted)} are in more than one split. {KNOWN_IMAGES}" if counted else ""


def _told(found: IngestResult) -> str:
    splits = listed(f"{count} {split}" for split, count in found.splits.items())
    counted = f"{found.images} images, {splits}; {len(found.classes)} classes"
    return f"{found.task}; {counted}{_digests([found.digest])}"


def _digests(digests: Iterable[str]) -> str:
    known = [*digests]
    return f"; sha256 {listed(known)}" if known else ""


def _starts(study: Study) -> str:
    spec = study.spec
    inits = "; ".join(_init(init) for init in spec.inits)
    sources = " ".join(_source(name, source) for name, source in spec.sources.items())
    digests = defaultdict(set)
    for cell in study.cells:
        if cell.result and cell.arm.source and (known := cell.result.manifest.get("source_digest")):
            digests[cell.arm.source, cell.arm.model].add(known)
    told = [f"{source} for {model}: {listed(sorted(known))}" for (source, model), known in digests.items()]
    weights = f" Sha256 of the source weights: {'; '.join(told)}." if told else ""
    return f"Networks. The models {listed(spec.models)} were started from: {inits}. {sources}{weights}".strip()


def _init(init: InitSpec) -> str:
    prefix = "each stage in turn" if init.prefix == LADDER else f"`{init.prefix}`"
    told = {"source": f"the source {init.source}", "bn": init.bn, "prefix": prefix, "rest": init.rest}
    kept = f", but for {listed(init.skip)}" if init.skip else ""
    return _BEGINNINGS[init.kind].format(label=init.label, width=init.width or 0.5, **told) + kept


def _source(name: str, source: SourceSpec) -> str:
    if source.pretrain:
        made = source.pretrain
        return f"The source {name} was trained here on {made.dataset} from seed {made.seed}: {_recipe(made.training)}."
    if source.timm:
        return f"The source {name} are the published weights of timm, tag {source.timm}."
    return f"The source {name} is " + (
        f"the weight file {source.weights}." if source.weights else f"the run {source.run}."
    )


def _training(study: Study) -> str:
    ended = sum(cell.result is not None for cell in study.cells)
    return (
        f"Training. Every network was trained alike: {_recipe(study.spec.training)}. {_repeats(study.spec)}; the same "
        f"seed gives every init the same order of images. {ended} of {len(study.cells)} runs have a result."
    )


def _repeats(spec: ExperimentSpec) -> str:
    """Which runs there are: a whole product, or some grids out of one."""
    if spec.grids is None:
        return f"Each arm was repeated for {_seeds(spec.seeds)}"
    return f"Not every arm has every size and seed; there are {'; '.join(map(_grid, spec.grids))}"


def _grid(grid: Grid) -> str:
    inits = listed(f"`{init.label}`" + (f" ({init.source})" if init.source else "") for init in grid.inits)
    sizes = listed(f"{size}" for size in grid.train_sizes)
    return f"{listed(grid.models)} from {inits} on {sizes} images with {_seeds(grid.seeds)}"


def _seeds(seeds: int) -> str:
    return "seed 0" if seeds == 1 else f"seeds 0 to {seeds - 1}"


def _recipe(recipe: Recipe) -> str:
    """Every setting but those that say nothing."""
    settings = recipe.model_dump(mode="json", exclude_none=True)
    if recipe.optimizer != "sgd":
        settings.pop("momentum")
    if recipe.schedule not in ("step", "plateau"):
        settings.pop("step_factor")
    rate = settings.pop("lr")
    grid = rate.get("grid") if isinstance(rate, dict) else None
    chosen = f"{rate:g}" if grid is None else f"that of {listed(f'{lr:g}' for lr in grid)} which did best on validation"
    off = {name for name, value in settings.items() if not value and value == Recipe.model_fields[name].default}
    words = [f"{name.replace('_', ' ')} {_setting(value)}" for name, value in settings.items() if name not in off]
    return ", ".join([words[0], f"learning rate {chosen}", *words[1:]])


def _setting(value: Any) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{name} {inner}" for name, inner in value.items()) + ")"
    return listed(f"{inner:g}" for inner in value) if isinstance(value, list) else f"{value}"


def _comparisons(study: Study) -> str:
    if not study.pairs:
        return ""
    settings = study.spec.similarity
    probes = {pair.result.probe_set.digest: pair.result.probe_set.images for pair in study.pairs if pair.result}
    images = listed(f"{count}" for count in sorted(set(probes.values()))) if probes else f"{settings.images or 1000}"
    variance = f", SVCCA on {settings.variance:.0%} of the variance" if "svcca" in settings.measures else ""
    nulls = "" if settings.nulls else ", without nulls by permutation or untrained networks"
    return (
        f"Representations. Networks were compared by {listed(settings.measures)} on {images} images of the test split "
        f"(drawn by seed {settings.seed}{_digests(sorted(probes))}), {settings.spatial} positions, "
        f"{settings.positions_per_image} per image at most{variance}; protocol {settings.protocol}, products in "
        f"{settings.precision}{nulls}."
    )


def _software(study: Study) -> str:
    environments = [cell.result.manifest.get("environment", {}) for cell in study.cells if cell.result]
    versions = {name: {env[name] for env in environments if name in env} for name in SOFTWARE}
    told = [f"{name} {listed(sorted(found))}" for name, found in versions.items() if found]
    devices = sorted({env["device"] for env in environments if "device" in env})
    where = f", on {listed(devices)}" if devices else ""
    return f"Software. {listed(told)}{where}." if told else ""


def _stated(study: Study, word: str) -> list[str]:
    """What the runs' manifests say of themselves, each value once."""
    values: Iterator[Any] = (cell.result.manifest.get(word) for cell in study.cells if cell.result)
    return [*dict.fromkeys(value for value in values if value)]


def listed(words: Iterable[str]) -> str:
    """Words as a list in a sentence."""
    *most, last = [*words]
    return f"{', '.join(most)} and {last}" if most else last
