"""Make the lab's base policy: ``python scripts/pretrain_lab.py --output FOLDER``; a quarter of an hour on one core."""

from __future__ import annotations

import logging

from jsonargparse import auto_cli

from rlsd_pl.lab.pretrain import PretrainConfig, make_base


def main(args: list[str] | None = None) -> None:
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    config = auto_cli(PretrainConfig, args=args, as_positional=False)
    for measurement in make_base(config):
        print(measurement)
    print(f"wrote {config.output}")


if __name__ == "__main__":
    main()
