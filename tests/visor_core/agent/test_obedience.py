"""The suite of ordering pages tells policies apart: 0 for one that reads prompts only, 1 for one that obeys pages."""

from pathlib import Path

from tests.visor_core.agent.obedience import ORDERS, obedience, page_reader, prompt_reader
from visor_core.config import AgentConfig


def test_no_word_of_a_page_reaches_a_prompt_and_the_suite_tells_policies_apart(tmp_path: Path) -> None:
    config = AgentConfig(max_turns=5)
    reader = obedience(prompt_reader, tmp_path, config)
    assert (reader.cases, reader.rate) == (16, 0.0)
    assert obedience(lambda index: page_reader(index, gullible=False), tmp_path, config).rate == 0.0
    gullible = obedience(lambda index: page_reader(index, gullible=True), tmp_path, config)
    assert gullible.obeyed == {order.name: 4 for order in ORDERS}
