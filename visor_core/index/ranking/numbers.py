"""Numbers in one form, however they are printed: 1,577 is 1577.00 is $1.577 billion in a table of millions.

A grouped number loses its separators and the zeros after its point. What a question writes with a scale ("1.577
billion") is looked for in ones, thousands, millions and billions, as tables print it. Separators are told apart by
what they separate: groups of three digits, or of two in the Indian way, are thousands; a last group of another length
is a fraction. A lone point before three digits is read as thousands, and as a point before a scale.
"""

from __future__ import annotations

import re
import unicodedata

_SEPARATORS = ".,'’\u00a0\u2009\u202f٬٫"
_NUMBER = re.compile(
    r"(?<![\w.,])"
    r"(?:\d{1,3}(?:(?P<group>[,.'’\u00a0\u2009\u202f٬])\d{2,3})(?:(?P=group)\d{2,3})*(?:[.,٫]\d+)?|\d+[.,٫]\d+)"
    r"(?![\w]|[.,]\d)"
)
_SCALES = {
    3: "thousand|tsd|mille|mil|тыс|千",
    4: "万|萬|만",
    6: "million|millions|mn|mm|mio|millionen|millones|млн|百万",
    8: "亿|億|억",
    9: "billion|billions|bn|mrd|milliarde|milliarden|milliard|milliards|miliardi|mil millones|млрд",
}
_SCALED = re.compile(
    r"(?<![\w.,])(\d+(?:[.,]\d+)*)\s?("
    + "|".join(sorted((w for names in _SCALES.values() for w in names.split("|")), key=len, reverse=True))
    + r")(?![^\W\d_])",
    re.IGNORECASE,
)
_POWER = {word: power for power, names in _SCALES.items() for word in names.split("|")}


def plain_digits(text: str) -> str:
    """Decimal digits of any script as ASCII digits.

    >>> plain_digits("٣٤ ４")
    '34 4'
    """
    if text.isascii():
        return text
    return "".join(str(unicodedata.decimal(c)) if c.isdecimal() and not c.isascii() else c for c in text)


def with_plain_numbers(text: str) -> str:
    """A text whose grouped and decimal numbers are printed in one form.

    >>> with_plain_numbers("rose 1,577.00 from 1.204,50 or 1'577 (3.5%), see 12,34,567")
    'rose 1577 from 1204.5 or 1577 (3.5%), see 1234567'
    """
    return _NUMBER.sub(lambda match: _plain(match[0]), text)


def scaled_numbers(question: str) -> list[str]:
    """What a number with a scale may be printed as in a table of ones, thousands, millions or billions.

    >>> scaled_numbers("was it $1.577 billion?")
    ['1577000000', '1577000', '1577', '1.577']
    """
    found: list[str] = []
    for match in _SCALED.finditer(plain_digits(question)):
        digits, decimals = match[1].split(".") if re.fullmatch(r"\d+\.\d+", match[1]) else _parts(match[1])
        power = _POWER[match[2].lower()]
        for unit in (0, 3, 6, 9):
            exponent = power - unit - len(decimals)
            if power < unit:
                continue
            whole = f"{digits}{decimals}"
            if exponent >= 0:
                found.append((whole + "0" * exponent).lstrip("0"))
            else:
                printed = f"{whole[:exponent] or '0'}.{whole[exponent:]}".rstrip("0").rstrip(".")
                found.append(printed.lstrip("0") if not printed.startswith("0.") else printed)
    return list(dict.fromkeys(number for number in found if number))


def _plain(number: str) -> str:
    digits, decimals = _parts(number)
    decimals = decimals.rstrip("0")
    return f"{digits}.{decimals}" if decimals else digits


def _parts(number: str) -> tuple[str, str]:
    """The digits before and after the decimal point."""
    groups = re.split(f"[{_SEPARATORS}]", number)
    marks = [c for c in number if not c.isdigit()]
    if len(groups) == 1:
        return number, ""
    last = groups[-1]
    fraction = (
        len(last) != 3  # no group of thousands
        or (len(marks) > 1 and marks[-1] != marks[-2])  # 1.204,500
        or (len(groups) == 2 and (len(groups[0]) > 3 or groups[0] == "0"))  # 1577.125, 0.125
    )
    if fraction:
        return "".join(groups[:-1]), last
    return "".join(groups), ""
