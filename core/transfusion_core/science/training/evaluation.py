"""A network's scores and quality on one split, with batch norm and dropout as in use."""

import torch
from torch import Tensor, nn

from transfusion_core.science.training.batches import TrainingData
from transfusion_core.science.training.feeding import Part, feed
from transfusion_core.science.training.metrics import evaluate_scores
from transfusion_core.science.training.ranks import ALONE, Ranks
from transfusion_core.specs.dataset import Split, Task
from transfusion_core.specs.training import Metrics

BATCH_IMAGES = {"cpu": 32, "cuda": 256}
"""A CPU's caches hold the maps of 32 small images: 0.56 of the time of 256 for cbr-tiny at 36 pixels (measured)."""
# Large images come in smaller batches, so that evaluating needs no more memory than training: 256 of 128 x 128 pixels.
BATCH_PIXELS = 256 * 128 * 128


def evaluate(
    model: nn.Module,
    data: TrainingData,
    *,
    task: Task,
    split: Split,
    device: torch.device,
    ranks: Ranks = ALONE,
) -> Metrics:
    """The quality of the model on a split, worked out by all ranks together; the model's mode is left as it was."""
    logits = answers(model, data, split=split, device=device, ranks=ranks)
    return evaluate_scores(task, logits, data.labels[data.rows(split).to(data.labels.device)], classes=data.classes)


def answers(
    model: nn.Module, data: TrainingData, *, split: Split, device: torch.device, ranks: Ranks = ALONE
) -> Tensor:
    """The model's logits (n, classes) on a split, float32 on the CPU, worked out by all ranks together."""
    return ranks.joined(predict(model, data, rows=ranks.part(data.rows(split)), device=device))


def predict(model: nn.Module, data: TrainingData, *, rows: Tensor, device: torch.device) -> Tensor:
    """Logits (n, classes) of the images at `rows`, float32 on the CPU, in their order."""
    was_training = model.training
    model.eval()
    parts = [Part(part) for part in torch.split(rows, batch_images(data.images, device)) if len(part)]
    try:
        with torch.inference_mode(), feed(data, parts, device=device) as batches:
            logits = [_logits(model, images, classes=len(data.classes)) for images in batches]
    finally:
        model.train(was_training)
    return torch.cat(logits) if logits else torch.empty(0, len(data.classes))


def batch_images(images: Tensor, device: torch.device) -> int:
    """How many images (n, c, h, w) are evaluated at a time: by their size and the device alone, so results repeat."""
    pixels = images.shape[2] * images.shape[3]
    return max(1, min(BATCH_IMAGES[device.type], BATCH_PIXELS // pixels))


def check_logits(logits: Tensor, *, images: int, classes: int) -> None:
    """ValueError where the model does not answer one logit per class and image."""
    if logits.shape != (images, classes):
        raise ValueError(f"expected logits of shape ({images}, {classes}) of the model, got {tuple(logits.shape)}")


def _logits(model: nn.Module, images: Tensor, *, classes: int) -> Tensor:
    logits: Tensor = model(images)
    check_logits(logits, images=len(images), classes=classes)
    return logits.float().cpu()
