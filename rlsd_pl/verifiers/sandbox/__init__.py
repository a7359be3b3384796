"""Runs foreign code behind walls that were tested on this machine.

    sandbox = open_sandbox(minimum=Level.L2)
    finished = run(Run("script", stdin), sandbox)

See docs/verifiers-sandbox.md for the levels, what each one stops, and what is not promised.
"""

from rlsd_pl.verifiers.sandbox.limits import Limits
from rlsd_pl.verifiers.sandbox.runner import run, run_jobs
from rlsd_pl.verifiers.sandbox.runs import Finished, Job, Run, Stop
from rlsd_pl.verifiers.sandbox.sandbox import Level, Sandbox, SandboxUnavailableError
from rlsd_pl.verifiers.sandbox.selftest import Isolation, detect, failure, open_sandbox

__all__ = [
    "Finished",
    "Isolation",
    "Job",
    "Level",
    "Limits",
    "Run",
    "Sandbox",
    "SandboxUnavailableError",
    "Stop",
    "detect",
    "failure",
    "open_sandbox",
    "run",
    "run_jobs",
]
