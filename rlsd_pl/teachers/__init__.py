"""Teachers: whose weights score the sampled tokens, and when they refresh."""

from rlsd_pl.teachers.base import Snapshot, Teacher
from rlsd_pl.teachers.policies import FrozenTeacher, LiveTeacher, PeriodicTeacher

__all__ = ["FrozenTeacher", "LiveTeacher", "PeriodicTeacher", "Snapshot", "Teacher"]
