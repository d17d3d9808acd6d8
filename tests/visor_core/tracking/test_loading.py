"""Checkpoints by MLflow's own loader, in processes that import what a user would import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from visor_core.config import Home
from visor_core.errors import ConfigError
from visor_core.nano.model import build_model, build_processor, save_checkpoint
from visor_core.tracking import Tracker, connect
from visor_core.tracking.checkpoints import transformers_flavor

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inside MLflow 3.17 and alembic 1.20
ROOT = Path(__file__).resolve().parents[3]
USER = """
import sys
import mlflow
from PIL import Image
from visor_core.tracking import connect
connect(sys.argv[1])
policy = mlflow.transformers.load_model("models:/visor-nano@champion")
content = [{"type": "image", "image": Image.new("RGB", (128, 128))}, {"type": "text", "text": "how many"}]
(answer,) = policy(text=[{"role": "user", "content": content}], max_new_tokens=3, return_full_text=False)
assert isinstance(answer["generated_text"], str)
parts = mlflow.transformers.load_model("models:/visor-nano@champion", return_type="components")
print(policy.model.num_parameters(), type(parts["multimodal_processor"]).__name__)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home whose champion is an untrained nano model."""
    home = Home(tmp_path_factory.mktemp("home"))
    processor = build_processor()
    folder = home.asset("grpo_checkpoint", "abc", "final")
    save_checkpoint(build_model(processor.tokenizer, 0), processor, folder)
    tracker = Tracker(home, "visor-nano")
    run = tracker.open_run("grpo")
    model = tracker.checkpoint(run, "grpo-3", folder)
    tracker.promote("visor-nano", folder, run_id=run, model_id=model, tags={})
    tracker.close_run(run)
    return home


@pytest.mark.slow
def test_the_champion_is_a_pipeline_for_whoever_connects(home: Home, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "ignore", "-c", USER, str(home.root)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    parameters, processor = done.stdout.split()[-2:]
    assert int(parameters) > 2_000_000
    assert processor == "Idefics3Processor"
    assert list(tmp_path.iterdir()) == []


def test_code_of_a_checkpoint_is_never_run(home: Home, tmp_path: Path) -> None:
    folder = home.asset("grpo_checkpoint", "abc", "final")
    assert transformers_flavor(folder)["pipeline_model_type"] == "Idefics3ForConditionalGeneration"
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "processor_config.json").write_text("{}", encoding="utf-8")
    (foreign / "config.json").write_text(
        '{"architectures": ["Own"], "auto_map": {"AutoModel": "own.Own"}}', encoding="utf-8"
    )
    assert transformers_flavor(foreign) == {}


def test_an_address_that_is_none_is_refused(home: Home) -> None:
    with pytest.raises(ConfigError, match="no address of an MLflow server"):
        connect(home.root, "ftp://somewhere")
