"""No document makes a schema verdict an error, and formats and patterns mean what their standards say."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlsd_pl.types import Problem, Status
from rlsd_pl.verifiers.documents.formats import UndecidedFormatError, strict_formats
from rlsd_pl.verifiers.documents.patterns import PatternError, UnsupportedPatternError, python_pattern
from rlsd_pl.verifiers.documents.schemas import judge, lint
from rlsd_pl.verifiers.documents.verifier import JSONAnswerVerifier, JSONSchemaVerifier
from rlsd_pl.verifiers.extraction import FencedBlock
from rlsd_pl.verifiers.workers.pool import WorkerLimits

Make = Callable[..., Problem]
FORMATS = strict_formats(jsonschema.Draft202012Validator.FORMAT_CHECKER)
TREE = {"$ref": "#/$defs/n", "$defs": {"n": {"allOf": [{"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/n"}},
        {"type": "object", "additionalProperties": {"$ref": "#/$defs/n"}}, {"type": "null"}]}]}}}  # fmt: skip
SCHEMAS: list[dict[str, Any]] = [
    {"type": "number", "multipleOf": 0.5},
    {"type": "number", "multipleOf": 1e-300},
    {"type": "number", "multipleOf": 5e-324, "minimum": -1e308, "exclusiveMaximum": 10**400},
    {"type": "integer", "multipleOf": 3},
    {"enum": [1.5, 10**300, "a", None]},
    {"uniqueItems": True},
    {"contains": {"multipleOf": 0.1}, "minContains": 2},
    {"type": "object", "patternProperties": {r"^\S+$": {"type": "integer"}}, "additionalProperties": False},
    {"propertyNames": {"format": "regex"}},
    {"if": {"format": "regex"}, "then": {"maxLength": 3}, "else": {"not": {"format": "uuid"}}},
    {"type": "string", "minLength": 2, "maxLength": 40, "pattern": r"^(?:a|b.)\s*$"},
    {"dependentRequired": {"a": ["b"]}, "unevaluatedProperties": {"format": "date"}},
    TREE,
    *({"format": name} for name in FORMATS.checkers),
]
NUMBERS = [
    "1" + "0" * 400, "-1" + "0" * 400, "9" * 4300, "9" * 4301, "1e308", "1.7976931348623157e308", "1e309", "1e999999",
    "-1e999999", "1e-999999", "0e999999", "5e-324", "1E400", "0.1", "-0", "-0.0", "1" * 308 + ".5",
]  # fmt: skip
STRINGS = [
    "a{99999999999}", "(" * 5000, "(" * 5000 + ")" * 5000, "(" * 900 + ")" * 900, "[" * 900, "a" * 900, "(?:" * 400,
    "(?P<a>", "\\p{L}", "(?<=a+)b", "\\", "[z-a]", "a**", "{" * 900, "\u0663" * 40, "\u00b20", "\u00b2", "0\u00b2",
    "..", ".", "-", "@", "@" * 300, "a" * 300 + ".b", "xn--", "xn--\u00fc", "\u200d", "%zz", "http://[", "http://[::1",
    "//\x00", "{" * 30, "{+", "{a:99999999}", "P", "PT", "P1Y" + "1" * 5000 + "D", "P99999999999999999999D", "T",
    "9999-99-99", "0000-01-01", "0000-01-01T00:00:00Z", "24:00:00Z", "1:2:3:4:5:6:7:8:9", "::" * 40, "1.2.3.999999999",
    "/~", "~2", "\ud83d\ude00", "\x7f", "\U0010ffff", "\u0130" * 20, "{" * 32, "-" * 36, "urn:uuid:" + "0" * 32,
    "0" * 32, "2eb8aa08-aa98-11ea-b4aa-73b441d1_380",
]  # fmt: skip
DOCUMENTS = [
    *NUMBERS, *(json.dumps(text) for text in STRINGS), *(f"[{number}, {number}]" for number in NUMBERS),
    *(json.dumps({text: 1, "a": 2}) for text in STRINGS), "[" * 64 + "]" * 64, "[" * 65 + "]" * 65, '{"a":' * 63 + "1" +
    "}" * 63, "[" * 30_000 + "]" * 30_000, "[" * 70_000, "[}" * 40, '"\\ud800"', '{"\\udfff": 1}', "\ud800", "\x00", "",
    "[1, 1.0, true, [1], [true], {}, {}, null]", "[" + "{}," * 900 + "{}]", '"\\u0000"', "\ufeff{}", "nul", "NaN",
]  # fmt: skip


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: json.dumps(schema)[:60])
def test_no_hostile_document_makes_an_error(schema: dict[str, Any]) -> None:
    text = json.dumps(schema)
    assert lint({"schema": text})["reason"] is None
    for document in DOCUMENTS:
        outcome = judge({"schema": text, "text": document, "fields": {}})
        assert outcome["status"] in ("pass", "fail", "invalid", "limit"), (document[:80], outcome)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20)
    | st.sampled_from(STRINGS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(JSON_VALUES, st.sampled_from(SCHEMAS), st.booleans())
def test_no_drawn_document_makes_an_error(value: Any, schema: dict[str, Any], ascii_only: bool) -> None:
    document = json.dumps(value, ensure_ascii=ascii_only)
    assert judge({"schema": json.dumps(schema), "text": document})["status"] != "error"


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60) | st.text(alphabet="0123456789-:.TZP/~#@[]{}()?*+\\a\u0663\u00b2 ", max_size=40))
def test_formats_decide_or_say_that_they_cannot(text: str) -> None:
    for name in FORMATS.checkers:
        try:
            assert FORMATS.conforms(text, name) in (True, False)
        except UndecidedFormatError:
            assert name == "regex"


@pytest.fixture(scope="module")
def verifier() -> Iterator[JSONSchemaVerifier]:
    verifier = JSONSchemaVerifier(limits=WorkerLimits(wall_seconds=1.0, memory_bytes=1 << 30))
    yield verifier
    verifier.close()


LARGE = "1" + "0" * 400


@pytest.mark.parametrize(
    ("schema", "text", "status", "code"),
    [
        ({"multipleOf": 0.5}, LARGE, "pass", "valid"),
        ({"multipleOf": 0.3}, LARGE, "fail", "schema_multipleOf"),
        ({"multipleOf": 0.1}, "0.3", "pass", "valid"),
        ({"multipleOf": 0.01}, "4.02", "pass", "valid"),
        ({"multipleOf": 0.01}, "4.025", "fail", "schema_multipleOf"),
        ({"const": 0}, "1e-999999", "invalid", "number_out_of_range"),
        ({"const": 0}, "0e-999999", "pass", "valid"),
        ({"type": "number"}, "1e999999", "invalid", "number_out_of_range"),
        ({"format": "regex"}, '"a{99999999999}"', "limit", "format_undecided"),
        ({"format": "regex"}, json.dumps("(" * 5000), "limit", "format_undecided"),
        ({"not": {"format": "regex"}}, json.dumps("(" * 5000), "limit", "format_undecided"),
        ({"items": {"format": "regex"}}, r'["\\p{L}"]', "limit", "format_undecided"),
        ({"format": "regex"}, '"(?P<a>b)"', "fail", "schema_format"),
        ({"format": "regex"}, '"(?<a>b)"', "pass", "valid"),
        ({"format": "relative-json-pointer"}, '"\u00b20"', "fail", "schema_format"),
        ({"pattern": "^(a|a)*$"}, '"' + "a" * 40 + '!"', "limit", "worker_timeout"),
        (TREE, "[" * 64 + "]" * 64, "pass", "valid"),
    ],
)  # fmt: skip
def test_what_a_worker_says(
    verifier: JSONSchemaVerifier, problem: Make, schema: object, text: str, status: str, code: str
) -> None:
    assert verifier.check(problem(schema=schema)) is None
    (verdict,) = verifier.verify([text], [problem(schema=schema)])
    assert (verdict.status, verdict.detail.split(":")[0]) == (status, code)


# RFC 3339, 4122, 791, 4291, 1034, 3986, 5321, 6901: what each grammar takes, and the same with one sign off
GOOD = {
    "date": ["2024-02-29"], "time": ["08:30:06Z", "08:30:06.28+02:00"], "date-time": ["1963-06-19T08:30:06.283185Z"],
    "duration": ["P4DT12H30M5S", "P2W", "PT36H", "P1Y2M3D"], "uuid": ["2EB8AA08-aa98-11ea-b4aa-73b441d16380"],
    "ipv4": ["192.168.0.1"], "ipv6": ["::ffff:192.168.0.1", "fe80::1"], "hostname": ["www.example.com"],
    "email": ["joe.bloggs@example.com", '"joe bloggs"@example.com', "joe@[127.0.0.1]"],
    "uri": ["http://foo.bar/?baz=qux#quux"], "iri": ["http://\u0192\u00f8.\u00dfar/?\u2202=\u03c0#\U0001f600"],
    "iri-reference": ["/\u00e9", "#\u0192"], "json-pointer": ["", "/a~0/b~1/\u0663"],
    "relative-json-pointer": ["0#", "120/foo"], "regex": [r"([abc])+\s+$", r"(?<year>\d{4})"],
}  # fmt: skip
BAD = {
    "date": ["2023-02-29", "2024-2-1", "2024-02-2\u0669", "2024\u066a02\u066a01", "\u0662\u0660\u0662\u0664-01-01"],
    "time": ["08:30:06", "08:30:0\u0666Z", "\u0660\u0668:30:06Z"],
    "date-time": ["1963-06-1\u0669T08:30:06Z", "1963-06-19T08:30:06Z\n"],
    "duration": ["P1Y2D", "PT", "P\u0661D", "P1.5D", "P", "1D"],
    "uuid": ["2eb8aa08-aa98-11ea-b4aa-73b441d1638\u0660", "2eb8aa08aa9811eab4aa73b441d16380",
             "2eb8aa08-aa98-11ea-b4aa-73b441d1_380", "\uff12eb8aa08-aa98-11ea-b4aa-73b441d16380"],
    "ipv4": ["\u0661.1.1.1", "1.1.1.1 ", "256.1.1.1", "1.1.1"], "ipv6": ["::\u0661", "::1%eth0", "12345::"],
    "hostname": ["-a.example", "a_b.example", "a.example\n", "\u0661.example"],
    "email": ["@", "a@", "a b@c", ".a@b.c", "a@b.c\n", "a@\u0661"], "uri": ["//foo.bar", "http://a b", "http://\u0661"],
    "iri": ["\u00e9://a", "//\u00e9", "http://\u00e9 b", "http://\ufffe"], "iri-reference": ["\\\\\u00e9", "#\u0192#"],
    "json-pointer": ["a", "/~2", "/~"], "relative-json-pointer": ["01", "-1", "\u0661", "/a", "0##"],
    "regex": ["a++", "(", r"a\Z", "(?i)a", "(?#c)", "[z-a]"],
}  # fmt: skip


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in GOOD.items() for text in texts])
def test_good_strings_have_their_format(name: str, text: str) -> None:
    assert FORMATS.conforms(text, name)


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in BAD.items() for text in texts])
def test_bad_strings_have_not(name: str, text: str) -> None:
    assert not FORMATS.conforms(text, name)


# ECMA-262 21.2: CharacterClassEscape, Assertion, the dot and WhiteSpace
SEARCHES = [
    *((r"^\s$", character, True) for character in "\t\n\v\f\r \u00a0\u1680\u2003\u2028\u2029\u202f\u205f\u3000\ufeff"),
    *((r"^\s$", character, False) for character in "\x1c\x1f\x85\u180e\u200b\u2060"),
    *((r"^\S$", character, False) for character in "\u00a0\ufeff\u3000\n"), (r"^\S$", "\x85", True),
    (r"^[\s]$", "\u00a0", True), (r"^[^\s]$", "\u00a0", False), (r"^[\S]$", "\u00a0", False), (r"^[\Sx]$", "a", True),
    *((".", character, False) for character in "\n\r\u2028\u2029"), ("^.$", "\x85", True), ("^.$", "\U0001f600", True),
    (r"^\.[.]$", "..", True), (r"^\d$", "\u0663", False), (r"^[\d]$", "\u0663", False), (r"^\D$", "\u0663", True),
    (r"^\w$", "\u00e9", False), (r"^[\w]$", "\u00e9", False), (r"\b\u00e9", "a\u00e9", True), ("^a$", "a\n", False),
    (r"a\$", "a$", True), ("[$]", "$", True), ("^[^]$", "\n", True), ("[]", "a", False), ("^[[]$", "[", True),
    ("^[a&&b]+$", "a&b", True), (r"^\cJ$", "\n", True), (r"(?<y>a)\k<y>", "aa", True),
    (r"^\u{1f600}$", "\U0001f600", True),
    (r"^\ud83d\ude00$", "\U0001f600", True), ("^a{,2}$", "a{,2}", True), (r"^\/$", "/", True),
    ("^(?=a)a(?!b)", "ac", True),
]  # fmt: skip


@pytest.mark.parametrize(("pattern", "text", "found"), SEARCHES)
def test_patterns_mean_what_ecma_262_says(pattern: str, text: str, found: bool) -> None:
    assert (re.search(python_pattern(pattern), text) is not None) is found


@pytest.mark.parametrize(
    "pattern", ["a++", "a{2}+", "(?>a)", "(?P<n>a)", "(?(1)a)", "(?i)a", r"\A", r"a\Z", r"\a", "("]
)
def test_what_only_python_knows_is_no_pattern(pattern: str) -> None:
    with pytest.raises(PatternError) as raised:
        python_pattern(pattern)
    assert raised.type is PatternError


@pytest.mark.parametrize("pattern", [r"\p{L}", r"[\p{L}]", "a{99999999999}", "(?<=a+)b", "(" * 3000 + ")" * 3000])
def test_what_python_cannot_say_is_told_apart(pattern: str) -> None:
    with pytest.raises(UnsupportedPatternError):
        python_pattern(pattern)


@pytest.mark.parametrize("blank", ["\u00a0", "\f", "\v", "\u2028", "\u3000", "\x1f", "\x85", "\ufeff", "\u200b"])
@pytest.mark.parametrize("rule", [None, FencedBlock()])
def test_blanks_that_are_not_json_s_are_no_part_of_a_document(problem: Make, blank: str, rule: Any) -> None:
    verifier = JSONAnswerVerifier(rule)
    frame = "```json\n{}\n```" if rule else "<think>so</think>{}"
    texts = [frame.format(body) for body in (blank + "[1]", "[1]" + blank, f"\n{blank}[1]", f"[{blank}1]", " [1]\t\r")]
    verdicts = verifier.verify(texts, [problem("[1]")] * len(texts))
    assert [verdict.status for verdict in verdicts] == ["invalid"] * 4 + ["pass"]


def test_the_answer_is_the_canonical_document(verifier: JSONSchemaVerifier, problem: Make) -> None:
    schema = {"type": "object", "required": ["a"]}
    expected = {
        ' {"b": [1.0, -0.0, 2.5e3],\n "a": "\\u00e9"}': ("pass", '{"a":"\u00e9","b":[1,0,2500]}'),
        '{"b": 1e300}': ("fail", '{"b":1e+300}'),
        '{"a": 1': ("invalid", '{"a": 1'),
        "[" * 65 + "]" * 65: ("limit", "[" * 65 + "]" * 65),
        "<think>{}</think>": ("invalid", None),
    }
    verdicts = verifier.verify(list(expected), [problem(schema=schema)] * len(expected))
    assert [(verdict.status, verdict.answer) for verdict in verdicts] == list(expected.values())
    equal = JSONAnswerVerifier()
    (verdict,) = equal.verify(['{"b": 2, "a": 1.0}'], [problem('{"a": 1}')])
    assert (verdict.status, verdict.answer) == ("fail", '{"a":1,"b":2}')


PERSON = {
    "type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0},
    "tags": {"type": "array", "items": {"type": "string"}}}, "required": ["name", "age"], "additionalProperties": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "status", "binary", "equal", "weighted"),
    [  # fields name, age, tags; weighted: age weighs 2, so the whole weighs 4
        ('{"name": "A", "age": 3}', "pass", 1.0, 1.0, 1.0),
        ('{"name": "A", "age": -3}', "fail", 0.0, 2 / 3, 2 / 4),
        ('{"name": "A", "age": "3", "tags": [1, 2]}', "fail", 0.0, 1 / 3, 1 / 4),
        ('{"age": 3}', "fail", 0.0, 2 / 3, 3 / 4),
        ('{"name": "A", "age": 3, "x": 1, "y": 2}', "fail", 0.0, 3 / 5, 4 / 6),
        ("{}", "fail", 0.0, 1 / 3, 1 / 4),
        ("[]", "fail", 0.0, 0.0, 0.0),
        ('{"name": "A", "age": 3', "invalid", 0.0, 0.0, 0.0),
    ],
)
def test_schema_fields_earn_their_share(text: str, status: str, binary: float, equal: float, weighted: float) -> None:
    for option, reward in zip(OPTIONS, (binary, equal, weighted), strict=True):
        outcome = judge({"text": text, "schema": json.dumps(PERSON), **option})
        assert (outcome["status"], outcome.get("share", float(status == "pass"))) == (status, pytest.approx(reward))


OPTIONS: list[dict[str, Any]] = [{}, {"fields": {}}, {"fields": {"age": 2}}]


def test_a_verdict_carries_the_share(problem: Make) -> None:
    schema = {"properties": {"a": {"type": "integer"}, "b": {"type": "null"}}}
    closed = {**schema, "minProperties": 2}
    partial = JSONSchemaVerifier(workers=1, partial_credit=True, field_weights={"b": 3})
    verdicts = partial.verify(
        ['{"a": "x", "b": null}', '{"a": 1}', '{"a": 1}'], [problem(schema=s) for s in (schema, closed, schema)]
    )
    partial.close()
    expected = [(Status.FAIL, 0.75), (Status.FAIL, 0.0), (Status.PASS, 1.0)]  # too few keys is an error of no field
    assert [(verdict.status, verdict.reward) for verdict in verdicts] == expected


@pytest.mark.parametrize(
    ("text", "status", "reward"),
    [
        ('{"a": 1, "b": [1], "c": null}', "pass", 1.0),
        ('{"a": 1, "b": [2], "c": null}', "fail", 2 / 5),  # b weighs 3
        ('{"b": [1]}', "fail", 3 / 5),
        ('{"a": 1, "b": [1], "c": null, "d": 0}', "fail", 5 / 6),
        ('{"a": true, "b": 1, "c": 0}', "fail", 0.0),
        ("[1]", "fail", 0.0),
        ("{", "invalid", 0.0),
    ],
)
def test_fields_of_the_reference_earn_their_share(problem: Make, text: str, status: str, reward: float) -> None:
    verifier = JSONAnswerVerifier(partial_credit=True, field_weights={"b": 3})
    (verdict,) = verifier.verify([text], [problem('{"a": 1, "b": [1], "c": null}')])
    assert (verdict.status, verdict.reward) == (status, pytest.approx(reward))


def test_weights_that_cannot_be_meant_are_refused() -> None:
    with pytest.raises(ValueError, match="partial_credit"):
        JSONAnswerVerifier(field_weights={"a": 1})
    for weight in (0, -1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="positive"):
            JSONAnswerVerifier(partial_credit=True, field_weights={"a": weight})
