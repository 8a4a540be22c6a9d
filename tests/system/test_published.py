"""Published layouts from the files as they are downloaded to a dataset, its manifest, its profile and a run."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from platforms import TINY, Platform, embedded
from published import PUBLISHED, picture
from transfusion_client import Client
from transfusion_core.specs.dataset import LAYOUT_TASKS
from transfusion_core.specs.manifest import read_manifest

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    """One platform for the tests of this file."""
    with TemporaryDirectory() as folder, embedded(Path(folder), few=False) as running:
        yield running


@pytest.mark.parametrize("kind", PUBLISHED)
def test_a_folder_as_published_is_sent_and_becomes_a_dataset(platform: Platform, tmp_path: Path, kind: str) -> None:
    expected = PUBLISHED[kind]()
    folder = expected.write(tmp_path / "as downloaded")
    with Client(platform.url) as client:
        strict = client.datasets.add("strict", folder, kind=kind, **expected.options)
        kept = client.datasets.add(kind, folder, kind=kind, skip_unreadable=True, **expected.options)
        refused = client.datasets.wait(strict.name, timeout_seconds=120)
        assert (refused.state, refused.reason) == ("failed", "data")
        done = client.datasets.wait(kept.name, timeout_seconds=120)
        for dataset in (refused, done):
            ((file, row),) = {(fault.file, fault.row) for fault in dataset.faults}
            assert (file, row) == expected.broken
        assert (done.state, done.images, done.task) == ("succeeded", expected.images, LAYOUT_TASKS[kind])
        assert done.classes == expected.classes
        assert done.splits.items() >= expected.splits.items()
        assert done.across_splits["patients"] == 0
        rows = list(read_manifest([client.datasets.manifest(done.name, tmp_path / "manifest.csv").read_bytes()]))
        assert Counter(row.split for row in rows) == done.splits
        assert len({row.patient for row in rows if row.patient}) == (expected.patients or 0)
        profile = client.datasets.profile(done.name, timeout_seconds=120)
        assert len(profile.intensities) == expected.channels


def test_a_network_is_trained_on_films_whose_labels_are_missing_in_part(platform: Platform, tmp_path: Path) -> None:
    """CheXpert with uncertain labels left out, both views, read where it lies."""
    films = PUBLISHED["chexpert"]().write(tmp_path / "films")
    dataset = {"kind": "chexpert", "location": films.as_uri(), "skip_unreadable": True}
    with Client(platform.url) as client:
        client.datasets.wait(client.datasets.add("films", dataset).name, timeout_seconds=120)
        spec = {**TINY, "dataset": "films", "train_sizes": [16], "sections": ["performance"], "inits": ["random"]}
        experiment = client.experiments.create(spec | {"sources": {}}).wait(progress=False, timeout_seconds=240)
        assert experiment.state == "succeeded", experiment.counts


def test_a_source_domain_is_an_imagenet_folder(platform: Platform, tmp_path: Path) -> None:
    """`train/<wnid>/*.JPEG` and `val/<wnid>/*.JPEG`, some grey: learnt from, then transferred to retinas."""
    for wnid in range(1440764, 1440772):
        for split, count in (("train", 16), ("val", 4)):
            for number in range(count):
                file = tmp_path / "ILSVRC" / split / f"n{wnid:08d}" / f"n{wnid:08d}_{number}.JPEG"
                file.parent.mkdir(parents=True, exist_ok=True)
                mode = "L" if number == 3 else "RGB"
                file.write_bytes(picture(wnid * 100 + number, "JPEG", mode, (50 + number, 40)))
    retinas = PUBLISHED["aptos"]().write(tmp_path / "retinas")
    with Client(platform.url) as client:
        source = client.datasets.add("imagenet", tmp_path / "ILSVRC")
        client.datasets.add("retinas", retinas, kind="aptos", skip_unreadable=True)
        done = client.datasets.wait(source.name, timeout_seconds=120)
        assert (done.state, done.images, len(done.classes), done.splits["val"]) == ("succeeded", 160, 8, 32)
        client.datasets.wait("retinas", timeout_seconds=120)
        pretrain = {"dataset": "imagenet", "training": {"steps": 4, "eval_every": 4}}
        spec = {**TINY, "dataset": "retinas", "train_sizes": [16], "sections": ["performance"]}
        spec |= {"sources": {"natural": {"pretrain": pretrain}}}
        experiment = client.experiments.create(spec).wait(progress=False, timeout_seconds=240)
        assert experiment.state == "succeeded", experiment.counts
        assert len(experiment.runs()) == 2 * 2 + 1  # the source itself is the one more
