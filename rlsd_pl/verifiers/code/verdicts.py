"""From finished runs to verdicts: what a signal, a clock or a grader's line means."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from typing import Any

from rlsd_pl.types import Status, Verdict
from rlsd_pl.verifiers.sandbox import Finished, Job, Run, Stop
from rlsd_pl.verifiers.verdicts import broken, failed, limited, verdict

_RESOURCE_SIGNALS = frozenset({signal.SIGXCPU, signal.SIGKILL})
"""SIGKILL is what the kernel sends at the hard CPU limit, to a program that ignores SIGXCPU."""
_KILLS_ALLOWED = 5
"""As in the worker pool: a process killed from outside is run again, up to this often."""
READY = b"ready\n"


def guarded(job: Job[Verdict]) -> Job[Verdict]:
    """``job``, with an exception of the verifier's own code turned into the verdict ``error``."""
    try:
        return (yield from job)
    except Exception as error:
        return broken("verifier", f"{type(error).__name__}: {error}")


def undisturbed(request: Run, cpu_seconds: float) -> Job[Finished]:
    """What became of a run that nobody from outside ended.

    SIGKILL comes from the kernel at the hard CPU limit, or from outside: an operator, the kernel when the *machine* is
    out of memory. In less time than the CPU limit it is the latter, and the run is repeated. Programs cannot send
    signals, change limits or set timers; one that is killed early again and again is a ``limit`` all the same, because
    whatever it did to bring that about must not take its sample out of the loss.
    """
    for _ in range(_KILLS_ALLOWED):
        finished = yield request
        if finished.seconds >= cpu_seconds or signal.SIGKILL not in (finished.signal, finished.companion_signal):
            return finished
    return Finished(Stop.KILLED, message=f"{_KILLS_ALLOWED} times, before any limit")


def stopped(finished: Finished) -> Verdict | None:
    """The verdict of a run that the parent had to end or could not start, ``None`` if it ended by itself."""
    if finished.stop is Stop.NOT_STARTED:
        return broken("sandbox_failed", finished.message)
    if finished.stop is not Stop.ENDED:
        return limited(finished.stop.value, finished.message)
    return None


def killed(ended_by: int | None) -> Verdict | None:
    """The verdict of a process that ``ended_by`` (a signal) ended, ``None`` for an ordinary exit.

    The process is the answer's own, so its crash is judged: ``fail``. A judge that crashes on an answer is a ``limit``.
    """
    if ended_by is None:
        return None
    if ended_by in _RESOURCE_SIGNALS:
        return limited("cpu_time")
    return failed("crashed", f"signal {ended_by}")


def function_verdict(finished: Finished) -> Verdict:
    """The grader's line, refined by how the solution's process died; the reward is the share of asserts that held."""
    early = stopped(finished)
    if early is not None:
        return early
    try:
        report: dict[str, Any] = json.loads(finished.output)
    except ValueError:
        # a value that breaks the grader is the model's doing, unless the grader never ran
        return broken("sandbox_failed", "no verdict from the grader") if finished.signal is None else limited("grader")
    if report["reason"] == "solution_died":
        return killed(finished.companion_signal) or failed("exited", "the solution's process ended before the tests")
    return replace(verdict(Status(report["status"]), report["reason"], report["text"]), reward=report["share"])


def script_output(finished: Finished) -> str | Verdict:
    """What the program printed, or the verdict if the run shows more than that."""
    early = stopped(finished)
    if early is not None:
        return early
    if not finished.output.startswith(READY):
        return broken("sandbox_failed", "the program was not started")
    return killed(finished.signal) or finished.output[len(READY) :].decode(errors="replace")
