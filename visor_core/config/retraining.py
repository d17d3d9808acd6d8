"""Section `retraining`: when the chain is run again by itself, and who is told when the result falls."""

from __future__ import annotations

import re

from pydantic import Field, field_validator

from visor_core.config.base import SecretReference, Section

_CRON_FIELD = re.compile(r"[0-9A-Za-z*/,#?-]+")


class RetrainingConfig(Section):
    """Retraining without a person. Schedule, automation and sensors are off until they are switched on in the page."""

    cron: str = "0 3-9 * * 0"
    """When the weekly schedule looks whether something has changed, as a cron line in UTC. Each look starts what is out
    of date and ready: corpora first, at the next look what is trained on them. Hence several looks on one day."""
    fresh_days: float = Field(default=8.0, ge=0.001)
    """Days after which benchmark and champion count as not looked after: a warning, and a failure after twice as many.
    Where nothing has changed, the schedule confirms them before that, without training. Dagster looks no closer
    than a minute."""
    settle_seconds: float = Field(default=10.0, ge=0)
    """A watched folder is read once nothing in it has changed for so long: a copy in progress is no document yet."""
    message_command: tuple[str, ...] = ()
    """Program with its arguments that is started when the benchmark falls; it gets the message as JSON on its standard
    input. None: nobody is told this way."""
    message_url: SecretReference | None = None
    """Address, by reference (`env:NAME` or `file:PATH`), to which the message is sent as JSON when the benchmark falls:
    webhooks carry a key."""
    message_seconds: float = Field(default=30.0, gt=0)
    """Time the program or the address may take."""

    @field_validator("cron")
    @classmethod
    def _is_a_cron_line(cls, value: str) -> str:
        fields = value.split()
        if len(fields) != 5 or not all(_CRON_FIELD.fullmatch(field) for field in fields):
            raise ValueError("a cron line has five fields: minute, hour, day of the month, month, day of the week")
        return value
