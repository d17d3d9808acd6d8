"""Where a build comes from: its ancestry down to document hashes, compared, rebuilt, carried elsewhere, cleared away.

A build's `lineage.json` says what made it (`provenance`); `graph` reads them all and follows them upstream:

    home = Home(Path(".visor"))
    lineage = ancestry(home, find_build(home, "champion"))
    print(listing(lineage))
"""

from visor_core.lineage.graph import Build, Lineage, Made, ancestry, read_builds
from visor_core.lineage.listing import lineage_json, listing
from visor_core.lineage.reference import find_build

__all__ = ["Build", "Lineage", "Made", "ancestry", "find_build", "lineage_json", "listing", "read_builds"]
