"""Compare objectives over seeds: ``python scripts/sweep.py --objectives rlvr,opsd,rlsd --seeds 0,1,2``."""

import sys

from rlsd_pl.commands.presets import print_help

FLAGS = [
    ("--objectives rlvr,opsd,rlsd", "presets, import paths of classes, or YAML files to compare"),
    ("--seeds 0,1,2", "the default; each objective runs once per seed"),
    ("--jobs 2", "runs at a time (default 1); each gets its share of the cores"),
    ("--at 10,30,60", "also tabulate sampled accuracy at exactly these iterations"),
    (
        "--sweep_dir FOLDER",
        "default sweeps/TIME; call again with it to go on: finished runs are skipped, others resumed",
    ),
    ("--trainer.max_epochs 60", "this and all other flags and presets go to every run of fit.py unchanged"),
]


def main() -> None:
    """Show help without loading the libraries, or sweep."""
    argv = sys.argv[1:]
    if {"-h", "--help"} & set(argv):
        print_help("sweep.py", "Train with several objectives on several seeds, and compare them.", FLAGS)
        return
    from rlsd_pl.commands.sweep import sweep

    sys.exit(sweep(argv))


if __name__ == "__main__":
    main()
