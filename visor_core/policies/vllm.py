"""The throughput engine: vLLM with its core in a process of its own, fed by a thread, requests as coroutines.

Continuous batching, prefix caching and weight updates in place; log-probabilities are those of the sampling
distribution, as in policies/transformers.py. On a GPU draws are seeded by request, on CPU by engine: there vLLM 0.32
cannot rewind a request's generator after a part of its prompt and stops. Batching changes rounding anyway, so no
identity between runs is claimed. Left out: vLLM's own HTTP server (policies/openai_compatible.py speaks to it).
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import itertools
import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from visor_core.errors import PolicyError
from visor_core.policies.base import Closing, Completion, ImageLoader, ImageRef, Prompt, Sampling
from visor_core.policies.engine_statistics import EngineStatistics
from visor_core.policies.identity import checkpoint_digest, policy_code
from visor_core.policies.replies import with_prefix
from visor_core.policies.sampling import cut_reply, end_tokens, forbidden_tokens
from visor_core.policies.vllm_sampling import parameters_of, stopped_in_thought
from visor_core.policies.weights_check import check_folder, refuse_adapter

# vLLM is configured by environment variables, read at import and at start; a value the user set wins. The engine's core
# has a process of its own, so that searches and contexts do not wait for its interpreter lock, nor it for theirs; it
# ends with this one (vllm_logits). Nothing is reported to anyone.
_ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "1",
    "VLLM_WORKER_MULTIPROCESSING_METHOD": "spawn",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_DO_NOT_TRACK": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
}
_PLACE = frozenset(
    {"model", "gpu_memory_utilization", "device_ids", "distributed_executor_backend", "disable_log_stats"}
)
"""Options of vLLM that say where and how watched it runs; none of them reaches a reply."""
_ONE_PROCESS = "vllm.v1.executor.uniproc_executor.UniProcExecutor"


@dataclass(slots=True)
class _Job:
    """Something for the engine's thread to do: a request, or a call between steps."""

    future: concurrent.futures.Future[Any]
    prompt: dict[str, Any] | None = None
    parameters: Any = None
    call: Callable[[], Any] | None = None


class VLLMPolicy(Closing):
    """A checkpoint folder (or hub id) run by vLLM.

    `block_size` is the prefix cache's grain in tokens: a multiple of 32 is fastest on CPU. `max_model_len` is cut to
    the model's own unless `exact_length`; none takes the model's own, for which a long-context model keeps gigabytes.
    `gpu_memory` is the share of a GPU's memory it may take; none takes vLLM's default, nearly all. `gpu` is the GPU it
    runs on, counted among the visible ones; none takes vLLM's default, the first. `cuda_graphs` has decoding captured.
    The three mean nothing without a GPU.
    Close it when done: one engine a process is what vLLM supports. The engine's process is spawned, so a script that
    makes one needs `if __name__ == "__main__":`.

    Raises:
        PolicyError: if the engine cannot start.
    """

    def __init__(
        self,
        checkpoint: Path | str,
        images: ImageLoader,
        *,
        dtype: str = "float32",
        name: str = "",
        max_num_seqs: int = 128,
        max_model_len: int | None = None,
        block_size: int = 32,
        prefix_caching: bool = True,
        max_images: int = 16,
        seed: int = 0,
        gpu_memory: float | None = None,
        gpu: int | None = None,
        digests: Path | None = None,
        cuda_graphs: bool = True,
        exact_length: bool = False,
        **engine_options: Any,
    ) -> None:
        _refuse_unfit(checkpoint)
        for variable, value in _ENVIRONMENT.items():
            os.environ.setdefault(variable, value)
        from transformers import AutoConfig, AutoProcessor
        from vllm import EngineArgs
        from vllm.platforms import current_platform
        from vllm.v1.engine.llm_engine import LLMEngine

        from visor_core.policies.encoding import Encoder

        self.name = name or Path(checkpoint).name
        self.checkpoint = str(checkpoint)
        self._on_cpu = current_platform.is_cpu()
        try:
            self.encoder = Encoder(AutoProcessor.from_pretrained(str(checkpoint), trust_remote_code=False), images)
            config = AutoConfig.from_pretrained(str(checkpoint), trust_remote_code=False)
            self.forbidden = forbidden_tokens(self.encoder.tokenizer, config)
            arguments = {
                "model": str(checkpoint),
                "dtype": dtype,
                "enforce_eager": self._on_cpu or not cuda_graphs,
                "max_num_seqs": max_num_seqs,
                "max_model_len": max_model_len if exact_length else _fitting(max_model_len, config),
                "block_size": block_size,
                "enable_prefix_caching": prefix_caching,
                "limit_mm_per_prompt": {"image": max_images},
                "logprobs_mode": "processed_logprobs",
                "logits_processors": ["visor_core.policies.vllm_logits:ForbiddenTokens"],
                "additional_config": {"forbidden_token_ids": list(self.forbidden)},
                "trust_remote_code": False,
                "load_format": "safetensors",
                "disable_log_stats": True,
                "seed": seed,
                # By its full name: by its short one vLLM would, on CPU, put the model into a further process.
                **({"distributed_executor_backend": _ONE_PROCESS} if self._on_cpu else {}),
                **({} if self._on_cpu else _gpu_options(gpu_memory, gpu)),
            }
            self._options, self._digests = arguments | engine_options, digests
            with _threads_of_the_engine() if self._on_cpu else contextlib.nullcontext():
                self._engine = LLMEngine.from_engine_args(EngineArgs(**self._options))
        except (OSError, ValueError, RuntimeError, ImportError) as error:
            message = " ".join(str(error).split())[:300]
            raise PolicyError(f"vLLM cannot start on {checkpoint}: {message}") from error
        self.ends = end_tokens(self.encoder.tokenizer, _generation_config(str(checkpoint)))
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._waiting: dict[str, concurrent.futures.Future[Any]] = {}
        self._numbers = itertools.count()
        self.statistics = EngineStatistics()
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="vllm-engine", daemon=True)
        self._thread.start()

    def identity(self) -> dict[str, Any]:
        """The weights and files of the checkpoint, and the engine's options but for where it runs."""
        options = {key: value for key, value in self._options.items() if key not in _PLACE}
        return {
            "engine": "vllm",
            "code": policy_code(__name__),
            "weights": checkpoint_digest(self.checkpoint, self._digests),
            "options": json.loads(json.dumps(options, default=repr)),
        }

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Completion:
        """One completion; any number may be awaited at once.

        Raises:
            PolicyError: if the prompt does not fit the model or the engine has stopped.
        """
        started = time.perf_counter()
        outputs = [await asyncio.wrap_future(self._submit(prompt, sampling))]
        if stopped_in_thought(outputs[0], sampling, self.encoder.tokenizer):
            outputs.append(await asyncio.wrap_future(self._submit(prompt, sampling, outputs[0])))
        return self._completion(prompt, sampling, outputs, time.perf_counter() - started)

    def complete_batch(self, prompts: Sequence[Prompt], samplings: Sequence[Sampling]) -> list[Completion]:
        """Completions in order, all given to the engine at once."""
        started = time.perf_counter()
        futures = [self._submit(p, s) for p, s in zip(prompts, samplings, strict=True)]
        outputs = [[future.result()] for future in futures]
        going_on = [
            i for i, found in enumerate(outputs) if stopped_in_thought(found[0], samplings[i], self.encoder.tokenizer)
        ]
        further = [self._submit(prompts[i], samplings[i], outputs[i][0]) for i in going_on]
        for i, future in zip(going_on, further, strict=True):
            outputs[i].append(future.result())
        return [
            self._completion(prompt, sampling, found, time.perf_counter() - started)
            for prompt, sampling, found in zip(prompts, samplings, outputs, strict=True)
        ]

    def load_weights(self, folder: Path | str) -> None:
        """Replace the weights in place by those of a checkpoint folder of the same architecture.

        Requests in flight finish on the old weights first; the prefix and multimodal caches are emptied.

        Raises:
            PolicyError: if the folder holds no safetensors or the weights do not fit.
        """
        if not any(Path(folder).glob("*.safetensors")):
            raise PolicyError(f"no weights to load in {folder}: it must hold *.safetensors")
        _refuse_unfit(folder)

        def replace() -> None:
            self._engine.collective_rpc("reload_weights", kwargs={"weights_path": str(folder)})
            self._empty_caches()

        self._call(replace)
        self.checkpoint = str(folder)

    def reset_caches(self) -> None:
        """Empty the prefix and multimodal caches, once the requests in flight have finished."""
        self._call(self._empty_caches)

    def _empty_caches(self) -> None:
        self._engine.reset_mm_cache()
        self._engine.reset_encoder_cache()
        if not self._engine.reset_prefix_cache():
            raise PolicyError("vLLM did not empty its prefix cache: requests are still running")

    def _call(self, call: Callable[[], None]) -> None:
        """Run something in the engine's thread, between requests."""
        job = _Job(concurrent.futures.Future(), call=call)
        self._enqueue(job)
        job.future.result()

    def close(self) -> None:
        """Stop the engine and its thread; waiting requests fail."""
        if self._closed:
            return
        self._closed = True
        self._jobs.put(None)
        self._thread.join()
        self._engine.engine_core.shutdown()
        context = getattr(self._engine.engine_core, "ctx", None)
        if context is not None:  # vLLM leaves the sockets' context of its client open
            context.destroy(linger=0)

    def _submit(self, prompt: Prompt, sampling: Sampling, begun: Any = None) -> concurrent.futures.Future[Any]:
        """Hand a request to the engine's thread; the future is vLLM's finished `RequestOutput`.

        `begun` is the output that the reply goes on from, this time to its own end.
        """
        written = [] if begun is None else list(begun.outputs[0].token_ids)
        request: dict[str, Any] = {"prompt_token_ids": [*self.encoder.compact_ids(prompt), *written]}
        if prompt.images:
            request["multi_modal_data"] = {"image": [self.encoder.loader(ref) for ref in prompt.images]}
            # A reference names its pixels (the page id holds the document's hash), which spares hashing them.
            request["multi_modal_uuids"] = {"image": [_uuid(ref) for ref in prompt.images]}
        if begun is not None:
            sampling = replace(sampling, max_tokens=sampling.max_tokens - len(written), stop=())
        job = _Job(
            concurrent.futures.Future(),
            prompt=request,
            parameters=parameters_of(sampling, self.ends, seeded=not self._on_cpu),
        )
        self._enqueue(job)
        return job.future

    def _enqueue(self, job: _Job) -> None:
        if not self._thread.is_alive():
            raise PolicyError(f"the vLLM engine of {self.checkpoint} has stopped: load the policy again")
        self._jobs.put(job)

    def _serve(self) -> None:
        """The engine's thread: take jobs, step, hand out what has finished."""
        try:
            while True:
                if not self._take_jobs():
                    return
                self._step()
        finally:
            fault = sys.exc_info()[1]
            reason = f"{type(fault).__name__}: {fault}" if fault else "it was closed"
            while not self._jobs.empty():
                job = self._jobs.get()
                if job is not None and job.future.set_running_or_notify_cancel():
                    self._waiting[f"unserved-{next(self._numbers)}"] = job.future
            for future in self._waiting.values():
                future.set_exception(PolicyError(f"the vLLM engine of {self.checkpoint} has stopped ({reason})"))

    def _take_jobs(self) -> bool:
        """Take every waiting job, or wait for one when the engine is idle; false once the policy is closed."""
        while True:
            try:
                job = self._jobs.get(block=not self._engine.has_unfinished_requests())
            except queue.Empty:
                return True
            if job is None:
                return False
            if not job.future.set_running_or_notify_cancel():
                continue
            if job.call is None:
                self._add(job)
            else:
                self._drain()
                _settle(job.future, job.call)

    def _drain(self) -> None:
        """Finish every request in flight."""
        while self._engine.has_unfinished_requests():
            self._step()

    def _step(self) -> None:
        """One step of the engine; what has finished is handed out."""
        for output in self._engine.step():
            if output.finished:
                self._waiting.pop(output.request_id).set_result(output)

    def _add(self, job: _Job) -> None:
        from vllm.exceptions import VLLMClientError

        request_id = str(next(self._numbers))
        self._waiting[request_id] = job.future
        try:
            self._engine.add_request(request_id, job.prompt, job.parameters)
        except (ValueError, TypeError, VLLMClientError) as error:
            del self._waiting[request_id]
            message = " ".join(str(error).split())[:300]
            job.future.set_exception(PolicyError(f"vLLM refuses a prompt of {self.name}: {message}"))

    def _completion(self, prompt: Prompt, sampling: Sampling, outputs: Sequence[Any], seconds: float) -> Completion:
        """A reply of one output, or of two where the second goes on from the first."""
        output = outputs[0]
        tokens = [token for part in outputs for token in part.outputs[0].token_ids]
        steps = [step for part in outputs for step in part.outputs[0].logprobs]
        kept, text, reason = cut_reply(self.encoder.tokenizer, tokens, sampling, self.ends)
        prompt_ids = tuple(output.prompt_token_ids)
        cached = output.num_cached_tokens or 0
        self.statistics = self.statistics.plus(len(prompt_ids), cached, len(tokens))
        return Completion(
            text=with_prefix(text, prompt.forced_prefix, sampling.thought),
            token_ids=tuple(tokens[:kept]),
            logprobs=tuple(step[token].logprob for step, token in zip(steps, tokens, strict=True))[:kept],
            prompt_ids=prompt_ids,
            prompt_tokens=len(prompt_ids),
            image_tokens=prompt_ids.count(self.encoder.image_token_id),
            cached_tokens=cached,
            finish_reason=reason,
            seconds=seconds,
        )


def _refuse_unfit(checkpoint: Path | str) -> None:
    """Refuse a folder whose weights are not all those of its model: vLLM leaves what is missing as it lies in memory.

    Raises:
        PolicyError: naming what is wrong.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForImageTextToText

    refuse_adapter(checkpoint)
    if not Path(checkpoint).is_dir():
        return  # a hub id: vLLM fetches it
    try:
        check_folder(AutoModelForImageTextToText.from_pretrained, Path(checkpoint))
    except (OSError, ValueError, ImportError, RuntimeError, SafetensorError) as error:
        message = " ".join(str(error).split())
        raise PolicyError(f"no usable checkpoint at {checkpoint}: {message[:600]}") from error


def _fitting(wanted: int | None, config: Any) -> int | None:
    """A context length that the model's positions can hold."""
    own = getattr(config.get_text_config(), "max_position_embeddings", None)
    return wanted if wanted is None or own is None else min(wanted, int(own))


def _gpu_options(memory: float | None, index: int | None) -> dict[str, Any]:
    """Which GPU, counted among the visible ones, and how much of its memory, in vLLM's words."""
    options: dict[str, Any] = {}
    if memory is not None:
        options["gpu_memory_utilization"] = memory
    if index is not None:
        options["device_ids"] = [index]
    return options


@contextlib.contextmanager
def _threads_of_the_engine() -> Iterator[None]:
    """The engine's process, which inherits this setting, leaves one core to this one's searches and contexts."""
    before = os.environ.get("OMP_NUM_THREADS")
    if before is None:
        os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 2) - 1))
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]


def _settle(future: concurrent.futures.Future[Any], call: Callable[[], Any]) -> None:
    """Run a call and give its future the result or the reason it failed."""
    try:
        future.set_result(call())
    except PolicyError as error:
        future.set_exception(error)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        future.set_exception(
            PolicyError(f"vLLM cannot change its weights or caches: {' '.join(str(error).split())[:300]}")
        )


def _uuid(ref: ImageRef) -> str:
    """A name for exactly these pixels."""
    return f"{ref.page_id}/{ref.width}x{ref.height}/{','.join(map(repr, ref.box.as_tuple()))}"


def _generation_config(checkpoint: str) -> Any:
    """The checkpoint's generation settings, none if it has no such file."""
    from transformers import GenerationConfig

    try:
        return GenerationConfig.from_pretrained(checkpoint)
    except OSError:
        return None
