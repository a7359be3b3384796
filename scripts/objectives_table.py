"""Compare all objective presets in the lab and write the tables and the picture of docs/objectives.md.

    python scripts/objectives_table.py --sweep_dir sweeps/objectives --jobs 2

Runs the sweep that is missing (5 seeds, 60 iterations), then one iteration of each objective on a random model with a
vocabulary of real size, in which forwards are counted and memory is traced.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import os
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

os.environ.setdefault("KINETO_LOG_LEVEL", "99")

import torch
import yaml
from torch.profiler import ProfilerActivity, profile

from rlsd_pl.commands.pages import filled, markdown_table
from rlsd_pl.commands.plots import plot_comparison
from rlsd_pl.commands.presets import CONFIGS, available, description
from rlsd_pl.commands.runs import RUN_DIR_VARIABLE, read_history
from rlsd_pl.comparison import mean_interval
from rlsd_pl.types import PaddedTokens

PAGE = CONFIGS.parent / "docs" / "objectives.md"
SEEDS = (0, 1, 2, 3, 4)
ITERATIONS = 60
AT = (10, 30, 60)
PICTURED = ("rlvr", "rlsd", "grpo_opsd", "opd", "sft", "opsd", "sdpo")
SHOWN = {"accuracy": "val/sampled_accuracy", "hollow": "val/hollow"}
ROLLOUT = {"prompts_per_rollout": 2, "group_size": 4, "max_completion_tokens": 48, "micro_batch_size": 8}


def main() -> None:
    """Sweep, measure, write."""
    names = available("objective")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweep_dir", type=Path, default=Path("sweeps/objectives"))
    parser.add_argument("--objectives", type=lambda text: text.split(","), default=names, help="others keep their rows")
    parser.add_argument("--jobs", default="1")
    options = parser.parse_args()
    run_sweep(options.objectives, options.sweep_dir, options.jobs)
    costs = measure_costs(options.objectives)
    methods = {n: [f"{link(n)}", formula(n), f"{costs[n][0]:.3g}", f"{costs[n][1]:.2f}"] for n in options.objectives}
    results = {name: [f"`{name}`", *lab_figures(options.sweep_dir / name)] for name in options.objectives}
    page = with_rows(PAGE.read_text(), "methods", ["preset", "formula", "extra forwards", "peak memory"], methods)
    heads = [f"{metric} at {iteration}" for metric in SHOWN for iteration in AT]
    PAGE.write_text(with_rows(page, "results", ["preset", *heads], results))
    folders = {name: [options.sweep_dir / name / f"seed-{seed}" for seed in SEEDS] for name in PICTURED}
    if all(folder.exists() for own in folders.values() for folder in own):
        curves = {name: [read_history(folder) for folder in own] for name, own in folders.items()}
        plot_comparison(curves, PAGE.with_suffix(".png"))
    print(f"wrote {PAGE}")


def with_rows(page: str, place: str, heads: list[str], rows: dict[str, list[str]]) -> str:
    """The page with these rows, by preset, in the table of a place, among those that it has of other presets."""
    head, rule, *new = markdown_table(heads, *rows.values()).splitlines()
    before = page.partition(f"<!-- {place} -->")[2].partition(f"<!-- end of {place} -->")[0]
    lines = {found[1]: line for line in before.splitlines() if (found := re.match(r"\| \[?`(\w+)`", line))}
    lines |= dict(zip(rows, new, strict=True))
    return filled(page, place, "\n".join([head, rule, *(lines[name] for name in sorted(lines))]))


def run_sweep(names: list[str], folder: Path, jobs: str) -> None:
    """The runs that are not there yet."""
    from rlsd_pl.commands.sweep import sweep

    seeds = ",".join(map(str, SEEDS))
    flags = ["--objectives", ",".join(names), "--seeds", seeds, "--jobs", jobs, "--sweep_dir", str(folder)]
    if status := sweep([*flags, "--at", ",".join(map(str, AT)), "--trainer.max_epochs", str(ITERATIONS)]):
        sys.exit(status)


def lab_figures(folder: Path) -> list[str]:
    """Mean over seeds and half-width of its 95 % t-interval, for each metric and iteration."""
    histories = [read_history(folder / f"seed-{seed}") for seed in SEEDS]
    cells = []
    for key, iteration in itertools.product(SHOWN.values(), AT):
        mean, half_width = mean_interval([history[key][iteration] for history in histories])
        cells.append(f"{mean:.3f} ± {half_width:.3f}")
    return cells


def link(name: str) -> str:
    """The preset's name, linked to the file of its class, and its one-line description."""
    module = objective_class(name).__module__
    return f"[`{name}`](../{module.replace('.', '/')}.py) {description('objective', name)}"


def formula(name: str) -> str:
    """The first paragraph of the class's docstring."""
    paragraph = (objective_class(name).__doc__ or "").split("\n\n")[0]
    return " ".join(paragraph.split()).replace("|", "\\|")


def objective_class(name: str) -> type:
    """The class that a preset stands for."""
    config = yaml.safe_load((CONFIGS / "objective" / f"{name}.yaml").read_text())
    module, _, attribute = config["objective"]["class_path"].rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def measure_costs(names: list[str]) -> dict[str, tuple[float, float]]:
    """Forwards of a completion beyond the update's own, and peak memory relative to RLVR's."""
    with TemporaryDirectory() as folder:
        write_model(Path(folder) / "model")
        measured = {}
        for name in dict.fromkeys(["rlvr", *names]):
            measured[name] = measure(name, Path(folder))
            print(f"{name}: {measured[name][0]:.3g} forwards, {measured[name][1] / 2**20:.0f} MiB")
    baseline = measured["rlvr"][1]
    return {name: (forwards - 1, peak / baseline) for name, (forwards, peak) in measured.items()}


def write_model(folder: Path) -> None:
    """A random Qwen3 of two layers with the lab's tokenizer and room for 32,768 tokens."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from rlsd_pl.lab.tokenizer import EOS_ID, PAD_ID, build_tokenizer

    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=32768,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=64,
        eos_token_id=EOS_ID,
        pad_token_id=PAD_ID,
        tie_word_embeddings=True,
    )
    Qwen3ForCausalLM(config).save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)


def measure(name: str, folder: Path) -> tuple[float, float]:
    """Forwards per completion in one iteration, generation apart, and the peak of allocated bytes in it."""
    from rlsd_pl.commands.cli import build
    from rlsd_pl.policy import Policy

    os.environ.pop(RUN_DIR_VARIABLE, None)
    model = str(folder / "model")
    flags = ["--objective", name, "--model", model, "--num_threads", "1", "--run_dir", str(folder / name)]
    flags += ["--trainer", "cpu", "--trainer.max_epochs", "1", "--trainer.num_sanity_val_steps", "0"]
    flags += ["--trainer.limit_val_batches", "0", "--trainer.callbacks", "null"]
    flags += ["--trainer.check_val_every_n_epoch", "1", "--trainer.enable_progress_bar", "false"]
    flags += [part for key, value in ROLLOUT.items() for part in (f"--data.{key}", str(value))]
    flags += ["--teacher.name_or_path", model] if name.startswith("opd") and "opsd" not in name else []
    cli = build(flags)
    rows = 0

    scored = Policy._predicting_states

    def counted(policy: Policy, prompts: PaddedTokens, completions: PaddedTokens) -> torch.Tensor:
        nonlocal rows
        rows += len(completions.ids)
        return scored(policy, prompts, completions)

    # What scoring and teachers go through, generation does not.
    with (
        patch.object(Policy, "_predicting_states", counted),
        profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace,
    ):
        cli.trainer.fit(cli.model, cli.datamodule)
    assert trace.profiler is not None
    assert trace.profiler.kineto_results is not None
    events = [event for event in trace.profiler.kineto_results.events() if event.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    allocated = itertools.accumulate(event.nbytes() for event in events)  # type: ignore[attr-defined]
    return rows / len(cli.datamodule.latest.batch), max(allocated)


if __name__ == "__main__":
    main()
