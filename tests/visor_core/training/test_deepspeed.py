"""What can be known of DeepSpeed without it: accelerate's side of a step, and weights that are only there in a call."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType
from accelerate.utils.deepspeed import DeepSpeedEngineWrapper

from visor_core.training import forward
from visor_core.training.loop import accumulate


class Engine:
    """Records what accelerate asks of an engine."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def set_gradient_accumulation_boundary(self, *, is_boundary: bool) -> None:
        self.asked.append("last" if is_boundary else "more")

    def backward(self, loss: torch.Tensor) -> None:
        self.asked.append(f"backward {float(loss):g}")

    def step(self) -> None:
        self.asked.append("step")


@pytest.fixture
def accelerator(monkeypatch: pytest.MonkeyPatch) -> Accelerator:
    """An accelerator in the state of DeepSpeed's stage 2."""
    made = Accelerator(cpu=True)
    for state in (AcceleratorState, PartialState):
        monkeypatch.setitem(state._shared_state, "distributed_type", DistributedType.DEEPSPEED)
    made.deepspeed_engine_wrapped = DeepSpeedEngineWrapper(Engine())
    return made


def test_the_engine_steps_once_after_the_last_micro_batch(accelerator: Accelerator) -> None:
    """However many micro-batches there are: clipping, too, is done in the engine's step."""
    trainer = SimpleNamespace(accelerator=accelerator, compute_loss_context_manager=torch.enable_grad)
    parts = [torch.tensor(float(i)) for i in range(1, 4)]
    loss = accumulate(trainer, torch.nn.Linear(1, 1), [lambda part=part: part for part in parts])
    assert float(loss) == 6.0
    assert accelerator.deepspeed_engine_wrapped.engine.asked == [
        *("more", "backward 1", "more", "backward 2", "last", "backward 3", "step")
    ]


def test_a_head_without_rows_outside_its_own_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stage 3 empties a weight but for the call of its module, forward and backward, where it is gathered once each.

    Scoring in three chunks equals that of the whole head, and so do its gradients.
    """
    torch.manual_seed(0)
    head = torch.nn.Linear(4, 9, bias=False)
    states, targets = torch.randn(5, 4, requires_grad=True), torch.tensor([1, 2, 3, 4, 5])
    forward.let_score(head, 1.0, torch.tensor([0]))

    def gradients() -> list[torch.Tensor]:
        log_probs, entropies, hits = head(states, targets)
        found = torch.autograd.grad(log_probs.sum() + 0.3 * entropies.sum(), [states, head.weight])
        return [log_probs.detach(), entropies.detach(), hits, *found]

    expected = gradients()
    whole, empty = head.weight.data, torch.empty(0)
    gathered: list[str] = []

    def give(when: str) -> Callable[..., None]:
        def gather(module: Any, *rest: Any) -> None:
            gathered.append(when)
            module.weight.data = whole

        return gather

    def take(module: Any, *rest: Any) -> None:
        module.weight.data = empty

    head.register_forward_pre_hook(give("forward"))
    head.register_forward_hook(take)
    head.register_full_backward_pre_hook(give("backward"))
    head.weight.data = empty
    monkeypatch.setattr(forward, "CHUNK_ELEMENTS", 20)
    for found, value in zip(gradients(), expected, strict=True):
        torch.testing.assert_close(found, value, rtol=0, atol=1e-6)
    assert gathered == ["forward", "backward"]
    take(head)
    assert float(forward._touch(head)) == 0.0
