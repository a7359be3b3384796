"""Units that may follow a number. A unit is made of words of a known list, or of the reference's own words."""

from __future__ import annotations

import re
from functools import lru_cache

_SPELLINGS = {
    "mm": "millimeter millimetre", "cm": "centimeter centimetre", "m": "meter metre", "km": "kilometer kilometre",
    "in": "inch", "ft": "foot feet", "yd": "yard", "mi": "mile", "mg": "milligram", "g": "gram", "kg": "kilogram",
    "lb": "pound", "oz": "ounce", "ms": "millisecond", "s": "second sec", "min": "minute", "h": "hour hr",
    "ml": "milliliter millilitre mL", "l": "liter litre L", "gal": "gallon", "qt": "quart", "pt": "pint",
    "tbsp": "tablespoon", "tsp": "teaspoon", "$": "dollar usd USD", "cent": "", "euro": "EUR", "%": "percent",
    "deg": "degree", "rad": "radian", "C": "celsius", "F": "fahrenheit", "mph": "", "N": "newton", "J": "joule",
    "kJ": "kilojoule", "W": "watt", "kW": "kilowatt", "MW": "megawatt", "mW": "milliwatt", "V": "volt",
    "A": "ampere amp", "mA": "milliampere", "Hz": "hertz", "kHz": "kilohertz", "MHz": "megahertz", "Pa": "pascal",
    "kPa": "kilopascal", "eV": "", "mol": "mole", "cal": "calorie", "kcal": "kilocalorie", "atm": "atmosphere",
    "nm": "nanometer", "rpm": "", "person": "people", "child": "children kid", "man": "men", "woman": "women",
    "vertex": "vertices", "leaf": "leaves", "loaf": "loaves",
}  # fmt: skip
_COUNTED = """
unit day week month year decade century acre ton cup bottle can bag box barrel bucket jar pack packet package serving
student boy girl friend teacher worker employee player member guest customer passenger animal dog cat kitten puppy
bird fish sheep cow chicken hen horse duck rabbit lion bee bug insect penguin apple orange banana pear peach lemon
melon tomato potato carrot onion egg cookie cake cupcake pie pizza candy chocolate sandwich slice piece book page
letter word sentence chapter card photo picture song message question problem test exam class lesson ticket toy doll
ball marble balloon block bead brick stick stone rock shell coin flower rose tree plant seed bush pen pencil crayon
sticker stamp shirt sock shoe hat dress car truck bus bike wheel train boat plane house home room window door floor
chair table desk seat row column group team game match goal point vote step lap trip bolt nail screw tile sheet way
path arrangement outcome solution integer number side edge face diagonal triangle line term subset pet glass fruit
gift download video movie necklace bracelet ribbon candle popsicle lollipop goat pig spider ant star planet city
country school company vehicle motorcycle mango grape cherry strawberry berry nut pepper cabbage pumpkin watermelon
pineapple burger donut muffin brownie drink soda meal recipe spoon fork plate pot pan towel blanket pillow curtain
jewel ring medal trophy badge prize farmer family adult skein stitch flag lamp light battery computer phone
"""
_KNOWN = {name: unit for unit, names in _SPELLINGS.items() for name in (unit, *names.split())}
_KNOWN |= {name: name for name in _COUNTED.split()}
_POWER_BEFORE = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
_POWER_AFTER = {"squared": 2, "cubed": 3}
_CHANGING = """
or and not to of minus plus times over by negative half halves third quarter fourth fifth dozen score pair
couple hundred thousand million billion trillion double triple twice power root factorial mod base if e i k
"""
"""Words after a number that change its value: never a unit, not even in a reference."""
_CHANGES_THE_VALUE = frozenset(_CHANGING.split())

_FORMATTED = re.compile(r"/?(?:\\text\{[^{}]*\}(?:\^\{?-?\d\}?)?(?:/|\\cdot|\*)?)+$")
_BARE = re.compile(r"(?<=[\d})])/?[A-Za-z]+(?:[ /][A-Za-z]+|\^\{?-?\d\}?)*$")
_DEGREES = re.compile(r"\^\{?\\circ\}? ?(?:([CF])|\\text\{([CF]|Celsius|Fahrenheit)\})?$")
_BASE = re.compile(r"(\d+)_(?:(\d)|\{(\d{1,2})\})")
_TOKEN = re.compile(r"[A-Za-z]+|[$%/]|\^\{?(-?\d)\}?|(?:\\cdot|[ *.]|\\text\{|\})|(.)")


@lru_cache(maxsize=8192)
def split_unit(text: str, reference: str | None = None) -> tuple[str, str]:
    """``(expression, unit)`` of a squeezed line; the unit is ``""`` where none is written.

    Args:
        text: an answer, or a reference.
        reference: what an answer is compared with: the words of its unit are units too. ``None``: it is one.
    """
    if match := _BASE.fullmatch(text):
        return match[1], f"base{match[2] or match[3]}"
    if text.endswith("%"):
        return text[:-1], "%"
    if match := _DEGREES.search(text):
        scale = match[1] or match[2]
        return text[: match.start()], _KNOWN.get(scale.lower(), scale) if scale else "deg"
    sign, bare = ("-", text[1:]) if text.startswith("-") else ("", text)
    dollar = bare.startswith("$")
    bare = bare.removeprefix("$")
    for pattern in (_FORMATTED, _BARE):
        match = pattern.search(bare)
        if match and match.start() > 0:
            unit = _unit("$ " * dollar + match[0], reference, marked=pattern is _FORMATTED)
            if unit is not None:
                return sign + bare[: match.start()], unit
    return (sign + bare, "$") if dollar else (text, "")


def _unit(words: str, reference: str | None, marked: bool) -> str | None:
    """The canonical form of a unit, such as ``m s^-2``; ``None`` if any word is none."""
    exponents: dict[str, int] = {}
    last, sign, before = "", 1, 0
    for token in _TOKEN.finditer(words):
        word = token[0]
        if token[2]:
            return None
        if token[1] or word in _POWER_AFTER:
            if not last:
                return None
            sign_of_last = 1 if exponents[last] > 0 else -1
            exponents[last] = sign_of_last * (int(token[1]) if token[1] else _POWER_AFTER[word])
        elif word in ("per", "/"):
            sign = -1
        elif word in _POWER_BEFORE:
            before = _POWER_BEFORE[word]
        elif word[0].isalpha() or word in "$%":
            unit = word if word in "$%" else _known(word, reference, marked or sign < 0)
            if unit is None or unit in exponents:
                return None
            exponents[unit] = sign * (before or 1)
            last, sign, before = unit, 1, 0
    if before or sign < 0 or not exponents:
        return None
    if exponents.keys() >= {"deg"} and len(exponents) == 2 and exponents.keys() & {"C", "F"}:
        del exponents["deg"]
    return " ".join(f"{name}^{power}" if power != 1 else name for name, power in sorted(exponents.items()))


def _known(word: str, reference: str | None, marked: bool) -> str | None:
    """The canonical name of a word that is a unit. A bare letter is a variable unless the reference says otherwise."""
    lower = word.lower()
    forms = (lower, lower.removesuffix("s"), lower.removesuffix("es"), re.sub("ies$", "y", lower))
    if _CHANGES_THE_VALUE.intersection(forms):
        return None
    allowed = reference is not None and lower in re.findall("[a-z]+", _unit_text(reference).lower())
    if marked or allowed or len(word) > 1:
        for form in (word, *forms):
            if form in _KNOWN:
                return _KNOWN[form]
    # A reference's own words are units; bare ones, which could be a product of variables, only in the plural.
    own = reference is None and (marked or (len(word) > 3 and lower.endswith("s")))
    return forms[1] if allowed or own else None


def _unit_text(reference: str) -> str:
    """The part of a reference in which its unit is written."""
    return reference.removeprefix(split_unit(reference)[0]) if split_unit(reference)[1] else ""
