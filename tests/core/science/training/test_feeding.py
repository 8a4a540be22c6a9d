import threading
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from transfusion_core.errors import JobCancelled
from transfusion_core.science.data.sampling import uniform
from transfusion_core.science.training import feeding
from transfusion_core.science.training.augmentation import augment
from transfusion_core.science.training.batches import normalise
from transfusion_core.science.training.evaluation import predict
from transfusion_core.science.training.feeding import AHEAD, Part, feed, resident
from transfusion_core.science.training.hooks import Hooks
from transfusion_core.science.training.loop import train
from transfusion_core.science.training.state import TrainingState
from transfusion_core.specs.augmentation import Augmentation
from transfusion_core.specs.training import TrainingSpec

AUGMENTATION = {
    "crop": {"padding": 2},
    "flip": True,
    "rotation": 20,
    "jitter": {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3},
}
SPEC = TrainingSpec.model_validate(
    {"steps": 12, "eval_every": 6, "batch_size": 8, "checkpoints": 0, "augmentation": AUGMENTATION}
)
SPLITS = [Part(rows) for rows in torch.arange(40).split(11)]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch) -> None:
    """Of three images of 8 x 8 pixels."""
    monkeypatch.setattr(feeding, "CHUNK_PIXELS", 200)


@pytest.fixture
def ahead(monkeypatch) -> None:
    """As where the images do not fit."""
    monkeypatch.setattr(feeding, "RESIDENT_SHARE", 0.0)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("feed")]


def fed(data, parts, cpu) -> list[Tensor]:
    with feed(data, parts, device=cpu) as batches:
        return [batch.clone() for batch in batches]


def test_batches_are_the_images_in_order_changed_and_normalised(make_data, cpu) -> None:
    data = make_data()
    parts = [*SPLITS, Part(torch.tensor([3, 3]), lambda images, rows: images.flip(2))]
    expected = [normalise(data.images[part.rows], mean=data.mean, std=data.std) for part in SPLITS]
    expected.append(normalise(data.images[[3, 3]].flip(2), mean=data.mean, std=data.std))
    found = fed(data, parts, cpu)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_what_is_fetched_ahead_is_what_is_gathered(make_data, cpu, monkeypatch) -> None:
    here = fed(make_data(), SPLITS, cpu)
    monkeypatch.setattr(feeding, "RESIDENT_SHARE", 0.0)
    assert all(torch.equal(a, b) for a, b in zip(fed(make_data(), SPLITS, cpu), here, strict=True))
    assert threads() == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: feeding one is not tested here")
def test_a_gpu_is_fed_what_a_processor_is(make_data, cpu, monkeypatch) -> None:
    """From its own memory, and from pinned memory by a stream beside."""
    gpu, changed = torch.device("cuda"), Augmentation.model_validate({"crop": {"padding": 2}, "flip": True})

    def change(images: Tensor, rows: Tensor) -> Tensor:
        return augment(images, changed, draw=lambda purpose: uniform(rows, purpose=purpose, epoch=0, seed=0))

    parts = [*SPLITS, *(Part(part.rows, change) for part in SPLITS)]
    here = fed(make_data(), parts, cpu)
    for share in (0.5, 0.0):
        monkeypatch.setattr(feeding, "RESIDENT_SHARE", share)
        data = resident(make_data(), gpu)
        assert data.images.is_cuda == (share > 0)
        for a, b in zip(fed(data, parts, gpu), here, strict=True):
            assert (a.device.type, a.dtype, a.shape) == ("cuda", torch.float32, b.shape)
            torch.testing.assert_close(a.cpu(), b, rtol=0, atol=1e-5)
    assert threads() == []


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_several_threads_finish_the_same_batches(make_data, make_model, cpu, monkeypatch, share: float) -> None:
    monkeypatch.setattr(feeding, "RESIDENT_SHARE", share)
    alone, weights = fed(make_data(), SPLITS, cpu), trained(make_model(), make_data(), cpu)
    torch.set_num_threads(3)
    try:
        with feed(make_data(), SPLITS, device=cpu) as batches:
            assert all(torch.equal(a, b) for a, b in zip(batches, alone, strict=True))
            assert torch.get_num_threads() == 3
        again = trained(make_model(), make_data(), cpu)
    finally:
        torch.set_num_threads(1)
    assert threads() == []
    for a, b in zip(again, weights, strict=True):
        torch.testing.assert_close(a, b)


def test_few_parts_are_begun_ahead(make_data, cpu, ahead) -> None:
    begun = []

    def parts():
        for number in range(40):
            begun.append(number)
            yield Part(torch.tensor([number]))

    with feed(make_data(), parts(), device=cpu) as batches:
        for taken in range(30):
            next(batches)
            assert len(begun) <= taken + 1 + AHEAD
    assert threads() == []


def test_no_thread_outlives_a_failure_of_the_reader_or_of_a_fetch(make_data, cpu, ahead) -> None:
    def reads() -> None:
        with feed(make_data(), SPLITS, device=cpu) as batches:
            next(batches)
            assert threads()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        reads()
    assert threads() == []
    with pytest.raises(IndexError):
        fed(make_data(), [*SPLITS, Part(torch.tensor([80])), *SPLITS], cpu)
    assert threads() == []


def test_nothing_wanted_is_nothing_fed(make_data, cpu, ahead) -> None:
    assert fed(make_data(), [], cpu) == []


def test_on_the_cpu_images_stay_where_they_are(make_data, cpu) -> None:
    data = make_data()
    assert resident(data, cpu) is data


class StopsAfter(Hooks):
    """Stops after so many steps and keeps the state in a file."""

    def __init__(self, step: int, path) -> None:
        self.after, self.path, self.step = step, path, 0

    def on_progress(self, step: int, steps: int, images_per_second: float) -> None:
        self.step = step

    def should_stop(self) -> bool:
        return self.step == self.after

    def on_state(self, state: TrainingState) -> None:
        state.save(self.path)


def trained(model, data, cpu, **more) -> list[Tensor]:
    train(model, data, SPEC, task="multiclass", seed=0, device=cpu, **more)
    return list(model.state_dict().values())


def test_a_training_is_the_same_from_images_here_and_ahead(make_data, make_model, cpu, monkeypatch) -> None:
    here = trained(make_model(), make_data(), cpu)
    monkeypatch.setattr(feeding, "RESIDENT_SHARE", 0.0)
    assert all(torch.equal(a, b) for a, b in zip(trained(make_model(), make_data(), cpu), here, strict=True))
    assert threads() == []


def test_an_augmented_training_goes_on_bit_for_bit(make_data, make_model, cpu, ahead, tmp_path) -> None:
    whole = trained(make_model(), make_data(), cpu)
    with pytest.raises(JobCancelled):
        trained(make_model(), make_data(), cpu, hooks=StopsAfter(5, tmp_path / "state"))
    assert threads() == []
    state, _ = TrainingState.load(tmp_path / "state")
    assert all(
        torch.equal(a, b) for a, b in zip(trained(make_model(), make_data(), cpu, resume=state), whole, strict=True)
    )


class Sees(torch.nn.Module):
    """Keeps the images that it is trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.seen = torch.nn.Linear(3, 2), []

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            self.seen.append(images.clone())
        answer: Tensor = self.head(images.mean((2, 3)))
        return answer


def test_images_are_augmented_alike_in_parts_of_a_batch(make_data, cpu) -> None:
    whole, parts = Sees(), Sees()
    train(whole, make_data(), SPEC, task="multiclass", seed=0, device=cpu)
    train(parts, make_data(), SPEC, task="multiclass", seed=0, device=cpu, micro_batch=3)
    assert [len(part) for part in parts.seen[:3]] == [3, 3, 2]
    assert torch.equal(torch.cat(parts.seen), torch.cat(whole.seen))


def test_grey_images_train_as_their_three_channels_do(make_data, make_model, cpu) -> None:
    data = make_data()
    grey = replace(data, images=data.images[:, :1].contiguous())
    same = replace(data, images=data.images[:, :1].expand(-1, 3, -1, -1).contiguous())
    spec = TrainingSpec.model_validate(SPEC.model_dump() | {"augmentation": {"flip": True, "crop": {"padding": 1}}})
    a, b = make_model(), make_model()
    for model, images in ((a, grey), (b, same)):
        train(model, images, spec, task="multiclass", seed=0, device=cpu)
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
    assert torch.equal(*(predict(a, each, rows=data.test, device=cpu) for each in (grey, same)))
