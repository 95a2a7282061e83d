"""As much of PromQL as it takes to see which metrics and labels an expression names. Whether it is one at all is for
promtool to say."""

import re
from typing import NamedTuple

TOKEN = re.compile(r"""
    (?P<comment>\#[^\n]*) | (?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`)
    | (?P<number>(?:0x[0-9a-f]+|[0-9][0-9.]*(?:e[+-]?[0-9]+)?)[a-z]*(?:[0-9]+[a-z]+)*)
    | (?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*) | (?P<space>\s+) | (?P<sign>=~|!~|!=|==|<=|>=|.)
""", re.VERBOSE | re.IGNORECASE)
# They are followed by labels in brackets.
LISTS = {"by", "without", "on", "ignoring", "group_left", "group_right"}
WORDS = LISTS | {"and", "or", "unless", "bool", "offset", "atan2", "inf", "nan", "start", "end"}


class Selector(NamedTuple):
    """A metric and its matchers: the label to the sign and the text in quotes."""

    metric: str
    matchers: dict


def tokens(expression):
    found = [(match.lastgroup, match[0]) for match in TOKEN.finditer(expression)]
    return [(kind, text) for kind, text in found if kind not in ("space", "comment")]


def walk(expression):
    """The expression's selectors, and the labels in brackets after `by` and its like."""
    rest, found, grouped = tokens(expression) + [("end", "")], [], set()
    at = 0
    while at < len(rest) - 1:
        kind, text = rest[at]
        at += 1
        if kind != "name":
            continue
        if text in LISTS and rest[at][1] == "(":
            close = next(n for n in range(at, len(rest)) if rest[n][1] == ")")
            grouped |= {one for kind, one in rest[at:close] if kind == "name"}
            at = close + 1
        elif text not in WORDS and rest[at][1] not in ("(", "by", "without"):
            matchers = {}
            if rest[at][1] == "{":
                close = next(n for n in range(at, len(rest)) if rest[n][1] == "}")
                inside = rest[at + 1:close]
                matchers = {inside[n][1]: (inside[n + 1][1], inside[n + 2][1][1:-1]) for n in range(0, len(inside), 4)}
                at = close + 1
            found.append(Selector(text, matchers))
    return found, grouped


def selectors(expression):
    return walk(expression)[0]


def grouping_labels(expression):
    return walk(expression)[1]
