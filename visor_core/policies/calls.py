"""Every call of a paid endpoint, on disk: replies by the content of their request, and what each call has cost.

One SQLite database (WAL, synced at every commit), shared by processes and restarts. A call stands in it *in flight*
before it is sent, under a key that the server is given too (`Idempotency-Key`); its reply and its cost are written in
one transaction before the reply is used, so that no completed reply is asked for twice. A call whose process was
killed, or that timed out, is *in doubt*: it may have been paid, and is repeated under the same key. WAL needs a local
disk.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import re
import sqlite3
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from visor_core.errors import BudgetError, ConfigError, DataError
from visor_core.files import is_locked
from visor_core.policies.spending import Spent

_SCHEMA = """
CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, reply TEXT NOT NULL, written TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sent (
  id INTEGER PRIMARY KEY, key TEXT NOT NULL, endpoint TEXT NOT NULL, model TEXT NOT NULL, revision TEXT NOT NULL,
  purpose TEXT NOT NULL, work TEXT NOT NULL, owner TEXT NOT NULL, began TEXT NOT NULL, ended TEXT,
  outcome TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '', prompt_tokens INTEGER, completion_tokens INTEGER, cost REAL);
CREATE INDEX IF NOT EXISTS sent_by_key ON sent (key);
CREATE INDEX IF NOT EXISTS sent_by_work ON sent (work, purpose);
"""
_TOTALS = """
SELECT endpoint, model, purpose,
  SUM(outcome = 'paid'), SUM(outcome = 'failed'), SUM(outcome = 'in doubt'), SUM(outcome = 'in flight'),
  SUM(outcome = 'paid' AND prompt_tokens IS NULL),
  TOTAL(CASE WHEN outcome = 'paid' THEN prompt_tokens END),
  TOTAL(CASE WHEN outcome = 'paid' THEN completion_tokens END),
  TOTAL(CASE WHEN outcome = 'paid' THEN cost END),
  TOTAL(CASE WHEN outcome IN ('in doubt', 'in flight') THEN
    (SELECT MAX(IFNULL(p.prompt_tokens, 0) + IFNULL(p.completion_tokens, 0))
     FROM sent p WHERE p.key = sent.key AND p.outcome = 'paid') END),
  TOTAL(CASE WHEN outcome IN ('in doubt', 'in flight') THEN
    (SELECT MAX(p.cost) FROM sent p WHERE p.key = sent.key AND p.outcome = 'paid') END)
FROM sent WHERE (?1 = '' OR work = ?1) AND (?2 = '' OR purpose = ?2) GROUP BY endpoint, model, purpose
ORDER BY endpoint, model, purpose
"""
"""A call in doubt may have cost what the completed one of the same content did."""
_IN_FLIGHT = "SELECT DISTINCT owner FROM sent WHERE outcome = 'in flight' AND (?1 = '' OR work = ?1) AND purpose = ?2"
_RESERVED = """
SELECT SUM(outcome = 'in flight'), SUM(outcome = 'paid'),
  MAX(CASE WHEN outcome = 'paid' THEN prompt_tokens + completion_tokens END),
  MAX(CASE WHEN outcome = 'paid' THEN cost END)
FROM sent WHERE (?1 = '' OR work = ?1) AND purpose = ?2
"""
_WAIT = 0.05
"""Seconds between looks at a call that another has in flight, or that the budget has room for only later."""
Outcome = Literal["failed", "in doubt"]


@dataclass(frozen=True, slots=True)
class Budget:
    """What a piece of work may cost over all its starts, in tokens (prompt and completion) and in money; None is no
    limit. A call in flight is reckoned at what the dearest one so far has cost, so that one call at most goes over."""

    tokens: int | None = None
    money: float | None = None

    @classmethod
    def parse(cls, texts: list[str]) -> Budget:
        """`2.50` is money, `200000tokens` tokens; each may be given once.

        Raises:
            ConfigError: if a text is neither.
        """
        tokens: int | None = None
        money: float | None = None
        for text in texts:
            if found := re.fullmatch(r"(\d+)\s*tokens?", text):
                tokens = int(found[1])
            elif re.fullmatch(r"\d+(\.\d+)?", text):
                money = float(text)
            else:
                raise ConfigError(f"--budget {text!r} is neither money, as 2.50, nor tokens, as 200000tokens")
        return cls(tokens, money)

    def __bool__(self) -> bool:
        return self.tokens is not None or self.money is not None


@dataclass(frozen=True, slots=True)
class Call:
    """A request before it is sent: who is asked, and the key of all that decides the reply."""

    key: str
    endpoint: str
    model: str
    revision: str

    @classmethod
    def of(
        cls, endpoint: str, model: str, revision: str, served: Mapping[str, Any], body: Mapping[str, Any], sample: Any
    ) -> Call:
        """A call by its content.

        Args:
            endpoint: the server, without secrets.
            served: what it says of the weights that it serves.
            body: the whole request.
            sample: which draw of the same request it is.
        """
        content = [endpoint, model, revision, dict(served), dict(body), list(sample)]
        return cls(hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest(), endpoint, model, revision)

    @property
    def headers(self) -> dict[str, str]:
        """What makes a server that knows the header answer a repeated call without charging it again."""
        return {"Idempotency-Key": f"visor-{self.key[:40]}"}


class Calls:
    """The database at `path`; its process holds a lock beside it, by which others know that it lives.

    Raises:
        DataError: if the file is no database of calls, or cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._owners = path.parent / "owners"
        self._owners.mkdir(parents=True, exist_ok=True)
        self._owner = uuid.uuid4().hex
        self._held = os.open(self._owners / self._owner, os.O_CREAT | os.O_RDWR, 0o666)
        fcntl.flock(self._held, fcntl.LOCK_EX)
        try:
            with self._reading():
                # Autocommit: transactions are begun where they are meant, and take the write lock at once.
                self._connection = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
                self._connection.execute("PRAGMA journal_mode=WAL")
                self._connection.execute("PRAGMA synchronous=FULL")
                self._connection.executescript(_SCHEMA)
            self._doubt_the_dead()
        except DataError:
            self._let_go()
            raise

    def __enter__(self) -> Calls:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give up what is still in flight, which is in doubt then."""
        with self._writing() as connection:
            self._doubt(connection, self._owner, "the command ended")
        self._connection.close()
        self._let_go()

    def kept(self, call: Call) -> str | None:
        """The reply to a call that was completed before."""
        with self._lock, self._reading():
            row = self._connection.execute("SELECT reply FROM replies WHERE key = ?", (call.key,)).fetchone()
        return str(row[0]) if row else None

    def begin(self, call: Call, purpose: str, work: str, budget: Budget, *, reuse: bool = True) -> str | int | None:
        """Enter a call as in flight.

        Returns:
            The reply if one is kept, the number of the entry if it is to be sent, None while another sends it or what
            is in flight may use the budget up.

        Raises:
            BudgetError: if the work has cost what it may.
        """
        with self._writing() as connection:
            if reuse:
                row = connection.execute("SELECT reply FROM replies WHERE key = ?", (call.key,)).fetchone()
                if row:
                    return str(row[0])
                flying = "SELECT DISTINCT owner FROM sent WHERE key = ? AND outcome = 'in flight'"
                for (owner,) in connection.execute(flying, (call.key,)).fetchall():
                    if owner == self._owner or self._lives(owner):
                        return None
                    self._doubt(connection, owner, "its process was killed")
            if budget and not self._has_room(connection, work, purpose, budget):
                return None
            entered = connection.execute(
                "INSERT INTO sent (key, endpoint, model, revision, purpose, work, owner, began, outcome)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'in flight')",
                (call.key, call.endpoint, call.model, call.revision, purpose, work, self._owner, _now()),
            )
            assert entered.lastrowid is not None
            return entered.lastrowid

    def complete(
        self, call: Call, entry: int, reply: str, tokens: tuple[int | None, int | None], cost: float, *, keep: bool
    ) -> None:
        """Write a reply and what it cost, in prompt and completion tokens (None: the server does not say) and money."""
        with self._writing() as connection:
            if keep:
                connection.execute("INSERT OR IGNORE INTO replies VALUES (?, ?, ?)", (call.key, reply, _now()))
            connection.execute(
                "UPDATE sent SET outcome = 'paid', ended = ?, prompt_tokens = ?, completion_tokens = ?, cost = ?"
                " WHERE id = ?",
                (_now(), *tokens, cost, entry),
            )

    def fail(self, entry: int, outcome: Outcome, reason: str) -> None:
        """Write that a call brought no reply, and why."""
        with self._writing() as connection:
            connection.execute(
                "UPDATE sent SET outcome = ?, ended = ?, reason = ? WHERE id = ? AND outcome = 'in flight'",
                (outcome, _now(), reason[:300], entry),
            )

    def totals(self, work: str = "", purpose: str = "") -> list[Spent]:
        """What was spent, by endpoint, model and purpose; of one piece of work, or in all."""
        with self._lock, self._reading():
            return self._totals(self._connection, work, purpose)

    @staticmethod
    def _totals(connection: sqlite3.Connection, work: str, purpose: str) -> list[Spent]:
        return [Spent(*row) for row in connection.execute(_TOTALS, (work, purpose)).fetchall()]

    def _has_room(self, connection: sqlite3.Connection, work: str, purpose: str, budget: Budget) -> bool:
        """Whether a further call may be sent now; not while what is in flight may use the budget up.

        Raises:
            BudgetError: with what was spent, if the budget is used up, calls in doubt included.
        """
        for (owner,) in connection.execute(_IN_FLIGHT, (work, purpose)).fetchall():
            if owner != self._owner and not self._lives(owner):
                self._doubt(connection, owner, "its process was killed")
        spent = self._totals(connection, work, purpose)
        if unknown := sum(total.unknown for total in spent):
            raise BudgetError(f"the server did not say what {unknown} calls cost, so no budget can be held to")
        tokens, money = sum(t.most_tokens for t in spent), sum(t.most_cost for t in spent)
        by = f" (by {', '.join(sorted({total.model for total in spent}))})"
        if budget.tokens is not None and tokens >= budget.tokens:
            raise BudgetError(f"{tokens:,.0f} tokens are spent of the {budget.tokens:,} allowed{by}")
        if budget.money is not None and money >= budget.money:
            raise BudgetError(f"{money:.4g} is spent of the {budget.money:g} allowed{by}")
        flying, paid, dearest_tokens, dearest = connection.execute(_RESERVED, (work, purpose)).fetchone()
        if not flying:
            return True
        # Nothing is known yet of what a call costs: the first one goes alone.
        if not paid:
            return False
        room_in_tokens = budget.tokens is None or tokens + flying * dearest_tokens < budget.tokens
        return room_in_tokens and (budget.money is None or money + flying * dearest < budget.money)

    def _doubt_the_dead(self) -> None:
        """Enter as in doubt what killed processes had in flight."""
        for path in self._owners.iterdir():
            if path.name != self._owner and not self._lives(path.name):
                with self._writing() as connection:
                    self._doubt(connection, path.name, "its process was killed")
                path.unlink(missing_ok=True)

    @staticmethod
    def _doubt(connection: sqlite3.Connection, owner: str, reason: str) -> None:
        connection.execute(
            "UPDATE sent SET outcome = 'in doubt', ended = ?, reason = ? WHERE owner = ? AND outcome = 'in flight'",
            (_now(), reason, owner),
        )

    def _lives(self, owner: str) -> bool:
        try:
            return is_locked(self._owners / owner)
        except FileNotFoundError:
            return False

    def _let_go(self) -> None:
        (self._owners / self._owner).unlink(missing_ok=True)
        os.close(self._held)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, on the disk as it ends."""
        with self._lock, self._reading():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise DataError(
                f"the ledger of calls {self.path} cannot be used ({error}): free its disk, or set the file aside"
                " (what it has paid for is then asked for again)"
            ) from error


@dataclass(frozen=True)
class Account:
    """Whom calls are made for, and how much they may cost.

    Attributes:
        purpose: what kind of work, as `judge`; spending is told by it.
        work: which piece of it; its budget holds over all its starts.
        reuse: whether replies are kept, and kept ones are used.
    """

    calls: Calls
    purpose: str
    work: str = ""
    budget: Budget = Budget()
    reuse: bool = True

    def call(self, *content: Any) -> Call:
        """As `Call.of`."""
        return Call.of(*content)

    def kept(self, call: Call) -> str | None:
        """The reply to a call that was completed before, where replies are reused."""
        return self.calls.kept(call) if self.reuse else None

    async def begin(self, call: Call) -> str | int:
        """The kept reply, or the number under which the call is entered; waits while another sends the same one.

        Raises:
            BudgetError: as `Calls.begin`.
        """
        while True:
            begun = await asyncio.to_thread(
                self.calls.begin, call, self.purpose, self.work, self.budget, reuse=self.reuse
            )
            if begun is not None:
                return begun
            await asyncio.sleep(_WAIT)

    def complete(self, call: Call, entry: int, reply: str, tokens: tuple[int | None, int | None], cost: float) -> None:
        """As `Calls.complete`."""
        self.calls.complete(call, entry, reply, tokens, cost, keep=self.reuse)

    def fail(self, entry: int, outcome: Outcome, reason: str) -> None:
        """As `Calls.fail`."""
        self.calls.fail(entry, outcome, reason)

    def spent(self) -> list[Spent]:
        """What this piece of work has cost over all its starts."""
        return self.calls.totals(self.work, self.purpose)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
