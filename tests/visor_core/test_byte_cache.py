"""A cache that counts bytes: never over its limit, the least recently used out first."""

from hypothesis import given
from hypothesis import strategies as st

from visor_core.byte_cache import ByteCache


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 12))), st.integers(0, 20))
def test_the_limit_holds_and_what_is_held_is_counted(steps: list[tuple[int, int]], limit: int) -> None:
    cache: ByteCache[int, int] = ByteCache(limit)
    for key, size in steps:
        cache.keep(key, size, size)
        assert cache.get(key) == (size if limit else None)
        held = [value for k in range(6) if (value := cache.get(k)) is not None]
        assert sum(held) == cache.held_bytes
        assert cache.held_bytes <= limit or held == [size]
        assert len(held) == len(cache)


def test_the_least_recently_used_goes_first() -> None:
    cache: ByteCache[str, int] = ByteCache(3)
    for key in "abc":
        cache.keep(key, 1, 1)
    assert cache.get("a") == 1
    cache.keep("d", 1, 1)
    assert [key for key in "abcd" if cache.get(key) is not None] == ["a", "c", "d"]
