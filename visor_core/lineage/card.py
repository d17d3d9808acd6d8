"""The model card of a checkpoint: where it comes from, what it scored under which protocol, beside what.

One template. The comparison in it is the one of the benchmark that measured the checkpoint (`evaluation.comparison`);
published figures stand apart, with their source and their protocol.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from visor_core.config import Home
from visor_core.config.policies import POLICIES
from visor_core.evaluation.comparison import Comparison, against_the_warm_start
from visor_core.evaluation.comparison_text import comparison_markdown, plain_cell, published_markdown
from visor_core.evaluation.results import BenchmarkResult
from visor_core.evaluation.verdicts import RULE
from visor_core.lineage.comparison import results_of
from visor_core.lineage.graph import Build, Lineage, Made
from visor_core.lineage.listing import code_line, machine_line, packages_line

TEMPLATE = """---
library_name: transformers
pipeline_tag: image-text-to-text
tags: [visor, document-question-answering]
---

# {profile}: {node} {fingerprint}

A policy that answers questions over visually rich documents by searching, cropping and reading, trained by VISOR.

- base model: {base}
- strategy `{strategy}`, seed {seed}
- weights: SHA-256 {weights}
- trained on {index}
- code: {code}
- {packages}
- machine: {machine}

## Results

{results}
{comparison}{published}## Use

```
visor import FOLDER
visor ask "…" --checkpoint {fingerprint}
```

`lineage/` holds what it was made from, down to document hashes; `visor reproduce` rebuilds it from that.
"""


def card(
    build: Build,
    lineage: Lineage,
    index: Mapping[str, Any],
    results: Mapping[str, BenchmarkResult],
    comparison: Comparison | None = None,
) -> str:
    """The model card.

    Args:
        index: what is recorded of the index that it was trained on.
        results: the checkpoint's own evaluations by name.
        comparison: the benchmark it was measured in, all of its policies.
    """
    stored = build.stored
    base = next((above for above in lineage.builds if above.stage == "base_model"), None)
    documents = index.get("counts", {}).get("documents", 0)
    benchmarks = sorted({result.benchmark for result in results.values()})
    published = "\n".join(text for name in benchmarks if (text := published_markdown(name)))
    compared = f"## Compared\n\n{comparison_markdown(comparison)}\n" if comparison is not None else ""
    return TEMPLATE.format(
        profile=stored["profile"],
        node=build.node,
        fingerprint=build.fingerprint,
        base=f"`{stored['configuration']['model']['name']}`" + (f", data {base.data_version}" if base else ""),
        strategy=stored["configuration"]["agent"]["strategy"],
        seed=stored["seed"],
        weights=stored.get("weights", ""),
        index=f"index `{index.get('tag', 'none')}` of corpus `{index.get('corpus', '')}`, {documents} documents",
        code=code_line(build),
        packages=packages_line(build),
        machine=machine_line(build),
        results=_results(results),
        comparison=compared,
        published=f"## Published by others\n\nProtocols differ: none of these is a figure of this checkpoint.\n\n"
        f"{published}\n"
        if published
        else "",
    )


def beside(home: Home, build: Build, known: Mapping[Made, Build]) -> Comparison | None:
    """The newest benchmark that measured a checkpoint, its policies compared; None if none did.

    Raises:
        DataError: if a result cannot be read.
    """
    if not any(policy.stage == build.stage for policy in POLICIES):
        return None
    measured = [
        other
        for other in known.values()
        if other.stage == "benchmark_results" and build.made in other.upstream and other.folder(home).exists()
    ]
    if not measured:
        return None
    return against_the_warm_start(results_of(max(measured, key=lambda b: str(b.stored["created"])), home))


def _results(results: Mapping[str, BenchmarkResult]) -> str:
    """A line an evaluation and protocol."""
    if not results:
        return "None are recorded.\n"
    lines = [
        "| evaluation | benchmark | questions | protocol | answers right | supported |",
        "|---|---|---|---|---|---|",
    ]
    for name, result in sorted(results.items()):
        benchmark = f"{result.benchmark} {result.split}".strip()
        rows = [(f"{RULE}: {result.rule}", str(result.answers_right), str(result.supported_success))]
        rows += [(p.label, str(p.right), str(p.supported)) for p in result.protocols]
        for protocol, right, supported in rows:
            cells = (name, benchmark, str(len(result.episodes)), protocol, right, supported)
            lines.append(f"| {' | '.join(map(plain_cell, cells))} |")
    return "\n".join([*lines, "", "In brackets: Wilson's 95 % intervals.", ""])
