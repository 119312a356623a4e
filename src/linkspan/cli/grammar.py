"""Commands as data, and the parser of command lines: the rules of Go's pflag, as Docker uses them.

Short options may be joined (``-td``, ``-eA=1``), long ones take ``--name value`` and ``--name=value``, switches take
``--rm=false``. ``--`` ends the options. Commands that run other commands (run, create, exec) stop at the first word
that is no option.
"""

from __future__ import annotations

from linkspan.cli import values
from linkspan.cli.failure import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from linkspan.cli.call import Call

Value = bool | int | str | list[str]

_READERS: dict[str, Callable[[str], Value]] = {
    "flag": values.boolean,
    "int": values.integer,
    "bytes": values.size,
    "decimal": values.billionths,
    "duration": lambda value: str(values.duration(value)),
}
_EMPTY: dict[str, Value] = {"flag": False, "int": 0, "bytes": 0, "decimal": 0}
_REPEATED = ("list", "map", "strings", "filter")


class Option:
    """One option. ``kind`` is flag, string, int, bytes, decimal, duration, or one that may be repeated: list, strings
    (split at commas), map and filter (``key=value``). ``words`` are completions, or the noun whose names complete it.
    """

    __slots__ = ("aliases", "default", "hidden", "kind", "name", "short", "text", "words")

    def __init__(
        self,
        name: str,
        kind: str,
        text: str,
        *,
        short: str = "",
        default: Value | None = None,
        aliases: tuple[str, ...] = (),
        hidden: bool = False,
        words: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.kind = kind
        self.text = text
        self.short = short
        self.default = default
        self.aliases = aliases
        self.hidden = hidden
        self.words = words

    @property
    def label(self) -> str:
        """How messages name it: ``-m, --memory``."""
        return f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"

    @property
    def empty(self) -> Value:
        """The value when the option is absent."""
        if self.default is not None:
            return self.default
        return [] if self.kind in _REPEATED else _EMPTY.get(self.kind, "")


class Command:
    """One command: what its line may hold, and the function that runs it.

    ``arguments`` is the usage text of the positional words, ``least`` and ``most`` how many (``most`` None: any
    number). ``nouns`` says what completes each of them; the last one repeats. ``raw`` commands read their own words.
    """

    __slots__ = ("arguments", "interspersed", "least", "most", "nouns", "options", "raw", "run")

    def __init__(
        self,
        run: Callable[[Call], int],
        *,
        arguments: str = "",
        least: int = 0,
        most: int | None = 0,
        options: Sequence[Option] = (),
        nouns: tuple[str, ...] = (),
        interspersed: bool = True,
        raw: bool = False,
    ) -> None:
        self.run = run
        self.arguments = arguments
        self.least = least
        self.most = most
        self.options = tuple(options)
        self.nouns = nouns
        self.interspersed = interspersed
        self.raw = raw


class Parsed:
    """A command line, read. Options are asked for by long name and kind; an unknown name is a KeyError (a bug)."""

    __slots__ = ("_given", "_values", "help", "words")

    def __init__(self, options: Sequence[Option]) -> None:
        self._values: dict[str, Value] = {option.name: option.empty for option in options}
        self._given: set[str] = set()
        self.words: list[str] = []
        self.help = False

    def put(self, option: Option, value: Value) -> None:
        """Sets an option, or adds to one that may be repeated."""
        before = self._values[option.name]
        if isinstance(value, list) and isinstance(before, list) and option.name in self._given:
            value = before + value
        self._values[option.name] = value
        self._given.add(option.name)

    def given(self, name: str) -> bool:
        """Whether the option stands on the line, whatever its value."""
        return name in self._given

    def flag(self, name: str) -> bool:
        """A switch."""
        return self._values[name] is True

    def text(self, name: str) -> str:
        """A string option; empty when absent."""
        value = self._values[name]
        return value if isinstance(value, str) else ""

    def number(self, name: str) -> int:
        """An option of kind int, bytes (in bytes) or decimal (in billionths); 0 when absent."""
        value = self._values[name]
        return value if isinstance(value, int) else 0

    def seconds(self, name: str) -> float:
        """A duration; 0 when absent."""
        return float(self.text(name) or "0")

    def texts(self, name: str) -> list[str]:
        """All values of an option that may be repeated."""
        value = self._values[name]
        return value if isinstance(value, list) else []

    def pairs(self, name: str) -> dict[str, str]:
        """``key=value`` texts as a mapping; a key alone has an empty value."""
        found: dict[str, str] = {}
        for item in self.texts(name):
            key, _, value = item.partition("=")
            found[key] = value
        return found


def parse(command: Command, path: str, words: list[str]) -> Parsed:
    """Reads the words after the command's name. Raises UsageError. ``--help`` wins over every complaint."""
    parsed = Parsed(command.options)
    try:
        _Reader(parsed, command.options, path, interspersed=command.interspersed).read(words)
    except UsageError:
        if "--help" in words[: words.index("--") if "--" in words else len(words)] and command.interspersed:
            parsed.help = True
            return parsed
        raise
    if not parsed.help:
        _check_count(command, path, len(parsed.words))
    return parsed


def parse_leading(options: Sequence[Option], words: list[str]) -> Parsed:
    """Reads the options in front of the command; ``words`` of the result is the rest. Raises UsageError."""
    parsed = Parsed(options)
    _Reader(parsed, options, "", interspersed=False).read(words)
    return parsed


class _Reader:
    """Fills ``parsed``. ``path`` is the command's, for complaints."""

    def __init__(self, parsed: Parsed, options: Sequence[Option], path: str, *, interspersed: bool) -> None:
        self._path = path
        self._parsed = parsed
        self._interspersed = interspersed
        self._shorts = {option.short: option for option in options if option.short}
        self._longs = {name: option for option in options for name in (option.name, *option.aliases)}

    def read(self, words: list[str]) -> None:
        waiting = iter(words)
        for word in waiting:
            if word == "--":
                self._parsed.words.extend(waiting)
            elif word.startswith("--"):
                self._long(word[2:], waiting)
            elif word.startswith("-") and word != "-":
                self._short(word, waiting)
            else:
                self._parsed.words.append(word)
                if not self._interspersed:
                    self._parsed.words.extend(waiting)

    def _long(self, word: str, waiting: Iterator[str]) -> None:
        name, equals, value = word.partition("=")
        option = self._longs.get(name)
        if option is None:
            if name == "help":
                self._parsed.help = True
                return
            raise self._wrong(f"unknown flag: --{name}", hint=_nearest(name, self._longs))
        if option.kind == "flag" and not equals:
            value = "true"
        elif not equals:
            following = next(waiting, None)
            if following is None:
                raise self._wrong(f"flag needs an argument: --{name}")
            value = following
        self._set(option, value)

    def _short(self, word: str, waiting: Iterator[str]) -> None:
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            option = self._shorts.get(letter)
            if option is None:
                if letter == "h":
                    self._parsed.help = True
                    continue
                raise self._wrong(f"unknown shorthand flag: '{letter}' in {word}")
            if option.kind == "flag" and not letters.startswith("="):
                self._set(option, "true")
                continue
            if letters:
                self._set(option, letters.removeprefix("="))
            else:
                following = next(waiting, None)
                if following is None:
                    raise self._wrong(f"flag needs an argument: '{letter}' in {word}")
                self._set(option, following)
            return

    def _set(self, option: Option, value: str) -> None:
        try:
            self._parsed.put(option, read_value(option, value))
        except ValueError as reason:
            raise self._wrong(f'invalid argument "{value}" for "{option.label}" flag: {reason}') from reason

    def _wrong(self, message: str, hint: str = "") -> UsageError:
        meant = f" (did you mean --{hint}?)" if hint else ""
        return UsageError(f"{message}{meant}\nSee 'linkspan {self._path} --help'.".replace("  ", " "), 125)


def read_value(option: Option, value: str) -> Value:
    """The typed value of one occurrence. Raises ValueError."""
    if option.kind == "strings":
        return [part for part in (values.csv_fields(value) if '"' in value else value.split(",")) if part]
    if option.kind == "filter":
        key, equals, wanted = value.partition("=")
        if not equals:
            raise ValueError("invalid filter: write it as key=value")
        return [f"{key.strip().lower()}={wanted.strip()}"]
    if option.kind in _REPEATED:
        return [value]
    reader = _READERS.get(option.kind)
    return reader(value) if reader else value


def _check_count(command: Command, path: str, count: int) -> None:
    if count >= command.least and (command.most is None or count <= command.most):
        return
    if command.most == 0:
        needs = "accepts no arguments"
    elif command.least == command.most:
        needs = f"requires {command.least} argument{'s' if command.least != 1 else ''}"
    elif count < command.least:
        needs = f"requires at least {command.least} argument{'s' if command.least != 1 else ''}"
    else:
        needs = f"requires at most {command.most} argument{'s' if command.most != 1 else ''}"
    usage = usage_line(command, path)
    raise UsageError(f"linkspan: 'linkspan {path}' {needs}\n\n{usage}\n\nSee 'linkspan {path} --help'.", 1)


def usage_line(command: Command, path: str) -> str:
    """``Usage:  linkspan ps [OPTIONS]``: the first line of a command's help."""
    options = " [OPTIONS]" if command.options else ""
    return f"Usage:  linkspan {path}{options} {command.arguments}".rstrip()


def _nearest(word: str, known: dict[str, Option]) -> str:
    from linkspan.cli.suggest import near_misses

    return next(iter(near_misses(word, known)), "")
