"""Runs a parsed template on a value."""

from __future__ import annotations

from linkspan.cli.template.functions import FUNCTIONS
from linkspan.cli.template.parse import Node, Pipe, Term, parse
from linkspan.cli.template.value import Absent, NullList, TemplateError, Value, kind, lookup, printed, truth

_ROUNDS = 1_000_000
"""More rounds of ``range`` over a number than anyone means."""


class Template:
    """A template, parsed. Raises TemplateError."""

    __slots__ = ("_nodes",)

    def __init__(self, source: str) -> None:
        self._nodes = parse(source)

    def render(self, value: Value) -> str:
        """The text that the template makes of a value. Raises TemplateError."""
        run = _Run(value)
        run.walk(self._nodes, value)
        return "".join(run.output)


class _LoopEnd(Exception):
    """``break`` (``again`` false) or ``continue`` inside a range."""

    def __init__(self, again: bool) -> None:
        super().__init__()
        self.again = again


class _Run:
    def __init__(self, root: Value) -> None:
        self.output: list[str] = []
        self._variables: list[tuple[str, Value]] = [("$", root)]

    def walk(self, nodes: list[Node], dot: Value) -> None:
        for node in nodes:
            if node.kind == "text":
                self.output.append(node.text)
            elif node.kind in ("break", "continue"):
                raise _LoopEnd(again=node.kind == "continue")
            elif node.pipe is not None:
                self._act(node, node.pipe, dot)

    def _act(self, node: Node, pipe: Pipe, dot: Value) -> None:
        if node.kind == "pipe":
            value = self._evaluate(pipe, dot)
            if not pipe.names:
                self.output.append(printed(value))
            return
        mark = len(self._variables)
        if node.kind == "range":
            self._range(node, pipe, dot)
        else:
            value = self._evaluate(pipe, dot)
            if truth(value):
                self.walk(node.body, value if node.kind == "with" else dot)
            else:
                self.walk(node.other, dot)
        del self._variables[mark:]

    def _range(self, node: Node, pipe: Pipe, dot: Value) -> None:
        pairs = _pairs(self._value(pipe, dot))
        if not pairs:
            self.walk(node.other, dot)
        mark = len(self._variables)
        for key, item in pairs:
            if len(pipe.names) == 2:
                self._variables.append((pipe.names[0], key))
            if pipe.names:
                self._variables.append((pipe.names[-1], item))
            try:
                self.walk(node.body, item)
            except _LoopEnd as end:
                if not end.again:
                    break
            finally:
                del self._variables[mark:]

    def _evaluate(self, pipe: Pipe, dot: Value) -> Value:
        value = self._value(pipe, dot)
        for name in pipe.names:
            if pipe.assigns:
                self._assign(name, value)
            else:
                self._variables.append((name, value))
        return value

    def _assign(self, name: str, value: Value) -> None:
        for position in range(len(self._variables) - 1, -1, -1):
            if self._variables[position][0] == name:
                self._variables[position] = (name, value)
                return
        raise TemplateError(f'template parsing error: undefined variable "{name}"')

    def _value(self, pipe: Pipe, dot: Value) -> Value:
        piped: list[Value] = []
        for command in pipe.commands:
            piped = [self._command(command, dot, piped)]
        return piped[0]

    def _command(self, terms: list[Term], dot: Value, piped: list[Value]) -> Value:
        head, rest = terms[0], terms[1:]
        if head.kind == "function":
            return self._function(head.name, rest, dot, piped)
        if head.fields:
            return self._term(head, dot, [*(self._term(term, dot, []) for term in rest), *piped])
        if rest or piped:
            raise TemplateError(f"template parsing error: can't give argument to non-function {_shown(head)}")
        return self._term(head, dot, [])

    def _function(self, name: str, terms: list[Term], dot: Value, piped: list[Value]) -> Value:
        if name in ("and", "or"):
            return self._first(name == "or", terms, dot, piped)
        function = FUNCTIONS.get(name)
        if function is None:
            raise TemplateError(f'template parsing error: function "{name}" not defined')
        arguments = [*(self._term(term, dot, []) for term in terms), *piped]
        try:
            return function(arguments)
        except (IndexError, TypeError, ValueError) as reason:
            raise TemplateError(f"template parsing error: error calling {name}: {reason}") from reason

    def _first(self, wanted: bool, terms: list[Term], dot: Value, piped: list[Value]) -> Value:
        """``or`` gives its first true argument, ``and`` its first false one, else the last; the rest is not run."""
        value: Value = None
        for term in terms:
            value = self._term(term, dot, [])
            if truth(value) is wanted:
                return value
        return piped[0] if piped else value

    def _term(self, term: Term, dot: Value, arguments: list[Value]) -> Value:
        if term.kind == "constant":
            return term.constant
        if term.kind == "function":
            return self._function(term.name, [], dot, [])
        if term.kind == "pipe" and term.pipe is not None:
            value = self._value(term.pipe, dot)
        elif term.kind == "variable":
            value = self._variable(term.name)
        else:
            value = dot
        for position, name in enumerate(term.fields):
            last = position == len(term.fields) - 1
            value = lookup(value, name, arguments if last else [], _shown(term))
        return value

    def _variable(self, name: str) -> Value:
        for known, value in reversed(self._variables):
            if known == name:
                return value
        raise TemplateError(f'template parsing error: undefined variable "{name}"')


def _shown(term: Term) -> str:
    start = term.name if term.kind == "variable" else "" if term.fields else "."
    return start + "".join(f".{name}" for name in term.fields)


def _pairs(value: Value) -> list[tuple[Value, Value]]:
    """What ``range`` goes through: list indices and items, map keys in order and values, or the numbers below one."""
    if isinstance(value, dict):
        return [(key, item) for key, item in sorted(value.items())]
    if isinstance(value, list):
        return list(enumerate(value))
    if isinstance(value, int) and not isinstance(value, bool) and value <= _ROUNDS:
        return [(number, number) for number in range(value)]
    if value is None or isinstance(value, (Absent, NullList)):
        return []
    raise TemplateError(f"template parsing error: range can't iterate over a {kind(value)}")
