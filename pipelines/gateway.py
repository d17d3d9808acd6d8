"""Dagster's GraphQL over HTTP, as its own page uses it: submit a run, follow its events, end it.

Nothing here imports Dagster. A webserver that does not answer for a while is waited for: its owner starts it again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from pipelines.choice import GROUP_TAG, SESSION_TAG
from visor_core.errors import ConfigError

PATIENCE = 120.0
"""Seconds in which a webserver has to answer again, or to have loaded the definitions."""
PAUSE = 0.1
_UNLOADED = (
    "DagsterUserCodeUnreachableError",
    "DagsterCodeLocationLoadError",
    "DagsterCodeLocationNotFoundError",
    "DagsterRepositoryLocationNotFoundError",
)
"""What a webserver answers while the code server is away."""
FINISHED = ("SUCCESS", "FAILURE", "CANCELED")

_REPOSITORIES = """{ workspaceOrError { __typename ... on PythonError { message } ... on Workspace { locationEntries {
  name locationOrLoadError { __typename ... on PythonError { message }
    ... on RepositoryLocation { name repositories { name } } } } } } }"""
_RELOAD = "mutation($name: String!) { reloadRepositoryLocation(repositoryLocationName: $name) { __typename } }"
_PARTITION = """mutation($repository: RepositorySelector!, $partition: String!) {
  addDynamicPartition(repositorySelector: $repository, partitionsDefName: "corpus", partitionKey: $partition) {
    __typename ... on PythonError { message } } }"""
_LAUNCH = """mutation($params: ExecutionParams!) { launchRun(executionParams: $params) { __typename
  ... on LaunchRunSuccess { run { runId } } ... on PythonError { className message }
  ... on InvalidSubsetError { message } ... on RunConfigValidationInvalid { errors { message } } } }"""
_SUBMITTED = "query($filter: RunsFilter!) { runsOrError(filter: $filter) { ... on Runs { results { id status } } } }"
_DELETE = "mutation($id: String!) { deleteRun(runId: $id) { __typename } }"
_TERMINATE = "mutation($ids: [String!]!) { terminateRuns(runIds: $ids) { __typename } }"
_ERROR = "className message stack errorChain { error { className message } }"
_EVENTS = f"""query($id: ID!, $cursor: String) {{
  runOrError(runId: $id) {{ __typename ... on Run {{ status }} }}
  logsForRun(runId: $id, afterCursor: $cursor) {{ __typename ... on EventConnection {{ cursor hasMore events {{
    __typename
    ... on MessageEvent {{ timestamp stepKey message }}
    ... on AssetMaterializationPlannedEvent {{ assetKey {{ path }} }}
    ... on MaterializationEvent {{ assetKey {{ path }} metadataEntries {{
      label ... on BoolMetadataEntry {{ boolValue }} }} }}
    ... on AssetCheckEvaluationEvent {{ evaluation {{ checkName success assetKey {{ path }} }} }}
    ... on ExecutionStepFailureEvent {{ error {{ {_ERROR} }} }}
    ... on EngineEvent {{ error {{ {_ERROR} }} }}
    ... on RunFailureEvent {{ error {{ {_ERROR} }} }} }} }} }} }}"""


@dataclass(frozen=True)
class Event:
    """What a run said: its kind by Dagster's GraphQL type, when (seconds since the epoch), and what it is about."""

    kind: str
    time: float
    step: str = ""
    asset: str = ""
    text: str = ""
    reused: bool = False
    check: str = ""
    passed: bool = True
    errors: tuple[tuple[str, str], ...] = ()
    """Class names and messages of a failure, from what was raised last to its causes."""
    stack: str = ""


@dataclass(frozen=True)
class News:
    """Events of a run, where the next ones begin, and how it has ended, once it has: `SUCCESS`, `FAILURE` or
    `CANCELED`."""

    events: tuple[Event, ...]
    cursor: str | None
    ended: str


class Gateway:
    """One webserver's GraphQL. `watch` is called while waiting: it raises where waiting has no use."""

    def __init__(self, address: str, watch: Callable[[], None] = lambda: None) -> None:
        self.address, self._watch = address, watch
        self._client = _client(address)
        self._repository: dict[str, str] = {}

    def move(self, address: str) -> None:
        """Go on at another webserver of the same home."""
        self._client.close()
        self.address, self._repository = address, {}
        self._client = _client(address)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """The data of one answer.

        Raises:
            ConfigError: if nothing answers for `PATIENCE` seconds.
        """
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                answer = self._client.post("/graphql", json={"query": query, "variables": variables})
                if answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                    break
            except httpx.TransportError:
                answer = None
            self._watch()
            if time.monotonic() > deadline:
                raise ConfigError(f"Dagster does not answer at {self.address}: see the logs in VISOR_HOME/logs")
            time.sleep(PAUSE)
        told = answer.json()
        if told.get("errors"):
            raise RuntimeError(f"Dagster refuses a query: {told['errors'][0].get('message')}")
        return dict(told["data"])

    def repository(self) -> dict[str, str]:
        """Names of the location and of the repository in it, once the definitions are loaded.

        Raises:
            ConfigError: with the last line of what went wrong, if they do not load.
        """
        deadline = time.monotonic() + PATIENCE
        while not self._repository:
            found = self.ask(_REPOSITORIES)["workspaceOrError"]
            reason = found.get("message", "they are still being loaded")
            for entry in found.get("locationEntries", ()):
                location = entry["locationOrLoadError"] or {}
                if location.get("repositories"):
                    name = location["repositories"][0]["name"]
                    self._repository = {"repositoryLocationName": location["name"], "repositoryName": name}
                elif location:
                    reason = location.get("message", reason)
                    self.ask(_RELOAD, name=entry["name"])
            if not self._repository:
                self._watch()
                if time.monotonic() > deadline:
                    lines = reason.strip().splitlines()
                    raise ConfigError(
                        f"Dagster cannot load the definitions: {lines[-1] if lines else 'no reason given'}"
                    )
                time.sleep(PAUSE)
        return self._repository

    def submit(self, assets: Sequence[str], partition: str, tags: Mapping[str, str]) -> str:
        """Queue one run of these assets, as the page does; returns its id. A run that is there already is that one.

        Raises:
            ConfigError: if Dagster refuses it.
        """
        if partition:
            self.ask(_PARTITION, repository=self.repository(), partition=partition)
            tags = {**tags, "dagster/partition": partition}
        parameters: dict[str, Any] = {
            "selector": {"jobName": "__ASSET_JOB", "assetSelection": [{"path": [name]} for name in assets]},
            "runConfigData": {},
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        }
        identity = {key: tags[key] for key in (SESSION_TAG, GROUP_TAG)}
        deadline, reason = time.monotonic() + PATIENCE, ""
        while time.monotonic() < deadline:
            parameters["selector"] |= self.repository()
            told, reason = self._launch(parameters)
            if told is None:
                self._watch()
                if found := self._submitted(identity):
                    return found  # the answer was lost, not the run
            elif told["__typename"] == "LaunchRunSuccess":
                return str(told["run"]["runId"])
            elif told.get("className") in _UNLOADED or told["__typename"] == "PipelineNotFoundError":
                self._repository = {}  # the code server was started again, and is not loaded yet
            else:
                break
            time.sleep(PAUSE)
        raise ConfigError(f"Dagster refuses the run: {' '.join(reason.split())[:400]}")

    def _launch(self, parameters: Mapping[str, Any]) -> tuple[dict[str, Any] | None, str]:
        """The answer to one submission, None where it was lost; and the reason it gives, if it is a refusal."""
        try:
            answer = self._client.post("/graphql", json={"query": _LAUNCH, "variables": {"params": parameters}})
            told = dict(answer.json()["data"]["launchRun"])
        except (httpx.TransportError, ValueError, KeyError, TypeError) as error:
            return None, f"{type(error).__name__}: {error}"
        errors = "; ".join(error["message"] for error in told.get("errors", ()))
        return told, told.get("message") or errors or told["__typename"]

    def _submitted(self, tags: Mapping[str, str]) -> str:
        """The run with these tags; one that was made and not queued is taken away."""
        wanted = {"tags": [{"key": key, "value": value} for key, value in tags.items()]}
        for run in self.ask(_SUBMITTED, filter=wanted)["runsOrError"]["results"]:
            if run["status"] != "NOT_STARTED":
                return str(run["id"])
            self.ask(_DELETE, id=run["id"])
        return ""

    def news(self, run_id: str, cursor: str | None) -> News:
        """What a run has said since `cursor`; its status is given with the last of it."""
        found = self.ask(_EVENTS, id=run_id, cursor=cursor)
        log = found["logsForRun"]
        events = tuple(event_of(node) for node in log.get("events", ()))
        status = found["runOrError"].get("status", "CANCELED")  # a run that was deleted on the page
        # The events are read after the status: with a finished one, none come after these.
        ended = status in FINISHED and not log.get("hasMore", False)
        return News(events, log.get("cursor", cursor), status if ended else "")

    def terminate(self, run_ids: Sequence[str]) -> None:
        """Ask runs to end, those that wait included."""
        self.ask(_TERMINATE, ids=list(run_ids))


def _client(address: str) -> httpx.Client:
    """What is on this machine never goes by a proxy."""
    return httpx.Client(base_url=address, timeout=60.0, trust_env=False)


def event_of(node: Mapping[str, Any]) -> Event:
    """An event from its JSON."""
    about = node.get("evaluation") or node
    error = node.get("error") or {}
    chain = [error, *(link["error"] for link in error.get("errorChain", ()))] if error else []
    metadata = {entry["label"]: entry.get("boolValue") for entry in node.get("metadataEntries", ())}
    return Event(
        node["__typename"],
        float(node.get("timestamp", 0)) / 1000,
        step=node.get("stepKey") or "",
        asset="/".join((about.get("assetKey") or {}).get("path", ())),
        text=node.get("message") or "",
        reused=bool(metadata.get("reused")),
        check=about.get("checkName", ""),
        passed=about.get("success", True),
        errors=tuple((link.get("className") or "", link["message"]) for link in chain),
        stack="".join(error.get("stack", ())),
    )
