"""Schemas: linted when loaded, compiled once, applied in worker processes (patterns and ``anyOf`` can run for ever)."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any

import jsonschema
from jsonschema import validators
from jsonschema.validators import validator_for
from referencing import Registry

from rlsd_pl.verifiers.documents.fields import weighted_share
from rlsd_pl.verifiers.documents.formats import UndecidedFormatError, strict_formats
from rlsd_pl.verifiers.documents.openness import leaves_open
from rlsd_pl.verifiers.documents.patterns import PatternError, python_pattern
from rlsd_pl.verifiers.documents.references import SchemaError, reachable, subschemas
from rlsd_pl.verifiers.documents.strict import JSONLimitError, JSONTextError, read_json

_DEFAULT = jsonschema.Draft202012Validator
_ASSERTIONS = {
    "type", "enum", "const", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength",
    "maxLength", "pattern", "format", "minItems", "maxItems", "uniqueItems", "contains", "minProperties",
    "maxProperties", "required", "dependentRequired", "dependencies", "not", "propertyNames", "$dynamicRef",
}  # fmt: skip
# Recursive schemas on documents of MAX_DEPTH fit; a schema that refers to itself without end does not.
sys.setrecursionlimit(2000)

_UnknownDialect: Any = object()


def judge(request: dict[str, Any]) -> dict[str, Any]:
    """``{"text", "schema"}`` (both JSON text) to ``{"status", "code", "explanation"}``; no text makes an ``error``.

    With ``"fields"`` in the request (weights by key) also ``"share"``, see :func:`share_of_valid_fields`.
    """
    try:
        validator = load_schema(request["schema"])
    except SchemaError as error:
        return _outcome("error", "schema_refused", str(error))
    try:
        value = read_json(request["text"])
        problems = validator.iter_errors(value)
        problem = next(problems, None)
        share = {}
        if request.get("fields") is not None and problem is not None:
            share = {"share": share_of_valid_fields(value, validator.schema, [problem, *problems], request["fields"])}
    except JSONLimitError as error:
        return _outcome("limit", error.code, error.explanation)
    except JSONTextError as error:
        return _outcome("invalid", error.code, error.explanation)
    except UndecidedFormatError as error:
        return _outcome("limit", "format_undecided", str(error))
    except MemoryError:
        raise  # the worker says so and is replaced
    except Exception as error:  # the schema passed its own checks, so the document was too much for the validator
        return _outcome("limit", "validation_raised", type(error).__name__)
    if problem is None:
        return _outcome("pass", "valid")
    return _outcome("fail", f"schema_{problem.validator}", f"at {problem.json_path}") | share


def share_of_valid_fields(value: Any, schema: Any, problems: Sequence[Any], weights: Mapping[str, float]) -> float:
    """Weighted share of the keys under the schema's ``properties`` and ``required`` that are right in ``value``.

    A key is right if no error lies in its value and it is there, or is not required. Each key that the schema refuses
    counts as one more field that is wrong. 0 if the value is no object, or if an error belongs to no key.
    """
    if not isinstance(value, dict) or not isinstance(schema, dict):
        return 0.0
    keys = {*schema.get("properties", {}), *schema.get("required", ())}
    wrong: set[str] = {key for key in keys if key not in value and key in schema.get("required", ())}
    surplus: set[str] = set()
    for problem in problems:
        if problem.absolute_path:
            (wrong if problem.absolute_path[0] in keys else surplus).add(problem.absolute_path[0])
        elif problem.validator in ("additionalProperties", "unevaluatedProperties"):
            surplus |= value.keys() - keys
        elif problem.validator != "required":
            return 0.0
    return weighted_share(keys - wrong, keys, len(surplus), weights)


def lint(request: dict[str, Any]) -> dict[str, Any]:
    """``{"schema"}`` (JSON text) to ``{"reason", "open"}``: why it cannot be used or ``None``; :func:`leaves_open`."""
    try:
        load_schema(request["schema"])
    except SchemaError as error:
        return {"reason": str(error), "open": False}
    return {"reason": None, "open": leaves_open(read_json(request["schema"]))}


def handle(request: dict[str, Any]) -> dict[str, Any]:
    """The worker's entry: a request with a text is to be judged, one without to be linted."""
    return judge(request) if "text" in request else lint(request)


@lru_cache(maxsize=128)
def load_schema(text: str) -> Any:
    """The validator for a schema that passed every check: not vacuous, and able to judge a value of each kind."""
    try:
        schema = read_json(text)
    except JSONTextError as error:
        raise SchemaError(f"the schema is not strict JSON: {error}") from None
    validator = compile_schema(schema)
    if not any(_asserts(part) for part in subschemas(schema)):
        raise SchemaError("the schema is vacuous: it accepts every document; add required, type or other constraints")
    try:
        for probe in (None, 0, "", [], {}):
            next(validator.iter_errors(probe), None)
    except UndecidedFormatError:
        pass
    except RecursionError:
        raise SchemaError("the schema refers to itself without end") from None
    except Exception as error:
        raise SchemaError(f"the schema cannot judge: {type(error).__name__}: {error}"[:200]) from None
    return validator


def compile_schema(schema: Any) -> Any:
    """The validator of ``schema``, with an empty registry (nothing is fetched) and formats asserted.

    Raises:
        SchemaError: unknown dialect, not a valid schema, a format or pattern that cannot be checked here, a reference
            that leaves the schema or leads back to itself.
    """
    if not isinstance(schema, dict | bool):
        raise SchemaError(f"got a schema of type {type(schema).__name__}, expected an object or a boolean")
    validator_class = _dialect(schema)
    formats = strict_formats(validator_class.FORMAT_CHECKER)
    try:
        validator_class.check_schema(schema, format_checker=formats)
    except jsonschema.SchemaError as error:
        raise SchemaError(f"not a valid schema at {error.json_path}: {error.message[:120]}") from None
    except UndecidedFormatError as error:
        raise SchemaError(f"the schema cannot be checked: {error}") from None
    schema = copy.deepcopy(schema)
    for part in reachable(schema):
        _check_format(part, formats)
        _translate_patterns(part)
    reachable(schema)  # once more: a reference through a translated pattern leads nowhere now
    return _exact(validator_class)(schema, registry=Registry(), format_checker=formats)


@lru_cache
def _exact(validator_class: Any) -> Any:
    """The dialect with ``multipleOf`` in decimal arithmetic: binary division overflows, and parts 0.3 from 0.1."""
    keywords = {key for key in ("multipleOf", "divisibleBy") if key in validator_class.VALIDATORS}
    return validators.extend(validator_class, dict.fromkeys(keywords, _multiple_of))


def _multiple_of(validator: Any, divisor: Any, instance: Any, _: Any) -> Iterator[jsonschema.ValidationError]:
    if validator.is_type(instance, "number") and Fraction(repr(instance)) % Fraction(repr(divisor)):
        yield jsonschema.ValidationError(f"not a multiple of {divisor}")


def _asserts(schema: Any) -> bool:
    if not isinstance(schema, dict):
        return schema is False
    # A reference out of the schema can only be to a metaschema, which asserts.
    return not _ASSERTIONS.isdisjoint(schema) or not str(schema.get("$ref", "#")).startswith("#")


def _dialect(schema: Any) -> Any:
    declared = schema.get("$schema") if isinstance(schema, dict) else None
    validator_class: Any = validator_for({"$schema": declared}, default=_UnknownDialect) if declared else _DEFAULT
    if validator_class is _UnknownDialect:
        raise SchemaError(f"unknown $schema {declared!r}; use {_DEFAULT.META_SCHEMA['$id']!r}")
    return validator_class


def _check_format(schema: dict[str, Any], checker: jsonschema.FormatChecker) -> None:
    name = schema.get("format")
    if name is not None and name not in checker.checkers:
        raise SchemaError(
            f"format {name!r} cannot be checked here, only {sorted(checker.checkers)}; "
            "install jsonschema[format-nongpl], or say it as a pattern"
        )


def _translate_patterns(schema: dict[str, Any]) -> None:
    try:
        if "pattern" in schema:
            schema["pattern"] = python_pattern(schema["pattern"])
        if "patternProperties" in schema:
            schema["patternProperties"] = {python_pattern(k): v for k, v in schema["patternProperties"].items()}
    except PatternError as error:
        raise SchemaError(str(error)) from None


def _outcome(status: str, code: str, explanation: str = "") -> dict[str, Any]:
    return {"status": status, "code": code, "explanation": explanation[:150]}
