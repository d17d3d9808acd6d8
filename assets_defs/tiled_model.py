"""Asset `tiled_model`: the base model with a processor that cuts large pictures into tiles, for agents shown such."""

import dagster as dg

from assets_defs.machinery.assets import asset
from assets_defs.machinery.judging import Finished, check
from assets_defs.machinery.stage import CHECKPOINT_FILES, Need, Stage, folder_version
from assets_defs.machinery.workspace import Work

STAGE = Stage(
    name="tiled_model",
    begins=("assets_defs.tiled_model",),
    reads=(),
    settings=lambda profile, partition: {},
    needs=(Need("base_model"),),
    applies=lambda profile: profile.tiles_pictures,
)


@asset(STAGE, group="nano", kinds={"torch", "huggingface"})
def tiled_model(work: Work) -> dg.MaterializeResult[None]:
    """The base model's own weights, and one new token for the place of each tile."""
    if not work.complete:
        from visor_core.nano.tiles import TILES, with_tiles

        final = work.folder / "final"
        with_tiles(work.input_folder("base_model"), final, work.profile.seed)
        work.finish(folder_version(final, *CHECKPOINT_FILES), {"tiles": TILES**2}, path=final)
    return work.result()


@check(STAGE, blocking=True)
def pictures_are_cut_as_the_agent_counts_them(build: Finished) -> dg.AssetCheckResult:
    """The processor scales and cuts pictures as the profile's agent reckons with."""
    from visor_core.policies.transformers import load_checkpoint

    _, processor = load_checkpoint(build.folder)
    pictures, tiles = processor.image_processor, build.profile.agent.image.tiles
    longest, side = pictures.size["longest_edge"], pictures.max_image_size["longest_edge"]
    agrees = tiles is not None and (longest, side, processor.image_seq_len) == (
        tiles.longest_edge,
        tiles.side,
        tiles.tokens,
    )
    return dg.AssetCheckResult(passed=agrees, metadata={"longest_edge": longest, "side": side})
