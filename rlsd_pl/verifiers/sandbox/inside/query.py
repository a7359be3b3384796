"""Runs SQL queries on SQLite databases: read-only and immutable, an allowlist, limits, a deadline, row and byte caps.

stdin brings one JSON line ``{"queries": [[file index, SQL, reversed]], "seconds", "max_rows", "max_bytes"}``; stdout
gets one line with a result for each query, up to the first that fails. The databases are opened before the
confinement, and nothing after it.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import time
from typing import Any

from . import lockdown, wire

_ALLOWED = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE})
_DENIED_FUNCTIONS = frozenset(
    {
        "load_extension", "readfile", "writefile", "edit", "fts3_tokenizer", "zeroblob", "randomblob", "random",
        "printf", "format", "current_timestamp", "current_date", "current_time", "changes", "total_changes",
        "last_insert_rowid",
    }
)  # fmt: skip
"""Files, extensions, chance, the clock, and the ones that build a gigabyte within a single operation."""
_PRAGMAS = (
    "trusted_schema=OFF",
    "query_only=ON",
    "temp_store=MEMORY",
    "hard_heap_limit=134217728",
    "mmap_size=0",
    "cell_size_check=ON",
)
_SQLITE_LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: 1 << 20,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 20_000,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 100,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 30,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 1000,
    sqlite3.SQLITE_LIMIT_VDBE_OP: 200_000,
    sqlite3.SQLITE_LIMIT_COLUMN: 200,
    sqlite3.SQLITE_LIMIT_FUNCTION_ARG: 64,
}
_OPERATIONS_BETWEEN_CHECKS = 2000
_MAX_TEXT = 160


class _ResultSizeError(Exception):
    pass


def _authorize(action: int, name: str | None, function: str | None, *_: str | None) -> int:
    if action not in _ALLOWED:
        return sqlite3.SQLITE_DENY
    subject = (function if action == sqlite3.SQLITE_FUNCTION else name) or ""
    if subject.lower().startswith("sqlite_") or (
        action == sqlite3.SQLITE_FUNCTION and subject.lower() in _DENIED_FUNCTIONS
    ):
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


def _open(path: str, backwards: bool) -> sqlite3.Connection:
    """A connection that has read its file already. ``backwards`` turns the order of rows that no ORDER BY fixes."""
    connection = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True, isolation_level=None)
    for pragma in (*_PRAGMAS, f"reverse_unordered_selects={int(backwards)}"):
        connection.execute(f"PRAGMA {pragma}").close()
    connection.execute("SELECT count(*) FROM sqlite_master").close()
    for limit, value in _SQLITE_LIMITS.items():
        connection.setlimit(limit, value)
    connection.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
    connection.set_authorizer(_authorize)
    return connection


def _result(connection: sqlite3.Connection, query: str, job: dict[str, Any]) -> dict[str, Any]:
    deadline = time.monotonic() + job["seconds"]
    connection.set_progress_handler(lambda: time.monotonic() > deadline, _OPERATIONS_BETWEEN_CHECKS)
    try:
        cursor = connection.execute(query)
        rows = _fetch(cursor, job["max_rows"], job["max_bytes"])
        return {"columns": [column[0] for column in cursor.description or ()], "rows": rows}
    except (_ResultSizeError, wire.WireError):
        return _outcome("limit", "result_size", f"more than {job['max_rows']} rows or {job['max_bytes']} bytes")
    except MemoryError:
        return _outcome("limit", "memory", "")
    except Exception as error:  # of sqlite3 and, for what its driver cannot convert, of Python
        return _failure(error)


def _fetch(cursor: sqlite3.Cursor, max_rows: int, max_bytes: int) -> list[Any]:
    rows: list[Any] = []
    size = 0
    for row in cursor:
        line = wire.dumps(list(row), max_bytes)
        size += len(line)
        if len(rows) == max_rows or size > max_bytes:
            raise _ResultSizeError
        rows.append(json.loads(line))
    return rows


def _failure(error: Exception) -> dict[str, Any]:
    code = getattr(error, "sqlite_errorcode", None)
    text = str(error)[:_MAX_TEXT]
    if code == sqlite3.SQLITE_INTERRUPT:
        return _outcome("limit", "query_time", "")
    if code in (sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_FULL):
        return _outcome("limit", "memory", text)
    if code == sqlite3.SQLITE_AUTH or "not authorized" in text:
        return _outcome("fail", "not_authorized", text)
    if "one statement" in text:
        return _outcome("fail", "statement_count", text)
    return _outcome("fail", "sql_error", text)


def _outcome(status: str, reason: str, text: str) -> dict[str, str]:
    return {"status": status, "reason": reason, "text": text}


def main() -> None:
    """Answer one job."""
    lockdown.close_inherited()
    job: dict[str, Any] = json.loads(sys.stdin.buffer.readline())
    files = lockdown.settings()["files"]
    connections = [_open(files[index], backwards) for index, _, backwards in job["queries"]]
    lockdown.confine()
    results: list[dict[str, Any]] = []
    for connection, (_, query, _) in zip(connections, job["queries"], strict=True):
        results.append(_result(connection, query, job))
        if "status" in results[-1]:
            break
    reply = memoryview(json.dumps({"results": results}).encode() + b"\n")
    while reply:
        reply = reply[os.write(1, reply) :]
    os._exit(0)
