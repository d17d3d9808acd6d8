"""The run configuration of a stage: settings of the profile as typed fields in Dagster's launchpad.

Names, defaults, types and help come from the pydantic sections, so that an unknown or mistyped field is refused before
anything starts. A value given at one asset holds for the whole run: `given_settings` is what a run was given beside its
profile. Ranges and rules between fields are the sections' own: Dagster's types of configuration have none, and the
launchpad knows the types alone, so that the run's launcher refuses such a value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import annotated_types
import dagster as dg
import yaml
from pydantic.fields import FieldInfo

from assets_defs.machinery.stage import Stage
from visor_core.config import Profile, SecretReference, Section, WordingTexts, derived
from visor_core.errors import ConfigError

LAUNCHPAD = "launchpad"
"""What messages call the configuration of a run."""
GIVEN_TAG = "visor/given"
"""Tag of a run whose process was started with its launchpad values in the profile: they, by dotted key, as JSON."""
_SCALARS: dict[Any, Any] = {bool: dg.Bool, int: dg.Int, float: dg.Float, str: dg.String}
_BOUNDS: tuple[tuple[type, str, str], ...] = (
    (annotated_types.Ge, "ge", "at least"),
    (annotated_types.Gt, "gt", "above"),
    (annotated_types.Le, "le", "at most"),
    (annotated_types.Lt, "lt", "below"),
)
_AS_TEXT: dict[type[Section], str] = {
    SecretReference: "`env:NAME` or `file:PATH`.",
    WordingTexts: "Here: the path of such a file; none keeps the profile's texts.",
}
"""Sections that are written as one text: a secret by its reference, wording by its file."""


def stage_fields(stage: Stage, profile: Profile) -> dict[str, dg.Field]:
    """The run configuration of a stage under a profile: all it reads, the seed, and what may be built again unasked."""
    return config_fields(profile, ("seed", *stage.reads, "rebuild"))


def config_fields(profile: Profile, keys: Sequence[str]) -> dict[str, dg.Field]:
    """Fields for settings and whole sections of a profile by dotted key (`grpo`, `model.dtype`).

    Sections stand in each other as in the profile; what the profile says is the default.

    >>> sorted(config_fields(Profile(name="p"), ["seed", "model.dtype"]))
    ['model', 'seed']
    """
    return _fields(profile, [key.split(".") for key in keys], ())


def _fields(section: Section, keys: Sequence[Sequence[str]], above: tuple[str, ...]) -> dict[str, dg.Field]:
    """Fields of a section: those that `keys` name, whole where a key ends here."""
    found: dict[str, dg.Field] = {}
    for name in type(section).model_fields:
        below = [key[1:] for key in keys if key[0] == name]
        if below:
            value = getattr(section, name)
            field = type(section).model_fields[name]
            whole = not all(below)
            if isinstance(value, Section) and type(value) not in _AS_TEXT:
                inner = [[key] for key in type(value).model_fields] if whole else below
                shape = dg.Shape(_fields(value, inner, (*above, name)))
                found[name] = dg.Field(shape, description=_help(field))
            else:
                found[name] = _leaf(field, value, (*above, name))
    return found


def _leaf(field: FieldInfo, value: Any, path: tuple[str, ...]) -> dg.Field:
    return dg.Field(
        _config_type(field.annotation, path),
        is_required=False,
        default_value=_as_given(value),
        description=_help(field),
    )


def _as_given(value: Any) -> Any:
    """A value of the profile as a person writes it in the launchpad."""
    if isinstance(value, SecretReference):
        return value.reference
    if isinstance(value, WordingTexts):
        return None
    if isinstance(value, Section):
        return {name: _as_given(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, Mapping):
        return {key: _as_given(item) for key, item in value.items()}
    return [_as_given(item) for item in value] if isinstance(value, list | tuple) else value


def _config_type(annotation: Any, path: tuple[str, ...]) -> Any:
    """The configuration type of a field: what Dagster checks before a run starts.

    Raises:
        TypeError: if the sections hold a type that has none yet.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType) and NoneType in arguments:
        (inner,) = (argument for argument in arguments if argument is not NoneType)
        return dg.Noneable(_config_type(inner, path))
    if origin is Literal:
        # The page writes words without quotes: `off` would come back as false.
        if misread := [word for word in arguments if isinstance(word, str) and yaml.safe_load(word) != word]:
            raise TypeError(f"{'.'.join(path)}: YAML reads {', '.join(misread)} as something else: take another word")
        return dg.Enum("_".join(path), [dg.EnumValue(str(argument)) for argument in arguments])
    if origin in (tuple, list):
        return dg.Array(_config_type(arguments[0], path))
    if origin is dict:
        return dg.Permissive() if arguments[1] is Any else dg.Map(str, _config_type(arguments[1], path))
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    if annotation in _AS_TEXT:
        return dg.String
    if isinstance(annotation, type) and issubclass(annotation, Section):
        fields = annotation.model_fields
        return dg.Shape(
            {
                name: _leaf(field, field.get_default(call_default_factory=True), (*path, name))
                for name, field in fields.items()
            }
        )
    raise TypeError(f"{'.'.join(path)}: {annotation} has no configuration type: add one to {__name__}")


def _help(field: FieldInfo) -> str:
    """What the section says of a field, and its range, which Dagster does not check."""
    bounds = [
        f"{words} {getattr(bound, name):g}"
        for bound in field.metadata
        for kind, name, words in _BOUNDS
        if isinstance(bound, kind)
    ]
    as_text = next((text for kind, text in _AS_TEXT.items() if kind in get_args(field.annotation)), "")
    told = [field.description or "", as_text, f"({', '.join(bounds)})" if bounds else ""]
    return " ".join(part.replace("\n", " ") for part in told if part)


def given_settings(run_config: Mapping[str, Any], profile: Profile) -> dict[str, Any]:
    """What a run's configuration says otherwise than its profile, by dotted key.

    The launchpad writes out defaults, so a value that is the profile's own counts as not given.

    Args:
        run_config: Dagster's, `{"ops": {OP: {"config": {SECTION: …}}}}`.
        profile: the one whose values the fields of the launchpad had as defaults.

    Raises:
        ConfigError: if two assets are given different values for one setting.
    """
    found: dict[str, Any] = {}
    asked_by: dict[str, str] = {}
    for asset, of_asset in (run_config.get("ops") or {}).items():
        for key, value in _differing((of_asset or {}).get("config") or {}, profile):
            if key in found and found[key] != value:
                raise ConfigError(
                    f"{LAUNCHPAD}: {asked_by[key]} asks for {key}={found[key]!r} and {asset} for {value!r}: a setting "
                    "holds for the whole run, give it one value"
                )
            found[key], asked_by[key] = value, asset
    return found


def _differing(given: Mapping[str, Any], section: Section, above: str = "") -> list[tuple[str, Any]]:
    """Settings of a section that are given otherwise than they are; options that only an asset has are passed over."""
    found: list[tuple[str, Any]] = []
    for name, value in given.items():
        key = f"{above}{name}"
        if name not in type(section).model_fields:
            if above:
                raise ConfigError(f"{LAUNCHPAD}: {key}: unknown key")
            continue
        held = getattr(section, name)
        if isinstance(held, Section) and type(held) not in _AS_TEXT:
            found += _differing(value or {}, held, f"{key}.")
        elif value != _as_given(held):
            found.append((key, value))
    return found


def with_given(profile: Profile, given: Mapping[str, Any]) -> Profile:
    """The profile with the values of a run's configuration in it.

    Raises:
        ConfigError: naming the key at fault.
    """
    return derived(profile, given, LAUNCHPAD) if given else profile
