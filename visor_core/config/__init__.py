"""Configuration as data: one pydantic model a section, every field documented, unknown keys refused.

A *profile* (pipelines/profiles/*.yaml) resolves to one `Profile`; the resolved form is saved with every run. Secrets
are references (`env:NAME` or `file:PATH`) and are read only at the moment of use, never stored.
"""

from visor_core.config.agent import AgentConfig, CropConfig, EvidenceConfig, ImageConfig, TilesConfig
from visor_core.config.base import SecretReference, Section
from visor_core.config.corpus import DocumentsConfig, IndexConfig, embedder_parts
from visor_core.config.home import Home
from visor_core.config.nano import NanoConfig, RivalBudget, StudyConfig
from visor_core.config.profile import CorporaConfig, Profile, apply_overrides, derived, load_profile
from visor_core.config.server import ServerConfig
from visor_core.config.training import (
    EvaluationConfig,
    GRPOConfig,
    ModelConfig,
    OptimizerConfig,
    SFTConfig,
    TeacherConfig,
)

__all__ = [
    "AgentConfig",
    "CorporaConfig",
    "CropConfig",
    "DocumentsConfig",
    "EvaluationConfig",
    "EvidenceConfig",
    "GRPOConfig",
    "Home",
    "ImageConfig",
    "IndexConfig",
    "ModelConfig",
    "NanoConfig",
    "OptimizerConfig",
    "Profile",
    "RivalBudget",
    "SFTConfig",
    "SecretReference",
    "Section",
    "ServerConfig",
    "StudyConfig",
    "TeacherConfig",
    "TilesConfig",
    "apply_overrides",
    "derived",
    "embedder_parts",
    "load_profile",
]
