"""A chat server that says which weights it serves: a list of models, a mark on each reply; refuses on demand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.serving import served


@dataclass
class ModelServer:
    """What the server says and does; a test changes it while it runs. `asked` counts chat requests."""

    entry: dict[str, Any] = field(default_factory=lambda: {"id": "toy", "root": "/weights/a", "max_model_len": 4096})
    answer: str = "47"
    fingerprint: str = ""
    fault: str = ""
    """A request whose messages hold this text is refused."""
    asked: int = 0
    heard: str = ""
    """The messages of the last request, as JSON."""
    url: str = ""

    def reply(self, messages: list[dict[str, Any]]) -> dict[str, Any]:
        """Searches first, then answers."""
        text = json.dumps(messages)
        action = f"<answer>{self.answer}</answer>" if "image_url" in text else "<search>staff</search>"
        message = {"role": "assistant", "content": f"<think>staff is {self.answer}</think>{action}"}
        mark = {"system_fingerprint": self.fingerprint} if self.fingerprint else {}
        usage = {"prompt_tokens": 100, "completion_tokens": 10}
        return {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage, **mark}


@contextmanager
def model_server(**said: Any) -> Iterator[ModelServer]:
    """Serve on a free port."""
    state = ModelServer(**said)

    class Handler(BaseHTTPRequestHandler):
        """One request."""

        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._send(200, {"object": "list", "data": [state.entry]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.asked += 1
            state.heard = json.dumps(body["messages"])
            if state.fault and state.fault in state.heard:
                self._send(400, {"error": {"message": "prompt too long"}})
            else:
                self._send(200, state.reply(body["messages"]))

        def _send(self, status: int, value: dict[str, Any]) -> None:
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            """Keep the test's output clean."""

    with served(Handler) as state.url:
        yield state
