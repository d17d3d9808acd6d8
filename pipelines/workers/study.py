"""Worker of the asset `study_figures`: measures one variant of a seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assets_defs.machinery.stage import Figure, folder_version
from pipelines.commit import commit
from pipelines.workers.session import worker_session
from visor_core.config.policies import POLICIES, REINFORCED

if TYPE_CHECKING:
    from visor_core.nano.study_figures import VariantFigures


def main() -> None:
    """Measure what the profile's variant asks for and report it; goes on with the episodes that were played before."""
    with worker_session() as session:
        from visor_core.nano.ablations import played_agent
        from visor_core.nano.study import Reading, measure
        from visor_core.nano.study_figures import FIGURES, Chain, Split
        from visor_core.nano.study_variants import nano_of
        from visor_core.nano.world import write_world
        from visor_core.questions import read_questions

        profile, nano = session.profile, nano_of(session.profile)
        chain = Chain(
            profile=profile,
            folders={name: session.input(name) for name in session.inputs if name not in ("questions", "index_tag")},
            kept=session.folder / "figures",
            # Beside the builds: what was played to choose temperatures is not played again to report on test.
            episodes=session.folder.parent / "episodes",
            open_policy=lambda stage, index: session.open_policy(
                stage, index, profile.evaluation.concurrency, played_agent(profile)
            ),
        )
        development = None
        if "questions" in session.inputs:
            pages = session.input("nano_corpus") / "development"
            world = write_world(pages, "development", nano, profile.seed)
            development = Split(chain, world, read_questions(session.input("questions")), session.open_index())
        reading = Reading(session.home.root / "study", commit())
        found = measure(chain, development, reading, lambda line: session.progress.show(0, 0, line))
        if development is not None:
            development.index.close()
        session.report(folder_version(chain.kept, FIGURES), _shown(found))


def _shown(found: VariantFigures) -> dict[str, Figure]:
    """Key figures: supported success of each policy, greedy and at T = 1."""
    runs = {REINFORCED.run(sampled=name == "sampled"): run for name, run in found.rival.items()}
    for policy in POLICIES:
        if policy.short in found.policies:
            runs[policy.run()] = found.policies[policy.short].greedy
            runs[policy.run(sampled=True)] = found.policies[policy.short].sampled
    shares = {f"{name}_supported": sum(run.supported) / len(run.supported) for name, run in runs.items()}
    return {"questions": len(found.strata.hops), **{name: round(share, 4) for name, share in shares.items()}}


if __name__ == "__main__":
    main()
