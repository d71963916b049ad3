"""What can go wrong with a request, by kind. A kind knows nothing of HTTP; `api/errors.py` renders it.

YardError
 ├─ Invalid            the request is malformed or out of bounds
 ├─ Unauthenticated    no key, or one that is wrong, revoked or expired
 ├─ NotEntitled        the organization's tier does not include this
 ├─ NotFound           no such object, or another organization's
 ├─ Conflict           the object is in a status that forbids this
 ├─ TooLarge           more bytes than the tier allows
 ├─ QuotaExceeded      a limit is used up; says when it resets
 └─ Unavailable        a part of the yard is down; worth another try
"""

from collections.abc import Mapping


class YardError(Exception):
    """A refusal that the caller can read: `message` says what was expected, found and allowed. `about` names
    what a limit counts, "requests" or "tokens"; `headers` are figures that go with the answer."""

    code: str | None = None

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after_seconds: float | None = None,
        about: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code if code is not None else type(self).code
        self.param = param
        self.retry_after_seconds = retry_after_seconds
        self.about = about
        self.headers = dict(headers or {})


class Invalid(YardError):
    code = "invalid_value"


class Unauthenticated(YardError):
    code = "invalid_api_key"


class NotEntitled(YardError):
    code = "not_available_for_plan"


class NotFound(YardError):
    code = "not_found"


class Conflict(YardError):
    code = None  # OpenAI's own conflicts carry no code


class TooLarge(YardError):
    code = "request_too_large"


class QuotaExceeded(YardError):
    code = "rate_limit_exceeded"


class Unavailable(YardError):
    code = "service_unavailable"


class LeaseLost(Exception):
    """Another process owns this work now: stop, and drop what was not yet adopted. Never shown to a user."""
