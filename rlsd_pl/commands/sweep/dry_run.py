"""The process in which a sweep tries its flags: it starts ``fit`` once per setting and loads torch once."""

from __future__ import annotations

import io
import json
import os
import runpy
import sys
import traceback
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout


def main() -> None:
    """Start a program with one list of arguments after another, up to the first that it refuses.

    Standard input holds JSON: [what ``python`` is given to start the program, [arguments, ...]]. Standard output gets a
    line of JSON for each, as it ends: "" or what the program said when it refused.
    """
    program, calls = json.load(sys.stdin)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # a program may write past sys.stdout
    for arguments in calls:
        refused = complaint(program, arguments)
        print(json.dumps(refused), file=answers, flush=True)
        if refused:
            return


def complaint(program: Sequence[str], arguments: Sequence[str]) -> str:
    """What ``program`` writes to standard error where it leaves with another status than 0; "" where it does not."""
    said = io.StringIO()
    with redirect_stdout(io.StringIO()), redirect_stderr(said):
        try:
            start(program, arguments)
        except SystemExit as left:
            if left.code in (None, 0):
                return ""
            print("" if isinstance(left.code, int) else left.code, file=said)
            return said.getvalue().strip() or f"Exit status {left.code}."
        except Exception:
            traceback.print_exc()
            return said.getvalue().strip()
    return ""


def start(program: Sequence[str], arguments: Sequence[str]) -> None:
    """What ``python *program *arguments`` does, in this process."""
    name, run = (program[1], runpy.run_module) if program[0] == "-m" else (program[0], runpy.run_path)
    sys.argv = [name, *arguments]
    run(name, run_name="__main__")


if __name__ == "__main__":
    main()
