"""Pictures of runs."""

from __future__ import annotations

from pathlib import Path

from rlsd_pl.runs import read_history

PANELS = {
    "accuracy on held-out problems": ("val/greedy_accuracy", "val/sampled_accuracy"),
    "reward of rollouts": ("rollout/reward",),
    "completion length (tokens)": ("rollout/length",),
    "entropy (nats)": ("train/entropy",),
    "leakage": ("leakage/hollow_rate", "leakage/reference_rate"),
    "credit": ("credit/clip_fraction", "credit/departure", "credit/lambda"),
}


def plot_run(folder: Path) -> Path:
    """Learning curves of one run, as ``learning_curve.png`` in its folder."""
    from matplotlib.figure import Figure

    history = read_history(folder)
    panels = {title: [k for k in keys if k in history] for title, keys in PANELS.items()}
    panels = {title: keys for title, keys in panels.items() if keys}
    rows = -(-len(panels) // 2)
    figure = Figure(figsize=(11, 3 * rows), layout="constrained")
    for position, (title, keys) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(rows, 2, position)
        for key in keys:
            series = sorted(history[key].items())
            axes.plot([x for x, _ in series], [y for _, y in series], marker="." if len(series) < 30 else "", label=key)
        axes.set(title=title, xlabel="iteration")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        if title.startswith("accuracy"):
            axes.set_ylim(0, 1.02)
        axes.legend(frameon=False, fontsize="small")
    path = folder / "learning_curve.png"
    figure.savefig(path, dpi=120)
    return path
