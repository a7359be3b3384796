"""What is installed: presets, callbacks and the lab's models in the wheel, and commands that need no source."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

LEFT_OUT = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "runs", "sweeps", "tests", "site")


def python(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True, **options)


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    setuptools = pytest.importorskip("setuptools", minversion="77")
    assert setuptools
    source = tmp_path_factory.mktemp("source") / "tree"
    shutil.copytree(REPOSITORY, source, symlinks=True, ignore=LEFT_OUT)
    built = python("-c", "from setuptools.build_meta import build_sdist; print(build_sdist('dist'))", cwd=source)
    return source / "dist" / built.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(sdist: Path) -> Path:
    """From the source distribution, as an installer builds it that finds no wheel."""
    with tarfile.open(sdist) as archive:
        archive.extractall(sdist.parent, filter="data")
    source = sdist.parent / sdist.name.removesuffix(".tar.gz")
    built = python("-c", "from setuptools.build_meta import build_wheel; print(build_wheel('.'))", cwd=source)
    return source / built.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def test_the_wheel_holds_everything_and_nothing_at_the_top_but_the_package(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names} == {"rlsd_pl", "rlsd_pl-0.1.0.dist-info"}
    in_tree = [path for folder in ("configs", "callbacks") for path in (REPOSITORY / folder).rglob("*.[yp]*")]
    expected = {
        f"rlsd_pl/{path.relative_to(REPOSITORY).as_posix()}" for path in in_tree if path.suffix in (".yaml", ".py")
    }
    expected |= {
        f"rlsd_pl/commands/{page}"
        for page in ("preflight/page.html", "report/page.html", "report/page.js", "credit_map/page.html")
    }
    expected |= {f"rlsd_pl/lab/{model}/{file}" for model in ("base", "expert") for file in
                 ("config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja")}  # fmt: skip
    assert len(expected) > 70
    assert expected <= set(names)


def test_the_console_command_is_declared(site: Path):
    declared = (site / "rlsd_pl-0.1.0.dist-info" / "entry_points.txt").read_text()
    assert "rlsd-pl = rlsd_pl.commands.main:main" in declared


def away(site: Path, folder: Path, *arguments: str) -> str:
    """Run a command of the installed package, in a folder far from the source."""
    environment = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    return python("-P", "-m", "rlsd_pl", *arguments, cwd=folder, env=environment).stdout


def test_presets_are_found_without_the_source(site: Path, tmp_path: Path):
    assert "rlsd (default)" in away(site, tmp_path, "fit", "--help")
    code = "import rlsd_pl, rlsd_pl.commands.presets as p; print(rlsd_pl.__file__); print(p.CONFIGS)"
    environment = {**os.environ, "PYTHONPATH": str(site)}
    found = python("-P", "-c", code, cwd=tmp_path, env=environment).stdout.splitlines()
    assert all(Path(line).is_relative_to(site) for line in found)


@pytest.mark.slow
def test_two_iterations_without_the_source(site: Path, tmp_path: Path):
    flags = ["--data.val_problems", "4", "--data.prompts_per_rollout", "2", "--trainer.check_val_every_n_epoch", "2"]
    flags += ["--trainer", "cpu", "--trainer.max_epochs", "2"]
    away(site, tmp_path, "fit", *flags, "--run_dir", "run")
    assert (tmp_path / "run" / "hf" / "config.json").exists()
    shown = away(site, tmp_path, "evaluate", "--checkpoint", "run", "--data.val_problems", "2")
    assert "greedy accuracy" in shown
    sweep = ["sweep", "--objectives", "rlvr", "--seeds", "0", "--sweep_dir", "sweep", *flags]
    assert "results.md" in away(site, tmp_path, *sweep, "--data.val_samples", "1")
