"""A profile: all sections of a run together, read from YAML, with overrides by dotted key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import Field, ValidationError, field_validator

from visor_core.config.agent import AgentConfig
from visor_core.config.base import Section
from visor_core.config.corpus import DocumentsConfig, IndexConfig
from visor_core.config.home import corpus_name
from visor_core.config.nano import NanoConfig, StudyConfig
from visor_core.config.server import ServerConfig
from visor_core.config.training import EvaluationConfig, GRPOConfig, ModelConfig, SFTConfig, TeacherConfig
from visor_core.errors import ConfigError

if TYPE_CHECKING:
    from visor_core.questions import Question


class CorporaConfig(Section):
    """Which corpora are trained on and which measure the result; their documents are disjoint."""

    train: str = "nano-train"
    """Corpus of the training questions."""
    development: str = "nano-development"
    """Corpus of the development questions."""

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
    study: StudyConfig = StudyConfig()
    """The embedded default's study."""

    def teacher_questions(self, asked: Sequence[Question]) -> list[Question]:
        """The training questions the teacher plays."""
        return list(asked[: self.teacher.questions])

    def grpo_questions(self, asked: Sequence[Question]) -> list[Question]:
        """The training questions GRPO draws from.

        Raises:
            ConfigError: if none is left.
        """
        unplayed = asked[len(self.teacher_questions(asked)) :]
        given = unplayed if self.grpo.questions == "unplayed" and unplayed else asked
        found = [question for question in given if question.hops >= self.grpo.min_hops]
        if not found:
            raise ConfigError(
                f"none of {len(given)} training questions is over {self.grpo.min_hops} pages: lower grpo.min_hops"
            )
        return found

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
    return apply_overrides(data, overrides or {}, path.name)


def derived(profile: Profile, overrides: Mapping[str, Any], where: str) -> Profile:
    """A profile with dotted keys set; `where` names the source in messages.

    Raises:
        ConfigError: naming the key at fault.
    """
    return apply_overrides(profile.model_dump(mode="json"), overrides, where)


def apply_overrides(data: dict[str, Any], overrides: Mapping[str, Any], where: str) -> Profile:
    """A profile from a mapping of sections, with dotted keys set; `where` names the source in messages.

    Raises:
        ConfigError: naming the key at fault.
    """
    for dotted, value in overrides.items():
        target = data
        *parents, leaf = dotted.split(".")
        for part in parents:
            target = target.setdefault(part, {})
            if not isinstance(target, dict):
                raise ConfigError(f"option {dotted!r}: {part!r} is a value, not a section")
        target[leaf] = value
    try:
        return Profile.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"{where}: {_explain(error)}") from error


def _explain(error: ValidationError) -> str:
    """All faults in one line, each with its dotted key."""
    faults = []
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        key = ".".join(str(p) for p in fault["loc"])
        text = "unknown key" if fault["type"] == "extra_forbidden" else fault["msg"]
        faults.append(f"{key}: {text}")
    return "; ".join(faults)
