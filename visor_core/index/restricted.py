"""A table of a corpus in which only some documents exist, for those who may not see the others.

Whatever reads a corpus goes through `search` or `count_rows` of its tables, so that a restriction here holds for
results, pictures, words, vectors and counts alike.
"""

from __future__ import annotations

from typing import Any


class RestrictedTable:
    """Reads a LanceDB table under a condition that holds for every query."""

    def __init__(self, table: Any, condition: str) -> None:
        """`condition` is an SQL condition over the table's columns."""
        self._table, self._condition = table, condition

    @property
    def name(self) -> str:
        """The table's name."""
        return str(self._table.name)

    def search(self, *given: Any, **named: Any) -> _RestrictedQuery:
        """A query as LanceDB's, which the condition restricts before anything is ranked."""
        return _RestrictedQuery(self._table.search(*given, **named), self._condition)

    def count_rows(self, condition: str | None = None) -> int:
        """Rows for which both conditions hold."""
        return int(self._table.count_rows(_both(self._condition, condition)))


class _RestrictedQuery:
    """A query of LanceDB's whose condition is never without the restriction."""

    def __init__(self, query: Any, condition: str) -> None:
        self._query, self._condition = query.where(condition, prefilter=True), condition

    def where(self, condition: str, prefilter: bool = True) -> _RestrictedQuery:
        """Restrict it further."""
        self._query = self._query.where(_both(self._condition, condition), prefilter=prefilter)
        return self

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._query, name)
        if not callable(found):
            return found

        def call(*given: Any, **named: Any) -> Any:
            result = found(*given, **named)
            if isinstance(result, type(self._query)):  # LanceDB's queries return themselves
                self._query = result
                return self
            return result

        return call


def _both(one: str, other: str | None) -> str:
    return f"({one}) AND ({other})" if other else one
