"""A policy that is a function of the prompt: teachers, tests and stored replies. No model, no token ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from visor_core.policies.base import Completion, Prompt, Sampling
from visor_core.policies.replies import with_prefix


class ScriptedPolicy:
    """Calls `function` with the prompt; `count_tokens`, if given, fills the prompt's token count."""

    reproducible: Literal[True] = True

    def __init__(
        self,
        function: Callable[[Prompt], str],
        *,
        name: str = "scripted",
        count_tokens: Callable[[Prompt], int] | None = None,
    ) -> None:
        self.name = name
        self.checkpoint = ""
        self._function = function
        self._count_tokens = count_tokens

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Completion:
        """The function's text."""
        return self._write(prompt)

    def complete_batch(self, prompts: Sequence[Prompt], samplings: Sequence[Sampling]) -> list[Completion]:
        """The function's texts, in order."""
        return [self._write(prompt) for prompt in prompts]

    def _write(self, prompt: Prompt) -> Completion:
        text = with_prefix(self._function(prompt), prompt.forced_prefix, Sampling().thought)
        return Completion(text=text, prompt_tokens=self._count_tokens(prompt) if self._count_tokens else 0)
