"""What is put into an inbox reaches the corpus of that name: new, changed, deleted and bad files, and all again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from assets_defs.machinery import inbox as put_aside
from assets_defs.machinery.builds import Builds, Record
from assets_defs.machinery.stage import Node
from pipelines import sensors
from pipelines.definitions import definitions
from pipelines.instance import open_instance
from pipelines.resources import PROFILES, resources_for
from tests.visor_core.documents.writing import write_pdf
from visor_core.config import Home, Profile, derived, load_profile
from visor_core.index import PageIndex

# LanceDB's Rust side and Dagster's SQLite storage leave sockets and cursors to the collector.
pytestmark = [pytest.mark.filterwarnings("ignore::ResourceWarning"), pytest.mark.slow]

SETTINGS = {"retraining.settle_seconds": 0.0, "documents.workers": 1}


class Watched:
    """A home with one watched corpus: the sensor looks, and what it asks for is run as the daemon would."""

    def __init__(self, root: Path) -> None:
        self.home = Home(root)
        self.profile: Profile = load_profile(PROFILES / "nano.yaml", SETTINGS)
        self.folder = root / "inbox" / "mine"
        self.folder.mkdir(parents=True)
        self.instance = open_instance(self.home)

    def look(self) -> list[dg.RunRequest]:
        """What the sensor asks for now."""
        resources = {"workspace": resources_for(self.home, self.profile)["workspace"]}
        with dg.build_sensor_context(instance=self.instance, resources=resources) as context:
            found = sensors.inbox(context)
        if isinstance(found, dg.SkipReason):
            return []
        assert isinstance(found, dg.SensorResult)
        for request in found.dynamic_partitions_requests or ():
            self.instance.add_dynamic_partitions("corpus", list(request.partition_keys))
        return list(found.run_requests or ())

    def ingest(self) -> bool:
        """Run what the sensor asks for, as its job; whether all of it succeeded."""
        requests = self.look()
        assert [request.partition_key for request in requests] == ["mine"]
        job = definitions(self.home, self.profile).resolve_job_def("ingest")
        return all(
            job.execute_in_process(
                instance=self.instance, partition_key=request.partition_key, tags=request.tags, raise_on_error=False
            ).success
            for request in requests
        )

    def build(self, stage: str) -> Record | None:
        """What is in force of the corpus."""
        return Builds(self.home, self.profile).find(Node(stage, "mine"))

    def documents(self) -> set[str]:
        """File names in the newest index."""
        index = PageIndex.open(self.home.corpus("mine"), "latest")
        names = {document.filename for document in index.documents() if document.status == "ok"}
        index.close()
        return names


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    found = Watched(tmp_path / "home")
    yield found
    found.instance.dispose()


def test_a_folder_that_is_again_as_it_was_is_read_again(watched: Watched) -> None:
    """A → B → A, an unchanged folder in between, a deletion, and an emptied folder."""
    assert watched.look() == []
    first, second = watched.folder / "a.pdf", watched.folder / "b.pdf"
    write_pdf(first, ["rainfall in Borel"])
    kept = first.stat()
    assert watched.ingest()
    assert watched.documents() == {"a.pdf"}
    index = watched.build("page_index")
    assert index is not None
    tag = index.index_tag
    assert watched.look() == []
    write_pdf(second, ["sunshine in Acme"])
    first.rename(watched.home.root / "a.pdf")
    assert watched.ingest()
    assert watched.documents() == {"b.pdf"}
    (watched.home.root / "a.pdf").rename(first)
    second.unlink()
    assert first.stat().st_mtime_ns == kept.st_mtime_ns
    assert watched.ingest()
    assert watched.documents() == {"a.pdf"}
    index = watched.build("page_index")
    assert index is not None
    assert index.index_tag == tag
    # Emptied: that may be a drive that is not mounted, and changes nothing until the word is given.
    first.unlink()
    assert watched.ingest()
    build = watched.build("documents")
    assert build is not None
    assert build.figures["documents"] == 1
    assert watched.documents() == {"a.pdf"}
    assert watched.look() == []


def test_a_bad_file_among_good_ones_stops_nothing_and_goes_when_it_is_deleted(watched: Watched) -> None:
    write_pdf(watched.folder / "a.pdf", ["rainfall in Borel"])
    write_pdf(watched.folder / "b.pdf", ["sunshine in Acme"])
    (watched.folder / "bad.pdf").write_text("no PDF", encoding="utf-8")
    assert watched.ingest()
    assert watched.documents() == {"a.pdf", "b.pdf"}
    made = watched.build("documents")
    assert made is not None
    assert made.figures["quarantined"] == 1
    # Another threshold judges the same build again, and builds nothing.
    strict = derived(watched.profile, {"checks.quarantined_share": 0.1}, "test")
    builds = Builds(watched.home, strict)
    assert builds.fingerprint(Node("documents", "mine")) == made.fingerprint
    assert builds.built(Node("documents", "mine")) is not None
    assert builds.find(Node("documents", "mine")) is None
    (watched.folder / "bad.pdf").unlink()
    assert watched.ingest()
    made = watched.build("documents")
    assert made is not None
    assert made.figures["quarantined"] == 0


@pytest.mark.slow_walk
def test_documents_from_elsewhere_stay_whatever_happens_to_the_inbox(watched: Watched, tmp_path: Path) -> None:
    """What `visor ingest` read from a stick that is gone since is not retired by an inbox."""
    from visor_core.index import Corpus, register_documents

    write_pdf(tmp_path / "stick.pdf", ["snow in Delta"])
    register_documents(Corpus(watched.home.corpus("mine")), [tmp_path / "stick.pdf"], watched.profile.documents)
    (tmp_path / "stick.pdf").unlink()
    write_pdf(watched.folder / "a.pdf", ["rainfall in Borel"])
    write_pdf(watched.folder / "b.pdf", ["sunshine in Acme"])
    assert watched.ingest()
    (watched.folder / "a.pdf").unlink()
    assert watched.ingest()
    assert watched.documents() == {"b.pdf", "stick.pdf"}


def test_what_is_no_inbox_is_left_alone(watched: Watched) -> None:
    """A corpus of the synthetic world, a name that is none, and a folder in which something still changes."""
    world = watched.home.root / "inbox" / "nano-train"
    world.mkdir()
    (world / "a.pdf").write_bytes(b"%PDF")
    (watched.home.root / "inbox" / "...").mkdir()
    assert watched.look() == []
    (watched.folder / "a.pdf").write_bytes(b"%PDF")
    watched.profile = derived(watched.profile, {"retraining.settle_seconds": 60.0}, "test")
    assert watched.look() == []
    watched.profile = derived(watched.profile, {"retraining.settle_seconds": 0.0}, "test")
    assert [request.partition_key for request in watched.look()] == ["mine"]


def test_an_inbox_is_looked_at_whatever_lies_in_it(tmp_path: Path) -> None:
    """Links to nothing and names that are not UTF-8 change the folder's state, and stop nobody."""
    home = Home(tmp_path)
    folder = home.inbox("mine")
    folder.mkdir(parents=True)
    (folder / "a.pdf").write_bytes(b"x")
    before = put_aside.inbox_state(home, "mine")
    (folder / "nowhere.pdf").symlink_to(tmp_path / "absent")
    assert put_aside.inbox_state(home, "mine") == before
    (folder / os.fsdecode(b"caf\xe9.pdf")).write_bytes(b"x")
    assert put_aside.inbox_state(home, "mine") not in ("", before)
