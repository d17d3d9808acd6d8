"""Reports as PDFs and the questions about them: `python -m tests.benchmarks.reports.corpus FOLDER`."""

from __future__ import annotations

import random
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pymupdf

from tests.benchmarks.reports.company import Company, companies
from tests.benchmarks.reports.words import BALANCE, CASH, INCOME, PROSE, RATIOS, REGIONS, Metric

YEARS = [2017, 2018, 2019]
_LEFT, _TOP, _LINE = 60.0, 90.0, 12.0
_QUARTERS = ("First quarter", "Second quarter", "Third quarter", "Fourth quarter")
_NOTES = (
    "Accounting Policies",
    "Leases",
    "Goodwill",
    "Pension Plans",
    "Derivatives",
    "Income Taxes",
    "Share-Based Awards",
    "Debt",
    "Contingencies",
)
_COLUMNS = (400.0, 470.0, 540.0)
"""Right edges of the columns of numbers, points."""


@dataclass(frozen=True)
class Asked:
    """A question; `gold` are the pages of `filename` that answer it, from 1."""

    question: str
    filename: str
    company: str
    gold: tuple[int, ...]
    kind: str


class Report:
    """One report while it is written: where each figure stands is noted as its page is drawn."""

    def __init__(self, company: Company, year: int) -> None:
        self.company, self.year = company, year
        self.pdf = pymupdf.open()
        self.where: dict[str, list[int]] = {}
        self.outline: list[tuple[int, str, int]] = []
        # A company repeats most of its prose from year to year; what it says of a year differs.
        self.rng = random.Random(f"{company.name} prose")
        self.figures = random.Random(f"{company.name} {year}")

    def page(self, section: str = "", *, bare: bool = False) -> pymupdf.Page:
        """A new page with its running header and footer; `section` starts one of the outline."""
        page = self.pdf.new_page(width=612, height=792)
        number = self.pdf.page_count
        if section:
            self.outline.append((1, section, number))
        if not bare:
            header = {
                "name and year": f"{self.company.legal}  |  {self.year} Annual Report",
                "name": self.company.name,
                "contents": "Table of Contents",
                "none": "",
            }[self.company.header]
            if header:
                page.insert_text((_LEFT, 40), header, fontsize=8)
            page.insert_text((300, 770), str(number), fontsize=8)
        if section:
            page.insert_text((_LEFT, 70), section, fontsize=14)
        return page

    def note(self, key: str) -> None:
        """That the page drawn last answers what is asked under `key`."""
        self.where.setdefault(key, []).append(self.pdf.page_count)

    def table(
        self, page: pymupdf.Page, y: float, title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]
    ) -> float:
        """A table with its labels to the left and its numbers aligned to the right; the y below it."""
        page.insert_text((_LEFT, y), title, fontsize=10)
        y += 1.5 * _LINE
        for cells in (("", *heads), *rows):
            page.insert_text((_LEFT, y), cells[0], fontsize=9)
            for text, right in zip(cells[1:], _COLUMNS[-len(cells) + 1 :], strict=True):
                page.insert_text((right - pymupdf.get_text_length(text, fontsize=9), y), text, fontsize=9)
            y += 1.3 * _LINE
        return y + _LINE

    def prose(self, page: pymupdf.Page, y: float, kind: str, sentences: int, extra: Sequence[str] = ()) -> float:
        """Paragraphs of a section's sentences, `extra` ones last."""
        text = [self.sentence(kind) for _ in range(sentences)]
        for start in range(0, len(text), 5):
            y = self.lines(page, y, " ".join(text[start : start + 5]))
        return self.lines(page, y, " ".join(extra)) if extra else y

    def lines(self, page: pymupdf.Page, y: float, text: str) -> float:
        """One paragraph."""
        lines = textwrap.wrap(text, 104)
        page.insert_text((_LEFT, y), lines, fontsize=9.5, lineheight=_LINE / 9.5)
        return y + (len(lines) + 0.6) * _LINE

    def sentence(self, kind: str) -> str:
        """One sentence of a section's stock."""
        c, rng = self.company, self.rng
        product, product2 = rng.sample(c.product, 2)
        material, material2 = rng.sample(c.trade.inputs, 2)
        region, region2 = rng.sample(REGIONS, 2)
        return rng.choice(PROSE[kind]).format(
            short=c.name.split()[0], product=product, product2=product2, input=material, input2=material2,
            region=region, region2=region2, segment=rng.choice(c.segments), worry=rng.choice(c.trade.worry),
            city=rng.choice(c.places), season=rng.choice(("summer", "winter")), n=self.figures.randint(12, 900),
            few=rng.choice(("two", "three", "five", "seven")), pct=f"{self.figures.uniform(0.5, 14):.1f}",
            money=self.figures.randint(3, 90), prior=self.year - 1,
        )  # fmt: skip

    def statement(self, section: str, title: str, metrics: Sequence[Metric], years: int) -> None:
        """A financial statement on a page of its own."""
        page, c = self.page(section), self.company
        columns = [self.year - i for i in range(years)]
        page.insert_text((_LEFT, _TOP), f"{c.legal.upper()} (in millions)", fontsize=9)
        heads = [c.fiscal(y) if len(c.fiscal(y)) < 13 else str(y) for y in columns]
        rows = [(m.row, *(_money(c.figures[m.row, y]) for y in columns)) for m in metrics]
        self.table(page, _TOP + 2 * _LINE, title, heads, rows)
        for metric in metrics:
            self.note(metric.row)


def _money(value: float) -> str:
    return f"({-value:,.0f})" if value < 0 else f"{value:,.0f}"


def write_report(company: Company, year: int, path: Path) -> Report:
    """A report of about 48 pages."""
    report = Report(company, year)
    _front(report)
    _chapter(report, "Item 1. Business", "Business", 4)
    _chapter(report, "Item 1A. Risk Factors", "Risk Factors", 7)
    _facts(report)
    _chapter(report, "Item 7. Management's Discussion and Analysis", "Management's Discussion", 5)
    _segments(report)
    ended = f"Fiscal years ended {company.year_end}"
    report.statement("Consolidated Statements of Earnings", ended, INCOME, 3)
    report.statement("Consolidated Balance Sheets", f"As of {company.year_end}", BALANCE, 2)
    report.statement("Consolidated Statements of Cash Flows", ended, CASH, 3)
    _notes(report)
    report.pdf.set_toc([list(entry) for entry in report.outline] if company.style != "scan" else [])
    report.pdf.set_metadata({"title": company.title(year)})
    path.parent.mkdir(parents=True, exist_ok=True)
    report.pdf.save(path, deflate=True, garbage=3, no_new_id=True)
    report.pdf.close()
    return report


def _chapter(report: Report, title: str, kind: str, pages: int) -> None:
    """Pages of prose under one title."""
    for number in range(pages):
        report.prose(report.page("" if number else title), _TOP, kind, 19)


def _front(report: Report) -> None:
    """Cover, letter, contents."""
    c, page = report.company, report.page(bare=True)
    for y, size, text in (
        (200, 26, c.legal),
        (250, 18, "Annual Report" if c.style != "joined" else "FORM 10-K"),
        (290, 12, f"For the fiscal year ended {c.fiscal(report.year)}"),
        (600, 9, f"{c.places[0]}    Commission file number 1-{sum(map(ord, c.name)) % 10_000:04d}"),
    ):
        page.insert_text((_LEFT, y), text, fontsize=size)
    page = report.page("Letter to Shareholders")
    report.prose(page, _TOP, "Management's Discussion", 12, [f"{c.people[0]}, Chief Executive Officer"])
    report.note("chief executive")
    report.page("Contents")


def _facts(report: Report) -> None:
    """Pages with one fact each that is asked for in words."""
    c, rng = report.company, report.figures
    page = report.page("Item 2. Properties")
    rows = [(city, f"{rng.randint(40, 900)},000", rng.choice(("Owned", "Leased"))) for city in c.places]
    report.table(page, _TOP, "Principal sites", ("Square feet", "Tenure"), rows)
    report.note("sites")
    page = report.page("Item 3. Legal Proceedings")
    report.prose(page, _TOP, "Risk Factors", 6, [
        f"In {report.year} a class action about {c.product[0]} was filed against us in {c.court}; a trial is set."
    ])  # fmt: skip
    report.note("court")
    page = report.page("Employees")
    rows = [(region, f"{rng.randint(900, 30_000):,}") for region in REGIONS[:4]]
    report.table(page, _TOP, f"Number of employees by region at {c.fiscal(report.year)}", ("Employees",), rows)
    report.note("employees")
    page = report.page("Item 5. Market for Common Equity")
    rows = [(quarter, f"${rng.uniform(20, 70):.2f}", f"${rng.uniform(0.1, 0.9):.2f}") for quarter in _QUARTERS]
    report.table(page, _TOP, f"Fiscal {report.year} share prices and dividends", ("High", "Dividend"), rows)
    report.note("share dividend")


def _segments(report: Report) -> None:
    c, rng = report.company, report.figures
    page = report.page("Results by Segment")
    rows = [(s, _money(rng.uniform(90, 7000)), _money(rng.uniform(20, 800))) for s in c.segments]
    report.table(page, _TOP, f"Segments, fiscal {report.year} (in millions)", ("Sales", "Profit"), rows)
    report.note("segments")
    page = report.page("Quarterly Financial Data (unaudited)")
    rows = [(quarter, _money(rng.uniform(90, 7000)), _money(rng.uniform(10, 500))) for quarter in _QUARTERS]
    report.table(page, _TOP, f"Fiscal {report.year} (in millions)", ("Net sales", "Net earnings"), rows)
    report.note("quarters")


def _notes(report: Report) -> None:
    """Notes of two pages each, some with a table, and the auditor's report."""
    c, rng, year = report.company, report.figures, report.year
    rates = ("Discount rate", "Return on assets")
    taxes = ("Federal", "Foreign", "Effective")
    tables = {
        "Leases": ("leases", [(f"{year + i}", _money(rng.uniform(9, 300))) for i in range(1, 6)]),
        "Pension Plans": ("pension", [(row, f"{rng.uniform(2, 7):.2f}%") for row in rates]),
        "Income Taxes": ("tax rate", [(f"{kind} tax rate", f"{rng.uniform(12, 30):.1f}%") for kind in taxes]),
        "Debt": (
            "maturities",
            [(f"{rng.uniform(2, 6):.2f}% notes due {year + i}", _money(rng.uniform(90, 900))) for i in (2, 4, 6, 8)],
        ),
    }
    for number, name in enumerate(_NOTES, start=1):
        page = report.page(f"Note {number}. {name}")
        y = report.prose(page, _TOP, "Notes", 10)
        if name in tables:
            key, rows = tables[name]
            report.table(page, y, "(in millions, except rates)", (str(year),), rows)
            report.note(key)
        report.prose(report.page(), _TOP, "Notes", 16)
    page = report.page("Report of Independent Auditors")
    report.prose(page, _TOP, "Notes", 5, [f"{c.auditor}, {c.places[1]}"])
    report.note("auditor")


WORDED = {
    "chief executive": ("Who signed the letter to shareholders of {who} for {when}?",),
    "sites": ("Which of {who}'s sites was the biggest by floor space in {when}?",),
    "court": ("Where was {who} sued over {product} in {when}?",),
    "employees": ("How many people did {who} employ in Latin America at the end of {when}?",),
    "share dividend": (
        "What dividend per share did {who} declare in the third quarter of {when}?",
        "{who} Q2 {when} dividend per share?",
    ),
    "segments": ("Which business segment of {who} was most profitable in {when}?",),
    "quarters": (
        "What were {who}'s sales in Q3 {when}?",
        "In which quarter of {when} did {who} earn the most?",
    ),
    "leases": ("How much rent must {who} pay in the year after {when}?",),
    "pension": ("What discount rate did {who} use for its pensions in {when}?",),
    "tax rate": ("What effective tax rate did {who} report for {when}?",),
    "maturities": ("What coupon do {who}'s notes that fall due last carry, as of {when}?",),
    "auditor": ("Which firm audited the accounts of {who} for {when}?",),
}  # fmt: skip
ASKED = (
    "What was {who}'s {what} in {when}?",
    "How much {what} did {who} report for {when}, in USD millions?",
    "By how much did {what} of {who} change between {before} and {when}?",
    "According to the annual report of {who} for {when}, what is the {what}?",
    "{who} {when} {what}",
)


def questions_of(report: Report, count: int, seed: int) -> list[Asked]:
    """`count` questions that name the company and the year as people do."""
    c, year = report.company, report.year
    rng = random.Random(f"{seed} {c.name} {year}")
    metrics = (*INCOME, *BALANCE, *CASH)
    asked = []
    for _ in range(count):
        names = [c.name, c.name, c.legal.rstrip("."), c.name.replace("&", "and")]
        whens = [f"FY{year}", f"fiscal {year}", str(year), f"the year ended {c.fiscal(year)}", f"FY{year % 100:02d}"]
        slots = {
            "who": rng.choice(names),
            "when": rng.choice(whens),
            "before": f"FY{year - 1}",
            "product": c.product[0],
        }
        kind = rng.choice(("figure", "figure", "ratio", "fact"))
        if kind == "figure":
            metric = rng.choice(metrics)
            text, gold = rng.choice(ASKED), report.where[metric.row]
            slots["what"] = rng.choice(metric.asked)
        elif kind == "ratio":
            what, one, other = rng.choice(RATIOS)
            text, gold = rng.choice((ASKED[0], ASKED[3])), report.where[one] + report.where[other]
            slots["what"] = what
        else:
            key = rng.choice(sorted(WORDED))
            text, gold = rng.choice(WORDED[key]), report.where[key]
        asked.append(Asked(text.format(**slots), c.file_name(year), c.name, tuple(sorted(set(gold))), kind))
    return asked


def write_reports(folder: Path, seed: int, *, count: int = 24, each: int = 4) -> list[Asked]:
    """Write `count` companies' reports of three years into a folder and ask `each` questions of every report."""
    asked = []
    for company in companies(seed, count, YEARS):
        for year in YEARS:
            report = write_report(company, year, folder / company.file_name(year))
            asked += questions_of(report, each, seed)
    return list({(a.question, a.filename): a for a in asked}.values())


if __name__ == "__main__":
    for made in write_reports(Path(sys.argv[1]), 1):
        print(f"{made.filename} {made.gold} {made.question}")
