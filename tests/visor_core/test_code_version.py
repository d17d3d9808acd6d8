"""Code versions follow what code does, not how it is explained."""

from __future__ import annotations

from pathlib import Path

import pytest

from visor_core import code_version as module
from visor_core.code_version import code_behind, code_version, meaning_of
from visor_core.errors import ConfigError


def test_prose_does_not_count() -> None:
    plain = "def f(x: int) -> int:\n    return x + 1\n"
    explained = '"""A module."""\n\n\ndef f(x: int) -> int:\n    """Adds one."""\n    # why\n    return x + 1\n'
    assert meaning_of(plain) == meaning_of(explained)


@pytest.mark.parametrize(
    "changed", ["def f(x: int) -> int:\n    return x + 2\n", "def g(x: int) -> int:\n    return x + 1\n"]
)
def test_code_counts(changed: str) -> None:
    assert meaning_of("def f(x: int) -> int:\n    return x + 1\n") != meaning_of(changed)


def test_an_imported_module_for_the_type_checker_alone_is_no_code_behind() -> None:
    found = code_behind("visor_core.agent.environment", within=("visor_core",), without=("visor_core.config",))
    assert "visor_core.agent.context" in found
    assert not {name for name in found if name.startswith("visor_core.config")}
    assert "visor_core.policies.load" not in code_behind("visor_core.evaluation.results", within=("visor_core",))


def test_the_meaning_is_the_same_text_under_every_python() -> None:
    """Neither `type_params` (3.12) nor empty fields, which 3.13 leaves out: else a newer Python retrains everything."""
    source = "class C:\n    def f(self): return None\n"
    assert meaning_of(source) == (
        "Module(body=[ClassDef(body=[FunctionDef(args=arguments(args=[arg(arg='self')]),"
        "body=[Return(value=Constant())],name='f')],name='C')])"
    )


def test_a_text_that_is_used_counts() -> None:
    assert meaning_of("x = 'a'") != meaning_of("x = 'b'")


def test_a_version_covers_whole_packages() -> None:
    assert code_version("visor_core.scoring") != code_version("visor_core.scoring.answers")
    assert code_version("visor_core.geometry") == code_version("visor_core.geometry")


def test_an_unknown_module_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"visor_core\.nowhere"):
        code_version("visor_core.nowhere")


def test_the_code_behind_a_module_is_what_it_imports_of_the_packages_asked_for() -> None:
    found = code_behind("visor_core.training.grpo", within=("visor_core.training", "visor_core.scoring"))
    assert {
        "visor_core.training.grpo",
        "visor_core.training.rollouts",
        "visor_core.training.rewards.__init__",  # imported by the package's name
        "visor_core.training.rewards.presets",  # through that
        "visor_core.scoring.facts",
    } <= found
    assert not {name for name in found if name.split(".")[1] not in ("training", "scoring")}
    assert "visor_core.training.sft" not in found


def test_an_unknown_module_has_no_code_behind_it() -> None:
    with pytest.raises(ConfigError, match=r"visor_core\.nowhere"):
        code_behind("visor_core.nowhere", within=())


def test_what_was_parsed_before_gives_the_same_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier process parsed is used as it is, is not asked of a file that changed, and may be damaged."""
    kept = tmp_path / "parsed.json"
    monkeypatch.setattr(module, "_PARSED", kept)
    first = module._Parsed()
    path = tmp_path / "some.py"
    path.write_text("import json\nx = 1\n", encoding="utf-8")
    found = first.of(path)
    assert found[1] == {"json"}
    first.keep()
    again = module._Parsed()
    monkeypatch.setattr(module, "meaning_of", lambda source: pytest.fail("it was parsed again"))
    assert again.of(path) == found
    monkeypatch.undo()
    monkeypatch.setattr(module, "_PARSED", kept)
    path.write_text("import json\nx = 2\n", encoding="utf-8")
    assert module._Parsed().of(path)[0] != found[0]
    kept.write_text("{", encoding="utf-8")
    path.write_text("import json\nx = 1\n", encoding="utf-8")
    assert module._Parsed().of(path) == found
