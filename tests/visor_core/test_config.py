"""Profiles resolve or are refused by name, and secrets stay references."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from visor_core import config
from visor_core.config import GRPOConfig, Home, Profile, SecretReference, Section, apply_overrides, load_profile
from visor_core.errors import ConfigError
from visor_core.questions import Question, grpo_questions, teacher_questions

CANARY = "canary-7f3a9b-never-written"


def _profile(folder: Path, data: object) -> Path:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


def test_defaults_of_the_paper(tmp_path: Path) -> None:
    profile = load_profile(_profile(tmp_path, {"name": "mine"}))
    assert (profile.agent.max_turns, profile.agent.window) == (10, 2)
    assert (profile.agent.image.min_pixels, profile.agent.image.max_pixels) == (256 * 784, 512 * 784)
    assert (profile.grpo.group_size, profile.grpo.beta, profile.grpo.optimizer.learning_rate) == (5, 0.01, 1e-6)
    assert (profile.sft.batch_size, profile.sft.max_length) == (16, 16_384)


def test_overrides_by_dotted_key(tmp_path: Path) -> None:
    path = _profile(tmp_path, {"name": "mine", "grpo": {"steps": 7}})
    profile = load_profile(path, {"grpo.steps": 9, "agent.crop.square": True, "seed": 4})
    assert (profile.grpo.steps, profile.agent.crop.square, profile.seed) == (9, True, 4)


@pytest.mark.parametrize(
    ("data", "overrides", "words"),
    [
        ({"name": "m", "grpo": {"stepz": 3}}, {}, ["grpo.stepz", "unknown key"]),
        ({"name": "m", "nonsense": 1}, {}, ["nonsense", "unknown key"]),
        ({"name": "m"}, {"grpo.stepz": 3}, ["grpo.stepz", "unknown key"]),
        ({"name": "m"}, {"seed.deeper": 3}, ["seed"]),
        ({"name": "m", "seed": 1}, {"seed.deeper": 3}, ["seed.deeper", "is a value"]),
        ({"name": "m", "grpo": {"group_size": 1}, "seed": -1}, {}, ["grpo.group_size", "seed"]),
        ({"name": "m", "grpo": {"loss_type": "cispo"}}, {}, ["grpo", "cispo needs epsilon_high"]),
        ({"name": "m"}, {"server.retries": -1}, ["server.retries"]),
        ({"name": "m"}, {"teacher.server.max_cost": 5.0}, ["teacher.server", "max_cost needs prompt_price"]),
        ([1, 2], {}, ["mapping", "list"]),
        ({}, {}, ["name"]),
    ],
)
def test_faults_are_named(tmp_path: Path, data: object, overrides: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_profile(_profile(tmp_path, data), overrides)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_profile_that_is_not_there_lists_those_that_are(tmp_path: Path) -> None:
    _profile(tmp_path, {"name": "mine"})
    with pytest.raises(ConfigError, match=r"'other'.*mine"):
        load_profile(tmp_path / "other.yaml")
    with pytest.raises(ConfigError, match="none found"):
        load_profile(tmp_path / "no-folder" / "other.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"broken\.yaml is not valid YAML"):
        load_profile(broken)


def test_saved_configuration_loads_to_the_same_profile(tmp_path: Path) -> None:
    first = load_profile(_profile(tmp_path, {"name": "mine", "nano": {}, "grpo": {"epsilon_high": 0.3}}))
    first.save(tmp_path / "out" / "resolved.yaml")
    assert load_profile(tmp_path / "out" / "resolved.yaml") == first


def test_sections_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        GRPOConfig().steps = 3  # type: ignore[misc]


def test_every_field_is_documented() -> None:
    sections = [v for v in vars(config).values() if isinstance(v, type) and issubclass(v, Section)]
    assert len(sections) > 10
    bare = [f"{s.__name__}.{n}" for s in sections for n, f in s.model_fields.items() if not f.description]
    assert bare == []


def test_a_secret_given_as_itself_is_refused_without_repeating_it(tmp_path: Path) -> None:
    path = _profile(tmp_path, {"name": "m", "documents": {"passwords": {"a.pdf": CANARY}}})
    with pytest.raises(ConfigError, match="env:NAME or file:PATH") as caught:
        load_profile(path)
    assert CANARY not in str(caught.value)


def test_a_malformed_reference_is_never_repeated() -> None:
    with pytest.raises(ConfigError, match="--api-key") as caught:
        SecretReference.parse(CANARY, "--api-key")
    with pytest.raises(ValidationError) as raw:
        SecretReference.model_validate(CANARY)
    assert CANARY not in str(caught.value) + str(raw.value)
    assert SecretReference.parse("env:KEY", "--api-key").reference == "env:KEY"


def test_secrets_are_read_at_use_and_never_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISOR_TEST_SECRET", CANARY)
    secret_file = tmp_path / "secret"
    secret_file.write_text(CANARY + "\n", encoding="utf-8")
    references = {"a.pdf": "env:VISOR_TEST_SECRET", "b.pdf": f"file:{secret_file}"}
    profile = load_profile(_profile(tmp_path, {"name": "m", "documents": {"passwords": references}}))
    for reference in profile.documents.passwords.values():
        value = reference.read()
        assert value.get_secret_value() == CANARY
        assert CANARY not in repr(value)
        assert CANARY not in repr(reference)
    profile.save(tmp_path / "resolved.yaml")
    assert CANARY not in (tmp_path / "resolved.yaml").read_text(encoding="utf-8")
    assert CANARY not in repr(profile)


def test_missing_secrets_name_their_reference(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="export VISOR_NOT_SET"):
        SecretReference.model_validate("env:VISOR_NOT_SET").read()
    with pytest.raises(ConfigError, match="create the file"):
        SecretReference.model_validate(f"file:{tmp_path / 'none'}").read()


def test_home_keeps_everything_under_one_root(tmp_path: Path) -> None:
    home = Home(tmp_path / "v")
    for path in (home.dagster, home.mlflow, home.corpus("c"), home.asset("a", "b"), home.reports, home.bench):
        assert path.is_relative_to(home.root)


def test_profile_needs_only_a_name() -> None:
    assert Profile(name="x").nano is None


def test_the_teacher_plays_the_first_questions_and_grpo_those_it_was_not_asked(tmp_path: Path) -> None:
    asked = [Question(f"q{n}", "?", (), hops=1 + n % 2) for n in range(6)]

    def shared_out(**settings: object) -> tuple[list[str], list[str]]:
        profile = load_profile(_profile(tmp_path, {"name": "m", **settings}))
        found = teacher_questions(asked, profile), grpo_questions(asked, profile)
        return tuple([q.question_id for q in questions] for questions in found)  # type: ignore[return-value]

    every = ["q0", "q1", "q2", "q3", "q4", "q5"]
    assert shared_out() == (every, every)
    assert shared_out(teacher={"questions": 3}) == (["q0", "q1", "q2"], every)
    unplayed = {"teacher": {"questions": 3}, "grpo": {"questions": "unplayed", "min_hops": 2}}
    assert shared_out(**unplayed) == (["q0", "q1", "q2"], ["q3", "q5"])
    assert shared_out(grpo={"questions": "unplayed"}) == (every, every)
    with pytest.raises(ConfigError, match=r"lower grpo\.min_hops"):
        shared_out(grpo={"min_hops": 3})


VRAG = {"window": None, "context_tokens": None, "intent_injection": False, "correction": False}


def _is_vrag(agent: config.AgentConfig) -> bool:
    return {name: getattr(agent, name) for name in VRAG} == VRAG and not agent.evidence.enabled


def test_a_strategy_named_in_a_profile_is_applied(tmp_path: Path) -> None:
    agent = load_profile(_profile(tmp_path, {"name": "m", "agent": {"strategy": "vrag", "max_turns": 7}})).agent
    assert (agent.strategy, _is_vrag(agent), agent.max_turns) == ("vrag", True, 7)


def test_a_strategy_set_on_the_command_line_is_applied_to_the_profile(tmp_path: Path) -> None:
    path = _profile(tmp_path, {"name": "m", "agent": {"window": 3, "evidence": {"max_tokens": 99}, "max_turns": 7}})
    agent = load_profile(path, {"agent.strategy": "vrag"}).agent
    assert (agent.strategy, _is_vrag(agent), agent.max_turns, agent.evidence.max_tokens) == ("vrag", True, 7, 99)


def test_a_strategy_is_applied_to_settings_that_were_written_in_full() -> None:
    """A checkpoint's own configuration holds every field: all of them would win over the strategy."""
    whole = config.derived(Profile(name="m"), {"agent.strategy": "vrag"}, "here").agent
    assert (whole.strategy, _is_vrag(whole)) == ("vrag", True)
    back = config.derived(Profile(name="m", agent=whole), {"agent.strategy": "visor"}, "here").agent
    assert back == config.AgentConfig()


@pytest.mark.parametrize(
    ("data", "overrides"),
    [
        ({"agent": {"strategy": "vrag", "window": 4, "evidence": {"enabled": True}}}, {}),
        ({"agent": {"strategy": "vrag"}}, {"agent.window": 4, "agent.evidence.enabled": True}),
        ({}, {"agent.window": 4, "agent.evidence.enabled": True, "agent.strategy": "vrag"}),
        ({"agent": {"strategy": "vrag", "window": 4, "evidence": {"enabled": True}}}, {"agent.strategy": "vrag"}),
    ],
)
def test_what_is_set_beside_a_strategy_wins_over_it(
    tmp_path: Path, data: dict[str, Any], overrides: dict[str, Any]
) -> None:
    agent = load_profile(_profile(tmp_path, {"name": "m", **data}), overrides).agent
    assert (agent.strategy, agent.window, agent.evidence.enabled) == ("vrag", 4, True)
    assert (agent.correction, agent.context_tokens) == (False, None)


def test_a_strategy_in_name_only_is_refused(tmp_path: Path) -> None:
    """A resolved profile holds every field; one whose strategy alone was edited would run under a false name."""
    whole = Profile(name="m").model_dump(mode="json")
    path = tmp_path / "whole.yaml"
    path.write_text(yaml.safe_dump({**whole, "agent": {**whole["agent"], "strategy": "vrag"}}), encoding="utf-8")
    with pytest.raises(ConfigError, match="strategy vrag is named, but all that makes it is set otherwise"):
        load_profile(path)
    react = config.derived(Profile(name="m"), {"agent.strategy": "react"}, "here").agent.model_dump(mode="json")
    with pytest.raises(ConfigError, match="the settings of the strategy react: name it, not visor"):
        load_profile(_profile(tmp_path, {"name": "m", "agent": {**react, "strategy": "visor"}}))


@pytest.mark.parametrize("profile", sorted(Path("pipelines/profiles").resolve().glob("*.yaml")), ids=lambda p: p.stem)
def test_a_resolved_profile_resolves_to_itself(profile: Path, tmp_path: Path) -> None:
    for strategy in ("visor", "unidoc", "vrag", "react", "vanilla"):
        resolved = load_profile(profile, {"agent.strategy": strategy})
        resolved.save(tmp_path / "resolved.yaml")
        assert load_profile(tmp_path / "resolved.yaml") == resolved


@pytest.mark.parametrize(
    "name",
    [
        *("..", "", ".x", "-x", "a*b", "a/b", "a\\b", "a\nb", "a?", "a#b", "50%", "x.", "x ", "a..b"),
        *("x" * 101, "é" * 51, "con", "COM1.txt"),
    ],
)
def test_names_that_are_no_corpus_are_refused_wherever_one_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="corpus name") as refused:
        Home(tmp_path).corpus(name)
    assert "\n" not in str(refused.value)
    with pytest.raises(ConfigError, match=r"corpora\.train: .*corpus name"):
        apply_overrides({"name": "mine"}, {"corpora.train": name}, "mine.yaml")


def test_a_corpus_has_one_name_in_every_unicode_form(tmp_path: Path) -> None:
    home = Home(tmp_path)
    composed, decomposed = "Caf\u00e9 2024", "Cafe\u0301 2024"
    assert home.corpus(composed) == home.corpus(decomposed) == tmp_path / "corpora" / composed
    (tmp_path / "inbox" / decomposed).mkdir(parents=True)
    assert home.inbox(composed) == tmp_path / "inbox" / decomposed


@pytest.mark.parametrize(
    ("root", "word"),
    [
        ("s3://bucket/home", "is an address"),
        ("~nobody-here/x", "cannot be a folder"),
        ("\udcff", "UTF-8"),
        ("a\nb", "control"),
        ("  ", "blank"),
    ],
)
def test_a_home_that_is_no_folder_is_refused(
    root: str, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=word):
        Home(Path(root))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("address", [f"http://me:{CANARY}@host/v1", f"https://host/v1?key={CANARY}"])
def test_a_teacher_whose_address_holds_a_secret_is_refused_unprinted(address: str) -> None:
    with pytest.raises(ConfigError, match="env:NAME") as caught:
        apply_overrides({"name": "mine"}, {"teacher.endpoint": address}, "mine.yaml")
    assert CANARY not in str(caught.value)
    for fine in ("http://host:8000/v1", "https://host/v1?api-version=2", "env:TEACHER"):
        assert apply_overrides({"name": "mine"}, {"teacher.endpoint": fine}, "x").teacher.endpoint == fine


def test_secrets_are_stripped_wherever_they_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISOR_TEST_SECRET", f" {CANARY}\r\n")
    (tmp_path / "secret").write_text(f"{CANARY}\n", encoding="utf-8")
    for reference in ("env:VISOR_TEST_SECRET", f"file:{tmp_path / 'secret'}"):
        assert SecretReference(reference=reference).read().get_secret_value() == CANARY
    (tmp_path / "secret").write_bytes(CANARY.encode() + b"\xff")
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        SecretReference(reference=f"file:{tmp_path / 'secret'}").read()
    assert CANARY not in str(caught.value)
