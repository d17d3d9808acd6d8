"""Judges answers against a server and prints the verdicts; a test kills it: `judging_script.py URL LEDGER COUNT`."""

import json
import sys
from pathlib import Path

from visor_core.config import ServerConfig
from visor_core.config.judging import shipped_protocol_texts
from visor_core.evaluation.judging import Asked, Protocol, ask
from visor_core.policies.calls import Account, Calls
from visor_core.policies.openai_compatible import OpenAICompatiblePolicy

CONCURRENCY = 8


def wanted(count: int) -> list[Asked]:
    """Answers to judge: every third is right, every tenth is asked for twice until its verdict can be read."""
    return [
        Asked(f"q{n}", f"How many in row {n}?", (str(n),), "first unclear" if n % 10 == 9 else str(n + n % 3))
        for n in range(count)
    ]


def main(url: str, ledger: str, count: str) -> None:
    """Judge, and print one JSON list of verdicts."""
    server = ServerConfig(concurrency=CONCURRENCY, backoff_seconds=0.01)
    with Calls(Path(ledger)) as calls:
        policy = OpenAICompatiblePolicy(
            url, "judge", lambda _: None, server=server, account=Account(calls, "judge", "killed")  # type: ignore[arg-type,return-value]
        )  # fmt: skip
        found = ask(policy, Protocol("judge", shipped_protocol_texts()), wanted(int(count)))
    print(json.dumps([[verdict.question_id, verdict.score, verdict.error] for verdict in found]))


if __name__ == "__main__":
    main(*sys.argv[1:])
