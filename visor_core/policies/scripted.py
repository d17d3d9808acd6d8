"""A policy that is a function of the prompt: teachers, tests and stored replies. No model, no token ids."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from types import CodeType
from typing import Any, Literal

from visor_core.policies.base import Closing, Completion, Prompt, Sampling
from visor_core.policies.replies import with_prefix


def _body(constant: object) -> str:
    """Compiled code as text: instructions, names and constants, inner functions included; the same in every process."""
    if isinstance(constant, CodeType):
        inner = [_body(value) for value in constant.co_consts]
        return f"{constant.co_code.hex()} {constant.co_names} {inner}"
    return repr(sorted(map(repr, constant))) if isinstance(constant, frozenset) else repr(constant)


class ScriptedPolicy(Closing):
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

    def identity(self) -> dict[str, Any]:
        """The name, and what the function does; values that it closes over are not looked at: name them."""
        code = getattr(self._function, "__code__", None)
        body = _body(code) if code else f"{type(self._function).__module__}.{type(self._function).__qualname__}"
        return {"engine": "scripted", "name": self.name, "function": hashlib.sha256(body.encode()).hexdigest()[:16]}

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Completion:
        """The function's text."""
        return self._write(prompt)

    def complete_batch(self, prompts: Sequence[Prompt], samplings: Sequence[Sampling]) -> list[Completion]:
        """The function's texts, in order."""
        return [self._write(prompt) for prompt in prompts]

    def _write(self, prompt: Prompt) -> Completion:
        text = with_prefix(self._function(prompt), prompt.forced_prefix, Sampling().thought)
        return Completion(text=text, prompt_tokens=self._count_tokens(prompt) if self._count_tokens else 0)
