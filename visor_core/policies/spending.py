"""What a server has been asked for over several calls: a limit of cost holds for the work, not for each start of it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from visor_core.errors import DataError
from visor_core.files import write_json
from visor_core.policies.openai_compatible import Usage

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
