"""`visor ask`: a question of a corpus, answered in one episode; and how any command chooses its policy.

`ask` works with any policy: a local checkpoint, or a model behind an OpenAI-compatible server.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.markup import escape

from pipelines.cli.corpus import WHERE
from pipelines.cli.scripted import POLICY, index_for, scripted_policy, weights_of
from pipelines.cli.session import (
    console,
    errors,
    home_of,
    open_index,
    read_lineage,
    reason_of,
    resolve_profile,
)
from pipelines.cli.unread import print_unread_of
from visor_core.errors import ConfigError, DataError, PolicyError

if TYPE_CHECKING:
    from visor_core.agent.state import EpisodeState
    from visor_core.agent.trajectory import Trajectory
    from visor_core.config import Home, Profile
    from visor_core.index import PageIndex
    from visor_core.policies.base import ImageLoader, Policy
    from visor_core.policies.calls import Account

CHECKPOINT = typer.Option(None, "--checkpoint", help="Folder of the policy, or a build.", show_default="the champion")
ENDPOINT = typer.Option(
    "", "--endpoint", help="OpenAI-compatible server, as http://host:port/v1, env:NAME or file:PATH."
)
MODEL = typer.Option("", "--model", help="Model name at the endpoint.")
API_KEY = typer.Option("", "--api-key", help="Reference to the key: env:NAME or file:PATH, never the key itself.")
ENGINE = typer.Option("transformers", "--engine", help="What runs a checkpoint: transformers or vllm.")
AGENT_PROFILE = typer.Option("", "--profile", help="Profile of the agent.", show_default="the checkpoint's own")
STRATEGY = typer.Option("", "--strategy", help="visor, unidoc, vrag, react or vanilla.", show_default="the profile's")
SETTINGS = typer.Option([], "--set", help="Override a setting, as section.key=value; may be repeated.")


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(ask)


def ask(
    context: typer.Context,
    question: str = typer.Argument(..., help="The question."),
    corpus: str = typer.Option("documents", "--corpus", help="Name of the corpus."),
    tag: str = typer.Option("latest", "--tag", help="Index tag to read."),
    partition: str = typer.Option("", "--partition", help="Restrict the search to one part of the corpus."),
    where: list[str] = WHERE,
    policy: str = POLICY,
    checkpoint: Path | None = CHECKPOINT,
    endpoint: str = ENDPOINT,
    model: str = MODEL,
    api_key: str = API_KEY,
    engine: str = ENGINE,
    profile: str = AGENT_PROFILE,
    strategy: str = STRATEGY,
    temperature: float = typer.Option(0.0, min=0.0, help="Sampling temperature; 0 is greedy."),
    seed: int = typer.Option(0, help="Seed of the sampling noise."),
    settings: list[str] = SETTINGS,
) -> None:
    """Answer a question: prints each turn, the answer and its evidence, and writes an HTML page with the pictures."""
    from pipelines.cli.judging import counted
    from visor_core.agent.environment import Environment
    from visor_core.agent.episode import rollouts_of, run_episode
    from visor_core.config import derived
    from visor_core.policies.base import ConnectedPolicy
    from visor_core.policies.identity import digest_of
    from visor_core.questions import Question

    if not question.strip():
        raise ConfigError("the question is empty")
    settings = [*settings, *([f"index.where={json.dumps(where)}"] if where else [])]
    home = home_of(context)
    folder = weights_of(home, policy, checkpoint, endpoint, model)
    settled = agent_profile(profile, settings, strategy, folder, model if endpoint else "")
    index = open_index(home, corpus, tag, settled, settings)
    print_unread_of(home, corpus, index)
    if "retries" not in settled.server.model_fields_set:  # somebody waits
        settled = derived(settled, {"server.retries": 2}, "visor ask")
    warn_about_nano(folder, corpus)
    name = hashlib.sha256(f"{corpus} {partition} {question}".encode()).hexdigest()[:12]
    asked = Question(f"ask-{name}", question, (), benchmark="ask", partition=partition)
    if policy:
        player = scripted_policy(policy, index, settled, [asked])
    else:
        account = context.with_resource(counted(home, "ask")) if endpoint else None
        player = choose_policy(index, folder, endpoint, model, api_key, engine, settled, home.digests, account)
    environment = Environment(index_for(policy, index, [asked]), settled.agent, settled.index)
    (rollout,) = rollouts_of([asked], seed=seed, temperature=temperature)
    console.print(f"[dim]{escape(player.name)} on corpus {escape(corpus)}, index {index.tag}[/dim]", soft_wrap=True)

    identity = digest_of(player.identity())

    async def play() -> Trajectory:
        try:
            return await run_episode(environment, player, rollout, on_turn=_print_turn, identity=identity)
        finally:
            if isinstance(player, ConnectedPolicy):
                await player.disconnect()

    with player:
        episode = asyncio.run(play())
    if episode.outcome == "error":
        raise PolicyError(episode.error)
    _print_answer(episode)  # before anything that a full or read-only disk can stop
    _keep_episode(home, episode, index)


def _keep_episode(home: Home, episode: Trajectory, index: PageIndex) -> None:
    """Store an episode for `replay` and write its page.

    Raises:
        DataError: naming what could not be kept, and why.
    """
    from visor_core.files import write_text
    from visor_core.index.page_links import PageLinks
    from visor_core.trajectories.store import TrajectoryWriter
    from visor_core.trajectories.viewer import episode_html

    lost: list[str] = []
    try:
        with TrajectoryWriter(home.asset("asked")) as writer:
            writer.append(episode)
    except OSError as error:
        lost.append(f"the episode ({reason_of(error)})")
    path = home.reports / f"ask-{episode.trajectory_id}.html"
    try:
        write_text(path, episode_html(episode, index, address_of=PageLinks(index)))
        console.print(f"page with the pictures: {path}", markup=False, soft_wrap=True)
    except OSError as error:
        lost.append(f"its page ({reason_of(error)})")
    if lost:
        raise DataError(f"the answer stands above, but {home.root} could not keep {' and '.join(lost)}")


def agent_profile(
    profile: str, settings: list[str], strategy: str, checkpoint: Path | None, served: str = ""
) -> Profile:
    """The agent's settings: those of a profile, else the ones the checkpoint was trained under, else the defaults.

    What they leave open of boxes and pictures follows the known family of the checkpoint or of the `served` model, and
    what contradicts that family is said.

    Raises:
        ConfigError: if profile, setting or strategy is unknown.
    """
    from pipelines.cli.session import note, parse_settings
    from visor_core.config import apply_overrides, contradictions, family_of, fit_agent

    wanted = [*settings, *([f"agent.strategy={strategy}"] if strategy else [])]
    if profile:
        settled = resolve_profile(profile, wanted)
    else:
        trained = read_lineage(checkpoint).get("configuration") if checkpoint else None
        settled = apply_overrides(trained or {"name": "default"}, parse_settings(wanted), "the checkpoint's settings")
    player = served or str(checkpoint or "")
    settled = settled.model_copy(update={"agent": fit_agent(settled.agent, family_of(player))})
    note(contradictions(player, settled.agent.coordinates, settled.agent.image, "agent"))
    return settled


def choose_policy(
    index: ImageLoader,
    checkpoint: Path | None,
    endpoint: str,
    model: str,
    api_key: str,
    engine: str,
    profile: Profile,
    digests: Path,
    account: Account | None = None,
) -> Policy:
    """The policy of a checkpoint, or of an endpoint, which is asked as the profile's `server` says.

    `digests` keeps the hashes of checkpoint files, `account` what an endpoint costs.

    Raises:
        ConfigError: if an endpoint has no model name, or the engine is unknown.
        PolicyError: if it cannot be loaded.
    """
    from visor_core.agent.bounds import engine_limits
    from visor_core.config import SecretReference
    from visor_core.policies.load import load_policy

    if engine not in ("transformers", "vllm"):
        raise ConfigError(f"--engine {engine!r} is not one of transformers, vllm")
    if endpoint:
        if not model:
            raise ConfigError("--endpoint needs --model NAME: the name the server knows the model by")
        key = SecretReference.parse(api_key, "--api-key") if api_key else None
        return load_policy(model, index, base_url=endpoint, api_key=key, server=profile.server, account=account)
    if api_key or model:
        raise ConfigError("--model and --api-key belong to --endpoint URL: a checkpoint needs neither")
    assert checkpoint is not None
    _quiet_transformers()
    name = str(read_lineage(checkpoint).get("asset", "")) or checkpoint.name
    limits = engine_limits(profile.agent, profile.model.vllm, episodes=profile.evaluation.concurrency)
    policy = load_policy(
        checkpoint,
        index,
        engine=engine,
        dtype=profile.model.dtype,
        name=name,
        digests=digests,
        limits=limits,
        caches=profile.model.caches,
    )
    _warn_about_image_tokens(policy, profile)
    return policy


def _warn_about_image_tokens(policy: Policy, profile: Profile) -> None:
    """Say so where the profile's estimate of image tokens is not what the checkpoint's own processor makes."""
    from visor_core.policies.image_tokens import contradiction

    encoder = getattr(policy, "encoder", None)  # what runs a checkpoint here encodes for itself
    said = contradiction(encoder.processor, profile.agent.image) if encoder is not None else ""
    if said:
        errors.print(f"note: {escape(said)}", style="yellow", soft_wrap=True)


def _quiet_transformers() -> None:
    """No progress bars and advice of a library between the lines of an episode."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def warn_about_nano(checkpoint: Path | None, corpus: str) -> None:
    """Say so when the embedded model is asked about documents it cannot read."""
    if checkpoint and read_lineage(checkpoint).get("profile") == "nano" and not corpus.startswith("nano"):
        errors.print(
            "note: the embedded model reads the synthetic nano documents only; for your own documents give"
            " --endpoint URL --model NAME, or a checkpoint of a pretrained model",
            style="yellow",
            soft_wrap=True,
        )


def _print_turn(state: EpisodeState) -> None:
    """One finished turn: what was thought and done, and what came back."""
    from visor_core.policies.replies import describe_empty

    turn = state.turns[-1]
    action, seen = turn.action, turn.observation
    empty = describe_empty(turn.completion, turn.prompt.forced_prefix)
    what = {
        "search": f"search “{action.text}”",
        "crop": f"crop {list(action.box or ())}",
        "select": f"select {action.choice}",
        "answer": "answer",
        "invalid": empty or f"not understood: {action.text}",
    }[action.kind]
    came = {
        "page": "page shown",
        "candidates": f"{len(seen.images)} candidates shown",
        "crop": "region shown",
        "retry": f"asked to retry: {seen.fault}",
        "exhausted": "no page left to show",
        "final": "done",
    }[seen.kind]
    where = ", ".join(f"{entry.document} page {entry.page}" for entry in turn.evidence_added)
    forced = " (forced)" if turn.forced else ""
    console.print(f"[bold]{turn.index}[/bold] {escape(what)}{forced} → {escape(came)}", soft_wrap=True)
    if action.thought:
        console.print(f"  [dim]{escape(' '.join(action.thought.split()))}[/dim]", soft_wrap=True)
    if where:
        console.print(f"  [dim]noted: {escape(where)}[/dim]", soft_wrap=True)


def _print_answer(episode: Trajectory) -> None:
    console.print(f"\n[bold]{escape(episode.answer or '(no answer)')}[/bold]", soft_wrap=True)
    for citation in episode.citations:
        box = citation.box
        where = "" if box is None else f", box {box.x0:.2f} {box.y0:.2f} {box.x1:.2f} {box.y1:.2f}"
        console.print(f"  {escape(citation.document)}, page {citation.page}{where}", soft_wrap=True)
    tokens = episode.tokens()["prompt_tokens"]
    counted = "" if tokens is None else f", {tokens} prompt tokens"
    cost = sum(turn.completion.cost for turn in episode.turns)
    spent = f", cost {cost:.4g}" if cost else ""
    console.print(
        f"[dim]{len(episode.turns)} turns{counted}{spent}, {episode.seconds:.1f} s, {episode.outcome}[/dim]",
        soft_wrap=True,
    )
