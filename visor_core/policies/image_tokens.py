"""How many tokens a model family spends on a picture: plain arithmetic, no torchvision, no checkpoint.

Sources: `smart_resize` of transformers' Qwen2-VL image processor (2, 2.5, 3); `Idefics3ImageProcessor` with splitting,
which SmolVLM uses. A picture already sized by `geometry.shown_size` under the same budget passes Qwen's unchanged, so
boxes written in shown pixels need no second mapping; Idefics3's scales every picture to one length, then cuts tiles.
"""

from __future__ import annotations

import math
from typing import Any

from visor_core.config import ImageConfig, TilesConfig
from visor_core.errors import ConfigError

_MAX_ASPECT_RATIO = 200
_MAX_SIDE = 4096
"""Pixels beyond which Idefics3 scales a picture down, whatever its `size` says."""
_TOLERANCE = 0.1


def picture_tokens(width: int, height: int, image: ImageConfig) -> int:
    """Image tokens of a picture of this shown size, as the configured family's processor makes them."""
    if image.tiles is not None:
        rows, columns = tile_grid(width, height, image.tiles)
        # Where a picture is cut, the whole of it is shown as one tile more.
        return (rows * columns + (rows * columns > 1)) * image.tiles.tokens
    return math.ceil(width * height / (image.pixels_per_token or image.multiple**2))


def tile_grid(width: int, height: int, tiles: TilesConfig) -> tuple[int, int]:
    """Rows and columns of tiles that Idefics3's processor cuts a picture into; (1, 1) where it is not cut."""
    if not tiles.split:
        return 1, 1
    width, height = _longest(width, height, min(tiles.longest_edge, _MAX_SIDE), even=True)
    # The longer side is rounded up to whole tiles and the shorter one follows, then is rounded up itself.
    ratio = width / height
    if width >= height:
        columns = math.ceil(width / tiles.side)
        rows = math.ceil(int(columns * tiles.side / ratio) / tiles.side)
    else:
        rows = math.ceil(height / tiles.side)
        columns = math.ceil(int(rows * tiles.side * ratio) / tiles.side)
    return rows, columns


def most_tiles(tiles: TilesConfig) -> int:
    """Tiles of the picture that is cut into the most: a square one, and the whole of it once more."""
    rows, columns = tile_grid(1, 1, tiles)
    return rows * columns + (rows * columns > 1)


def _longest(width: int, height: int, length: int, *, even: bool) -> tuple[int, int]:
    """Both sides, the longer one at `length`; the shorter one is rounded down, then up to an even number."""
    ratio = width / height
    if width >= height:
        width, height = length, int(length / ratio)
        height += even and height % 2
    else:
        width, height = int(length * ratio), length
        width += even and width % 2
    return max(width, 1), max(height, 1)


def tokens_settings(processor: Any) -> dict[str, Any]:
    """What a processor's own configuration says of its image tokens, as settings of `agent.image`; empty if nothing."""
    pictures = getattr(processor, "image_processor", None)
    length = getattr(processor, "image_seq_len", None)
    side = _entry(getattr(pictures, "max_image_size", None), "longest_edge")
    longest = _entry(getattr(pictures, "size", None), "longest_edge")
    if length and side and longest:
        split = bool(getattr(pictures, "do_image_splitting", False))
        return {"tiles": {"longest_edge": longest, "side": side, "tokens": int(length), "split": split}}
    patch, merge = getattr(pictures, "patch_size", None), getattr(pictures, "merge_size", None)
    if isinstance(patch, int) and isinstance(merge, int):
        return {"multiple": patch * merge}
    return {}


def contradiction(processor: Any, image: ImageConfig) -> str:
    """A warning where the configured estimate is more than a tenth off what a processor makes; empty if it is not."""
    settings = tokens_settings(processor)
    if not settings:
        return ""
    own = ImageConfig.model_validate({**image.model_dump(exclude={"tiles", "pixels_per_token"}), **settings})
    side = max(image.multiple, math.isqrt(image.max_pixels) // image.multiple * image.multiple)
    estimated, made = picture_tokens(side, side, image), picture_tokens(side, side, own)
    if abs(estimated - made) <= _TOLERANCE * made:
        return ""
    given = ", ".join(f"{key}: {value}" for key, value in settings.get("tiles", settings).items()).replace(
        "True", "true"
    )
    wanted = f"agent.image.tiles={{{given}}}" if "tiles" in settings else f"agent.image.multiple={settings['multiple']}"
    return (
        f"a picture of {side} × {side} pixels is estimated at {estimated} tokens, this model's processor makes {made}: "
        f"contexts may not fit; --set '{wanted}'"
    )


def _entry(size: Any, name: str) -> int | None:
    value = size.get(name) if isinstance(size, dict) else getattr(size, name, None)
    return int(value) if value else None


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
