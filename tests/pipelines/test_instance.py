"""`dagster.yaml` under VISOR_HOME is the user's: completed by what the project must set, never overwritten."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.instance import TEMPLATE, open_instance, place_instance
from pipelines.instance_settings import merge_settings
from visor_core.config import Home
from visor_core.errors import ConfigError

MINE = """# Our own database.
storage:
  postgres:
    postgres_db: {hostname: db.example, username: visor, password: {env: PG}, db_name: visor}  # shared
concurrency:
  # four at a time
  runs:
    max_concurrent_runs: 4
  pools:
    default_limit: 2
run_monitoring: {enabled: true}
telemetry:
"""


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where the file lies."""
    return tmp_path / "dagster" / "dagster.yaml"


def test_a_users_settings_and_comments_survive_every_command(
    tmp_path: Path, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place_instance(Home(tmp_path))
    assert target.read_text(encoding="utf-8") == TEMPLATE.read_text(encoding="utf-8")
    target.write_text(MINE, encoding="utf-8")
    capsys.readouterr()
    place_instance(Home(tmp_path))
    text = target.read_text(encoding="utf-8")
    found = yaml.safe_load(text)
    assert found.get("storage") == yaml.safe_load(MINE)["storage"]
    assert found["concurrency"] == {
        "runs": {"max_concurrent_runs": 4},
        "pools": {"granularity": "run", "default_limit": 2},
    }
    assert found["run_monitoring"] == PROJECT["run_monitoring"]
    assert found["telemetry"] == found["nux"] == {"enabled": False}
    for comment in ("# Our own database.", "# shared", "# four at a time"):
        assert comment in text
    said = capsys.readouterr().err
    kept = "concurrency.runs.max_concurrent_runs: 4 (the project sets 2); concurrency.pools.default_limit: 2"
    assert said == f"note: {target} keeps your {kept} (the project sets 1)\n"
    place_instance(Home(tmp_path))
    assert capsys.readouterr().err == ""
    assert target.read_text(encoding="utf-8") == text
    target.write_text(text.replace(": 4", ": 5"), encoding="utf-8")
    place_instance(Home(tmp_path))
    assert "max_concurrent_runs: 5" in capsys.readouterr().err


def test_a_run_queue_of_ones_own_stands_in_for_the_projects(tmp_path: Path, target: Path) -> None:
    """Dagster refuses some of its settings beside `concurrency`."""
    target.parent.mkdir()
    queue = "run_queue:\n  max_concurrent_runs: 3\n  tag_concurrency_limits: [{key: gpu, limit: 1}]\n"
    target.write_text(queue, encoding="utf-8")
    with open_instance(Home(tmp_path)) as instance:
        found = instance.get_concurrency_config().run_queue_config
        assert found is not None
        assert found.max_concurrent_runs == 3
    assert "concurrency" not in yaml.safe_load(target.read_text(encoding="utf-8"))


PROJECT = yaml.safe_load(TEMPLATE.read_text(encoding="utf-8"))
VALUES = st.recursive(
    st.integers() | st.booleans() | st.text("ab #:'é", max_size=6),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2),
    max_leaves=4,
)
RUNS = st.fixed_dictionaries({}, optional={"max_concurrent_runs": st.integers(0, 9), "x": VALUES})
USERS = st.fixed_dictionaries(
    {},
    optional={
        "storage": VALUES,
        "telemetry": st.fixed_dictionaries({}, optional={"enabled": st.booleans(), "other": VALUES}),
        "concurrency": st.fixed_dictionaries({}, optional={"pools": VALUES, "runs": RUNS}),
    },
)


def _leaves(settings: object, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], object]:
    if not isinstance(settings, dict) or not settings:
        return {path: settings}
    return {leaf: value for key, below in settings.items() for leaf, value in _leaves(below, (*path, key)).items()}


@settings(deadline=None, max_examples=60)
@given(USERS, st.booleans())
def test_what_a_user_wrote_is_never_changed_and_what_lacks_is_added(users: dict, flow: bool) -> None:
    written = yaml.safe_dump(users, default_flow_style=None if flow else False) if users else ""
    merged = merge_settings(written, TEMPLATE.read_text(encoding="utf-8"))
    found = _leaves(yaml.safe_load(merged.text))
    mine = {leaf: value for leaf, value in _leaves(users).items() if leaf and value != {}}
    assert all(found[leaf] == value for leaf, value in mine.items())
    # Where the user wrote a plain value in place of a section, it stands in for all of the section.
    for leaf, value in _leaves(PROJECT).items():
        above = next((leaf[:n] for n in range(1, len(leaf) + 1) if leaf[:n] in mine), leaf)
        assert found[above] == mine.get(above, value)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a: [", "not valid YAML"),
        ("- a", "must be a mapping"),
        ("concurrency: &x {}\nnux:\n  <<: *x\n  a: 1\n", "cannot be completed"),
    ],
)
def test_a_file_that_cannot_be_completed_is_left_alone(tmp_path: Path, target: Path, text: str, word: str) -> None:
    target.parent.mkdir()
    target.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=word):
        place_instance(Home(tmp_path))
    assert target.read_text(encoding="utf-8") == text


def test_what_dagster_refuses_is_one_line_naming_the_file(tmp_path: Path, target: Path) -> None:
    target.parent.mkdir()
    target.write_text("run_launcher: {module: no_such_module, class: X}\nunknown_key: 1\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"dagster\.yaml") as caught:
        open_instance(Home(tmp_path))
    assert "\n" not in str(caught.value)
