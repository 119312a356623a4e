"""Values inside a template: how they are looked up, judged true, and printed, by Go's rules.

JSON does not tell a Go map from a Go struct, and the two differ: a missing key of a map prints ``<no value>``, a
missing field of a struct is an error. So the API's fields that hold maps are named here.
"""

from __future__ import annotations

from linkspan.cli.documents import Json
from linkspan.cli.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAPS = frozenset(
    [
        "Annotations",
        "AuxiliaryAddresses",
        "Config.Config",
        "Containers",
        "DriverOpts",
        "ExposedPorts",
        "IndexConfigs",
        "Labels",
        "Metadata",
        "Networks",
        "Opts",
        "Options",
        "PortBindings",
        "Ports",
        "Runtimes",
        "Status",
        "StorageOpt",
        "Sysctls",
        "Tmpfs",
        "UsageData",
        "Volumes",
        "Attributes",
        "ClusterOpts",
    ]
)
POINTERS = frozenset(
    ["Health", "Init", "MemorySwappiness", "OomKillDisable", "PidsLimit", "StopTimeout", "Healthcheck", "IPAMConfig"]
)

GO_NAMES = {"ID": "Id"}
"""Fields that Go calls otherwise than JSON does. People write both names."""


class TemplateError(Failure):
    """The template cannot be read, or does not fit the value."""


class Map(dict[str, Json]):
    """A JSON object that is a map in Go: keys come from people."""


class NullMap(Map):
    """A null that is an empty map in Go."""


class Absent:
    """The value of a key that a map does not have."""


class NullList:
    """A null that is an empty slice in Go."""


ABSENT = Absent()
NULL_LIST = NullList()


class Row:
    """One line of a listing: display fields, some of them functions of a word (``.Label "key"``)."""

    __slots__ = ("fields", "kind")

    def __init__(self, kind: str, fields: Mapping[str, str | Callable[[str], str]]) -> None:
        self.kind = kind
        self.fields = fields

    def plain(self) -> dict[str, Json]:
        """The fields without parameters, in the order of their names: what ``json`` prints."""
        return {name: value for name, value in sorted(self.fields.items()) if isinstance(value, str)}


Value = Json | Row | Absent | NullList


def lookup(holder: Value, name: str, arguments: list[Value], path: str) -> Value:
    """The field or key ``name`` of ``holder``. Raises TemplateError naming it."""
    if arguments and not (isinstance(holder, Row) and callable(holder.fields.get(name))):
        raise TemplateError(f"template parsing error: at <{path}>: {name} takes no argument")
    if isinstance(holder, Row):
        found = holder.fields.get(name)
        if found is None:
            raise TemplateError(
                f"template parsing error: can't evaluate field {name} in a {holder.kind}; it has"
                f" {', '.join(sorted(holder.fields))}"
            )
        if isinstance(found, str):
            return found
        if len(arguments) != 1 or not isinstance(arguments[0], str):
            raise TemplateError(f'template parsing error: .{name} takes one text: .{name} "key"')
        return found(arguments[0])
    if isinstance(holder, Map):
        return _shaped(name, holder[name], keyed=True) if name in holder else ABSENT
    if isinstance(holder, dict):
        member = name if name in holder else GO_NAMES.get(name, name)
        if member not in holder:
            raise TemplateError(f'template parsing error: at <{path}>: no field "{name}"')
        return _shaped(member, holder[member])
    if holder is None or isinstance(holder, (Absent, NullList)):
        raise TemplateError(f'template parsing error: at <{path}>: no entry for "{name}": what holds it is empty')
    raise TemplateError(f"template parsing error: at <{path}>: can't evaluate field {name} in a {kind(holder)}")


def _shaped(name: str, value: Json, keyed: bool = False) -> Value:
    if keyed:
        return NULL_LIST if value is None else value
    if name in MAPS:
        if isinstance(value, dict):
            return Map(value)
        if value is None:
            return NullMap()
    if value is None and name not in POINTERS:
        return NULL_LIST
    return value


def kind(value: Value) -> str:
    if isinstance(value, bool):
        return "bool"
    for python, name in ((str, "string"), (int, "int"), (float, "float64"), (list, "slice"), (Map, "map")):
        if isinstance(value, python):
            return name
    return "struct" if isinstance(value, (dict, Row)) else "nil"


def truth(value: Value) -> bool:
    """Go's: false, 0, nil and anything empty are false."""
    if isinstance(value, dict) and not isinstance(value, Map):
        return True
    return bool(value) and not isinstance(value, (Absent, NullList))


def printed(value: Value, inside: bool = False) -> str:
    """As fmt.Sprint prints it."""
    if isinstance(value, Absent):
        return "<no value>"
    if isinstance(value, NullList):
        return "[]"
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e21 else repr(value)
    if isinstance(value, list):
        return "[" + " ".join(printed(item, inside=True) for item in value) + "]"
    if isinstance(value, Map):
        return "map[" + " ".join(f"{key}:{printed(item, inside=True)}" for key, item in sorted(value.items())) + "]"
    if isinstance(value, dict):
        return "{" + " ".join(printed(_shaped(key, item), inside=True) for key, item in value.items()) + "}"
    if isinstance(value, Row):
        return printed(Map(value.plain()))
    return str(value)


def document(value: Value) -> Json:
    """The JSON behind a value."""
    if isinstance(value, Row):
        return value.plain()
    return None if isinstance(value, (Absent, NullList, NullMap)) else value
