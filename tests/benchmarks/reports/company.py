"""Companies and their years: names, aliases, file-name habits, and figures that agree between statements and years."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from tests.benchmarks.reports import words
from tests.benchmarks.reports.words import BALANCE, CASH, INCOME, Trade

Year = int
STYLES = ("joined", "dashes", "spaced", "short", "scan", "spaced", "joined", "title only")
"""How a company names its files: all in one, in words, by initials, by nothing of use (its cover or title tells)."""


@dataclass(frozen=True)
class Company:
    """One company; `figures` are millions by (metric, year)."""

    name: str
    legal: str
    trade: Trade
    style: str
    header: str
    year_end: str
    places: tuple[str, ...]
    people: tuple[str, ...]
    auditor: str
    court: str
    segments: tuple[str, ...]
    product: tuple[str, ...]
    figures: dict[tuple[str, Year], float] = field(default_factory=dict, repr=False)

    def fiscal(self, year: Year) -> str:
        """The day on which a fiscal year ends."""
        return f"{self.year_end}, {year + (self.year_end.startswith('January'))}"

    def file_name(self, year: Year) -> str:
        """The name its report of a year was saved under."""
        plain = "".join(c for c in self.name if c.isalnum())
        initials = "".join(word[0] for word in self.name.split() if word[0].isalpha())
        return {
            "joined": f"{plain.upper()}_{year}_10K.pdf",
            "dashes": f"{self.name.lower().replace(' & ', '-').replace(' ', '-')}-annual-report-{year}.pdf",
            "spaced": f"{self.name} Annual Report FY{year % 100:02d} final.pdf",
            "short": f"{initials}_AR{year}.pdf",
            "scan": f"doc{sum(map(ord, self.name)) * year % 100_000:05d}.pdf",
            "title only": f"download ({sum(map(ord, self.name)) % 50 + year % 10}).pdf",
        }[self.style]

    def title(self, year: Year) -> str:
        """The title in the PDF's properties; often there is none, or one that says nothing."""
        if self.style == "title only":
            return f"{self.legal} {year} Annual Report"
        return {"short": f"{self.name} – Annual Report {year}", "scan": "", "joined": "10-K"}.get(self.style, "")


def companies(seed: int, count: int, years: list[Year]) -> list[Company]:
    """`count` companies, some of which share their first name."""
    rng = random.Random(seed)
    first = rng.sample(words.FIRST, len(words.FIRST))
    found: list[Company] = []
    for number in range(count):
        trade = words.TRADES[number % len(words.TRADES)]
        # Every fourth has the first name of the one before it and another trade: only the second word tells them apart.
        name = found[-1].name.split()[0] if number % 4 == 3 else first[number % len(first)]
        tail = rng.choice(words.SECOND) if number % 3 == 2 and number % 4 != 3 else rng.choice(trade.nouns)
        name = f"{name} {tail}"
        if any(other.name == name for other in found):
            name = f"{name} {rng.choice(('Holdings', 'Group', 'International'))}"
        found.append(
            Company(
                name,
                f"{name}, Inc." if rng.random() < 0.6 else f"{name} Corporation",
                trade,
                STYLES[number % len(STYLES)],
                rng.choice(("name and year", "name", "contents", "none")),
                rng.choice(("December 31", "December 31", "June 30", "January 31")),
                tuple(rng.sample(words.CITIES, 4)),
                tuple(rng.sample(words.PEOPLE, 4)),
                rng.choice(words.AUDITORS),
                rng.choice(words.COURTS),
                trade.segments,
                tuple(rng.sample(trade.products, 4)),
                _figures(rng, years),
            )
        )
    return found


def _figures(rng: random.Random, years: list[Year]) -> dict[tuple[str, Year], float]:
    """Figures of all metrics, and of the two years before, for comparison columns."""
    sales = rng.uniform(400, 24_000)
    shares = {m.row: rng.uniform(*m.share) for m in (*INCOME, *BALANCE, *CASH)}
    figures: dict[tuple[str, Year], float] = {}
    for year in range(min(years) - 2, max(years) + 1):
        sales *= rng.uniform(0.93, 1.13)
        for row, share in shares.items():
            figures[row, year] = round(sales * share * rng.uniform(0.92, 1.08), 0)
    return figures
