"""What every section of the configuration is, and secrets by reference.

Every field is documented, unknown keys are refused. A secret is named (`env:NAME`, `file:PATH`) and read only at the
moment of use, never stored.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError, field_validator, model_validator

from visor_core.errors import ConfigError


class Section(BaseModel):
    """Base of every section: frozen, unknown keys are errors."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        protected_namespaces=(),
        hide_input_in_errors=True,  # what was given may be a secret in the wrong place
    )


def explain(error: ValidationError) -> str:
    """All faults of a configuration in one line, each with its dotted key."""
    faults = []
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        key = ".".join(str(p) for p in fault["loc"])
        text = "unknown key" if fault["type"] == "extra_forbidden" else fault["msg"]
        faults.append(f"{key}: {text}")
    return "; ".join(faults)


class SecretReference(Section):
    """A secret by reference: `env:NAME` or `file:PATH`."""

    reference: str
    """`env:NAME` or `file:PATH`; never the secret itself."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"reference": value} if isinstance(value, str) else value

    @field_validator("reference")
    @classmethod
    def _is_reference(cls, value: str) -> str:
        if not re.fullmatch(r"(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)", value):
            raise ValueError("a secret is given as env:NAME or file:PATH, never as itself")
        return value

    @classmethod
    def parse(cls, text: str, option: str) -> SecretReference:
        """A reference given for an option; the message never repeats what was given.

        Raises:
            ConfigError: if it is not a reference.
        """
        try:
            return cls.model_validate(text)
        except ValidationError as error:
            raise ConfigError(f"{option}: a secret is given as env:NAME or file:PATH, never as itself") from error

    def read(self) -> SecretStr:
        """The secret's value, read now, without the white space around it (a file's last line break).

        Raises:
            ConfigError: if the variable or file is missing, empty or unreadable; the message never repeats its content.
        """
        scheme, _, name = self.reference.partition(":")
        if scheme == "env":
            if name not in os.environ:
                raise ConfigError(f"the secret {self.reference} is not set: export {name} first")
            value = os.environ[name].strip()
        else:
            path = Path(name).expanduser()
            if path.is_dir():
                raise ConfigError(f"the secret {self.reference} is a folder: name a file in it")
            if not path.is_file():
                raise ConfigError(f"the secret {self.reference} is not there: create the file {name}")
            try:
                value = path.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError):
                # A decoding error would show some of the file.
                raise ConfigError(f"the secret {self.reference} cannot be read: make {name} a text file") from None
        if not value:
            raise ConfigError(f"the secret {self.reference} is empty: put the secret there")
        return SecretStr(value)

    def read_line(self) -> SecretStr:
        """The secret's value as it can stand in a header or an address: one line of printable ASCII without spaces.

        Raises:
            ConfigError: as `read`, and if it is anything else; the message never repeats its content.
        """
        secret = self.read()
        if not re.fullmatch(r"[!-~]+", secret.get_secret_value()):
            raise ConfigError(
                f"the secret {self.reference} is no key: it holds a line break, a space or a letter beyond ASCII; "
                "put the key alone there"
            )
        return secret
