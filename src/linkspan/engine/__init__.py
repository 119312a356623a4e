"""The use cases, one noun a file: check, claim, write intent, reconcile, publish an event.

``face`` is what the API may ask and ``views`` what it is told; ``engine`` puts the nouns together.
"""

from linkspan.engine.engine import Engine

__all__ = ["Engine"]
