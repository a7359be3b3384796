"""Teachers: whose weights score the sampled tokens, and when they refresh."""

from rlsd_pl.teachers.base import Snapshot, Teacher
from rlsd_pl.teachers.external import ExternalTeacher
from rlsd_pl.teachers.policies import EMATeacher, FrozenTeacher, LiveTeacher, PeriodicTeacher

__all__ = [
    "EMATeacher",
    "ExternalTeacher",
    "FrozenTeacher",
    "LiveTeacher",
    "PeriodicTeacher",
    "Snapshot",
    "Teacher",
]
