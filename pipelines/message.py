"""The message that goes out when a benchmark falls: to a program's standard input, or by POST to an address."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from typing import Any

from visor_core.config import RetrainingConfig
from visor_core.errors import ConfigError
from visor_core.network import client_options


def send(message: Mapping[str, Any], config: RetrainingConfig) -> list[str]:
    """Send a message to whom the configuration names; returns who got it.

    Raises:
        ConfigError: naming the setting whose program or address did not take it.
    """
    text = json.dumps(message)
    told = []
    if config.message_command:
        _start(config, text)
        told.append(f"the program {config.message_command[0]}")
    if config.message_url:
        _post(config, text)
        told.append(f"the address {config.message_url.reference}")
    return told


def _start(config: RetrainingConfig, text: str) -> None:
    program = config.message_command[0]
    try:
        done = subprocess.run(
            config.message_command,
            input=text,
            text=True,
            capture_output=True,
            check=False,
            timeout=config.message_seconds,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = getattr(error, "strerror", None) or f"it took longer than {config.message_seconds:g} s"
        raise ConfigError(f"retraining.message_command: {program} did not take the message: {reason}") from error
    if done.returncode:
        said = " ".join(done.stderr.split())[:200]
        raise ConfigError(f"retraining.message_command: {program} ended with status {done.returncode}: {said}")


def _post(config: RetrainingConfig, text: str) -> None:
    """POST the message; the address is secret and is never repeated."""
    import httpx

    assert config.message_url is not None
    address = config.message_url.read_line().get_secret_value()
    name = f"retraining.message_url ({config.message_url.reference})"
    headers = {"Content-Type": "application/json"}
    try:
        with httpx.Client(timeout=config.message_seconds, **client_options(address)) as client:
            answer = client.post(address, content=text, headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ConfigError(f"{name} did not take the message: {type(error).__name__}") from None
    if answer.is_error:
        raise ConfigError(f"{name} did not take the message: status {answer.status_code}")
