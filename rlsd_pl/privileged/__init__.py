"""Privileged data: reference solutions that a verifier passed, or documents, as one more column of a table."""

from rlsd_pl.privileged.build import Builder, Record
from rlsd_pl.privileged.documents import Documents
from rlsd_pl.privileged.report import Coverage, stands_in
from rlsd_pl.privileged.sources import EndpointSource, EngineSource, Source

__all__ = ["Builder", "Coverage", "Documents", "EndpointSource", "EngineSource", "Record", "Source", "stands_in"]
