"""jsonargparse's account of every type that it tried, as one sentence: which flag, what it got, what it expects."""

from __future__ import annotations

import difflib
import inspect
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field

KEY = re.compile(r'Parser key "([^"]+)"( element \d+)?:?\s*')
OWNER = re.compile(r"Problem with given class_path '([^']+)':?")
VALUE = re.compile(r"\.? (?:Got|Given) value:(?: |$)(.*)$")
CALLABLE = re.compile(r"^Type .* expects a function or a callable class: ")
ABSTRACT = re.compile(r"^Expected an instantiatable class, but (\S+) is abstract")
KIND = re.compile(r"^Expected a (?:<class '([\w.]+)'>|typing\.Literal\[(.*)\]|member of <enum '\w+'>: \{(.*)\})")
UNKNOWN = re.compile(r"Option '([^']+)' is not accepted")
REQUIRED = re.compile(r"^the following arguments are required: (.*)$")
BASE = re.compile(r"^Subtypes: \[<class '([\w.]+)\.(\w+)'>")
NAMES_SHOWN = 16
"""Classes that an error lists; a longer list is left out."""
NOISE = (
    *("Does not validate against", "Subtypes:", "Errors:", "Given value type:", "Expected a path but"),
    "Subclass types",
)
COMPOSED = ("Namespace(", "NestedArg(", "{")
"""Beginnings of values that are no single thing that somebody typed."""


@dataclass
class Account:
    """What the lines of a message say."""

    keys: list[str] = field(default_factory=list)
    values: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    owner: str = ""
    known: list[str] = field(default_factory=list)

    def read(self, line: str) -> None:
        """Take in one line."""
        self.keys += [key for key, _ in KEY.findall(line) if key not in self.keys]
        line = CALLABLE.sub("", KEY.sub("", line).removeprefix("- "))
        if found := VALUE.search(f" {line}"):
            self.values.append(found[1].partition(". Got value: ")[0])
            line = line[: max(found.start() - 1, 0)]
        if found := OWNER.match(line):
            self.owner, line = found[1].rpartition(".")[2], line[found.end() :].strip()
        if found := BASE.match(line):
            self.known = subclasses(*found.groups())
        if not line or line.startswith(NOISE):
            return
        if found := KIND.match(line):
            self.kinds.append(_kind(found))
        elif found := UNKNOWN.search(line):
            self.keys.append(found[1])
            self.reasons.append(f"{self.owner or 'that part'} has no such setting")
        elif found := REQUIRED.match(line):
            self.reasons.append(f"{self.owner} needs --{'.'.join([*self.keys, found[1]])}")
            self.keys.clear()
        elif found := ABSTRACT.match(line):
            self.reasons.append(f"{found[1]} is abstract; set --{'.'.join(self.keys)} to a class first")
            self.keys.clear()
        elif line.startswith("Expected a dot import path"):
            self.kinds.append("the import path of a class (package.module.Class)")
            if 0 < len(self.known) <= NAMES_SHOWN:
                self.kinds.append(f"one of {', '.join(self.known)}")
        else:
            self.reasons.append(line)

    def __str__(self) -> str:
        got = next((value for value in self.values if not value.startswith(COMPOSED)), None)
        kinds = " or ".join(dict.fromkeys(kind for kind in self.kinds if kind != "NoneType"))
        parts = [f"--{'.'.join(self.keys)}" + (f" got {got!r}" if got else "")] if self.keys else []
        reasons = list(dict.fromkeys(self.reasons))
        if kinds and not reasons:
            reasons = [f"expected {kinds}"]
        return ("; " if kinds and not self.reasons else ": ").join([*parts, ". ".join(reasons) or "not accepted"])


def subclasses(module: str, name: str) -> list[str]:
    """Names of the loaded classes that can stand for an abstract one; those of this package, which its flags take."""

    def below(kind: type) -> set[type]:
        return {kind}.union(*(below(child) for child in kind.__subclasses__()))

    base = getattr(sys.modules.get(module), name, None)
    if base is None or not inspect.isabstract(base):
        return []
    own = {
        kind.__name__ for kind in below(base) if not inspect.isabstract(kind) and kind.__module__.startswith("rlsd_pl.")
    }
    return sorted(own)


def _kind(found: re.Match[str]) -> str:
    name, literal, members = found.groups()
    if name:
        return {"float": "a number", "int": "a whole number", "str": "text", "bool": "true or false"}.get(name, name)
    return "one of " + (literal or members).replace("'", "").replace(",", ", ").replace("  ", " ")


def readable(message: str) -> str:
    """One line: the flag, what it got and what it expects, or the reason as it is."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if not any(KEY.search(line) or "Union subtypes" in line for line in lines):
        return " ".join(lines)
    account = Account()
    for line in lines:
        account.read(line)
    return str(account)


def suggestion(message: str, options: Iterable[str]) -> str:
    """The known flag that an unrecognized one resembles most, as a question; empty without one."""
    found = re.match(r"unrecognized arguments: (--[\w.+-]+)", message)
    close = difflib.get_close_matches(found[1], list(options), n=1, cutoff=0.75) if found else []
    return f". Did you mean {close[0]}?" if close else ""
