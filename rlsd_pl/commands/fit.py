"""``rlsd-pl fit``: train a policy."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rlsd_pl.commands.help import fail
from rlsd_pl.commands.presets import expand


def main(argv: Sequence[str]) -> None:
    """Train; a misspelt preset is told before the libraries are loaded."""
    try:
        expand(argv)
    except ValueError as error:
        fail(str(error))
    from rlsd_pl.commands.cli import fit

    fit(argv)


if __name__ == "__main__":
    main(sys.argv[1:])
