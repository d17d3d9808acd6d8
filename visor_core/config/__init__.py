"""Configuration as data: one pydantic model a section, every field documented, unknown keys refused.

A *profile* (pipelines/profiles/*.yaml) resolves to one `Profile`; the resolved form is saved with every run. Secrets
are references (`env:NAME` or `file:PATH`) and are read only at the moment of use, never stored.
"""

from visor_core.config.agent import AgentConfig, CropConfig, EvidenceConfig, ImageConfig, TilesConfig
from visor_core.config.base import SecretReference, Section
from visor_core.config.checks import ChecksConfig
from visor_core.config.corpus import PER_CALL, DocumentsConfig, IndexConfig, embedder_parts
from visor_core.config.families import contradictions, family_of, fit_agent
from visor_core.config.home import Home, corpus_name
from visor_core.config.nano import WORLD, NanoConfig, RivalBudget, StudyConfig
from visor_core.config.profile import CorporaConfig, Profile, apply_overrides, derived, load_profile
from visor_core.config.rebuilding import RebuildConfig
from visor_core.config.retraining import RetrainingConfig
from visor_core.config.server import ServerConfig
from visor_core.config.tracking import TrackingConfig
from visor_core.config.training import (
    EvaluationConfig,
    GRPOConfig,
    ModelConfig,
    OptimizerConfig,
    SFTConfig,
    TeacherConfig,
    VLLMConfig,
)
from visor_core.config.wording import FaultTexts, FewShot, WordingTexts, read_wording, shipped_wording

__all__ = [
    "PER_CALL",
    "WORLD",
    "AgentConfig",
    "ChecksConfig",
    "CorporaConfig",
    "CropConfig",
    "DocumentsConfig",
    "EvaluationConfig",
    "EvidenceConfig",
    "FaultTexts",
    "FewShot",
    "GRPOConfig",
    "Home",
    "ImageConfig",
    "IndexConfig",
    "ModelConfig",
    "NanoConfig",
    "OptimizerConfig",
    "Profile",
    "RebuildConfig",
    "RetrainingConfig",
    "RivalBudget",
    "SFTConfig",
    "SecretReference",
    "Section",
    "ServerConfig",
    "StudyConfig",
    "TeacherConfig",
    "TilesConfig",
    "TrackingConfig",
    "VLLMConfig",
    "WordingTexts",
    "apply_overrides",
    "contradictions",
    "corpus_name",
    "derived",
    "embedder_parts",
    "family_of",
    "fit_agent",
    "load_profile",
    "read_wording",
    "shipped_wording",
]
