"""The part of Go's text/template that people give to ``--format``.

``run.Template(text)`` parses once; its ``render(value)`` runs it on a JSON document or on a ``value.Row`` of a
listing. Errors are Failures that begin as Docker's do. Nothing is imported here: most listings need ``Row`` alone.
"""
