"""Augmentation of whole batches at once, on whatever device they are.

What happens to an image is a function of seed, epoch and its row alone, so that the order of the data, the size and the
parts of batches, the number of processes and where a training was interrupted change nothing, to the bit. Reductions
over an image are sums of whole numbers for that reason: they are exact in every order. Pixels count from 0 to 255.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from transfusion_core.specs.augmentation import Augmentation, Jitter

Draw = Callable[[str], Tensor]
"""Numbers in [0, 1) for a purpose, one for each image of a batch, float64 (b,) on the CPU."""
GREY = (0.299, 0.587, 0.114)
"""Rec. ITU-R BT.601: how much red, green and blue count."""
EIGHTHS = 8
"""Greys are rounded to so many parts before they are summed: each sum is then a whole number below 2**53."""


def augment(images: Tensor, by: Augmentation, *, draw: Draw) -> Tensor:
    """Images (b, c, h, w), uint8 or float32, c 1 or 3, each changed by its own draws.

    uint8 stays uint8 where they are cropped and flipped; what is turned or coloured is float32, not rounded. On the CPU
    all of it is fastest where their channels are last in memory, as those of a pack are.
    """
    if by.rotation:
        images = warped(images, _matrices(by, draw, side=images.shape[-2:]))
    elif by.crop or by.flip:
        images = _moved(images, by, draw)
    return jittered(images, *_factors(by.jitter, draw)) if by.jitter else images


def _moved(images: Tensor, by: Augmentation, draw: Draw) -> Tensor:
    """What `augment` does where nothing is turned. Windows and mirrors are put together once, when all is done."""
    moved = list(images.permute(0, 2, 3, 1))
    if by.crop and by.crop.padding:
        moved = shifted(images, *_offsets(by.crop.padding, draw), padding=by.crop.padding)
    if by.crop and by.crop.scale:
        moved = enlarged(images, _boxes(by.crop.scale, draw, side=images.shape[-2:]))
    if by.flip:
        moved = flipped(moved, _flipped(draw))
    return torch.stack(moved).permute(0, 3, 1, 2)


def flipped(images: Sequence[Tensor], mask: Tensor) -> list[Tensor]:
    """Images (h, w, c), those under the mask (b,) mirrored left to right.

    One by one: a choice by pixel reads both, and mirrors those that stay, too.
    """
    return [image.flip(1) if mirrored else image for image, mirrored in zip(images, mask.tolist(), strict=True)]


def shifted(images: Tensor, top: Tensor, left: Tensor, *, padding: int) -> list[Tensor]:
    """The windows (h, w, c) that begin at `top`, `left` (b,) of the images (b, c, h, w) with black around them."""
    h, w = images.shape[-2:]
    padded = nn.functional.pad(images.permute(0, 2, 3, 1), [0, 0, *[padding] * 4])
    corners = zip(padded, top.tolist(), left.tolist(), strict=True)
    return [image[first : first + h, begin : begin + w] for image, first, begin in corners]


def enlarged(images: Tensor, boxes: Tensor) -> list[Tensor]:
    """The boxes (b, 4) of images (b, c, h, w), top, left, height and width, each as large as the image was, bilinear:
    images (h, w, c).

    Of uint8 on the CPU in whole numbers, elsewhere rounded to them: the same to within one step of 255.
    """
    _, c, *side = images.shape
    if images.device.type != "cpu" or images.dtype != torch.uint8:
        return list(_sampled(images, boxes).permute(0, 2, 3, 1))
    whole = images.expand(-1, 3, -1, -1)  # even grey images: only for three channels has torch a fast kernel
    parts = (
        nn.functional.interpolate(image[:, :, top : top + h, left : left + w], side, mode="bilinear", antialias=True)
        for image, (top, left, h, w) in zip(torch.split(whole, 1), boxes.tolist(), strict=True)
    )
    return [part[0, :c].permute(1, 2, 0) for part in parts]


def _sampled(images: Tensor, boxes: Tensor) -> Tensor:
    """What `enlarged` gives, all at once, (b, c, h, w)."""
    places = []
    for axis, n in enumerate(images.shape[-2:]):
        first, length = (boxes[:, column, None].to(images.device, torch.float32) for column in (axis, axis + 2))
        at = first - 0.5 + (torch.arange(n, device=images.device) + 0.5) * (length / n)  # in pixels
        inside = torch.minimum(torch.maximum(at, first), first + length - 1)  # beyond a box is its own border
        places.append((inside + 0.5) * (2 / n) - 1)
    y, x = places[0][:, :, None], places[1][:, None, :]
    grid = torch.stack((x + 0 * y, y + 0 * x), dim=-1)
    return _at(images, grid, edge="border").round_().to(images.dtype)


def warped(images: Tensor, matrices: Tensor) -> Tensor:
    """Images float32 (b, c, h, w) sampled bilinearly where `matrices` (b, 2, 3) send the pixels of the result.

    Places are in pixels from the image's middle, (x right, y down, 1). What lies beyond is black.
    """
    h, w = images.shape[-2:]
    m = matrices.to(images.device, torch.float32)[..., None, None]  # (b, 2, 3, 1, 1)
    x = (torch.arange(w, device=images.device) + 0.5 - w / 2)[None, :]
    y = (torch.arange(h, device=images.device) + 0.5 - h / 2)[:, None]
    places = [m[:, axis, 0] * x + m[:, axis, 1] * y + m[:, axis, 2] for axis in (0, 1)]  # (b, h, w) each
    return _at(images, torch.stack((places[0] * (2 / w), places[1] * (2 / h)), dim=-1), edge="zeros")


def _at(images: Tensor, grid: Tensor, *, edge: str) -> Tensor:
    """Images float32 (b, c, h, w) at the places (b, h, w, 2), x and y from -1 to 1."""
    # The kernel wants planes.
    planes = images.to(torch.float32, memory_format=torch.contiguous_format)
    return nn.functional.grid_sample(planes, grid, mode="bilinear", padding_mode=edge, align_corners=False)


def jittered(images: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor) -> Tensor:
    """Images float32 (b, c, h, w), their colours changed by factors (b,) in this order and kept between 0 and 255."""
    factors = [each.float().to(images.device)[:, None, None, None] for each in (brightness, contrast, saturation)]
    images = (images.float() * factors[0]).clamp_(0, 255)
    images = images.sub_(mean := _mean_grey(images)).mul_(factors[1]).add_(mean).clamp_(0, 255)
    if images.shape[1] == 1:
        return images
    return images.sub_(grey := _grey(images)).mul_(factors[2]).add_(grey).clamp_(0, 255)


def _grey(images: Tensor) -> Tensor:
    """(b, 1, h, w)."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.unbind(1)
    return (red * GREY[0] + green * GREY[1] + blue * GREY[2])[:, None]


def _mean_grey(images: Tensor) -> Tensor:
    """(b, 1, 1, 1)."""
    h, w = images.shape[-2:]
    sums = (_grey(images) * EIGHTHS).round_().sum((1, 2, 3), keepdim=True, dtype=torch.float64)
    return (sums / (EIGHTHS * h * w)).float()


def _flipped(draw: Draw) -> Tensor:
    return draw("flip") >= 0.5


def _offsets(padding: int, draw: Draw) -> tuple[Tensor, Tensor]:
    """Where windows begin: 0 .. 2 * padding, int64 (b,) each."""
    top, left = ((draw(purpose) * (2 * padding + 1)).long() for purpose in ("crop top", "crop left"))
    return top, left


def _boxes(scale: Sequence[float], draw: Draw, *, side: Sequence[int]) -> Tensor:
    """Parts of the image of its own shape, int64 (b, 4): top, left, height, width."""
    share = _share(scale, draw)
    lengths = [(share * n).round().long().clamp_(min=1) for n in side]
    corners = [
        (draw(purpose) * (n - length + 1)).long()
        for purpose, n, length in zip(("crop top", "crop left"), side, lengths, strict=True)
    ]
    return torch.stack((*corners, *lengths), dim=1)


def _share(scale: Sequence[float], draw: Draw) -> Tensor:
    """Of the image's side, (b,)."""
    least, largest = scale
    return (least + draw("crop scale") * (largest - least)).sqrt()


def _factors(jitter: Jitter, draw: Draw) -> list[Tensor]:
    named = {name: getattr(jitter, name) for name in ("brightness", "contrast", "saturation")}
    return [1 + (2 * draw(name) - 1) * strength for name, strength in named.items()]


def _matrices(by: Augmentation, draw: Draw, *, side: Sequence[int]) -> Tensor:
    """Where pixels of the result come from, float64 (b, 2, 3): turned back, mirrored, then placed in the crop."""
    mirrored = (1 - 2 * _flipped(draw).double() if by.flip else torch.ones_like(draw("flip"))).tolist()
    turns = [math.radians(by.rotation * (2 * each - 1)) for each in draw("rotation").tolist()]
    placed = _placed(by, draw, height=side[0], width=side[1])
    matrices = [
        # Sines of one number at a time: those of vectors may round otherwise at their ends.
        [
            [share * sign * math.cos(turn), -share * sign * math.sin(turn), right],
            [share * math.sin(turn), share * math.cos(turn), down],
        ]
        for (share, right, down), sign, turn in zip(placed.tolist(), mirrored, turns, strict=True)
    ]
    return torch.tensor(matrices, dtype=torch.float64)


def _placed(by: Augmentation, draw: Draw, *, height: int, width: int) -> Tensor:
    """The crop's share of the side, and how far right and down its middle is from the image's in pixels, (b, 3)."""
    if by.crop and by.crop.padding:
        top, left = (offset.double() - by.crop.padding for offset in _offsets(by.crop.padding, draw))
        return torch.stack((torch.ones_like(top), left, top), dim=1)
    share = _share(by.crop.scale if by.crop and by.crop.scale else (1.0, 1.0), draw)
    right, down = (
        (1 - share) * n * (draw(purpose) - 0.5) for purpose, n in (("crop left", width), ("crop top", height))
    )
    return torch.stack((share, right, down), dim=1)
