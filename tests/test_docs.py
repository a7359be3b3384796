"""The documentation says what the code does."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from rlsd_pl import verifiers
from rlsd_pl.commands.presets import CONFIGS
from rlsd_pl.commands.runs import RUN_DIR_VARIABLE, read_history
from rlsd_pl.engines import mismatch
from rlsd_pl.lab.verifier import LabVerifier
from rlsd_pl.verifiers.composite import RESERVED
from tests.conftest import REPOSITORY

GLOSSARY = (REPOSITORY / "docs" / "metrics.md").read_text()
DOCUMENTED = set(re.findall(r"`((?:rollout|credit|train|val|leakage|perf)/[\w*]+)`", GLOSSARY))
SHORT = [
    *("--trainer.max_epochs", "1", "--trainer.check_val_every_n_epoch", "1", "--data.val_problems", "3"),
    *("--data.prompts_per_rollout", "2", "--data.group_size", "2", "--data.val_samples", "2", "--trainer", "cpu"),
]
SETTINGS = {
    "rlsd": [
        *("--objective.span", "=([0-9]);", "--data.max_resampling_rounds", "1"),
        *("--experiment", "leakage", "--leakage.on_leak", "Scale"),
    ],
    "oracle": ["--trainer.max_epochs", "2", "--data.prompts_per_rollout", "4", "--data.group_size", "8"],
}
"""What some keys come with."""


@pytest.fixture(scope="module")
def logged(tmp_path_factory) -> set[str]:
    from rlsd_pl.commands.cli import fit

    keys: set[str] = set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["fit.py"])
        for objective in ("rlsd", "sdpo", "rlcsd", "sdar", "sdpg", "oracle", "opd_iw", "srpo"):
            patch.delenv(RUN_DIR_VARIABLE, raising=False)
            folder = tmp_path_factory.mktemp("glossary") / objective
            fit(["--objective", objective, "--run_dir", str(folder), *SHORT, *SETTINGS.get(objective, [])])
            keys |= read_history(folder).keys()
    return {re.sub(r"_at_\d+$", "_at_K", key) for key in keys}


def _verifier_keys() -> set[str]:
    """What the verifiers of this package report, whichever of them a run uses."""
    classes = [LabVerifier, *(getattr(verifiers, name) for name in dir(verifiers))]
    return {
        f"{prefix}/{name}" for verifier in classes for name in verifier.metric_names for prefix in ("rollout", "val")
    }


def _documented(key: str) -> bool:
    shifted = key.replace("leakage/shifted_", "leakage/")
    return {key, shifted} & DOCUMENTED != set() or (key.startswith("val/status_") and "val/status_*" in DOCUMENTED)


def test_every_logged_key_is_in_the_glossary(logged):
    assert not sorted(key for key in logged if not _documented(key))


def test_every_key_of_the_glossary_is_logged(logged):
    """``perf/other_seconds`` comes with the second iteration, ``perf/mfu`` with a GPU: tests/test_training.py and
    tests/test_flops.py."""
    logged = {*logged, "perf/other_seconds", "perf/mfu"}
    unlogged = DOCUMENTED - logged - _verifier_keys() - {"rollout/PART", "val/PART", mismatch.MEAN, mismatch.LARGEST}
    assert not sorted(key for key in unlogged if not key.endswith("*"))


def test_every_metric_of_a_verifier_is_in_the_glossary():
    assert {"rollout/score", "rollout/databases", "rollout/sandbox_level", "val/hollow"} <= _verifier_keys()
    assert not sorted(key for key in _verifier_keys() if not _documented(key))


def test_no_part_of_a_composite_can_take_a_key_that_rollouts_have():
    own = DOCUMENTED - _verifier_keys() - {"rollout/PART"}
    assert {key.removeprefix("rollout/") for key in own if key.startswith("rollout/")} == RESERVED


def readme_commands() -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", (REPOSITORY / "README.md").read_text(), flags=re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.partition("  #")[0].strip() for line in lines if line.startswith("python scripts/")]


@pytest.mark.parametrize("command", readme_commands())
def test_commands_of_the_readme_parse_and_run(command, tmp_path, monkeypatch, tiny_model, problem_file):
    """Each ``fit.py`` line of the README, shortened by flags, with the tiny model where it names a model of the hub."""
    from rlsd_pl.commands.cli import fit

    program, *flags = shlex.split(command)[1:]
    if Path(program).name != "fit.py":
        pytest.skip("scripts other than fit.py have tests of their own")
    monkeypatch.setattr(sys, "argv", ["fit.py"])
    monkeypatch.delenv(RUN_DIR_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    flags = [str(tiny_model) if flag.startswith("Qwen/") else flag for flag in flags]
    flags = [str(problem_file) if flag.endswith(".jsonl") else flag for flag in flags]
    if "--resume" in flags:
        fit(["--run_dir", str(tmp_path / "runs" / "first"), *SHORT])
        monkeypatch.delenv(RUN_DIR_VARIABLE, raising=False)
        fit([*flags, "--trainer.max_epochs", "2"])
        return
    fit([*flags, *(["--data.max_completion_tokens", "8"] if str(tiny_model) in flags else []), *SHORT])
    assert list(Path("runs").glob("*/hf/config.json"))


def test_documents_name_files_that_exist():
    for page in [REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), (page.name, target)


def test_every_preset_folder_is_a_group():
    from rlsd_pl.commands.presets import GROUPS

    assert {path.name for path in CONFIGS.iterdir() if path.is_dir()} == set(GROUPS)
