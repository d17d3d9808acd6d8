"""A chat server that judges, grades and extracts as recorded, and fails in every way that real ones do.

What it does is decided by the fenced answer in the request: `FAULTS` names the answers that bring a fault.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.serving import served

FENCED = re.compile(r"<(\w+) ([0-9a-f]{12})>\n(.*?)\n?</\1 \2>", re.DOTALL)
USAGE = {"prompt_tokens": 100, "completion_tokens": 5}
FAULTS = ("html", "cut", "empty", "refused", "slow", "down", "busy", "filtered", "rambling", "first unclear")
"""Answers that bring a fault; `busy` asks to wait once, `first unclear` gives a verdict when it is asked again."""


@dataclass
class JudgeServer:
    """What it was asked, by the key that makes a call repeatable, and how it answers."""

    delay: float = 0.0
    slow: float = 5.0
    usage: dict[str, int] | None = field(default_factory=lambda: dict(USAGE))
    root: str = "/weights/judge"
    url: str = ""
    asked: Counter[str] = field(default_factory=Counter)
    completed: Counter[str] = field(default_factory=Counter)
    heard: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def calls(self) -> int:
        """How many requests came in."""
        return sum(self.asked.values())

    def reply(self, body: dict[str, Any], times: int) -> tuple[int, Any, dict[str, str]]:
        """Status, body and headers of a response to the `times`-th request of the same key."""
        system, user = (m["content"][0]["text"] for m in body["messages"][:2])
        fenced = {name: text for name, _, text in FENCED.findall(user)}
        answer = fenced.get("candidate", fenced.get("reply", ""))
        again = len(body["messages"][1]["content"]) > 1
        if answer == "slow":
            time.sleep(self.slow)
        if answer == "down":
            return 500, {"error": {"message": "out of memory"}}, {}
        if answer == "busy" and times == 1:
            return 429, {"error": {"message": "rate limit"}}, {"Retry-After": "0"}
        if answer == "html":
            return 200, "<html>gateway</html>", {}
        message: dict[str, Any] = {"role": "assistant", "content": self.verdict(system, fenced, answer)}
        finish = "stop"
        if answer == "refused":
            message = {"role": "assistant", "content": None, "refusal": "I cannot judge this"}
        if answer == "empty":
            message["content"] = ""
        if answer == "rambling" or (answer == "first unclear" and not again):
            message["content"] = "The answer is True in part, and False in part."
        if answer == "cut":
            finish = "length"
        if answer == "filtered":
            finish = "content_filter"
        reply: dict[str, Any] = {"choices": [{"index": 0, "message": message, "finish_reason": finish}]}
        return 200, reply | ({"usage": self.usage} if self.usage else {}), {}

    @staticmethod
    def verdict(system: str, fenced: dict[str, str], answer: str) -> str:
        """Right if an accepted answer stands in the answer as a whole word."""
        if "Extracted answer" in system:
            found = re.search(r"\d+", answer)
            return f"Extracted answer: {found[0] if found else 'Not answerable'}\nAnswer format: Integer"
        gold = fenced.get("accepted", fenced.get("reference", "")).split("\n")
        right = any(re.search(rf"(?<!\w){re.escape(g)}(?!\w)", answer) for g in gold)
        return f"Grade: {5 if right else 2}" if "grade from 1 to 5" in system else f"Verdict: {right}"


@contextmanager
def judge_server(**settings: Any) -> Iterator[JudgeServer]:
    """Serve on a free port."""
    state = JudgeServer(**settings)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._send(200, {"object": "list", "data": [{"id": "judge", "root": state.root}]}, {})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            key = self.headers.get("Idempotency-Key", "")
            with state.lock:
                state.asked[key] += 1
                state.heard.append(body)
                times = state.asked[key]
            time.sleep(state.delay)
            self._send(*state.reply(body, times))
            with state.lock:
                state.completed[key] += 1

        def _send(self, status: int, value: Any, headers: dict[str, str]) -> None:
            data = (value if isinstance(value, str) else json.dumps(value)).encode()
            try:
                self.send_response(status)
                for name, text in ({"Content-Length": str(len(data))} | headers).items():
                    self.send_header(name, text)
                self.end_headers()
                self.wfile.write(data)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # who asked was killed, or has given up

        def log_message(self, format: str, *args: Any) -> None:
            """Keep the test's output clean."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """A killed client resets its connections, which is what the tests are about."""

    with served(Handler, Server) as state.url:
        yield state
