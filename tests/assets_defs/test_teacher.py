"""The teacher behind an endpoint: asked as the profile says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from assets_defs.teacher_trajectories import STAGE, _teacher
from visor_core.config import Profile, derived
from visor_core.policies.openai_compatible import OpenAICompatiblePolicy

PROFILE = derived(Profile(name="mine"), {"teacher.endpoint": "http://127.0.0.1:9/v1", "teacher.model": "big"}, "test")


def test_the_endpoint_is_asked_as_the_profile_says() -> None:
    priced = {"teacher.server.prompt_price": 2.0, "teacher.server.max_cost": 5.0, "teacher.server.retries": 9}
    settled = derived(PROFILE, priced, "test")
    policy = _teacher(cast("Any", SimpleNamespace(profile=settled)), cast("Any", None))
    assert isinstance(policy, OpenAICompatiblePolicy)
    assert (policy.checkpoint, policy.server) == ("big", settled.teacher.server)
    assert (policy.server.max_cost, policy.server.retries) == (5.0, 9)


@pytest.mark.parametrize(
    ("key", "value", "decides"),
    [
        ("timeout_seconds", 9.0, False),
        ("concurrency", 2, False),
        ("completion_price", 3.0, False),
        ("prefill", "continue", True),
        ("extra_body", {"top_k": 1}, True),
    ],
)
def test_what_decides_replies_makes_the_stage_anew_and_pace_and_price_do_not(
    key: str, value: object, decides: bool
) -> None:
    changed = derived(PROFILE, {f"teacher.server.{key}": value}, "test")
    assert (STAGE.fingerprint(changed, "", {}) != STAGE.fingerprint(PROFILE, "", {})) is decides
