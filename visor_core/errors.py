"""The error family of the whole project.

Every message names the file, page, field or option at fault and what to do about it. The command line prints a
`VisorError` as one line and exits with code 2; anything else is a defect and keeps its traceback.
"""


class VisorError(Exception):
    """Base of every error a user can cause and mend."""


class ConfigError(VisorError):
    """A profile or an option is unknown, malformed or contradictory."""


class DocumentError(VisorError):
    """A document cannot be read; the ingest turns it into a quarantine reason."""


class SearchIndexError(VisorError):
    """A corpus, table, tag or column does not exist or does not fit."""


class PolicyError(VisorError):
    """A policy (checkpoint, engine or endpoint) cannot be loaded or does not answer."""


class UnreachableError(PolicyError):
    """What does not answer now and may do so later: an endpoint that is down or busy, the network."""


class BudgetError(PolicyError):
    """A piece of work has cost what it may: nothing more is asked of a paid endpoint."""


class DataError(VisorError):
    """A stored record (question, trajectory, checkpoint) is missing, damaged or of another shape."""


class MissingDependencyError(VisorError):
    """An optional package or device that the chosen configuration needs is absent."""
