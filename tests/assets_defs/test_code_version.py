"""Code versions follow what code does, not how it is explained."""

from __future__ import annotations

import pytest

from assets_defs.code_version import code_version, meaning_of
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


def test_a_text_that_is_used_counts() -> None:
    assert meaning_of("x = 'a'") != meaning_of("x = 'b'")


def test_a_version_covers_whole_packages() -> None:
    assert code_version("visor_core.scoring") != code_version("visor_core.scoring.answers")
    assert code_version("visor_core.geometry") == code_version("visor_core.geometry")


def test_an_unknown_module_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"visor_core\.nowhere"):
        code_version("visor_core.nowhere")
