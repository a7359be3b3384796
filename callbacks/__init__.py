"""Lightning callbacks: what a run shows, records and watches."""

from callbacks.console import ConsoleReport
from callbacks.hf_export import HuggingFaceExport
from callbacks.leakage import LeakageDetection
from callbacks.learning_curve import LearningCurve
from callbacks.rollout_log import RolloutLog

__all__ = ["ConsoleReport", "HuggingFaceExport", "LeakageDetection", "LearningCurve", "RolloutLog"]
