"""What is known of model families: the frame in which one writes boxes, and the multiple its pictures' sides have.

A family is known from a checkpoint's `config.json`, else from a model's name at the hub or a server. What a profile
leaves open follows the family; what it says otherwise stays, with a warning. Sources: model cards and processors of
Qwen2-VL (thousandths, patch 14 × merge 2), Qwen2.5-VL (pixels of the picture as resized, 14 × 2) and Qwen3-VL
(thousandths, 16 × 2).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from visor_core.config.agent import AgentConfig, ImageConfig
from visor_core.geometry import CoordinateSystem


@dataclass(frozen=True, slots=True)
class Family:
    """One model family. `multiple`: pixels a side of the picture that one visual token stands for."""

    name: str
    coordinates: CoordinateSystem
    multiple: int


QWEN2_VL = Family("Qwen2-VL", "thousand", 28)
QWEN2_5_VL = Family("Qwen2.5-VL", "pixels", 28)
QWEN3_VL = Family("Qwen3-VL", "thousand", 32)

_BY_TYPE = {"qwen2_vl": QWEN2_VL, "qwen2_5_vl": QWEN2_5_VL, "qwen3_vl": QWEN3_VL, "qwen3_vl_moe": QWEN3_VL}
_BY_NAME = (
    (re.compile(r"qwen[-_ ]?2[._]5[-_ ]?vl", re.IGNORECASE), QWEN2_5_VL),
    (re.compile(r"qwen[-_ ]?2[-_ ]?vl", re.IGNORECASE), QWEN2_VL),
    (re.compile(r"qwen[-_ ]?3[-_ ]?vl", re.IGNORECASE), QWEN3_VL),
)


def family_of(model: str) -> Family | None:
    """The family of a checkpoint folder (by its configuration), a hub id or a served name; none where it is unknown."""
    folder = Path(model).expanduser()
    if model and (folder / "config.json").is_file():
        return _BY_TYPE.get(_field(folder / "config.json", "model_type"))
    if model and (folder / "adapter_config.json").is_file():
        model = _field(folder / "adapter_config.json", "base_model_name_or_path")
    return next((family for pattern, family in _BY_NAME if pattern.search(model)), None)


def _field(path: Path, key: str) -> str:
    """One text of a JSON file; empty where the file holds none (loading the checkpoint says what is wrong with it)."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return ""
    return str(data.get(key, "")) if isinstance(data, dict) else ""


def fit_image(image: ImageConfig, family: Family | None) -> ImageConfig:
    """Shown sizes with what the configuration left open chosen for the family."""
    if family is None:
        return image
    if "multiple" in image.model_fields_set:
        return image
    return image.model_copy(update={"multiple": family.multiple})


def fit_agent(agent: AgentConfig, family: Family | None) -> AgentConfig:
    """An episode's settings with what the configuration left open chosen for the family that plays it."""
    if family is None:
        return agent
    changes: dict[str, object] = {"image": fit_image(agent.image, family)}
    if "coordinates" not in agent.model_fields_set:
        changes["coordinates"] = family.coordinates
    return agent.model_copy(update=changes)


def contradictions(model: str, coordinates: CoordinateSystem, image: ImageConfig, section: str) -> list[str]:
    """What a configuration says against a model's known family, each with the setting to use.

    Args:
        section: the section of the profile that holds `coordinates` and `image`.
    """
    family = family_of(model)
    if family is None:
        return []
    found = []
    if coordinates != family.coordinates:
        found.append(
            f"{model} is of the family {family.name}, whose boxes are in {family.coordinates}, but they are read in "
            f"{coordinates}: use --set {section}.coordinates={family.coordinates}"
        )
    if image.multiple % family.multiple:
        found.append(
            f"{model} is of the family {family.name}, whose pictures have sides that are multiples of "
            f"{family.multiple}, not {image.multiple}: use --set {section}.image.multiple={family.multiple}"
        )
    return found
