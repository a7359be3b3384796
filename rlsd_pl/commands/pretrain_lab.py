"""``rlsd-pl pretrain-lab --output FOLDER``: make the lab's base policy; a quarter of an hour on one core."""

from __future__ import annotations

import logging
from collections.abc import Sequence


def main(argv: Sequence[str]) -> None:
    """Train it and print what was measured."""
    from jsonargparse import auto_cli

    from rlsd_pl.lab.pretrain import PretrainConfig, make_base

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    config = auto_cli(PretrainConfig, args=list(argv), as_positional=False)
    for measurement in make_base(config):
        print(measurement)
    print(f"wrote {config.output}")
