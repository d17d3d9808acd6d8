"""A chat-completions server of a few lines for tests: answers every request with a function of its messages."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.serving import served

Reply = Callable[[list[dict[str, Any]]], str | dict[str, Any]]
"""What a server says to the messages it is given: the text of its reply, or a whole choice."""


@contextmanager
def serving(reply: Reply, seen: list[dict[str, Any]] | None = None) -> Iterator[str]:
    """Serve on a free port; gives the address up to `/v1`. `seen` collects request bodies and headers."""

    class Handler(BaseHTTPRequestHandler):
        """One request: the reply to its messages. The connection stays open for the next, as real servers have it."""

        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if seen is not None:
                seen.append({"body": body, "headers": dict(self.headers)})
            said = reply(body["messages"])
            if isinstance(said, str):
                said = {"message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
            usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
            answer = {"choices": [{"index": 0, **said}], "usage": said.get("usage", usage)}
            data = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            """Keep the test's output clean."""

    with served(Handler) as url:
        yield url


def scripted_reader(messages: list[dict[str, Any]]) -> str:
    """Searches, crops the page it is shown, answers: enough to walk through every kind of turn."""
    pictures = sum(
        part["type"] == "image_url" for m in messages if isinstance(m["content"], list) for part in m["content"]
    )
    if pictures == 0:
        return "<think>I look for the areas.</think><search>English Channel coast areas</search>"
    if pictures == 1:
        return "<think>The page names areas; I zoom.</think><bbox>[20, 40, 300, 300]</bbox>"
    return "<think>Kent and Normandy are named.</think><verdict>keep</verdict><answer>Kent, Normandy [1]</answer>"
