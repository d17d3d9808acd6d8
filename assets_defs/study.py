"""Assets `study_variant`, `study_budgets` and `study_table`: the study, a seed and a variant at a time.

A partition is a seed and a variant. Its work is to run the stages of the variant's profile (`machinery.nested`), so it
shares builds with all others and resumes as they do. The test split is read only by a run that says so.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from assets_defs.machinery.assets import OWNERS
from assets_defs.machinery.builds import Builds
from assets_defs.machinery.calibration import calibrate
from assets_defs.machinery.graph import plan, stages
from assets_defs.machinery.nested import Made, Surroundings, make
from assets_defs.machinery.partitions import study_seeds
from assets_defs.machinery.pictures import table
from assets_defs.machinery.progress import StageProgress
from assets_defs.machinery.run_config import config_fields
from assets_defs.machinery.studies import FIGURES, KINDS, is_measured, profile_of, variant_names, write_table
from assets_defs.machinery.tracking import Tracking
from assets_defs.machinery.workspace import Workspace
from visor_core.config import Home, Profile
from visor_core.errors import ConfigError
from visor_core.nano.rivals import as_settings
from visor_core.nano.study_variants import FINAL, MAIN, variant_profile, variants_of
from visor_core.policies.identity import digest_of

GROUP = "study"
VARIANT, BUDGETS, TABLE = "study_variant", "study_budgets", "study_table"
SEED, KIND = "seed", "variant"
TRAINING: dict[str, Any] = {"kinds": {"torch"}, "pool": "accelerator"}
"""What trains takes a place among what uses the processor or the GPUs."""
SAYS_WHO = {"study": {"on_page", "final", "variant", "split"}}
"""Settings that say what is asked of a study and change nothing of what comes out."""
CONFIGURED = (
    "nano", "documents", "index", "model", "agent", "teacher", "sft", "grpo", "threads",
    "study.rivals", "study.inference", "study.retrained", "study.sft_steps", "study.grpo_steps", "study.neutral",
    "study.long", "study.rich", "study.final",
)  # fmt: skip
"""What of the profile can be set for one run of the study."""


def partitions(profile: Profile) -> dg.MultiPartitionsDefinition:
    """The seeds and the variants of a profile."""
    return dg.MultiPartitionsDefinition(
        {SEED: study_seeds, KIND: dg.StaticPartitionsDefinition(list(variants_of(profile)))}
    )


def partition_tags(seed: int, variant: str) -> dict[str, str]:
    """The partition of one variant of one seed, as tags of a run."""
    key = dg.MultiPartitionKey({SEED: str(seed), KIND: variant})
    return {"dagster/partition": str(key), **{f"dagster/partition/{k}": v for k, v in key.keys_by_dimension.items()}}


def study_assets(profile: Profile) -> list[dg.AssetsDefinition]:
    """The study's assets under a profile that asks for them: whoever materializes all others means none of hours."""
    here = profile.nano is not None and profile.study.on_page
    return [_variant(profile), _budgets(profile), _table(profile)] if here else []


def code_version(profile: Profile) -> str:
    """Hash (12 hex digits) of the code of all stages that a variant runs through, and of all settings."""
    nodes = plan(variant_profile(profile, MAIN, 0), [FIGURES.stage])
    code = {node.stage: stages()[node.stage].version for node in nodes}
    return digest_of({"code": code, "settings": profile.model_dump(mode="json", exclude=SAYS_WHO)})[:12]


def progress_folder(home: Home, seed: int, variant: str) -> Path:
    """Where a partition says how far it is."""
    return home.asset(VARIANT, f"{seed}-{variant}")


def _study_asset(name: str, profile: Profile, description: str, **more: Any) -> Callable[..., dg.AssetsDefinition]:
    """Dagster's decorator with what the assets of the study share."""
    decorator: Callable[..., dg.AssetsDefinition] = dg.asset(
        name=name,
        group_name=GROUP,
        code_version=code_version(profile),
        owners=[OWNERS[GROUP]],
        description=description,
        **more,
    )
    return decorator


def _variant(profile: Profile) -> dg.AssetsDefinition:
    @_study_asset(
        VARIANT,
        profile,
        "One variant of one seed: trained by the stages of its own settings, then measured.",
        partitions_def=partitions(profile),
        config_schema=config_fields(profile, CONFIGURED),
        **TRAINING,
    )
    def study_variant(
        context: dg.AssetExecutionContext, workspace: Workspace, tracking: Tracking, pipes: dg.PipesSubprocessClient
    ) -> dg.MaterializeResult[None]:
        key = context.partition_key
        assert isinstance(key, dg.MultiPartitionKey)
        seed, name = int(key.keys_by_dimension[SEED]), key.keys_by_dimension[KIND]
        if name.endswith(FINAL) and not workspace.settings.study.final:
            raise ConfigError(
                f"{name} is measured on the test split: run `visor nano study --final`, or set study.final in the "
                "launchpad"
            )
        home = workspace.place
        variant = profile_of(workspace.settings, home, name, seed)
        told = StageProgress(progress_folder(home, seed, name))
        nodes = [str(node) for node in plan(variant, [FIGURES.stage])]

        def progress(node: str) -> None:
            told.show(nodes.index(node), len(nodes), node)
            context.log.info(f"seed {seed}, {name}: {node}")

        made = make(Surroundings(home, context, tracking, pipes), variant, FIGURES.stage, progress=progress)
        record = Builds(home, variant).read(FIGURES)
        metadata = {
            **record.figures,
            "stages": table([_row(m) for m in made]),
            "configuration": dg.MetadataValue.json(variant.model_dump(mode="json")),
            "folder": dg.MetadataValue.path(record.path),
            "reused": made[-1].reused,
        }
        return dg.MaterializeResult(metadata=metadata, data_version=dg.DataVersion(record.data_version))

    return study_variant


def _row(made: Made) -> dict[str, object]:
    record = made.record
    return {
        "stage": str(record.node),
        "": "reused" if made.reused else "built",
        "seconds": record.seconds,
        "fingerprint": record.fingerprint,
        "data version": record.data_version,
    }


def _budgets(profile: Profile) -> dg.AssetsDefinition:
    @_study_asset(
        BUDGETS,
        profile,
        "Training steps of equal time for every strategy of the comparison, by timing a few of each.",
        config_schema=config_fields(profile, ("seed", *CONFIGURED)),
        **TRAINING,
    )
    def study_budgets(
        context: dg.AssetExecutionContext, workspace: Workspace, tracking: Tracking, pipes: dg.PipesSubprocessClient
    ) -> dg.MaterializeResult[None]:
        home, settings = workspace.place, workspace.settings
        told = StageProgress(home.asset(BUDGETS))
        around = Surroundings(home, context, tracking, pipes)
        found = calibrate(around, settings, settings.seed, lambda line: told.show(0, 0, line))
        rows = [{"strategy": name, **budget} for name, budget in found.items()]
        lines = dg.MetadataValue.md(f"```yaml\n{as_settings(found)}\n```")
        return dg.MaterializeResult(metadata={"budgets": table(rows), "settings": lines, "reused": False})

    return study_budgets


def _table(profile: Profile) -> dg.AssetsDefinition:
    @_study_asset(
        TABLE,
        profile,
        "The tables of the study over all seeds that are measured.",
        kinds={"markdown"},
        deps=[dg.AssetDep(VARIANT, partition_mapping=dg.AllPartitionMapping())],
    )
    def study_table(context: dg.AssetExecutionContext, workspace: Workspace) -> dg.MaterializeResult[None]:
        from pipelines.commit import commit

        home, settings = workspace.place, workspace.settings
        known = sorted(int(name) for name in context.instance.get_dynamic_partitions(str(study_seeds.name)))
        tables = {}
        for kind in KINDS:
            for split in ("development", "test"):
                measured = _measured(settings, home, variant_names(settings, kind, split), known)
                if measured:
                    text = write_table(settings, home, kind, split, measured, commit())
                    tables[f"{kind}_{split}"] = dg.MetadataValue.md(text)
        shown = {"seeds": ", ".join(map(str, known)) or "none", "reused": False}
        return dg.MaterializeResult(metadata={**shown, **tables})

    return study_table


def _measured(profile: Profile, home: Home, variants: Sequence[str], known: Sequence[int]) -> list[int]:
    """The seeds of which all variants of a table are measured."""
    return [seed for seed in known if all(is_measured(profile, home, name, seed) for name in variants)]
