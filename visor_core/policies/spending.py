"""What a server has been asked for over several calls: a limit of cost holds for the work, not for each start of it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from visor_core.errors import DataError
from visor_core.files import write_json
from visor_core.policies.openai_compatible import Usage


@dataclass(frozen=True, slots=True)
class Spent:
    """What calls of one endpoint, model and purpose have cost so far.

    `paid` calls brought a reply, of which `unknown` did not say their tokens; `failed` ones were refused; those `in
    doubt` may have been paid (a time-out, a kill), and may have cost `doubtful_tokens` and `doubtful_cost` besides, by
    the completed calls of the same content.
    """

    endpoint: str
    model: str
    purpose: str
    paid: int
    failed: int
    in_doubt: int
    in_flight: int
    unknown: int
    prompt_tokens: float
    completion_tokens: float
    cost: float
    doubtful_tokens: float
    doubtful_cost: float

    @property
    def most_tokens(self) -> float:
        """Tokens if everything in doubt was paid."""
        return self.prompt_tokens + self.completion_tokens + self.doubtful_tokens

    @property
    def most_cost(self) -> float:
        """Money if everything in doubt was paid."""
        return self.cost + self.doubtful_cost


SPENT = "spent.json"
"""Beside the episodes that were paid for."""


class Metered(Protocol):
    """A policy that adds up what it costs."""

    usage: Usage


def count_in(policy: Metered, path: Path) -> None:
    """Begin where an earlier call has stopped: its totals are part of this policy's.

    Raises:
        DataError: if they cannot be read.
    """
    if not path.is_file():
        return
    usage = policy.usage
    try:
        spent = json.loads(path.read_text(encoding="utf-8"))
        usage.requests += int(spent["requests"])
        usage.retries += int(spent["retries"])
        usage.prompt_tokens += int(spent["prompt_tokens"])
        usage.completion_tokens += int(spent["completion_tokens"])
        usage.cost += float(spent["cost"])
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path} is damaged: write down there what the teacher has cost, or delete it") from error


def note_down(policy: Metered, path: Path) -> None:
    """Keep the totals for the next call."""
    write_json(path, asdict(policy.usage))
