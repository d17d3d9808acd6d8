"""What servers really do, by a real socket: fields they refuse, thoughts they move, replies they filter or stream."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.tiny_model import picture, prompt
from tests.visor_core.policies.test_openai_compatible import QUICK, ChatServer, Reply, chat, complete
from visor_core.agent.actions import parse
from visor_core.config import SecretReference, ServerConfig
from visor_core.errors import ConfigError, PolicyError
from visor_core.policies.address import Address
from visor_core.policies.base import Completion, Message, Prompt, Sampling
from visor_core.policies.openai_compatible import OpenAICompatiblePolicy
from visor_core.policies.replies import describe_empty

FORCED = prompt(prefix="<answer>")
STOPS = Sampling(0.0, 64, stop=("</search>", "</bbox>", "</answer>"))
GOOD = "<think>The page says 47.</think><answer>47</answer>"


@pytest.fixture
def server() -> Iterator[ChatServer]:
    chat_server = ChatServer()
    yield chat_server
    chat_server.close()


def policy_of(server: ChatServer, **settings: Any) -> OpenAICompatiblePolicy:
    return OpenAICompatiblePolicy(server.url, "big", picture, server=QUICK.model_copy(update=settings))


def refusing(message: str, refused: Callable[[dict[str, Any]], bool], server: ChatServer) -> Callable[[], Reply]:
    """Answers 400 with a message where the last body received is refused, else well."""

    def reply() -> Reply:
        body = server.received[-1][0]
        return (400, {"error": {"message": message}}, {}) if refused(body) else chat(GOOD)

    return reply


# Forced answers: the tag is added only where it occurs nowhere.


@pytest.mark.parametrize("prefill", ["instruct", "continue"])
@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("Based on the evidence, <answer>47</answer>", "47"),
        ("The tables agree. <Answer>47</Answer> That is all.", "47"),
        ("The tables agree. < answer >47</answer>", "47"),
        ("<think>Both pages say 47.</think><answer>47</answer>", "47"),
        ("<think>Both pages say 47.</think>47</answer>", "47"),
        ("47</answer>", "47"),
        ("47", "47"),
    ],
)
def test_a_forced_answer_is_what_stands_in_the_tag(server: ChatServer, written: str, read: str, prefill: str) -> None:
    server.replies = [chat(written)]
    completion = complete(policy_of(server, prefill=prefill), FORCED)
    assert parse(completion.text).text == read
    assert completion.text.lower().replace(" ", "").count("<answer>") == 1


# Thoughts: a field apart, parts of a list, a closing tag alone.


@pytest.mark.parametrize(
    "message",
    [
        {"content": "<answer>47</answer>", "reasoning_content": "The page says 47."},
        {"content": "<answer>47</answer>", "reasoning": "The page says 47."},
        {
            "content": [
                {"type": "thinking", "thinking": "The page says 47."},
                {"type": "text", "text": "<answer>47</answer>"},
            ]
        },
        {
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "The page says 47."}]},
                {"text": "<answer>47</answer>"},
            ]
        },
        {"content": "The page says 47.</think><answer>47</answer>"},
        {"content": "\n\n<answer>47</answer>", "reasoning_content": "The page says 47.\n"},
        {"content": GOOD, "reasoning_content": "Something else."},
    ],
    ids=lambda message: "-".join(message) + str(len(str(message))),
)
def test_a_thought_given_apart_is_the_thought(server: ChatServer, message: dict[str, Any]) -> None:
    server.replies = [(200, {"choices": [{"message": message, "finish_reason": "stop"}]}, {})]
    action = parse(complete(policy_of(server)).text)
    assert (action.kind, action.text, action.thought) == ("answer", "47", "The page says 47.")
    assert action.well_formed


def test_an_action_in_a_thought_without_an_end_is_read(server: ChatServer) -> None:
    message = {"content": None, "reasoning_content": "The page says 47. <answer>47</answer>"}
    server.replies = [(200, {"choices": [{"message": message, "finish_reason": "stop"}]}, {})]
    action = parse(complete(policy_of(server)).text)
    assert (action.kind, action.text, action.thought) == ("answer", "47", "The page says 47.")


def test_a_closing_tag_alone_opens_the_thought_before_any_action_in_it(server: ChatServer) -> None:
    server.replies = [chat("I could <search>q1</search>, but the page is here.</think><answer>47</answer>")]
    assert parse(complete(policy_of(server)).text).text == "47"


# Empty replies say so.


def test_the_real_finish_reason_is_kept(server: ChatServer) -> None:
    server.replies = [chat("", finish_reason="content_filter"), chat("a", finish_reason="length"), chat(GOOD)]
    policy = policy_of(server)
    reasons = [complete(policy).finish_reason for _ in range(3)]
    assert reasons == ["content_filter", "length", "stop"]


def test_an_empty_reply_is_described(server: ChatServer) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "search", "arguments": "{}"}}
    tools = {"role": "assistant", "content": None, "tool_calls": [call]}
    refusal = {"role": "assistant", "content": None, "refusal": "I cannot\nhelp."}
    server.replies = [
        chat("", finish_reason="content_filter"),
        chat("", message=tools, finish_reason="tool_calls"),
        chat("", message=refusal),
        chat(GOOD),
    ]
    policy = policy_of(server)
    assert [describe_empty(complete(policy)) for _ in range(4)] == [
        "an empty reply (finish reason content_filter)",
        "no text, only calls of tools that were not offered: search (finish reason tool_calls)",
        "an empty reply, refused: I cannot help. (finish reason stop)",
        "",
    ]
    assert describe_empty(Completion("<answer>", finish_reason=""), "<answer>") == (
        "an empty reply (finish reason not given)"
    )


# Fields a server refuses are learnt once, for every later request.


@pytest.mark.parametrize(
    ("refused", "message", "sent_instead"),
    [
        (
            "max_tokens",
            "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead.",
            {"max_completion_tokens": 64},
        ),
        ("temperature", "Unsupported value: 'temperature' does not support 0.0 with this model.", {}),
        ("seed", 'Unknown name "seed": Cannot find field.', {}),
        ("stop", "Unsupported parameter: 'stop' is not supported with this model.", {}),
        ("logprobs", "You are not allowed to request 'logprobs' from this model", {}),
        ("include_stop_str_in_output", "Unrecognized request argument supplied: include_stop_str_in_output", {}),
    ],
)
def test_a_refused_field_is_left_out_from_then_on(
    server: ChatServer, refused: str, message: str, sent_instead: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    server.replies = [refusing(message, lambda body: refused in body, server)]
    policy = policy_of(server, token_ids=True)
    with caplog.at_level(logging.WARNING):
        texts = [complete(policy, sampling=STOPS).text for _ in range(3)]
    assert texts == [GOOD] * 3
    bodies = [body for body, _ in server.received]
    assert [refused in body for body in bodies] == [True, False, False, False]
    assert {key: bodies[-1][key] for key in sent_instead} == sent_instead
    assert len(caplog.records) == 1
    assert refused in caplog.text
    assert policy.usage.retries == 0


def test_what_was_not_asked_as_wished_is_kept_with_the_reply(server: ChatServer) -> None:
    message = "Unsupported value: 'temperature' does not support 0.0 with this model."
    server.replies = [refusing(message, lambda body: "temperature" in body, server)]
    policy = policy_of(server)
    assert [complete(policy).metadata for _ in range(2)] == [{"not_as_asked": "temperature"}] * 2


def test_requests_in_flight_learn_from_one_another(server: ChatServer) -> None:
    message = "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."
    server.replies = [refusing(message, lambda body: "max_tokens" in body, server)]
    texts = policy_of(server, retries=0).complete_batch([prompt()] * 6, [Sampling()] * 6)
    assert [c.text for c in texts] == [GOOD] * 6


def test_a_strict_server_names_what_it_does_not_know_by_place(server: ChatServer) -> None:
    detail = [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted", "input": 1}]

    def reply() -> Reply:
        return (422, {"detail": detail}, {}) if "seed" in server.received[-1][0] else chat(GOOD)

    server.replies = [reply]
    assert complete(policy_of(server)).text == GOOD


def test_a_field_of_the_user_is_never_left_out(server: ChatServer) -> None:
    message = "Unsupported value: 'temperature' is not supported with this model."
    server.replies = [refusing(message, lambda body: "temperature" in body, server)]
    with pytest.raises(PolicyError, match="'temperature' is not supported"):
        complete(policy_of(server, extra_body={"temperature": 0.2}))
    assert len(server.received) == 1


def test_a_value_out_of_range_is_no_refused_field(server: ChatServer) -> None:
    server.replies = [(400, {"error": {"message": "'temperature' must be between 0 and 2"}}, {})]
    with pytest.raises(PolicyError, match="must be between 0 and 2"):
        complete(policy_of(server))
    assert len(server.received) == 1


def test_a_server_that_cannot_continue_is_asked_in_words(server: ChatServer) -> None:
    message = "Unrecognized request arguments supplied: add_generation_prompt, continue_final_message"

    def reply() -> Reply:
        continued = "continue_final_message" in server.received[-1][0]
        return (400, {"error": {"message": message}}, {}) if continued else chat("47</answer>")

    server.replies = [reply]
    completion = complete(policy_of(server, prefill="continue"), FORCED)
    assert (completion.text, completion.metadata) == ("<answer>47</answer>", {"not_as_asked": "prefill"})
    assert server.received[-1][0]["messages"][-1]["role"] == "user"


# Errors that come with HTTP 200, and streams.


def test_an_error_that_came_as_a_success_is_retried_as_what_it_is(server: ChatServer) -> None:
    failed = {"error": {"message": "Provider returned error", "code": 502}}
    server.replies = [(200, failed, {}), chat(GOOD)]
    policy = policy_of(server)
    assert complete(policy).text == GOOD
    assert policy.usage.retries == 1
    server.replies = [(200, failed, {})]
    with pytest.raises(PolicyError, match="does not answer after 3 tries: HTTP 502: Provider returned error"):
        complete(policy)


def test_a_refusal_that_came_as_a_success_is_not_retried(server: ChatServer) -> None:
    server.replies = [(200, {"error": {"message": "no such model", "code": 404}}, {})]
    with pytest.raises(PolicyError, match="refuses the request for model 'big': HTTP 404: no such model"):
        complete(policy_of(server))
    assert len(server.received) == 1


def events(*chunks: dict[str, Any]) -> str:
    return ": PROCESSING\n\n" + "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"


def test_a_stream_is_read_asked_for_or_not(server: ChatServer) -> None:
    delta = [{"reasoning_content": "The page "}, {"reasoning_content": "says 47."}, {"content": "<answer>4"}]
    chunks = [{"choices": [{"index": 0, "delta": d}]} for d in delta]
    chunks.append({"choices": [{"index": 0, "delta": {"content": "7</answer>"}, "finish_reason": "stop"}]})
    chunks.append({"choices": [], "usage": {"prompt_tokens": 100, "completion_tokens": 20}})
    server.replies = [(200, events(*chunks), {"content-type": "text/event-stream"})]
    completion = complete(policy_of(server))
    assert (completion.text, completion.finish_reason, completion.prompt_tokens) == (GOOD, "stop", 100)


def test_a_server_that_only_streams_is_asked_to(server: ChatServer) -> None:
    def reply() -> Reply:
        if not server.received[-1][0].get("stream"):
            message = "This model only support stream mode, please enable the stream parameter."
            return 400, {"error": {"message": message}}, {}
        return 200, events({"choices": [{"delta": {"content": GOOD}}]}), {}

    server.replies = [reply]
    policy = policy_of(server)
    assert [complete(policy).text for _ in range(2)] == [GOOD] * 2
    assert [bool(body.get("stream")) for body, _ in server.received] == [False, True, True]


def test_an_error_amid_a_stream_is_an_error(server: ChatServer) -> None:
    broken = events({"choices": [{"delta": {"content": "<thi"}}]}, {"error": {"message": "overloaded", "code": 529}})
    server.replies = [(200, broken, {}), chat(GOOD)]
    assert complete(policy_of(server)).text == GOOD


@pytest.mark.parametrize(
    ("status", "message", "remedy"),
    [
        (400, "This model's maximum context length is 4096 tokens.", "lower agent.context_tokens"),
        (400, "At most 1 image(s) may be provided in one request.", "--set agent.max_images=1"),
        (413, "Request Entity Too Large", "lower agent.image.max_pixels"),
        (401, "Incorrect API key", "--api-key env:NAME"),
    ],
)
def test_a_refusal_names_what_to_change(server: ChatServer, status: int, message: str, remedy: str) -> None:
    server.replies = [(status, {"error": {"message": message}}, {})]
    with pytest.raises(PolicyError) as refused:
        complete(policy_of(server))
    assert remedy in str(refused.value)
    assert message.rstrip(".") in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_redirect_says_where_to(server: ChatServer) -> None:
    server.replies = [(308, "", {"location": "https://me:word@other.example/v1/chat/completions"})]
    with pytest.raises(PolicyError, match=r"redirects \(HTTP 308\) to https://…@other.example/v1/chat/completions"):
        complete(policy_of(server))


# Stop strings: kept, put back, never inside a thought.


def test_a_reply_ends_at_its_action(server: ChatServer) -> None:
    server.replies = [chat(f"{GOOD}\n\n<think>The next page says 48.</think><answer>48</answer>")]
    assert complete(policy_of(server), sampling=STOPS).text == GOOD


@pytest.mark.parametrize("named", [{}, {"stop_reason": "</answer>"}])
def test_a_tag_that_the_server_took_out_is_put_back(server: ChatServer, named: dict[str, str]) -> None:
    server.replies = [chat("<think>The page says 47.</think><answer>47", **named)]
    assert complete(policy_of(server), sampling=STOPS).text == GOOD


def test_a_tag_that_the_model_forgot_is_not_put_back(server: ChatServer) -> None:
    server.replies = [chat("<think>The page says 47.</think><answer>47", stop_reason=None)]
    assert complete(policy_of(server), sampling=STOPS).text == "<think>The page says 47.</think><answer>47"


def test_a_stop_string_inside_a_thought_does_not_end_the_reply(server: ChatServer) -> None:
    thought = "I could <search>q1</search>, but the page is here."

    def reply() -> Reply:
        whole = f"<think>{thought}</think><answer>47</answer>"
        return chat(whole[: whole.index("</search>") + 9] if "stop" in server.received[-1][0] else whole)

    server.replies = [reply]
    policy = policy_of(server)
    for _ in range(2):
        assert parse(complete(policy, sampling=STOPS).text).text == "47"
    assert ["stop" in body for body, _ in server.received] == [True, False, False]
    assert policy.usage.requests == 3


def test_ids_keep_the_tag_and_their_logprobs(server: ChatServer) -> None:
    logprobs = {"content": [{"token": t, "logprob": -0.5} for t in "abc"]}
    server.replies = [chat("<answer>47</answer>", logprobs=logprobs, token_ids=[4, 5, 6], stop_reason="</answer>")]
    completion = complete(policy_of(server, token_ids=True), sampling=STOPS)
    assert completion.token_ids == (4, 5, 6)
    assert completion.logprobs == (-0.5,) * 3
    assert server.received[0][0]["include_stop_str_in_output"] is True


# Parts, keys, addresses.


def test_text_parts_do_not_run_together(server: ChatServer) -> None:
    shown = Prompt((Message("user", ("Evidence Space:\n(empty)", "Start by searching", "Question: q")),), "<answer>")
    complete(policy_of(server), shown)
    texts = [part["text"] for part in server.received[0][0]["messages"][0]["content"]]
    assert all(text.endswith("\n") for text in texts[:-1])
    assert not texts[-1].endswith("\n")


def test_a_key_that_is_not_set_is_one_line_even_where_connections_are_closed(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VISOR_TEST_UNSET", raising=False)
    policy = OpenAICompatiblePolicy(server.url, "big", picture, SecretReference(reference="env:VISOR_TEST_UNSET"))
    with pytest.raises(ConfigError, match="env:VISOR_TEST_UNSET is not set"):
        complete(policy)

    async def ask_and_close() -> None:
        try:
            await policy.complete(prompt(), Sampling())
        finally:
            await policy.disconnect()

    with pytest.raises(ConfigError, match="env:VISOR_TEST_UNSET is not set"):
        asyncio.run(ask_and_close())


def test_a_key_is_stripped_and_never_said(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = SecretReference(reference="env:VISOR_TEST_KEY")
    monkeypatch.setenv("VISOR_TEST_KEY", "canary-key\n")
    complete(OpenAICompatiblePolicy(server.url, "big", picture, reference, server=QUICK))
    assert server.received[-1][1]["Authorization"] == "Bearer canary-key"
    for wrong in ("canary\nkey", "canary kéy", "canary key", " \n"):
        monkeypatch.setenv("VISOR_TEST_KEY", wrong)
        with pytest.raises(ConfigError) as refused:
            complete(OpenAICompatiblePolicy(server.url, "big", picture, reference, server=QUICK))
        assert "canary" not in str(refused.value)
        assert "env:VISOR_TEST_KEY" in str(refused.value)
    monkeypatch.setenv("VISOR_TEST_KEY", "canary-key")
    server.replies = [(401, {"error": {"message": "Incorrect API key provided: canary-key"}}, {})]
    with pytest.raises(PolicyError) as repeated:
        complete(OpenAICompatiblePolicy(server.url, "big", picture, reference, server=QUICK))
    assert "canary" not in str(repeated.value)


def test_what_is_secret_in_an_address_is_sent_and_never_said(
    server: ChatServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="httpx")
    address = server.url.replace("http://", "http://me:canary-word@") + "?api-version=2&key=canary-query"
    policy = OpenAICompatiblePolicy(address, "big", picture, server=QUICK)
    assert complete(policy).text == "hello"
    assert server.received[-1][1]["Authorization"].startswith("Basic ")
    server.replies = [(500, {"error": {"message": f"cannot serve {address} to canary-word"}}, {})]
    with pytest.raises(PolicyError) as failed:
        complete(policy)
    server.replies = [(200, "<html>canary-query</html>", {})]
    with pytest.raises(PolicyError) as strange:
        complete(policy)
    for text in (
        str(failed.value),
        str(strange.value),
        policy.base_url,
        policy.name,
        policy.checkpoint,
        repr(vars(policy)),
        caplog.text,
    ):
        assert "canary" not in text
    assert "api-version=2&key=…" in policy.base_url


def test_a_query_stays_at_the_end_of_the_address(server: ChatServer) -> None:
    paths: list[str] = []
    handler = server.server.RequestHandlerClass
    plain = handler.do_POST  # type: ignore[attr-defined]

    def noting(self: Any) -> None:
        paths.append(self.path)
        plain(self)

    handler.do_POST = noting  # type: ignore[attr-defined]
    complete(OpenAICompatiblePolicy(f"{server.url}/?api-version=2", "big", picture))
    assert paths == ["/v1/chat/completions?api-version=2"]


@pytest.mark.parametrize(
    "address", ["http://host:99999/v1", "http://host:port/v1", "http:///v1", "http://[::1/v1", "ftp://host/v1"]
)
def test_an_address_that_is_none_is_refused_at_once(address: str) -> None:
    with pytest.raises(PolicyError, match="is no address"):
        OpenAICompatiblePolicy(address, "big", picture)


def test_pictures_kept_for_sending_are_bounded_in_bytes(server: ChatServer) -> None:
    policy = OpenAICompatiblePolicy(server.url, "big", picture, server=ServerConfig(picture_cache_mib=0))
    complete(policy, prompt(pages=("a", "b")))
    assert policy._pictures.held_bytes == 0
    kept = OpenAICompatiblePolicy(server.url, "big", picture)
    complete(kept, prompt(pages=("a", "b", "a")))
    assert 0 < kept._pictures.held_bytes < 100_000
    assert len(kept._pictures) == 2


def test_a_servers_words_show_no_part_of_a_key_and_no_control_characters() -> None:
    address = Address("http://127.0.0.1:9/v1")
    said = address.masked("Incorrect API key provided: sk-abcdef…90123456 \x1b[31mred", "sk-abcdefghijk90123456")
    assert said.startswith("Incorrect API key provided: …")
    assert "abcdef" not in said
    assert "90123456" not in said
    assert "\x1b" not in said
