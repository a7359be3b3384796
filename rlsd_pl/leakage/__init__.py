"""Leakage as numbers: pure measures of held-out completions, and rules that raise an alarm on what was measured."""

from rlsd_pl.leakage.calibration import calibration_error, calibration_sums
from rlsd_pl.leakage.measures import measured, sample_sums
from rlsd_pl.leakage.overlap import longest_unseen_span
from rlsd_pl.leakage.phrases import REFERENCES, PhraseDetector
from rlsd_pl.leakage.probes import Probe, answer_probes, probe_sums
from rlsd_pl.leakage.rules import Above, Alarms, Below, Beyond, Falls, Rises, Rule, default_rules
from rlsd_pl.leakage.samples import Sample, Texts, samples_of

__all__ = [
    "REFERENCES",
    "Above",
    "Alarms",
    "Below",
    "Beyond",
    "Falls",
    "PhraseDetector",
    "Probe",
    "Rises",
    "Rule",
    "Sample",
    "Texts",
    "answer_probes",
    "calibration_error",
    "calibration_sums",
    "default_rules",
    "longest_unseen_span",
    "measured",
    "probe_sums",
    "sample_sums",
    "samples_of",
]
