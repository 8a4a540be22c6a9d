"""From a model's name to the network: the CBR family and every timm classifier. Nothing is fetched here."""

from typing import Any

import timm
import torch
from timm.models import get_pretrained_cfg
from torch import nn

from transfusion_core.errors import DataError
from transfusion_core.science.models.cbr import CBR, Cbr
from transfusion_core.science.models.slim import slim_plan, slim_resnet
from transfusion_core.science.seeds import derive
from transfusion_core.specs.init import Slim
from transfusion_core.specs.model import catalogue


class ModelUnknown(DataError):
    """There is no model by that name."""

    code = "model_unknown"


class ImageSizeUnfit(DataError):
    """The model cannot take images of that size."""

    code = "image_size_unfit"


def build(name: str, *, classes: int, channels: int = 3, image_size: int, slim: Slim | None = None) -> nn.Module:
    """The network in its default initialisation, drawn from torch's global generator.

    Maps images `(n, channels, image_size, image_size)` to logits `(n, classes)`. Raises `ModelUnknown`, and
    `ImageSizeUnfit` where the catalogue says that the model is too deep for such small images or that its
    patches do not divide them. Where `slim` is given the network is redesigned after its prefix (`SlimUnfit`).
    """
    check_image_size(name, image_size=image_size)
    return create(name, classes=classes, channels=channels, image_size=image_size, slim=slim)


def build_random(
    name: str, *, classes: int, channels: int = 3, image_size: int, seed: int, slim: Slim | None = None
) -> nn.Module:
    """`build`, with every weight from `seed`; torch's global generator is left as it was.

    Two calls with the same arguments give equal weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive(seed, "init"))
        return build(name, classes=classes, channels=channels, image_size=image_size, slim=slim)


def check_image_size(name: str, *, image_size: int) -> None:
    """Raise `ImageSizeUnfit` where the catalogue knows the model and that it cannot take that size."""
    entry = catalogue().get(name)
    if entry is None:
        return
    if image_size < entry.min_image_size:
        raise ImageSizeUnfit(f"{name} needs images of {entry.min_image_size} pixels or more, not {image_size}")
    if image_size % entry.image_size_multiple:
        raise ImageSizeUnfit(
            f"{name} needs image sizes that are multiples of {entry.image_size_multiple}, not {image_size}"
        )


def create(name: str, *, classes: int, channels: int = 3, image_size: int, slim: Slim | None = None) -> nn.Module:
    """`build` without asking the catalogue, which is made with this function."""
    if name in CBR:
        plan = slim_plan(CBR[name], slim) if slim else CBR[name]
        return Cbr(plan, classes=classes, channels=channels)
    if not timm.is_model(name):
        raise ModelUnknown(f"no model is called {name!r}: expected one of {', '.join(CBR)} or a timm architecture")
    if slim:
        return slim_resnet(name, slim, classes=classes, channels=channels)
    options: dict[str, Any] = {"img_size": image_size} if takes_image_size(name) else {}
    model: nn.Module = timm.create_model(name, pretrained=False, num_classes=classes, in_chans=channels, **options)
    return model


def takes_image_size(name: str) -> bool:
    """Whether timm builds this architecture (or `architecture.tag`) for one image size only."""
    published = get_pretrained_cfg(name)
    return published is not None and bool(published.fixed_input_size)


def head_names(model: nn.Module) -> tuple[str, ...]:
    """Module paths of the classifier head; some networks have two. Tensors of the head start with `path + "."`."""
    if isinstance(model, Cbr):
        return ("head",)
    return _paths(model, "classifier")


def in_modules(tensor: str, modules: tuple[str, ...] | list[str]) -> bool:
    """Whether the tensor called `tensor` is one of `modules` or belongs to one."""
    return any(tensor == module or tensor.startswith(f"{module}.") for module in modules)


def first_convs(model: nn.Module) -> tuple[str, ...]:
    """Module paths of the convolutions that see the image itself."""
    if isinstance(model, Cbr):
        return ("stage1.conv",)
    return _paths(model, "first_conv")


def gabor_conv(model: nn.Module) -> str | None:
    """Module path of a first convolution that Gabor filters fit into, if there is one.

    It must be the only one, at least 5x5, undivided by groups, and overlapping: a patch embedding, whose stride is
    its kernel, is no filter bank.
    """
    names = first_convs(model)
    if len(names) != 1:
        return None
    conv = model.get_submodule(names[0])
    if not isinstance(conv, nn.Conv2d) or conv.groups != 1:
        return None
    fits = min(conv.kernel_size) >= 5 and conv.stride[0] < conv.kernel_size[0]
    return names[0] if fits else None


def _paths(model: nn.Module, key: str) -> tuple[str, ...]:
    configuration = getattr(model, "default_cfg", None) or {}
    named = configuration.get(key) or ()
    return (named,) if isinstance(named, str) else tuple(named)
