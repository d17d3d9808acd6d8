"""Configuration as data: one pydantic model a section, every field documented, unknown keys refused.

A *profile* (pipelines/profiles/*.yaml) resolves to one `Profile`; the resolved form is saved with every run. Secrets
are references (`env:NAME` or `file:PATH`) and are read only at the moment of use, never stored.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from visor_core.errors import ConfigError
from visor_core.geometry import CoordinateSystem


class Section(BaseModel):
    """Base of every section: frozen, unknown keys are errors."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        protected_namespaces=(),
        hide_input_in_errors=True,  # what was given may be a secret in the wrong place
    )


class SecretReference(Section):
    """A secret by reference: `env:NAME` or `file:PATH`."""

    reference: str
    """`env:NAME` or `file:PATH`; never the secret itself."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"reference": value} if isinstance(value, str) else value

    @field_validator("reference")
    @classmethod
    def _is_reference(cls, value: str) -> str:
        if not re.fullmatch(r"(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)", value):
            raise ValueError("a secret is given as env:NAME or file:PATH, never as itself")
        return value

    @classmethod
    def parse(cls, text: str, option: str) -> SecretReference:
        """A reference given for an option; the message never repeats what was given.

        Raises:
            ConfigError: if it is not a reference.
        """
        try:
            return cls.model_validate(text)
        except ValidationError as error:
            raise ConfigError(f"{option}: a secret is given as env:NAME or file:PATH, never as itself") from error

    def read(self) -> SecretStr:
        """The secret's value, read now.

        Raises:
            ConfigError: if the variable or file is missing.
        """
        scheme, _, name = self.reference.partition(":")
        if scheme == "env":
            if name not in os.environ:
                raise ConfigError(f"the secret {self.reference} is not set: export {name} first")
            return SecretStr(os.environ[name])
        path = Path(name).expanduser()
        if not path.is_file():
            raise ConfigError(f"the secret {self.reference} is not there: create the file {name}")
        return SecretStr(path.read_text(encoding="utf-8").strip())


class DocumentsConfig(Section):
    """Bytes → documents → pages."""

    renderer: Literal["pymupdf", "pdfium"] = "pymupdf"
    """Which library rasterises: PyMuPDF (AGPL-3.0 or commercial) or pdfium (Apache-2.0/BSD)."""
    dpi: int = Field(default=144, ge=36, le=600)
    """Resolution of the stored page raster, dots per inch."""
    image_format: Literal["jpeg", "png"] = "jpeg"
    """Encoding of the stored page raster."""
    jpeg_quality: int = Field(default=85, ge=30, le=100)
    """JPEG quality of the stored raster."""
    ocr: Literal["never", "auto", "always"] = "auto"
    """OCR pages without usable text: `auto` when the extra `ocr` is installed."""
    workers: int = Field(default=2, ge=1)
    """Worker processes."""
    max_bytes: int = Field(default=512 * 2**20, ge=1)
    """Largest document accepted, bytes."""
    max_pages: int = Field(default=5000, ge=1)
    """Most pages in one document."""
    max_page_inches: float = Field(default=120.0, gt=0)
    """Longest side of a page, inches; a longer page quarantines its document."""
    max_page_pixels: int = Field(default=24_000_000, ge=1)
    """Most pixels in one stored raster; a larger page is rendered at a lower dpi."""
    timeout_seconds: float = Field(default=120.0, gt=0)
    """Time one task on a document may take in a worker."""
    ocr_page_seconds: float = Field(default=30.0, gt=0)
    """Time added to that for every page that may need OCR."""
    memory_bytes: int = Field(default=2 * 2**30, ge=2**28)
    """Address space one worker may add while it reads one document."""
    passwords: dict[str, SecretReference] = Field(default_factory=dict)
    """Passwords by file name."""
    allow_private_addresses: bool = False
    """Whether http(s) sources may resolve to private or link-local addresses."""
    download_timeout_seconds: float = Field(default=60.0, gt=0)
    """Time one remote source may take."""


class IndexConfig(Section):
    """The LanceDB tables and what they can search by."""

    embedders: tuple[str, ...] = ("hash",)
    """Vector columns: `hash` (embedded default, no download), `late:PATH` (a late-interaction retriever as a Hugging
    Face folder), `colqwen2`, `colpali`, `colmodernvbert`, `colqwen2.5`, `colsmol`, `sentence:NAME`."""
    mode: Literal["text", "vector", "hybrid"] = "hybrid"
    """How the agent's searches rank pages."""
    passage_words: int = Field(default=120, ge=20)
    """Words in a passage window."""
    passage_overlap: int = Field(default=40, ge=0)
    """Words two neighbouring windows share."""
    top_k: int = Field(default=10, ge=1)
    """Pages a search ranks; the agent is shown the best not seen yet."""
    overfetch: int = Field(default=20, ge=1)
    """Candidates of an approximate multi-vector search per wanted result, ten at a time, rescored exactly."""
    ann_rows: int = Field(default=20_000, ge=1)
    """Pages above which an approximate vector index is built (25 times as many token vectors for a multi-vector
    column); below it search is exhaustive."""
    embed_pixels: int = Field(default=0, ge=0)
    """Pixels at which an image embedder sees a page, drawn anew from the source; 0 gives it the stored raster."""


class ImageConfig(Section):
    """How large the policy is shown a page or crop."""

    min_pixels: int = Field(default=256 * 28 * 28, ge=1)
    """Fewest pixels of a shown image (SCoRE: 256·28·28)."""
    max_pixels: int = Field(default=512 * 28 * 28, ge=1)
    """Most pixels of a shown image (SCoRE: 512·28·28)."""
    multiple: int = Field(default=28, ge=1)
    """Both sides are multiples of this: patch size × merge size."""
    pixels_per_token: float = Field(default=28 * 28, gt=0)
    """Pixels one visual token stands for (Qwen2.5-VL: 28·28); only budgets and estimates use it."""


class CropConfig(Section):
    """Visual Action Evaluation and Correction: the model-free half."""

    pad_pixels: float = Field(default=28.0, ge=0)
    """Padding a side in pixels of the image as shown (SCoRE: 28)."""
    min_side: float = Field(default=0.02, ge=0, le=1)
    """A crop's sides are grown to this share of the page."""
    square: bool = False
    """Grow the shorter side so that the region is square on the page (small models see few zoom levels)."""
    near_whole_page: float = Field(default=0.9, gt=0, le=1)
    """A crop of at least this share of the page is refused."""
    repeat_iou: float = Field(default=0.9, gt=0, le=1)
    """A crop overlapping an earlier one on the same page by at least this IoU is refused."""
    blank_std: float = Field(default=2.0, ge=0)
    """A crop whose grey levels (0–255) deviate less than this is called blank."""


class EvidenceConfig(Section):
    """The Evidence Space."""

    enabled: bool = True
    """Whether observations are kept at all (ablation switch)."""
    gate: Literal["all", "relevant"] = "all"
    """Which pages get an entry: every page seen, or only those the model judged worth keeping."""
    max_tokens: int = Field(default=768, ge=16)
    """Budget of the rendered ledger, in approximate tokens (words and punctuation). The default keeps a 20th turn
    within 1.3 × the fourth at two pictures of 512 tokens (`make bench ONLY=context`)."""
    entry_tokens: int = Field(default=160, ge=4)
    """Budget of one recorded observation, in approximate tokens; the rest of the thought is not recorded."""


class AgentConfig(Section):
    """One episode (method, section 2)."""

    strategy: Literal["visor", "unidoc", "vrag", "react", "vanilla"] = "visor"
    """The preset the other fields started from."""
    prompts: Literal["full", "compact"] = "full"
    """Wording of the protocol: `full` for pretrained models, `compact` for the nano model."""
    coordinates: CoordinateSystem = "pixels"
    """The frame in which the model writes boxes."""
    max_turns: int = Field(default=10, ge=1)
    """Turns before an answer is forced (SCoRE: 10)."""
    window: int | None = Field(default=2, ge=0)
    """Raw turns kept in the context, W (SCoRE: 2); 0 keeps only the newest observation, none the full history. A turn
    that ended in a retry message counts only while it is the newest."""
    intent_injection: bool = True
    """Whether every returned page restates the question and points at the Evidence Space."""
    crop_enabled: bool = True
    """Whether the crop action exists."""
    select_enabled: bool = False
    """UniDoc-RL: a search shows candidates and the agent selects one."""
    select_candidates: int = Field(default=3, ge=1)
    """Unseen candidates a search shows when selection is on."""
    correction: bool = True
    """Whether crops are evaluated and rejected readings fall back to the pre-crop one."""
    verification_search: bool = True
    """Encourage one more search with the original question before answering."""
    first_search: Literal["question", "free"] = "free"
    """`question`: the first turn is the environment's own search for the question, not sampled and never trained;
    `free`: the prompt only asks for it."""
    exclude_seen: bool = True
    """Whether a search never shows a page twice in an episode."""
    pages_per_search: int = Field(default=1, ge=1)
    """Pages a search shows at once when selection is off (vanilla: the whole top k)."""
    force_answer: bool = True
    """Whether a policy that has not answered in `max_turns` turns is made to complete `<answer>` (never trained)."""
    max_images: int | None = Field(default=None, ge=1)
    """Most images in one context; none means the window decides. The oldest are dropped first."""
    context_tokens: int | None = Field(default=8192, ge=64)
    """Most approximate prompt tokens, images included (SCoRE: 8,192); over it the oldest images of the window go first,
    then its oldest turns. None never cuts."""
    max_new_tokens: int = Field(default=1024, ge=4)
    """Most tokens sampled in one turn."""
    image: ImageConfig = ImageConfig()
    """Shown size of pages and crops."""
    crop: CropConfig = CropConfig()
    """Model-free crop checks and padding."""
    evidence: EvidenceConfig = EvidenceConfig()
    """The ledger."""


class ModelConfig(Section):
    """The policy's model."""

    name: str = "nano"
    """`nano` (the asset base_model), a Hugging Face folder, or a hub id."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Weights' precision."""
    engine: Literal["transformers", "vllm"] = "transformers"
    """What runs rollouts."""
    min_gpu_gib: float = Field(default=0.0, ge=0)
    """GPU memory below which the profile refuses to start; 0 means none is needed."""
    requires: tuple[str, ...] = ()
    """Python modules that must import for this profile."""


class TeacherConfig(Section):
    """SFT warm-start trajectory synthesis."""

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
    """Profiles without a synthetic world: OpenAI-compatible server of the teacher, as http://host:port/v1."""
    model: str = ""
    """The teacher's model name at the endpoint."""
    api_key: SecretReference | None = None
    """The endpoint's key, by reference."""


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
    """Autocast to bfloat16 over float32 weights."""
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
    eval_questions: int = Field(default=64, ge=0)
    """Development questions of the closing evaluation."""


class GRPOConfig(Section):
    """GRPO on rebuilt contexts (SCoRE defaults: group 5, lr 1e-6, KL 0.01, warm-up 0.285, 100 steps)."""

    optimizer: OptimizerConfig = OptimizerConfig(learning_rate=1e-6, warmup_ratio=0.285)
    """Optimizer."""
    steps: int = Field(default=100, ge=1)
    """Optimizer steps."""
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
    dynamic_sampling: Literal["off", "skip", "refill"] = "skip"
    """What happens to groups with equal rewards."""
    refill_attempts: int = Field(default=2, ge=1)
    """Further rounds of questions a step may draw when refilling."""
    entropy_coefficient: float = Field(default=0.0, ge=0)
    """Weight of the entropy bonus."""
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
    steps_ahead: int = Field(default=0, ge=0, le=1)
    """Rollouts may be this many optimizer steps older than the weights they train."""
    save_steps: int = Field(default=10, ge=1)
    """Steps between checkpoints."""
    eval_questions: int = Field(default=64, ge=0)
    """Development questions of the closing evaluation."""


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


class NanoConfig(Section):
    """The embedded default's world and model."""

    train_corpora: int = Field(default=16, ge=1)
    """Training corpora."""
    development_corpora: int = Field(default=4, ge=1)
    """Development corpora (documents no training stage sees)."""
    test_corpora: int = Field(default=4, ge=1)
    """Test corpora, read by the final study only."""
    companies: int = Field(default=8, ge=2)
    """Companies a corpus."""
    topics: int = Field(default=6, ge=1)
    """Topic pages a company."""
    train_questions: int = Field(default=1600, ge=1)
    """Training questions."""
    development_questions: int = Field(default=256, ge=1)
    """Development questions."""
    test_questions: int = Field(default=512, ge=1)
    """Test questions of the final study."""
    tier: Literal["core", "rich"] = "core"
    """`core` carries the targets; `rich` adds tables, charts, three-hop and unanswerable questions."""
    damaged_titles: float = Field(default=0.3, ge=0, le=1)
    """Share of pages whose title lost its topic word in the text layer."""
    vision_steps: int = Field(default=250, ge=1)
    """Base model: steps of dense perception pretraining."""
    alignment_steps: int = Field(default=250, ge=1)
    """Base model: steps of captioning and reading through the language model."""
    batch_size: int = Field(default=64, ge=1)
    """Images a pretraining step."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak learning rate of pretraining."""
    retriever_steps: int = Field(default=60, ge=1)
    """Contrastive steps of the late-interaction retriever."""


class CorporaConfig(Section):
    """Which corpora are trained on and which measure the result; their documents are disjoint."""

    train: str = "nano-train"
    """Corpus of the training questions."""
    development: str = "nano-development"
    """Corpus of the development questions."""


class Profile(Section):
    """Everything a run needs, resolved. A profile changes models and sizes, never code paths."""

    name: str
    """The profile's name."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """The seed every other seed derives from."""
    threads: int = Field(default=0, ge=0)
    """CPU threads of torch; 0 means all cores."""
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

    def save(self, path: Path) -> None:
        """Write the resolved configuration as YAML."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False), encoding="utf-8")


def load_profile(path: Path, overrides: dict[str, Any] | None = None) -> Profile:
    """Read and validate a profile; `overrides` maps dotted keys (`grpo.steps`) to values.

    Raises:
        ConfigError: naming the file and the key at fault.
    """
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


class Home:
    """The one folder under which a run writes everything (`VISOR_HOME`, default `.visor/`).

    Made once at the edge (command line, Dagster resource) and passed down; nothing below reads the environment.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().resolve()

    @property
    def dagster(self) -> Path:
        """Dagster's instance folder."""
        return self.root / "dagster"

    @property
    def mlflow(self) -> Path:
        """MLflow's database and artifacts."""
        return self.root / "mlflow"

    def corpus(self, name: str) -> Path:
        """One corpus: its sources, LanceDB tables, tags and questions."""
        return self.root / "corpora" / name

    def asset(self, *parts: str) -> Path:
        """Folder of an asset's files (checkpoints, datasets, trajectories)."""
        return self.root.joinpath("assets", *parts)

    @property
    def reports(self) -> Path:
        """HTML reports and episode pages."""
        return self.root / "reports"

    @property
    def bench(self) -> Path:
        """Measurements."""
        return self.root / "bench"
