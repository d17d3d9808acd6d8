"""What calls of paid endpoints have cost, as sums over the ledger (`policies.calls`)."""

from __future__ import annotations

from dataclasses import dataclass


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
