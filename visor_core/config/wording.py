"""Section of the prompts' wording: every text the protocol says to a pretrained model, as a file a user can replace.

`agent.wording` names a YAML file; it is read when a profile is resolved and its texts become part of the configuration,
so that identities, lineage and stored trajectories hold the words themselves. The shipped texts are
`full_wording.yaml`. Placeholders are plain names in braces. Which piece stands where is `visor_core.agent`'s.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, ValidationError

from visor_core.config.base import Section, explain
from visor_core.errors import ConfigError

SHIPPED = Path(__file__).with_name("full_wording.yaml")


def _holding(*allowed: str, needs: Collection[str] = ()) -> AfterValidator:
    """A text whose placeholders are among `allowed` and that holds all of `needs`."""

    def check(text: str) -> str:
        try:
            parts = list(Formatter().parse(text))
        except ValueError as error:
            raise ValueError(f"{error}: a brace that is no placeholder is written twice") from error
        named = [(name, spec, conversion) for _, name, spec, conversion in parts if name is not None]
        known = ", ".join(f"{{{name}}}" for name in allowed) or "none"
        for name, spec, conversion in named:
            if name not in allowed or spec or conversion:
                raise ValueError(f"unknown placeholder {{{name}}}: known here are {known}")
        missing = [name for name in needs if name not in {n for n, _, _ in named}]
        if missing:
            raise ValueError(f"the placeholder {{{missing[0]}}} is missing")
        return text

    return AfterValidator(check)


Text = Annotated[str, _holding()]
"""A text without placeholders."""
_Verdict = Annotated[str, _holding("verdict")]
_Coordinates = Annotated[str, _holding("coordinates", needs=("coordinates",))]
_Ledger = Annotated[str, _holding("ledger")]
_Picture = Annotated[str, _holding("picture", needs=("picture",))]
_Index = Annotated[str, _holding("index", needs=("index",))]


class FaultTexts(Section):
    """What was wrong with a reply, as the middle of a sentence; keys are those of `visor_core.agent.prompts.FAULTS`."""

    no_action: Text
    """No action tag was found."""
    cut_off: Text
    """The reply ended at its token limit before an action."""
    empty_query: Text
    """A search without words."""
    empty_answer: Text
    """An answer without words."""
    bad_box: Text
    """A box that is not four numbers."""
    no_search: Text
    """A search where the strategy has none."""
    no_crop: Text
    """A box where the strategy has none."""
    no_select: Text
    """A choice where the strategy has none."""
    no_page: Text
    """A box before any page was shown."""
    page_gone: Text
    """A box on a page for which an image budget left no room."""
    no_candidates: Text
    """A choice without candidates."""
    choose_first: Text
    """A box while candidates wait for a choice."""
    degenerate: Text
    """A box without area."""
    outside: Text
    """A box mostly off the page."""
    whole_page: Text
    """A box on nearly the whole page."""
    repeat: Text
    """A box on a region shown before."""
    blank: Text
    """A box on a region where nothing is."""
    not_drawn: Text
    """A box on a region that cannot be rendered."""
    not_an_answer: Text
    """A forced reply that holds no answer."""


class FormatTexts(Section):
    """How an answer of each format is asked for; empty says nothing. A wording may leave all of them out."""

    whole_number: str = ""
    """Int."""
    number: str = ""
    """Float."""
    phrase: str = ""
    """Str."""
    listing: str = ""
    """List."""
    no_answer: str = ""
    """None, a question without an answer. The shipped text is that of Str: another would tell that there is none."""


class FewShot(Section):
    """One worked exchange before the question; its texts are shown as they are."""

    user: str
    """What the environment says."""
    assistant: str
    """The reply to learn from."""


class WordingTexts(Section):
    """Every text of the protocol; a text that is joined into a sentence brings its own spaces and punctuation."""

    role: Text
    """System prompt: what the model is."""
    form: Annotated[str, _holding("verdict", needs=("verdict",))]
    """System prompt: the form of a reply, before the list of actions. {verdict}: `form_verdict`, or nothing."""
    form_verdict: Text
    """The verdict's place in the form of a reply."""
    action_search: Text
    """The action search, which shows one page, and none twice."""
    action_search_pages: Text
    """The action search where it shows several pages, or pages again."""
    action_search_candidates: Text
    """The action search where it shows candidates."""
    action_select: Text
    """The action select."""
    action_crop: _Coordinates
    """The action of a box. {coordinates}: one of the three texts on frames."""
    action_answer: Text
    """The action answer without a ledger."""
    action_answer_cited: Text
    """The action answer with a ledger to cite."""
    coordinates_pixels: Text
    """How a box is written in pixels."""
    coordinates_thousand: Text
    """How a box is written in thousandths."""
    coordinates_grid10: Text
    """How a box is written in tenths."""
    record: Text
    """System prompt: that the thought is recorded."""
    ledger_boxes: Annotated[str, _holding("coordinates")]
    """System prompt: how boxes of the ledger are to be read (shares of the page), beside the frame the model writes."""
    verdict: Text
    """System prompt: what the verdict judges."""
    verdict_crop: Text
    """System prompt: what it judges of a crop; follows `verdict` where boxes exist."""
    example_crop: Annotated[str, _holding("verdict", "box")]
    """System prompt: a worked reply where boxes exist. {verdict}: a verdict, or nothing; {box}: a box in the frame."""
    example_search: _Verdict
    """System prompt: a worked reply where there are searches but no boxes."""
    example_answer: _Verdict
    """System prompt: a worked reply where there is the answer alone."""
    untrusted: Text
    """System prompt: what pages are worth, and what to answer where the collection does not know."""
    question: Annotated[str, _holding("question", needs=("question",))]
    """The question, in the header and as the last line of every context."""
    ledger: Text
    """The title of the ledger."""
    ledger_empty: Text
    """Stands where the ledger has no entry."""
    entry: Annotated[
        str,
        _holding(
            "index", "document", "page", "box", "state", "replaces", "observation",
            needs=("index", "document", "page", "box", "state", "replaces", "observation"),
        ),
    ]  # fmt: skip
    """One line of the ledger. {box}, {state}, {replaces} and {observation} are the texts below, or nothing."""
    entry_box: Annotated[str, _holding("box", needs=("box",))]
    """The box of an entry, in shares of the page."""
    entry_zoomed: Text
    """Marks the reading of a crop."""
    entry_rejected_page: Text
    """Marks a page judged irrelevant."""
    entry_rejected_crop: Text
    """Marks a crop judged uninformative."""
    entry_replaces: _Index
    """Names the entry this one replaces."""
    entry_observation: Annotated[str, _holding("observation", needs=("observation",))]
    """The reading itself."""
    picture: Annotated[str, _holding("name", "width", "height", needs=("name",))]
    """One picture by document and page ({name}) and its size in pixels."""
    page: Annotated[str, _holding("pictures", needs=("pictures",))]
    """Said with a page, or with several."""
    crop: _Picture
    """Said with a crop."""
    pinned: _Picture
    """Said with the page that boxes refer to, where no turn in the context shows it."""
    candidates: Annotated[str, _holding("candidates", needs=("candidates",))]
    """Said with candidates, which are `candidate` texts joined by semicolons."""
    candidate: Annotated[str, _holding("number", "name", needs=("number",))]
    """One candidate."""
    exhausted: Text
    """Said where a search found only pages that were shown before."""
    no_results: Text
    """Said where a search found nothing."""
    retry: Annotated[str, _holding("fault", needs=("fault",))]
    """Said to a reply that cannot be followed."""
    stands_after_crop: _Index
    """Precedes an observation after a rejected crop: which entry stands."""
    stands_after_box: _Index
    """Precedes the refusal of a box: which entry stands."""
    missing_image: Text
    """Stands where a picture was left out for a budget."""
    faults: FaultTexts
    """What was wrong, by fault."""
    turn: Annotated[str, _holding("turn", "turns")]
    """Which turn of how many the reply is."""
    last_turn: Text
    """Said in the last turn, and where an answer is forced."""
    intent_start: Text
    """Intent before the first action, where there are searches."""
    intent_page: _Ledger
    """Intent after a page. {ledger}: `intent_ledger`, or nothing where there is none."""
    intent_crop: Annotated[str, _holding("entry", "verdict")]
    """Intent after a crop. {entry} and {verdict}: the two texts below, or nothing."""
    intent_crop_entry: Text
    """Asks for the entry of the ledger, where there is one."""
    intent_crop_verdict: Text
    """Asks for the verdict, where replies carry one."""
    intent_candidates: Text
    """Intent after candidates."""
    intent_retry: _Ledger
    """Intent after a refused reply."""
    intent_exhausted: _Ledger
    """Intent after a search that showed nothing new."""
    intent_ledger: Text
    """Points at the ledger inside an intent."""
    verify: Text
    """Encourages the search with the original question before answering."""
    answer_format: Annotated[str, _holding("format")] = ""
    """After the question, where `agent.answer_format` is on. {format}: one of `answer_formats`."""
    answer_formats: FormatTexts = FormatTexts()
    """The texts of the formats."""
    few_shot: tuple[FewShot, ...]
    """Worked exchanges between system prompt and question; may be empty."""


def read_wording(path: Path) -> WordingTexts:
    """The texts of a wording file.

    Raises:
        ConfigError: naming the file and the key at fault.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"no wording at {path} ({error.strerror}): give agent.wording as a YAML file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"the wording {path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"the wording {path} must be a mapping of texts, as {SHIPPED.name} is")
    try:
        return WordingTexts.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"the wording {path}: {explain(error)}") from error


@cache
def shipped_wording() -> WordingTexts:
    """The texts that come with the project."""
    return read_wording(SHIPPED)


def inline_wording(data: dict[str, Any], folder: Path | None) -> None:
    """Put the texts of the file that `agent.wording` names in its place.

    Args:
        data: a profile as a mapping of sections, changed in place.
        folder: where the profile lies; a relative path is looked for there, then in the working folder.

    Raises:
        ConfigError: if the file cannot be used, or the prompts are not those it is for.
    """
    agent = data.get("agent")
    if not isinstance(agent, dict) or not isinstance(agent.get("wording"), str):
        return
    if agent.get("prompts", "full") != "full":
        raise ConfigError(f"agent.wording is for agent.prompts: full, not {agent['prompts']}: leave it out")
    named = Path(agent["wording"]).expanduser()
    beside = folder / named if folder else named
    agent["wording"] = read_wording(beside if beside.is_file() else named).model_dump(mode="json")
