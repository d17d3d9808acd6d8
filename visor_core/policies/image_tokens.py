"""How many tokens the Qwen2-VL family (2, 2.5, 3) spends on a picture: plain arithmetic, no torchvision.

Source: `smart_resize` of transformers' Qwen2-VL image processor. A picture already sized by `geometry.shown_size` under
the same budget passes through it unchanged, so boxes written in shown pixels need no second mapping.
"""

from __future__ import annotations

import math

from visor_core.config import ImageConfig
from visor_core.errors import ConfigError

_MAX_ASPECT_RATIO = 200


def qwen_resize(width: int, height: int, image: ImageConfig) -> tuple[int, int]:
    """Width and height in pixels that the family's image processor scales a picture to under this budget.

    Raises:
        ConfigError: if one side is more than 200 times the other, which the family refuses.
    """
    if max(width, height) > _MAX_ASPECT_RATIO * min(width, height):
        raise ConfigError(f"a picture of {width}×{height} px is too long and thin for Qwen-VL (at most 200:1)")
    factor = image.multiple
    scaled = (round(width / factor) * factor, round(height / factor) * factor)
    if scaled[0] * scaled[1] > image.max_pixels:
        shrink = math.sqrt(width * height / image.max_pixels)
        return (
            max(factor, math.floor(width / shrink / factor) * factor),
            max(factor, math.floor(height / shrink / factor) * factor),
        )
    if scaled[0] * scaled[1] < image.min_pixels:
        grow = math.sqrt(image.min_pixels / (width * height))
        return math.ceil(width * grow / factor) * factor, math.ceil(height * grow / factor) * factor
    return scaled


def qwen_image_tokens(width: int, height: int, image: ImageConfig) -> int:
    """Image tokens of a picture: one a merged patch of `image.multiple` pixels a side (28 for Qwen2.5-VL)."""
    resized = qwen_resize(width, height, image)
    return resized[0] // image.multiple * (resized[1] // image.multiple)
