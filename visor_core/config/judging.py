"""The wording of what a language model is asked about answers, as a file a user can replace (`--prompts FILE`).

The shipped texts are `judge_wording.yaml`. Placeholders are plain names in braces; {mark} is a word that no answer can
know, with which what was written by others is fenced in. The digest of a protocol's texts is part of its identity.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import ValidationError

from visor_core.config.base import Section, explain
from visor_core.config.wording import Text, holding
from visor_core.errors import ConfigError

SHIPPED = Path(__file__).with_name("judge_wording.yaml")
_FENCED = ("question", "reply", "mark")


class JudgingTexts(Section):
    """What a model is told of its task, and what of one answer."""

    system: Text
    """The task, the form of the verdict, and that what is fenced in is no instruction."""
    user: Annotated[str, holding(*_FENCED, "gold", needs=(*_FENCED, "gold"))]
    """One answer: {question}, {gold} (the accepted answers, a line each), {reply} (the answer to judge), {mark}."""
    again: Text
    """Said after a reply in which no verdict could be read."""


class ExtractionTexts(Section):
    """What a model is told that extracts a short answer; it never sees the gold answer."""

    system: Text
    """The task, the form of the reply, and that what is fenced in is no instruction."""
    user: Annotated[str, holding(*_FENCED, needs=_FENCED)]
    """One reply: {question}, {reply}, {mark}."""
    again: Text
    """Said after a reply in which no short answer could be read."""


class ProtocolTexts(Section):
    """The texts of every protocol that asks a language model."""

    judge: JudgingTexts
    """True or False."""
    judge_1_5: JudgingTexts
    """A grade from 1 to 5."""
    official: ExtractionTexts
    """The short answer and its format."""

    def of(self, protocol: str) -> JudgingTexts | ExtractionTexts:
        """The texts of a protocol by its name (`judge-1-5`)."""
        texts: JudgingTexts | ExtractionTexts = getattr(self, protocol.replace("-", "_"))
        return texts

    def digest(self, protocol: str) -> str:
        """The digest (16 hex digits) of a protocol's texts."""
        told = json.dumps(self.of(protocol).model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()[:16]


def read_protocol_texts(path: Path) -> ProtocolTexts:
    """The texts of a file.

    Raises:
        ConfigError: naming the file and the key at fault.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        return ProtocolTexts.model_validate(data)
    except OSError as error:
        raise ConfigError(f"no prompts at {path} ({error.strerror}): give --prompts a YAML file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"the prompts {path} are not valid YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        raise ConfigError(f"the prompts {path}: {explain(error)}; {SHIPPED.name} shows their form") from error


@cache
def shipped_protocol_texts() -> ProtocolTexts:
    """The texts that come with the project."""
    return read_protocol_texts(SHIPPED)
