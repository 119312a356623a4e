"""From a template's text to nodes: the grammar of Go's text/template, without define, template and block."""

from __future__ import annotations

from linkspan.cli.template.value import TemplateError


class Node:
    """One piece: ``kind`` says which fields matter.

    text: ``text``; pipe: ``pipe``; if, with, range: ``pipe``, ``body``, ``other``; break and continue: none.
    """

    __slots__ = ("body", "kind", "other", "pipe", "text")

    def __init__(self, kind: str, text: str = "", pipe: Pipe | None = None) -> None:
        self.kind = kind
        self.text = text
        self.pipe = pipe
        self.body: list[Node] = []
        self.other: list[Node] = []


class Pipe:
    """``$a, $b := command | command``: the names that it sets, and its commands, each a list of terms."""

    __slots__ = ("assigns", "commands", "names")

    def __init__(self) -> None:
        self.names: list[str] = []
        self.assigns = False
        """``=`` instead of ``:=``: an outer variable is changed."""
        self.commands: list[list[Term]] = []


class Term:
    """One operand: ``kind`` is field, variable, constant, function, pipe or dot; ``fields`` are looked up in it."""

    __slots__ = ("constant", "fields", "kind", "name", "pipe")

    def __init__(self, kind: str, name: str = "", constant: str | int | float | bool | None = None) -> None:
        self.kind = kind
        self.name = name
        self.constant = constant
        self.fields: list[str] = []
        self.pipe: Pipe | None = None


_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'", "a": "\a", "b": "\b", "0": "\0"}


def parse(source: str) -> list[Node]:
    """Raises TemplateError."""
    parser = _Parser(_split(source))
    return parser.block(())[0]


def _split(source: str) -> list[tuple[bool, str]]:
    """(is an action, text): white space trimmed where ``{{-`` and ``-}}`` say so, comments left out."""
    pieces: list[tuple[bool, str]] = []
    position, trim_next = 0, False
    while True:
        start = source.find("{{", position)
        text = source[position:] if start < 0 else source[position:start]
        if trim_next:
            text = text.lstrip(" \t\r\n")
        if start < 0:
            pieces.append((False, text))
            return pieces
        inner = start + 2
        if source.startswith("- ", inner) or source.startswith("-\t", inner) or source.startswith("-\n", inner):
            text = text.rstrip(" \t\r\n")
            inner += 1
        pieces.append((False, text))
        end = _action_end(source, inner)
        action = source[inner:end]
        trim_next = len(action) > 1 and action.endswith("-") and action[-2] in " \t\n"
        action = action[:-1] if trim_next else action
        if not action.strip().startswith("/*"):
            pieces.append((True, action))
        position = end + 2


def _action_end(source: str, position: int) -> int:
    start = position
    if source[position:].lstrip().startswith("/*"):
        close = source.find("*/", position)
        position = close + 2 if close >= 0 else len(source)
    while position < len(source):
        letter = source[position]
        if source.startswith("}}", position):
            return position
        if letter in "\"'`":
            position = _quote_end(source, position)
        position += 1
    raise TemplateError(f"template parsing error: unclosed action: {{{{{source[start : start + 20]}")


def _quote_end(source: str, position: int) -> int:
    quote = source[position]
    position += 1
    while position < len(source) and source[position] != quote:
        position += 2 if source[position] == "\\" and quote != "`" else 1
    if position >= len(source):
        raise TemplateError("template parsing error: unterminated quoted string")
    return position


def _tokens(action: str) -> list[str]:
    """Words of an action. A blank becomes one space, since ``.A.B`` and ``.A .B`` differ."""
    found: list[str] = []
    position = 0
    while position < len(action):
        letter, start = action[position], position
        if letter.isspace():
            while position < len(action) and action[position].isspace():
                position += 1
            found.append(" ")
        elif letter in "\"'`":
            position = _quote_end(action, position) + 1
            found.append(action[start:position])
        elif action.startswith(":=", position):
            position += 2
            found.append(":=")
        elif letter in "|(),=":
            position += 1
            found.append(letter)
        else:
            position += 1
            while position < len(action) and (action[position].isalnum() or action[position] == "_"):
                position += 1
            if letter in "+-" or letter.isdigit():
                while position < len(action) and (action[position].isalnum() or action[position] == "."):
                    position += 1
            found.append(action[start:position])
    return found


class _Parser:
    def __init__(self, pieces: list[tuple[bool, str]]) -> None:
        self._pieces = pieces
        self._position = 0
        self._words: list[str] = []

    def block(self, closers: tuple[str, ...]) -> tuple[list[Node], str]:
        """Nodes up to one of the closing words, and that word's action (``else if …`` whole)."""
        nodes: list[Node] = []
        while self._position < len(self._pieces):
            is_action, text = self._pieces[self._position]
            self._position += 1
            if not is_action:
                if text:
                    nodes.append(Node("text", text))
                continue
            words = text.split(None, 1)
            word = words[0] if words else ""
            if word in closers:
                return nodes, text.strip()
            nodes.append(self._action(word, words[1] if len(words) > 1 else "", text))
        if closers:
            raise TemplateError("template parsing error: unexpected end: {{end}} is missing")
        return nodes, ""

    def _action(self, word: str, rest: str, text: str) -> Node:
        if word in ("if", "with", "range"):
            return self._nested(word, rest)
        if word in ("break", "continue") and not rest:
            return Node(word)
        if word in ("end", "else", "define", "template", "block"):
            raise TemplateError(f"template parsing error: unexpected {{{{{text.strip()}}}}}")
        return Node("pipe", pipe=self._whole_pipe(text))

    def _nested(self, word: str, rest: str) -> Node:
        node = Node(word, pipe=self._whole_pipe(rest))
        node.body, closer = self.block(("else", "end"))
        if closer == "else":
            node.other, closer = self.block(("end",))
        elif closer.startswith("else"):
            words = closer.split(None, 2)
            if len(words) < 3 or words[1] not in ("if", "with"):
                raise TemplateError(f"template parsing error: unexpected {{{{{closer}}}}}")
            node.other = [self._nested(words[1], words[2])]
        return node

    def _whole_pipe(self, text: str) -> Pipe:
        self._words = _tokens(text.strip())
        pipe = self._pipe()
        if self._words:
            raise TemplateError(f'template parsing error: unexpected "{self._words[0]}" in {{{{{text.strip()}}}}}')
        return pipe

    def _skip(self) -> None:
        while self._words and self._words[0] == " ":
            self._words.pop(0)

    def _pipe(self) -> Pipe:
        pipe = Pipe()
        self._declaration(pipe)
        pipe.commands.append(self._command())
        while self._words and self._words[0] == "|":
            self._words.pop(0)
            pipe.commands.append(self._command())
        return pipe

    def _declaration(self, pipe: Pipe) -> None:
        words = [word for word in self._words if word != " "]
        for count in (1, 3):
            mark = words[count] if len(words) > count else ""
            names = words[0:count:2]
            separated = count == 1 or words[1:2] == [","]
            if mark in (":=", "=") and separated and all(name.startswith("$") for name in names):
                pipe.names, pipe.assigns = names, mark == "="
                while self._words.pop(0) != mark:
                    pass
                return

    def _command(self) -> list[Term]:
        terms: list[Term] = []
        self._skip()
        while self._words and self._words[0] not in ("|", ")"):
            terms.append(self._term())
            self._skip()
        if not terms:
            raise TemplateError("template parsing error: missing value for command")
        return terms

    def _term(self) -> Term:
        word = self._words.pop(0)
        if word == "(":
            term = Term("pipe")
            term.pipe = self._pipe()
            if not self._words or self._words.pop(0) != ")":
                raise TemplateError("template parsing error: unclosed left paren")
        elif word.startswith("."):
            term = Term("dot")
            if len(word) > 1:
                term.fields.append(word[1:])
        elif word.startswith("$"):
            term = Term("variable", word)
        else:
            return _literal(word)
        while self._words and self._words[0].startswith(".") and len(self._words[0]) > 1:
            term.fields.append(self._words.pop(0)[1:])
        return term


def _literal(word: str) -> Term:
    if word[0] == "`":
        return Term("constant", constant=word[1:-1])
    if word[0] in "\"'":
        content = _unescaped(word[1:-1])
        return Term("constant", constant=content if word[0] == '"' else ord(content[:1] or "\0"))
    if word in ("true", "false"):
        return Term("constant", constant=word == "true")
    if word == "nil":
        return Term("constant")
    if word[0].isdigit() or word[0] in "+-":
        try:
            return Term("constant", constant=int(word, 0))
        except ValueError:
            pass
        try:
            return Term("constant", constant=float(word))
        except ValueError:
            raise TemplateError(f'template parsing error: bad number syntax: "{word}"') from None
    if not word.replace("_", "a").isalnum():
        raise TemplateError(f'template parsing error: unexpected "{word}"')
    return Term("function", word)


def _unescaped(content: str) -> str:
    parts, position = [], 0
    while position < len(content):
        letter = content[position]
        if letter == "\\" and position + 1 < len(content):
            position += 1
            letter = _ESCAPES.get(content[position], content[position])
        parts.append(letter)
        position += 1
    return "".join(parts)
