"""The one place that turns errors into HTTP."""

from __future__ import annotations

import logging

from linkspan.api.messages import Reply, json_reply
from linkspan.errors import LinkspanError

LOG = logging.getLogger(__name__)


def sentence(error: Exception) -> str:
    """What a person reads: ours as it is; several at once joined; a bug only by its kind (the log has the rest)."""
    ours = expected(error)
    if ours:
        return "; ".join(str(each) for each in ours)
    return f"internal error ({type(error).__name__}): the daemon's log has the details"


def reply_for(error: Exception, what: str) -> Reply:
    """``{"message": …}`` with the error's status; 304 has no body (RFC 9110, section 15.4.5).

    An error that is not ours is a bug: it is logged with its traceback and answered 500. ``what`` names the
    request in the log.
    """
    ours = expected(error)
    if not ours:
        LOG.error("%s: %s", what, type(error).__name__, exc_info=error)
        return json_reply({"message": sentence(error)}, 500)
    status = ours[0].status
    if status == 304:
        return Reply(status=304)
    if status >= 500 and status != 501:
        LOG.warning("%s: %s", what, sentence(error))
    return json_reply({"message": sentence(error)}, status)


def expected(error: BaseException) -> tuple[LinkspanError, ...]:
    """The errors of our own that ``error`` is or holds; empty when any part of it is a bug."""
    if isinstance(error, LinkspanError):
        return (error,)
    if isinstance(error, BaseExceptionGroup):
        parts = [expected(each) for each in error.exceptions]
        return tuple(each for part in parts for each in part) if all(parts) else ()
    return ()
