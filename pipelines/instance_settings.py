"""What the project must set in `dagster.yaml`, put into a user's own file without touching anything the user wrote.

The file is edited as text at the places where YAML's parser finds its keys, so that comments and order survive, and is
parsed again afterwards. Left out: keys that arrive by a YAML merge (`<<`); such a file is to be completed by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from visor_core.errors import ConfigError

REPLACED_BY = {"concurrency": ("run_queue", "run_coordinator"), "run_queue": ("run_coordinator",)}
"""Settings which Dagster refuses, or reads differently, beside the one that the project sets."""


@dataclass(frozen=True, slots=True)
class Merged:
    """The text to store, and each setting of the project that the user's own takes the place of, as a sentence part."""

    text: str
    kept: tuple[str, ...]


def merge_settings(given: str, template: str, where: str = "dagster.yaml") -> Merged:
    """A user's settings, completed by those of the template that they lack; a value that differs stays.

    Args:
        template: blocks with an empty line between, each of comments and at most one top-level key.
        where: names the user's file in messages.

    Raises:
        ConfigError: if the user's file is no YAML mapping, or cannot be completed without changing it.
    """
    try:
        root, data = yaml.compose(given, yaml.SafeLoader), yaml.safe_load(given)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} is not valid YAML: {' '.join(str(error).split())}") from error
    if root is None:
        return Merged(_joined(given, template), ())
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"{where} must be a mapping of settings, not {type(data).__name__}")
    wanted: dict[str, Any] = yaml.safe_load(template)
    replaced = {
        key: other
        for key, others in REPLACED_BY.items()
        for other in others
        # What the project itself has put there takes nothing's place.
        if key not in data and other in data and data[other] != wanted.get(other)
    }
    kept = [f"{other} in place of {key}" for key, other in replaced.items()]
    wanted = {key: value for key, value in wanted.items() if key not in replaced}
    absent = set() if root.flow_style else wanted.keys() - data.keys()
    edits, differing = _edits(given, root, {key: value for key, value in wanted.items() if key not in absent})
    text = given
    for place, addition in sorted(edits, reverse=True):
        text = text[:place] + addition + text[place:]
    for block in template.split("\n\n"):
        if absent & (yaml.safe_load(block) or {}).keys():
            text = _joined(text, block)
    if yaml.safe_load(text) != _completed(data, wanted):
        lines = yaml.safe_dump(wanted, default_flow_style=True, width=10_000).strip()
        raise ConfigError(f"{where} cannot be completed without changing what you wrote: add {lines} to it")
    return Merged(text, tuple(kept + differing))


def _edits(given: str, node: yaml.MappingNode, wanted: Mapping[str, Any], prefix: str = "") -> tuple[list, list[str]]:
    """Insertions (place, text) that complete a mapping, and what differs and stays."""
    held = {key.value: (key, value) for key, value in node.value}
    edits: list[tuple[int, str]] = []
    kept: list[str] = []
    absent = {key: value for key, value in wanted.items() if key not in held}
    if absent and node.flow_style:
        inside = yaml.safe_dump(absent, default_flow_style=True, width=10_000).strip()[1:-1]
        brace = given.index("{", node.start_mark.index)  # an anchor may stand before it
        edits.append((brace + 1, f"{inside}, " if node.value else inside))
    elif absent:
        first = node.value[0][0].start_mark
        edits.append((first.index, _indented(absent, first.column)))
    for name, (key, value) in held.items():  # in the user's own order, that what was said once is known again
        if name not in wanted:
            continue
        path = f"{prefix}{name}"
        if not isinstance(wanted[name], Mapping):
            found = yaml.safe_load(given[value.start_mark.index : value.end_mark.index])
            if found != wanted[name]:
                kept.append(f"{path}: {found} (the project sets {wanted[name]})")
        elif isinstance(value, yaml.MappingNode):
            below, differing = _edits(given, value, wanted[name], f"{path}.")
            edits, kept = edits + below, kept + differing
        elif given[value.start_mark.index : value.end_mark.index].strip():
            kept.append(f"{path}: {value.value}")
        else:
            column = key.start_mark.column + 2
            colon = given.index(":", key.end_mark.index) + 1
            edits.append((colon, "\n" + " " * column + _indented(wanted[name], column).rstrip()))
    return edits, kept


def _indented(settings: Mapping[str, Any], column: int) -> str:
    """Settings as lines of YAML for a place at a column; what stands there comes on a line of its own after them."""
    return yaml.safe_dump(dict(settings), sort_keys=False).replace("\n", "\n" + " " * column)


def _joined(text: str, block: str) -> str:
    """A text with a block of lines after it, an empty line between."""
    return f"{text.rstrip()}\n\n{block.strip()}\n" if text.strip() else f"{block.strip()}\n"


def _completed(data: Any, wanted: Any) -> Any:
    """What the file is to mean: the user's settings, and those of the project that they lack."""
    if not isinstance(wanted, Mapping) or not isinstance(data, Mapping | None):
        return data
    held = data or {}
    return {**held, **{key: _completed(held[key], value) if key in held else value for key, value in wanted.items()}}
