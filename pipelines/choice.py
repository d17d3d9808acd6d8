"""Which profile with which settings: as a process reads it from its environment, and as a run carries it in its tags.

Every process of Dagster gets VISOR_PROFILE (a name or a file), VISOR_SET (a JSON map of dotted settings) and, for a run
that is to use nothing made before, VISOR_REBUILD (a JSON list of stages). A run says the same in its tags, so that
whichever daemon launches it, it is made under the settings that were asked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from visor_core.config import Profile, load_profile
from visor_core.errors import ConfigError

PROFILES = Path(__file__).resolve().parent / "profiles"
PROFILE_TAG, SET_TAG, REBUILD_TAG = "visor/profile", "visor/set", "visor/rebuild"
SESSION_TAG = "visor/session"
"""Which `visor run` submitted a run."""
GROUP_TAG = "visor/group"
"""Which of the runs of that `visor run` it is."""
_VARIABLES = {PROFILE_TAG: "VISOR_PROFILE", SET_TAG: "VISOR_SET", REBUILD_TAG: "VISOR_REBUILD"}


@dataclass(frozen=True)
class Choice:
    """A profile by name or file, the dotted settings over it, and the stages that are to be made anew."""

    profile: str = "nano"
    settings: Mapping[str, Any] = field(default_factory=dict)
    rebuild: tuple[str, ...] = ()

    def resolve(self) -> Profile:
        """The profile with the settings applied.

        Raises:
            ConfigError: naming the profile, the setting or the key at fault.
        """
        return load_profile(self.file, dict(self.settings))

    @property
    def file(self) -> Path:
        """The profile's YAML file."""
        if self.profile.endswith((".yaml", ".yml")):
            return Path(self.profile).absolute()
        return PROFILES / f"{self.profile}.yaml"

    def tags(self) -> dict[str, str]:
        """As tags of a run; what is empty has none."""
        own = self.file.parent == PROFILES and not self.profile.endswith((".yaml", ".yml"))
        tags = {PROFILE_TAG: self.profile if own else str(self.file)}
        if self.settings:
            tags[SET_TAG] = json.dumps(dict(self.settings), sort_keys=True, default=str)
        return tags | ({REBUILD_TAG: json.dumps(self.rebuild)} if self.rebuild else {})

    def environment(self) -> dict[str, str]:
        """As environment variables of a process of Dagster."""
        tags = self.tags()
        return {variable: tags.get(tag, "") for tag, variable in _VARIABLES.items()}

    def with_settings(self, more: Mapping[str, Any]) -> Choice:
        """The same with further settings over it."""
        return Choice(self.profile, {**self.settings, **more}, self.rebuild)


def choice_from(values: Mapping[str, str]) -> Choice:
    """What the environment of a process says.

    Raises:
        ConfigError: naming the variable that cannot be read.
    """
    settings = _json(values, "VISOR_SET", dict)
    if not all(isinstance(key, str) for key in settings):
        raise ConfigError('VISOR_SET must be a JSON map of settings, as {"grpo.steps": 20}')
    return Choice(values.get("VISOR_PROFILE") or "nano", settings, tuple(_json(values, "VISOR_REBUILD", list)))


def choice_of_run(tags: Mapping[str, str], values: Mapping[str, str]) -> Choice:
    """What the tags of a run say; a run that carries none is made under the settings of the environment.

    Raises:
        ConfigError: as `choice_from`.
    """
    carried = {variable: tags[tag] for tag, variable in _VARIABLES.items() if tag in tags}
    return choice_from(carried if "VISOR_PROFILE" in carried else values)


def _json(values: Mapping[str, str], variable: str, kind: type) -> Any:
    text = values.get(variable) or ""
    if not text:
        return kind()
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, kind):
        example = '{"grpo.steps": 20}' if kind is dict else '["sft_checkpoint"]'
        raise ConfigError(f"{variable} is not of the form {example}: {text[:80]!r}")
    return found
