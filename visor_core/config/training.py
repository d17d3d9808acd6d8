"""Sections of the second half of the chain: model, teacher, SFT, GRPO, evaluation."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from visor_core.config.agent import AgentConfig, ImageConfig
from visor_core.config.base import SecretReference, Section
from visor_core.config.server import ServerConfig
from visor_core.geometry import CoordinateSystem
from visor_core.network import has_secret


class VLLMConfig(Section):
    """How vLLM is started. What is none follows from `agent`: the turns, pictures and tokens a context can come to."""

    max_model_len: int | None = Field(default=None, ge=16)
    """Tokens of the longest prompt and its reply; memory is kept for at least one of this length."""
    max_images: int | None = Field(default=None, ge=1)
    """Most pictures in one prompt."""
    gpu_memory: float = Field(default=0.85, gt=0, lt=1)
    """Share of a GPU's memory the engine takes, weights and cache, where nothing is trained beside it (there it is
    `grpo.engine_memory`). The rest is left to the embedder of searches."""
    cuda_graphs: bool = True
    """Whether decoding steps are captured as CUDA graphs on a GPU; without, each is launched kernel by kernel."""


class ModelConfig(Section):
    """The policy's model."""

    name: str = "nano"
    """`nano` (the asset base_model), a Hugging Face folder, or a hub id."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the weights an engine runs; trained weights are float32 (under LoRA the adapters are)."""
    engine: Literal["transformers", "vllm"] = "transformers"
    """What runs rollouts."""
    vllm: VLLMConfig = VLLMConfig()
    """How the engine vLLM is started."""
    min_gpu_gib: float = Field(default=0.0, ge=0)
    """GPU memory below which the profile refuses to start; 0 means none is needed."""
    requires: tuple[str, ...] = ()
    """Python modules that must import for this profile."""
    picture_cache_mib: int = Field(default=2048, ge=0)
    """Most memory of each process for pictures as the processor made them, MiB (a page of SmolVLM takes 53)."""
    feature_cache_mib: int = Field(default=1024, ge=0)
    """Most memory of each process for vision features, MiB, where vision tower and projector stay as they are."""

    @property
    def caches(self) -> dict[str, int]:
        """Limits of the caches in bytes, as arguments of the transformers engine and of training."""
        return {"cache_bytes": self.picture_cache_mib * 2**20, "feature_bytes": self.feature_cache_mib * 2**20}


class TeacherConfig(Section):
    """SFT warm-start trajectory synthesis."""

    questions: int | None = Field(default=None, ge=1)
    """Training questions the teacher plays, from the first on; none means all."""
    trajectories: int = Field(default=2500, ge=1)
    """Trajectories wanted after filtering (SCoRE: 2,500)."""
    min_steps: int = Field(default=2, ge=1)
    """Fewest turns of a kept trajectory."""
    max_steps: int = Field(default=6, ge=1)
    """Most turns of a kept trajectory."""
    wrong_page: float = Field(default=0.15, ge=0, le=1)
    """Scripted teacher: chance of a search for the wrong topic, and of cropping a wrong page; both then corrected."""
    loose_crop: float = Field(default=0.15, ge=0, le=1)
    """Scripted teacher: chance of a first crop that is too loose, rejected and corrected."""
    wrong_label: float = Field(default=0.1, ge=0, le=1)
    """Scripted teacher: chance of cropping the wrong panel first."""
    endpoint: str = ""
    """Profiles without a synthetic world: OpenAI-compatible server of the teacher, as http://host:port/v1. An address
    with a password or key in it is given by reference, `env:NAME` or `file:PATH`."""
    model: str = ""
    """The teacher's model name at the endpoint."""
    api_key: SecretReference | None = None
    """The endpoint's key, by reference."""
    server: ServerConfig = ServerConfig()
    """How the endpoint is asked."""
    coordinates: CoordinateSystem | None = None
    """The frame in which the teacher writes boxes; none means that of its known family, else the student's
    (`agent.coordinates`). Its boxes are re-written in the student's frame."""
    image: ImageConfig | None = None
    """Shown sizes for the teacher; none means the student's budgets with the multiple of the teacher's known family,
    else `agent.image` itself."""

    def plays(self, agent: AgentConfig) -> AgentConfig:
        """The episode as the teacher plays it: the student's, in the teacher's own frame and sizes."""
        changes = {"coordinates": self.coordinates, "image": self.image}
        return agent.model_copy(update={key: value for key, value in changes.items() if value is not None})

    @field_validator("endpoint")
    @classmethod
    def _holds_no_secret(cls, value: str) -> str:
        # Profiles are stored with every run and printed by --dry-run.
        if has_secret(value):
            raise ValueError(
                "the address holds a password or a key, which would be stored with every run: give the key as api_key, "
                "or the whole address as env:NAME or file:PATH"
            )
        return value


class OptimizerConfig(Section):
    """Shared by SFT and GRPO."""

    learning_rate: float = Field(default=1e-5, gt=0)
    """Peak learning rate."""
    warmup_ratio: float = Field(default=0.1, ge=0, le=1)
    """Share of the steps spent warming up."""
    schedule: Literal["cosine", "linear", "constant", "constant_with_warmup"] = "cosine"
    """Learning-rate schedule."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled weight decay."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradient clipping norm."""
    beta2: float = Field(default=0.999, gt=0, lt=1)
    """AdamW's second moment decay."""
    bf16: bool = False
    """Autocast to bfloat16 over float32 weights, where the machine has it in hardware."""
    gradient_checkpointing: bool = False
    """Trade compute for memory in the backward pass."""


class SFTConfig(Section):
    """SFT warm start (SCoRE defaults: lr 1e-5 cosine, warm-up 0.1, 3 epochs, batch 16, cutoff 16,384)."""

    optimizer: OptimizerConfig = OptimizerConfig()
    """Optimizer."""
    steps: int | None = Field(default=None, ge=1)
    """Optimizer steps; none means `epochs` decides."""
    epochs: float = Field(default=3.0, gt=0)
    """Passes over the rows when `steps` is none."""
    batch_size: int = Field(default=16, ge=1)
    """Rows an optimizer step."""
    micro_batch_size: int = Field(default=4, ge=1)
    """Most rows a forward pass."""
    micro_batch_tokens: int = Field(default=16_384, ge=64)
    """Token budget of one forward pass, padding included."""
    max_length: int = Field(default=16_384, ge=16)
    """Tokens of the longest row; longer ones are refused with their id, never truncated through an image."""
    freeze_vision: bool = True
    """Freeze the vision tower and projector."""
    lora_rank: int = Field(default=0, ge=0)
    """LoRA rank; 0 trains all parameters."""
    save_steps: int = Field(default=50, ge=1)
    """Steps between checkpoints."""
    save_total_limit: int = Field(default=2, ge=1)
    """Checkpoints kept: the newest ones, and the best beside them (the lowest loss); `final/` always stays."""
    eval_questions: int = Field(default=64, ge=0)
    """Development questions of the closing evaluation."""


class GRPOConfig(Section):
    """GRPO on rebuilt contexts (SCoRE defaults: group 5, lr 1e-6, KL 0.01, warm-up 0.285, 100 steps)."""

    optimizer: OptimizerConfig = OptimizerConfig(learning_rate=1e-6, warmup_ratio=0.285)
    """Optimizer."""
    steps: int = Field(default=100, ge=1)
    """Optimizer steps."""
    questions: Literal["all", "unplayed"] = "all"
    """Training questions to draw from; `unplayed` are those the teacher was not asked (all, if it was asked all). What
    SFT was shown the answer of earns equal rewards soon, and teaches nothing."""
    min_hops: int = Field(default=1, ge=1)
    """Fewest gold pages of a question to draw."""
    questions_per_step: int = Field(default=16, ge=1)
    """Groups a step."""
    group_size: int = Field(default=5, ge=2)
    """Rollouts a question, G."""
    temperature: float = Field(default=1.0, gt=0)
    """Sampling temperature of rollouts."""
    beta: float = Field(default=0.01, ge=0)
    """Weight of the k3 KL term to the reference (SFT) policy."""
    epsilon: float = Field(default=0.2, gt=0)
    """Lower clipping range of the ratio."""
    epsilon_high: float | None = Field(default=None, gt=0)
    """Upper clipping range; none means `epsilon`."""
    loss_type: Literal["dapo", "cispo"] = "dapo"
    """TRL's per-token objective: `dapo` clips the ratio (GRPO's and DAPO's surrogate), `cispo` clips its weight (give
    it `epsilon_high` 4 to 5). How tokens are weighed against each other is `normalisation`."""
    normalisation: Literal["rollout", "token", "constant"] = "rollout"
    """Token weights: 1/(N·len_i) a rollout (GRPO, the paper), DAPO's all tokens alike, or Dr. GRPO's constant."""
    credit: Literal["trajectory", "turn", "section"] = "trajectory"
    """How rewards become advantages."""
    turn_weight: float = Field(default=0.5, ge=0)
    """Weight of a turn's own normalised reward (`credit: turn`)."""
    baseline: Literal["group", "leave_one_out"] = "group"
    """Mean of the whole group, or of the others."""
    scale_by_std: bool = True
    """Divide by the group's standard deviation (ddof 1, ε 1e-4)."""
    reward: Literal["visor", "score", "unidoc", "vrag", "nano", "answer_only"] = "visor"
    """Reward preset."""
    reward_weights: dict[str, float] = Field(default_factory=dict)
    """Weights of the preset to replace, or `perception` and `citation` to add."""
    dynamic_sampling: Literal["keep", "skip", "refill"] = "skip"
    """What happens to groups with equal rewards: they are trained on, left out, or replaced by further questions."""
    refill_attempts: int = Field(default=2, ge=1)
    """Further rounds of questions a step may draw when refilling."""
    imitation: float = Field(default=0.0, ge=0)
    """Added to the advantages of rollouts that earn all their preset can give; groups of such alone are then kept."""
    entropy_coefficient: float = 0.0
    """Weight of the entropy bonus; below 0 a penalty, which sharpens (entropy minimisation, arXiv 2505.15134)."""
    rollout_batch: int = Field(default=128, ge=1)
    """Episodes run side by side."""
    micro_batch_tokens: int = Field(default=8192, ge=64)
    """Token budget of one micro-batch, padding included."""
    max_prompt_tokens: int = Field(default=8192, ge=16)
    """Longest prompt trained on."""
    max_completion_tokens: int = Field(default=2048, ge=4)
    """Longest completion trained on."""
    freeze_vision: bool = False
    """Freeze the vision tower and projector and cache their features."""
    lora_rank: int = Field(default=0, ge=0)
    """LoRA rank; 0 trains all parameters."""
    importance_cap: float = Field(default=2.0, gt=0)
    """Truncation of the engine-mismatch importance ratio (vLLM rollouts)."""
    engine_memory: float = Field(default=0.3, gt=0, lt=1)
    """Share of a GPU's memory that vLLM's engine takes, weights and cache; the rest is training's."""
    steps_ahead: int = Field(default=0, ge=0, le=1)
    """Rollouts may be this many optimizer steps older than the weights they train."""
    save_steps: int = Field(default=10, ge=1)
    """Steps between checkpoints."""
    save_total_limit: int = Field(default=2, ge=1)
    """Checkpoints kept: the newest ones, and the best beside them (the highest reward); `final/` always stays."""
    eval_questions: int = Field(default=64, ge=0)
    """Development questions of the closing evaluation."""

    @model_validator(mode="after")
    def _cispo_has_its_bound(self) -> Self:
        # TRL would cut the weight at `epsilon`, where DAPO means 1 + epsilon: every token above 0.2 would be clipped.
        if self.loss_type == "cispo" and self.epsilon_high is None:
            raise ValueError("loss_type cispo needs epsilon_high, the largest weight: give it 4 to 5")
        return self


class EvaluationConfig(Section):
    """Benchmark evaluation."""

    questions: int | None = Field(default=None, ge=1)
    """Questions evaluated; none means all."""
    temperature: float = Field(default=0.0, ge=0)
    """Sampling temperature."""
    concurrency: int = Field(default=64, ge=1)
    """Episodes run side by side."""
    judge: Literal["rule"] = "rule"
    """How answers are judged."""
