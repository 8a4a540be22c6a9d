"""What the stages of a network say of images: one vector per image and stage."""

import torch
from torch import Tensor, nn

from transfusion_core.science.models.layers import channels_last_output, evaluating, probe, select_stages
from transfusion_core.science.models.tokens import prefix_tokens, without_prefix
from transfusion_core.science.similarity.network import Network
from transfusion_core.science.similarity.samples import take
from transfusion_core.science.similarity.taps import Taps
from transfusion_core.science.training.batches import TrainingData
from transfusion_core.science.training.evaluation import batch_images
from transfusion_core.science.training.feeding import Part, feed


def probed_layers(model: nn.Module, *, image_size: int) -> list[str]:
    """The stages, in forward order; evenly spaced layers where the stages cannot be tapped."""
    return select_stages(model, probe(model, image_size=image_size))


def features(
    model: nn.Module, data: TrainingData, *, layers: list[str], rows: Tensor, device: torch.device
) -> dict[str, Tensor]:
    """Of each layer, float32 (n, channels) on the CPU: the mean over the places of the image.

    So in transformers too, whose class token holds nothing yet in the low blocks.
    """
    last = frozenset(layer for layer in layers if channels_last_output(model, layer))
    bare = without_prefix(model, image_size=data.images.shape[-1])
    network = Network(model, channels_last=last, prefix_tokens=prefix_tokens(model), without_prefix=bare)

    def pooled(layer: str, output: Tensor) -> Tensor:
        return take(network.read(layer, output), (), None)[:, 0].float().cpu()

    parts = []
    chunks = torch.split(rows, batch_images(data.images, device))
    with (
        Taps(model, layers, pooled) as taps,
        evaluating(model),
        torch.inference_mode(),
        feed(data, map(Part, chunks), device=device) as batches,
    ):
        for images in batches:
            model(images)
            parts.append(taps.take())
    return {layer: torch.cat([part[layer] for part in parts]) for layer in layers}
