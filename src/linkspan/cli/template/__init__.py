"""The part of Go's text/template that people give to ``--format``.

``run.Template(text)`` parses once; its ``render(value)`` runs it on a JSON document or on a ``value.Row`` of a
listing. Errors are Failures that begin as Docker's do. Nothing is imported here: most listings need ``Row`` alone.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from linkspan.cli.documents import Json


def renderer(layout: str) -> Callable[[Json], str]:
    """What ``--format`` asks for of a document: ``json``, or a template. Raises TemplateError."""
    if layout == "json":
        from linkspan.cli.jsontext import encode

        return encode
    from linkspan.cli.template.run import Template

    return Template(layout).render
