"""Partitions: a corpus is a dynamic partition; work inside one is incremental by content hash, never a run a file."""

from __future__ import annotations

import dagster as dg

corpora = dg.DynamicPartitionsDefinition(name="corpus")
"""Names of corpora: the profile's training and development corpus, and the user's own."""
study_seeds = dg.DynamicPartitionsDefinition(name="study_seed")
"""Seeds of the study, by number."""
