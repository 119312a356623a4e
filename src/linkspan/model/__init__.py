"""What people ask for: frozen structs, one noun a file, values parsed once into their types. No I/O.

These are Linkspan's own words. The Docker Engine API's spelling of them lives in ``linkspan.api.wire``.
"""
