"""Worker of the asset `champion_model`: evaluates the reigning champion on today's index and questions."""

from __future__ import annotations

from assets_defs.machinery.builds import INCOMPLETE
from pipelines.workers.benchmark import evaluate_checkpoint
from pipelines.workers.session import worker_session
from visor_core.evaluation.gate import REIGNING


def main() -> None:
    """Evaluate and report; episodes lie beside the builds, so that a later gate finds them again."""
    with worker_session() as session:
        kept = session.folder.parent / "episodes"
        figures, lacking = evaluate_checkpoint(session, REIGNING, session.profile.evaluation, REIGNING, kept=kept)
        session.report(session.folder.name, figures | ({INCOMPLETE: lacking} if lacking else {}))


if __name__ == "__main__":
    main()
