"""What Dagster's page asks for, over its own GraphQL: fields of the launchpad, facts of assets, a backfill of all."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import ModuleTarget
from dagster_graphql.schema import create_schema

from pipelines.instance import open_instance, place_partitions
from pipelines.resources import PROFILES, environment
from visor_core.config import Home, load_profile

# Sockets of the code server are left to the collector; Dagster's GraphQL calls what Dagster has deprecated.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning"),
    pytest.mark.slow,
]

LOCATION = "visor"
JOB = {"repositoryLocationName": LOCATION, "repositoryName": "__repository__", "pipelineName": "__ASSET_JOB"}
SCHEMA = """query ($selector: PipelineSelector!) {
  runConfigSchemaOrError(selector: $selector) {
    __typename
    ... on RunConfigSchema { rootDefaultYaml }
    ... on PythonError { message }
  }
}"""
VALID = """query ($selector: PipelineSelector!, $config: RunConfigData) {
  isPipelineConfigValid(pipeline: $selector, mode: "default", runConfigData: $config) {
    __typename
    ... on RunConfigValidationInvalid { errors { message reason } }
  }
}"""
NODES = """{
  assetNodes {
    assetKey { path } description owners { ... on TeamAssetOwner { team } } kinds tags { key value } groupName
    partitionKeys metadataEntries { label ... on CodeReferencesMetadataEntry {
      codeReferences { ... on LocalFileCodeReference { filePath lineNumber } } } }
  }
}"""
BACKFILL = """mutation ($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}"""


class Page:
    """Dagster's page without its window: what it would send, and what it would be answered."""

    def __init__(self, context: WorkspaceProcessContext) -> None:
        self._context, self._schema = context, create_schema()
        self.instance = context.instance

    def ask(self, query: str, **variables: Any) -> Any:
        context = self._context.create_request_context()
        result = asyncio.run(self._schema.execute_async(query, variable_values=variables, context_value=context))
        assert not result.errors, result.errors
        assert result.data
        return next(iter(result.data.values()))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    home = Home(tmp_path_factory.mktemp("home"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VISOR_HOME", str(home.root))
        patch.setenv("VISOR_PROFILE", "nano")
        patch.setenv("VISOR_SET", json.dumps({"sft.steps": 7, "index.embedders": ["hash"]}))
        target = ModuleTarget("pipelines.definitions", None, str(PROFILES.parents[1]), LOCATION)
        with open_instance(home) as instance, WorkspaceProcessContext(instance, target) as context:
            place_partitions(instance, home, environment()[1])
            yield Page(context)


def _job(*assets: str) -> dict[str, Any]:
    return {**JOB, "assetSelection": [{"path": [name]} for name in assets]}


def test_the_launchpad_shows_the_settings_of_the_profile_and_nothing_else(page: Page) -> None:
    """What `--set` says is a default there; a home, a whole profile or another resource is no field."""
    found = page.ask(SCHEMA, selector=_job("sft_checkpoint", "documents"))
    assert found["__typename"] == "RunConfigSchema"
    text = found["rootDefaultYaml"]
    assert "steps: 7" in text
    assert "prune: false" in text
    assert {line for line in text.splitlines() if line[:1].isalpha()} == {"ops:", "resources: {}"}


@pytest.mark.parametrize(
    ("config", "reasons"),
    [
        ({"sft": {"steps": 9, "optimizer": {"schedule": "linear"}}, "seed": 4}, []),
        ({"sft": {"stepz": 9}}, ["FIELD_NOT_DEFINED"]),
        ({"sft": {"steps": "many"}}, ["RUNTIME_TYPE_MISMATCH"]),
        ({"sft": {"optimizer": {"schedule": "sine"}}}, ["RUNTIME_TYPE_MISMATCH"]),
    ],
)
def test_a_misspelt_or_mistyped_setting_is_refused_in_the_launchpad(
    page: Page, config: dict[str, Any], reasons: list[str]
) -> None:
    given = json.dumps({"ops": {"sft_checkpoint": {"config": config}}})
    found = page.ask(VALID, selector=_job("sft_checkpoint"), config=given)
    assert [error["reason"] for error in found.get("errors", [])] == reasons
    assert (found["__typename"] == "PipelineConfigValidationValid") is not bool(reasons)


def test_every_asset_says_what_it_is_whose_it_is_and_where_it_stands(page: Page) -> None:
    nodes = {"/".join(node["assetKey"]["path"]): node for node in page.ask(NODES)}
    assert len(nodes) == 14
    for name, node in nodes.items():
        assert len(node["description"]) > 100, name
        assert node["owners"], name
        assert node["kinds"], name
        assert {"key": "visor/profile", "value": "nano"} in node["tags"]
        (references,) = (e["codeReferences"] for e in node["metadataEntries"] if "codeReferences" in e)
        path, line = Path(references[0]["filePath"]), references[0]["lineNumber"]
        shown = path.read_text(encoding="utf-8").splitlines()[line - 1 :]
        assert path.parent.name == "assets_defs"
        assert shown[0].startswith(("@asset", "def ")), name


def test_materialize_all_on_a_fresh_home_finds_the_corpora_of_the_profile(page: Page) -> None:
    """The partitions are there before anything is made, and the page's backfill of all assets is accepted."""
    nodes = page.ask(NODES)
    corpora = {"/".join(n["assetKey"]["path"]): set(n["partitionKeys"]) for n in nodes if n["partitionKeys"]}
    assert corpora == {
        name: {"nano-train", "nano-development"} for name in ("documents", "pages", "page_index", "questions")
    }
    keys = [node["assetKey"] for node in nodes]
    asked = {"assetSelection": keys, "partitionNames": ["nano-train", "nano-development"], "tags": []}
    found = page.ask(BACKFILL, params=asked)
    assert found["__typename"] == "LaunchBackfillSuccess", found
    backfill = page.instance.get_backfill(found["backfillId"])
    assert backfill is not None
    with open_instance(Home(Path(page.instance.root_directory).parent)) as instance:
        assert set(instance.get_dynamic_partitions("corpus")) == {"nano-train", "nano-development"}


def test_a_corpus_of_the_user_is_a_partition_once_it_is_there(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.corpus("mine").mkdir(parents=True)
    profile = load_profile(PROFILES / "nano.yaml")
    with open_instance(home) as instance:
        for _ in range(2):
            place_partitions(instance, home, profile)
        assert sorted(instance.get_dynamic_partitions("corpus")) == ["mine", "nano-development", "nano-train"]
