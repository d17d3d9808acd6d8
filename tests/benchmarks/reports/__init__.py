"""Long reports that questions name by company, title or year: made here, seeded, to develop and measure ranking on.

`write_reports(folder, seed)` writes PDFs with covers, running headers, outlines and the file names that people give
them, and returns questions with their gold pages. Nothing of it comes from a published report or data set.
"""

from __future__ import annotations

from tests.benchmarks.reports.company import Company, companies
from tests.benchmarks.reports.corpus import Asked, write_reports

__all__ = ["Asked", "Company", "companies", "write_reports"]
