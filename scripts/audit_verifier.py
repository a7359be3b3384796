"""Completions near a verifier's border, for a person to look at: ``python scripts/audit_verifier.py RUN_OR_JSONL``."""

import sys

if __name__ == "__main__":
    from rlsd_pl.commands.audit import main

    main(sys.argv[1:])
