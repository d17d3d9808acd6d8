"""SlideVQA's exact match and F1 of an answer (Tanaka et al., AAAI 2023), as its released script normalises answers.

What the question says takes part: the word after "how many" and the word after "which" are units and are taken out of
both answers. The script's quirks are kept because its numbers depend on them: it looks for those phrases in the
question as written (a sentence that opens with "Which" has none), takes "and" out of the middle of words, and cuts an
answer that starts with the letters "no" or "yes" to its first word. It differs in one thing: a question that ends in
"how many" or "which" has no unit, where the script stops.
"""

from __future__ import annotations

import re
import string
from collections import Counter

# fmt: off
_WORDS = [
    "zero", "one", "two", "three", "four", "five", "six", "seven",
    "eight", "nine", "ten", "eleven", "twelve", "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]
# fmt: on
NUMBER_WORDS = {word: str(number) for number, word in enumerate(_WORDS)}
_REPLACED = (
    ("this is ", ""),
    ("it is ", ""),
    ("&", ","),
    ("and", ","),
    ("percent", ""),
    ("organisation", "organization"),
    ("because of", ""),
    ("because", ""),
    ("due to", ""),
    ("hours", "hrs"),
    ("minites", "min"),
)
"""In this order; the spelling of the last one is the script's."""
_UNIT_AFTER = ("how many", "which")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def units(question: str) -> list[str]:
    """The words that a question names as units: the one after its first "how many", the one after its first "which"."""
    following = (question.partition(phrase)[2].split() for phrase in _UNIT_AFTER)
    return [words[0] for words in following if words]


def normalise(answer: str, question: str) -> list[str]:
    """The words of an answer as SlideVQA compares them."""
    text = answer.lower()
    for old, new in _REPLACED:
        text = text.replace(old, new)
    for unit in units(question):
        text = text.replace(unit, "")
    text = re.sub(r"\b(a|an|the)\b", " ", text.translate(_NO_PUNCTUATION))
    words = text.split()
    if text.startswith(("yes", "no")):
        words = words[:1]
    return [NUMBER_WORDS.get(word, word) for word in words]


def slidevqa_scores(reference: str, prediction: str, question: str) -> tuple[float, float]:
    """Exact match and F1 over words, each in [0, 1]; both 0 where no word is shared, even if neither has a word."""
    gold, given = normalise(reference, question), normalise(prediction, question)
    shared = sum((Counter(gold) & Counter(given)).values())
    if shared == 0:
        return 0.0, 0.0
    precision, recall = shared / len(given), shared / len(gold)
    return float(gold == given), 2 * precision * recall / (precision + recall)
