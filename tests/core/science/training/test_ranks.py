"""Two processes that train together end as one that takes its batches in halves."""

from pathlib import Path

import pytest
import torch
from torch import distributed, nn
from torch.multiprocessing.spawn import spawn

from transfusion_core.errors import DataError, Unavailable
from transfusion_core.science.data.sampling import batch_indices, epoch_of, uniform
from transfusion_core.science.training.batches import Sampling, TrainingData
from transfusion_core.science.training.hooks import Hooks
from transfusion_core.science.training.loop import train
from transfusion_core.science.training.ranks import ALONE, Ranks, synchronise_norms
from transfusion_core.science.training.state import TrainingState
from transfusion_core.specs.training import TrainingSpec

BASE = {"steps": 6, "eval_every": 3, "batch_size": 8, "checkpoints": 0, "lr": 0.01}
CASES = {
    "norms": ({}, "multiclass", True),
    "no norms": ({"clip_norm": 1.0}, "multilabel", False),
    "options": ({"ema": 0.9, "class_weights": "balanced", "early_stopping": {"patience": 9}}, "multilabel", True),
    "augmented": ({"augmentation": {"crop": {"scale": [0.5, 1]}, "rotation": 45}}, "multiclass", False),
}


class Keeper(Hooks):
    """Writes the state after step 3."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def wants_state(self, step: int) -> bool:
        return step == 3

    def on_state(self, state: TrainingState) -> None:
        state.save(Path(self.folder) / "state")


def network(norms: bool) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        norm = nn.BatchNorm2d(8) if norms else nn.Identity()
        return nn.Sequential(
            nn.Conv2d(3, 8, 3), norm, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)
        )


def data(task: str) -> TrainingData:
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    if task == "multilabel":
        labels = nn.functional.one_hot(labels, 3).float()
        labels[::7] = torch.nan
    return TrainingData(
        images=torch.randint(0, 256, (60, 3, 8, 8), generator=draw, dtype=torch.uint8),
        labels=labels,
        train=torch.arange(30),
        val=torch.arange(30, 45),
        test=torch.arange(45, 60),
        mean=torch.full((3,), 0.5),
        std=torch.full((3,), 0.25),
        classes=("a", "b", "c"),
        sampling=Sampling(batch_indices, epoch_of, uniform),
    )


def trained(case: str, ranks: Ranks = ALONE, **more):
    changed, task, norms = CASES[case]
    model = network(norms)
    recipe = TrainingSpec.model_validate({**BASE, **changed})
    done = train(model, data(task), recipe, task=task, seed=0, device=torch.device("cpu"), ranks=ranks, **more)
    return model.state_dict(), done


def _rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    ranks = Ranks(rank, 2)
    found = {case: trained(case, ranks) for case in CASES}
    trained("norms", ranks, hooks=Keeper(folder))
    distributed.barrier()
    found["resumed"] = trained("norms", ranks, resume=TrainingState.load(Path(folder) / "state")[0])
    try:
        trained("norms", ranks, resume=TrainingState.load(Path(folder) / "state")[0] if rank else None)
    except Unavailable as error:
        (Path(folder) / f"refused-{rank}").write_text(str(error))
    told = {case: (weights, done.metrics["test"].model_dump_json()) for case, (weights, done) in found.items()}
    torch.save(told, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def together(tmp_path_factory) -> list[dict]:
    folder = tmp_path_factory.mktemp("ranks")
    spawn(_rank, args=(str(folder),), nprocs=2)
    for rank in range(2):
        assert "start from one step, got [0, 3]" in (folder / f"refused-{rank}").read_text()
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("case", CASES)
def test_two_processes_end_as_one_with_batches_in_halves(together, case: str) -> None:
    norms = CASES[case][2]
    expected, _ = trained(case, micro_batch=4 if norms else None)
    for weights, _ in (rank[case] for rank in together):
        for name, tensor in weights.items():
            if "running" not in name and "tracked" not in name:  # one process has twice as many parts to average over
                torch.testing.assert_close(tensor, expected[name], rtol=1e-3, atol=1e-5)
    assert together[0][case][1] == together[1][case][1], "both know the metrics"


def test_two_processes_continue_bit_for_bit(together) -> None:
    for rank in together:
        weights, metrics = rank["norms"]
        again, found = rank["resumed"]
        assert metrics == found
        assert all(torch.equal(tensor, again[name]) for name, tensor in weights.items())


def test_norms_are_synchronised_on_gpus_only() -> None:
    with pytest.raises(DataError, match="expected a GPU for 'sync_bn'"):
        synchronise_norms(network(True), torch.device("cpu"))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"gpus": 3}, "3 parts"),
        ({"gpus": 8}, "8 parts"),
        ({"sync_bn": True}, "more than one"),
        ({"gpus": 2, "compile": "measure"}, "one of 'gpus'"),
    ],
)
def test_batches_that_cannot_be_shared_are_refused(changed: dict, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        TrainingSpec.model_validate({**BASE, **changed})
