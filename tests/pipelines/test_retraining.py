"""When the chain is run again by itself, and when not: what is due, the schedule, the automation, the message."""

from __future__ import annotations

import json
import shutil
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import dagster as dg
import pytest

from assets_defs.benchmark_results import FALL
from assets_defs.machinery.builds import Builds, judge
from assets_defs.machinery.stage import Node
from pipelines import sensors
from pipelines.definitions import definitions
from pipelines.message import send
from pipelines.outlook import UPSTREAM, look, next_runs
from pipelines.resources import PROFILES, resources_for
from tests.pipelines.laid_builds import lay, lay_chain
from visor_core.config import Home, Profile, RetrainingConfig, derived, load_profile
from visor_core.errors import ConfigError
from visor_core.files import write_json

# LanceDB's Rust side and Dagster's SQLite storage leave sockets and cursors to the collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

USERS = {"corpora.train": "mine", "corpora.development": "others"}


def _nano(**changes: object) -> Profile:
    return load_profile(PROFILES / "nano.yaml", {"index.embedders": ["hash"], **changes})


def _users() -> Profile:
    return load_profile(PROFILES / "smolvlm.yaml", {**USERS, "index.embedders": ["hash"]})


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Homes in which everything is in force, by profile."""
    found = {}
    for profile in (_nano(), _users()):
        found[profile.name] = tmp_path_factory.mktemp(profile.name)
        lay_chain(Home(found[profile.name]), profile)
    return found


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def _copy(laid: dict[str, Path], home: Home, profile: Profile) -> None:
    shutil.copytree(laid[profile.name], home.root)


def test_an_empty_home_is_due_for_everything_in_waves(home: Home) -> None:
    profile = _nano()
    due = dict(look(profile, home).due)
    waves = []
    while due:
        runs = next_runs(profile, due)
        waves.append({corpus: [node.stage for node in nodes] for corpus, nodes in runs.items()})
        due = {node: why for node, why in due.items() if node not in {n for nodes in runs.values() for n in nodes}}
    corpora = ["documents", "pages", "page_index", "questions"]
    trained = ["teacher_trajectories", "sft_dataset", "sft_checkpoint", "grpo_checkpoint", "benchmark_results"]
    assert waves == [
        {"": ["nano_corpus", "base_model"]},
        {"nano-train": corpora, "nano-development": corpora},
        {"": [*trained, "champion_model"]},
    ]


def test_nothing_is_due_while_nothing_has_changed(laid: dict[str, Path], home: Home) -> None:
    _copy(laid, home, _nano())
    outlook = look(_nano(), home)
    assert (dict(outlook.due), dict(outlook.held)) == ({}, {})
    assert outlook.reason() == "documents, questions, code and configuration are those of the builds in force"


def test_a_changed_setting_is_due_with_what_stands_on_it(laid: dict[str, Path], home: Home) -> None:
    _copy(laid, home, _nano())
    due = look(_nano(**{"grpo.steps": 3}), home).due
    assert {str(node): why for node, why in due.items()} == {
        "grpo_checkpoint": "its configuration changed",
        "benchmark_results": UPSTREAM,
        "champion_model": UPSTREAM,
    }
    lay(home, _nano(**{"sft.steps": 3}), Node("sft_checkpoint"), "other weights")
    due = look(_nano(**{"sft.steps": 3}), home).due
    assert due[Node("grpo_checkpoint")] == "sft_checkpoint changed"


def test_what_is_put_into_an_inbox_makes_its_corpus_due(laid: dict[str, Path], home: Home) -> None:
    profile = _users()
    _copy(laid, home, profile)
    assert not look(profile, home).due
    inbox = home.inbox("mine")
    inbox.mkdir(parents=True)
    (inbox / "a.pdf").write_bytes(b"%PDF")
    due = look(profile, home).due
    assert next(iter(due.items())) == (Node("documents", "mine"), "what lies in its inbox changed")
    assert Node("documents", "others") not in due
    asked = {corpus: [node.stage for node in nodes] for corpus, nodes in next_runs(profile, due).items()}
    assert asked == {"mine": ["documents", "pages", "page_index", "questions"]}


def test_a_failed_check_holds_up_what_reads_it_until_something_changes(home: Home) -> None:
    profile = _users()
    for stage in ("documents", "pages", "page_index"):
        lay(home, profile, Node(stage, "mine"))
        lay(home, profile, Node(stage, "others"))
    lay(home, profile, Node("base_model"))
    lay(home, profile, Node("questions", "others"))
    lay(home, profile, Node("questions", "mine"), failing="there_are_questions")
    outlook = look(profile, home)
    assert not outlook.due
    assert outlook.reason() == "questions[mine] is not in force: there_are_questions failed"


def test_a_threshold_judges_again_and_builds_nothing(laid: dict[str, Path], home: Home) -> None:
    profile, node = _nano(), Node("teacher_trajectories")
    _copy(laid, home, profile)
    record = Builds(home, profile).read(node)
    judge(home, record, "most_episodes_are_kept", passed=True, against={"teacher_kept": 0.5})
    strict = derived(profile, {"checks.teacher_kept": 0.9}, "test")
    assert Builds(home, strict).fingerprint(node) == record.fingerprint
    assert Builds(home, profile).find(node) == record
    assert Builds(home, strict).find(node) is None
    assert look(strict, home).due[node] == "to be judged: most_episodes_are_kept"
    judge(home, record, "most_episodes_are_kept", passed=False, against={"teacher_kept": 0.9})
    assert look(strict, home).held == {node: "most_episodes_are_kept failed"}
    assert look(profile, home).due[node] == "to be judged: most_episodes_are_kept"
    judge(home, record, "most_episodes_are_kept", passed=True, against={"teacher_kept": 0.5})
    assert not look(profile, home).due


class Weekly:
    """The schedule of a profile, evaluated as the daemon does."""

    def __init__(self, home: Home, instance: dg.DagsterInstance) -> None:
        self.home, self.instance = home, instance

    def tick(self, profile: Profile) -> tuple[list[dg.RunRequest], str]:
        """What it asks for, and why nothing."""
        defs = definitions(self.home, profile)
        with dg.build_schedule_context(
            instance=self.instance,
            scheduled_execution_time=datetime(2026, 12, 6, 3, tzinfo=UTC),
            repository_def=defs.get_repository_def(),
            resources={"workspace": resources_for(self.home, profile)["workspace"]},
        ) as context:
            found = defs.resolve_schedule_def("weekly_retraining").evaluate_tick(context)
        return list(found.run_requests or ()), found.skip_message or ""

    def said(self) -> list[str]:
        """What stands on the champion, newest first."""
        events = self.instance.fetch_observations(dg.AssetKey("champion_model"), limit=9).records
        return [str(event.asset_observation.metadata["retraining"].value) for event in events]


@pytest.fixture
def weekly(home: Home, tmp_path: Path) -> Iterator[Weekly]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield Weekly(home, instance)


def test_the_schedule_runs_what_is_due_or_says_on_the_asset_why_not(laid: dict[str, Path], weekly: Weekly) -> None:
    home, profile = weekly.home, _users()
    _copy(laid, home, profile)
    (goal,), _ = weekly.tick(profile)
    assert goal.tags["visor/reason"].startswith("champion_model: confirmed: documents, questions, code")
    weekly.instance.report_runless_asset_event(dg.AssetMaterialization("champion_model"))
    asked, why = weekly.tick(profile)
    assert asked == []
    assert why == "documents, questions, code and configuration are those of the builds in force"
    assert weekly.said() == [f"nothing was run: {why}"]
    # A document: its corpus first, in a run of its own.
    home.inbox("mine").mkdir(parents=True)
    (home.inbox("mine") / "a.pdf").write_bytes(b"%PDF")
    (ingest,), _ = weekly.tick(profile)
    assert ingest.partition_key == "mine"
    assert [key.to_user_string() for key in ingest.asset_selection or ()] == [
        "documents",
        "pages",
        "page_index",
        "questions",
    ]
    assert "what lies in its inbox changed" in ingest.tags["visor/reason"]
    # While such a run has not ended, nothing is asked for twice.
    weekly.instance.create_run_for_job(
        definitions(home, profile).resolve_job_def("ingest"),
        status=dg.DagsterRunStatus.STARTED,
        asset_selection=frozenset({dg.AssetKey("documents")}),
    )
    assert weekly.tick(profile)[0] == []
    assert "is at it" in weekly.said()[0]


def test_schedule_automation_and_sensors_are_off_until_they_are_switched_on(home: Home) -> None:
    repository = definitions(home, _nano()).get_repository_def()
    assert {sensor.name for sensor in repository.sensor_defs} >= {"inbox", "regression", "retrain_when_changed"}
    assert all(sensor.default_status == dg.DefaultSensorStatus.STOPPED for sensor in repository.sensor_defs)
    assert [schedule.default_status for schedule in repository.schedule_defs] == [dg.DefaultScheduleStatus.STOPPED]


def test_a_cron_line_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"retraining\.cron: .*five fields"):
        _nano(**{"retraining.cron": "weekly"})


TAKES = "import sys; open(sys.argv[1], 'w').write(sys.stdin.read())"


def test_a_fall_is_told_once(laid: dict[str, Path], home: Home, tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    command = [sys.executable, "-c", TAKES, str(told)]
    profile = _nano(**{"retraining.message_command": command})
    _copy(laid, home, profile)
    record = Builds(home, profile).read(Node("benchmark_results"))
    workspace = resources_for(home, profile)["workspace"]

    def look_again(cursor: str | None) -> dg.SensorResult | dg.SkipReason:
        with dg.build_sensor_context(cursor=cursor, resources={"workspace": workspace}) as context:
            return sensors.regression(context)

    assert isinstance(look_again(None), dg.SkipReason)
    write_json(record.build_folder(home) / FALL, {"before": "abc", "fell": {"grpo": "-0.200 [-0.300, -0.100]"}})
    judge(home, record, "the_benchmark_did_not_fall", passed=False)
    found = look_again(None)
    assert isinstance(found, dg.SensorResult)
    message = json.loads(told.read_text(encoding="utf-8"))
    assert message["text"] == "visor: the benchmark of profile nano fell: grpo -0.200 [-0.300, -0.100]"
    told.unlink()
    assert isinstance(look_again(found.cursor), dg.SkipReason)
    assert not told.exists()


def test_a_message_goes_to_an_address_or_says_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, object]] = []

    class Hook(BaseHTTPRequestHandler):
        """Takes a message at /in, and refuses it anywhere else."""

        def do_POST(self) -> None:
            seen.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200 if self.path == "/in" else 500)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Keep the test's output clean."""

    server = HTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    config = RetrainingConfig.model_validate({"message_url": "env:HOOK"})
    monkeypatch.setenv("HOOK", f"http://127.0.0.1:{server.server_port}/in")
    assert send({"text": "fell"}, config) == ["the address env:HOOK"]
    assert seen == [{"text": "fell"}]
    monkeypatch.setenv("HOOK", f"http://127.0.0.1:{server.server_port}/secret")
    with pytest.raises(ConfigError, match=r"message_url \(env:HOOK\) did not take the message: status 500") as error:
        send({"text": "fell"}, config)
    assert "secret" not in str(error.value)
    server.shutdown()
    server.server_close()
    thread.join()
    for command, reason in (["/nowhere/program"], "No such file"), ([sys.executable, "-c", "exit(3)"], "status 3"):
        with pytest.raises(ConfigError, match=reason):
            send({}, RetrainingConfig(message_command=tuple(command)))
