"""A profile: all sections of a run together, read from YAML, with overrides by dotted key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError, field_validator

from visor_core.config.agent import AgentConfig, ImageConfig, preset
from visor_core.config.base import Section, explain
from visor_core.config.checks import ChecksConfig
from visor_core.config.corpus import DocumentsConfig, IndexConfig
from visor_core.config.families import contradictions, family_of, fit_agent, fit_image
from visor_core.config.home import corpus_name
from visor_core.config.nano import NanoConfig, StudyConfig
from visor_core.config.rebuilding import RebuildConfig
from visor_core.config.retraining import RetrainingConfig
from visor_core.config.server import ServerConfig
from visor_core.config.tracking import TrackingConfig
from visor_core.config.training import EvaluationConfig, GRPOConfig, ModelConfig, SFTConfig, TeacherConfig
from visor_core.config.wording import inline_wording
from visor_core.errors import ConfigError


class CorporaConfig(Section):
    """Which corpora are trained on and which measure the result; their documents are disjoint."""

    train: str = "nano-train"
    """Corpus of the training questions."""
    development: str = "nano-development"
    """Corpus of the development questions."""

    @property
    def names(self) -> tuple[str, ...]:
        """Both, each once."""
        return tuple(dict.fromkeys((self.train, self.development)))

    @field_validator("train", "development")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        try:
            return corpus_name(value)
        except ConfigError as error:
            raise ValueError(str(error)) from error


class Profile(Section):
    """Everything a run needs, resolved. A profile changes models and sizes, never code paths."""

    name: str
    """The profile's name."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """The seed every other seed derives from."""
    threads: int = Field(default=0, ge=0)
    """CPU threads of torch in each process of a stage; 0 means all cores, shared by the processes."""
    accelerate: str = "cpu.yaml"
    """How `accelerate launch` starts training: a file in infra/accelerate/, or the path of another one."""
    nano: NanoConfig | None = None
    """The synthetic world; none for profiles on the user's documents."""
    corpora: CorporaConfig = CorporaConfig()
    """Training and development corpus."""
    documents: DocumentsConfig = DocumentsConfig()
    """Reading and rasterising."""
    index: IndexConfig = IndexConfig()
    """Search."""
    model: ModelConfig = ModelConfig()
    """The policy's model."""
    server: ServerConfig = ServerConfig()
    """The server that `--endpoint` names instead of the policy's model."""
    agent: AgentConfig = AgentConfig()
    """The episode."""
    teacher: TeacherConfig = TeacherConfig()
    """Warm-start trajectories."""
    sft: SFTConfig = SFTConfig()
    """Warm start."""
    grpo: GRPOConfig = GRPOConfig()
    """Reinforcement learning."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Benchmarks."""
    checks: ChecksConfig = ChecksConfig()
    """What the asset checks demand."""
    retraining: RetrainingConfig = RetrainingConfig()
    """When the chain is run again by itself."""
    rebuild: RebuildConfig = RebuildConfig()
    """Building again what is lost."""
    study: StudyConfig = StudyConfig()
    """The embedded default's study."""
    tracking: TrackingConfig = TrackingConfig()
    """Where runs are tracked."""

    @property
    def tiles_pictures(self) -> bool:
        """Whether the model trained from nothing is shown pictures larger than its own size, cut into tiles."""
        return self.nano is not None and self.agent.image.tiles is not None

    def fitted(self) -> Profile:
        """The profile with what it leaves open of boxes and pictures chosen for the families of model and teacher."""
        agent = fit_agent(self.agent, family_of(self.model.name))
        teacher = self.teacher
        if (family := family_of(teacher.model)) is not None:
            changes: dict[str, Any] = {"image": fit_image(teacher.image or _open(agent.image), family)}
            if teacher.coordinates is None:
                changes["coordinates"] = family.coordinates
            teacher = teacher.model_copy(update=changes)
        return self.model_copy(update={"agent": agent, "teacher": teacher})

    def frame_warnings(self) -> list[str]:
        """Where boxes or pictures are not as the known family of the model or of the teacher has them."""
        plays = self.teacher.plays(self.agent)
        return [
            *contradictions(self.model.name, self.agent.coordinates, self.agent.image, "agent"),
            *contradictions(self.teacher.model, plays.coordinates, plays.image, "teacher"),
        ]

    def save(self, path: Path) -> None:
        """Write the resolved configuration as YAML."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False), encoding="utf-8")


def load_profile(path: Path, overrides: dict[str, Any] | None = None) -> Profile:
    """Read and validate a profile; `overrides` maps dotted keys (`grpo.steps`) to values.

    Raises:
        ConfigError: naming the file and the key at fault.
    """
    if path.is_dir():
        raise ConfigError(f"{path} is a folder: give the YAML file of a profile")
    if not path.is_file():
        names = sorted(p.stem for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        raise ConfigError(f"no profile {path.stem!r}: choose one of {', '.join(names) or 'none found'}, or give a file")
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path.name} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path.name} must be a mapping of sections, not {type(data).__name__}")
    return apply_overrides(data, overrides or {}, path.name, path.parent)


def derived(profile: Profile, overrides: Mapping[str, Any], where: str) -> Profile:
    """A profile with dotted keys set; `where` names the source in messages.

    Raises:
        ConfigError: naming the key at fault.
    """
    return apply_overrides(profile.model_dump(mode="json"), overrides, where)


def apply_overrides(
    data: dict[str, Any], overrides: Mapping[str, Any], where: str, folder: Path | None = None
) -> Profile:
    """A profile from a mapping of sections, with dotted keys set; `where` names the source in messages.

    `agent.strategy` applies that strategy to the agent of the mapping, before the other keys are set: they win over it.

    Args:
        folder: where the profile lies; files it names are looked for there first.

    Raises:
        ConfigError: naming the key at fault.
    """
    overrides = dict(overrides)
    inline_wording(data, folder)
    if isinstance(overrides.get("agent.strategy"), str):
        data = {**data, "agent": _under(overrides.pop("agent.strategy"), data.get("agent", {}), where)}
    for dotted, value in overrides.items():
        target = data
        *parents, leaf = dotted.split(".")
        for part in parents:
            target = target.setdefault(part, {})
            if not isinstance(target, dict):
                raise ConfigError(f"option {dotted!r}: {part!r} is a value, not a section")
        target[leaf] = value
    inline_wording(data, folder)
    try:
        return Profile.model_validate(data).fitted()
    except ValidationError as error:
        raise ConfigError(f"{where}: {explain(error)}") from error


def _open(image: ImageConfig) -> ImageConfig:
    """The student's sizes as a start for the teacher's: budgets kept, the multiple left open."""
    return ImageConfig(min_pixels=image.min_pixels, max_pixels=image.max_pixels)


def _under(strategy: str, agent: Any, where: str) -> dict[str, Any]:
    """The settings of an agent turned into a strategy; as they are where they have it already."""
    try:
        base = AgentConfig.model_validate(agent)
    except ValidationError as error:
        raise ConfigError(f"{where}: {explain(error)}") from error
    return (base if base.strategy == strategy else preset(strategy, base)).model_dump(mode="json", exclude_unset=True)
