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

    uint8 stays uint8 where pixels only move; what is interpolated or coloured is float32, not rounded.
    """
    if by.rotation or (by.crop and by.crop.scale):
        images = warped(images, _matrices(by, draw, side=images.shape[-2:]), edge="zeros" if by.rotation else "border")
    else:
        if by.crop and by.crop.padding:
            images = shifted(images, *_offsets(by.crop.padding, draw), padding=by.crop.padding)
        if by.flip:
            images = flip(images, _flipped(draw))
    return jittered(images, *_factors(by.jitter, draw)) if by.jitter else images


def flip(images: Tensor, mask: Tensor) -> Tensor:
    """Images (b, c, h, w), those under the mask (b,) mirrored left to right."""
    rows = mask.nonzero().flatten()
    order = torch.arange(len(images))
    order[rows] = torch.arange(len(images), len(images) + len(rows))
    both = torch.cat((images, images.index_select(0, rows.to(images.device)).flip(3)))
    return both.index_select(0, order.to(images.device))  # copies whole images, which a choice by pixel does not


def shifted(images: Tensor, top: Tensor, left: Tensor, *, padding: int) -> Tensor:
    """The windows (b, c, h, w) whose corners are at `top`, `left` (b,) of the images with black around them."""
    b, c, h, w = images.shape
    padded = nn.functional.pad(images, [padding] * 4)
    high, wide = padded.shape[2:]
    # Every stretch of w pixels in memory is a row of this view, so that a shift is where a row begins.
    stretches = padded.view(-1).as_strided((padded.numel() - w + 1, w), (1, 1))
    planes = torch.arange(b * c).view(b, c, 1) * high
    begins = (planes + top.view(b, 1, 1) + torch.arange(h)) * wide + left.view(b, 1, 1)  # (b, c, h)
    return stretches.index_select(0, begins.flatten().to(images.device)).view(b, c, h, w)


def warped(images: Tensor, matrices: Tensor, *, edge: str) -> Tensor:
    """Images float32 (b, c, h, w) sampled bilinearly where `matrices` (b, 2, 3) send the pixels of the result.

    Places are in pixels from the image's middle, (x right, y down, 1). `edge`: what lies beyond, `zeros` or `border`.
    """
    h, w = images.shape[-2:]
    m = matrices.to(images.device, torch.float32)[..., None, None]  # (b, 2, 3, 1, 1)
    x = (torch.arange(w, device=images.device) + 0.5 - w / 2)[None, :]
    y = (torch.arange(h, device=images.device) + 0.5 - h / 2)[:, None]
    places = [m[:, axis, 0] * x + m[:, axis, 1] * y + m[:, axis, 2] for axis in (0, 1)]  # (b, h, w) each
    grid = torch.stack((places[0] * (2 / w), places[1] * (2 / h)), dim=-1)
    return nn.functional.grid_sample(images.float(), grid, mode="bilinear", padding_mode=edge, align_corners=False)


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
    least, largest = by.crop.scale if by.crop and by.crop.scale else (1.0, 1.0)
    share = (least + draw("crop scale") * (largest - least)).sqrt()
    right, down = (
        (1 - share) * n * (draw(purpose) - 0.5) for purpose, n in (("crop left", width), ("crop top", height))
    )
    return torch.stack((share, right, down), dim=1)
