"""What clients are told of a failure: OpenAI's error envelope, with a status that their libraries act on."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastapi.responses import JSONResponse

from guardrail.actions import Action
from guardrail.decision import Decision
from guardrail.errors import ConversationError, EngineOverloaded, EngineTimeout, GuardError


class ServiceError(GuardError):
    """A request cannot be answered.

    Attributes:
        message: said to the client; never user text.
        status: HTTP's.
        type: of OpenAI's errors.
        code: of OpenAI's errors.
        param: of OpenAI's errors.
        retry_after_s: seconds after which it may be tried again; None says nothing.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        type: str = "invalid_request_error",  # noqa: A002  # OpenAI's name
        code: str | None = None,
        param: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message: str = message
        self.status: int = status
        self.type: str = type
        self.code: str | None = code
        self.param: str | None = param
        self.retry_after_s = retry_after_s

    @property
    def envelope(self) -> dict[str, Any]:
        """OpenAI's form."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}

    @property
    def headers(self) -> dict[str, str]:
        """Of the response."""
        headers = {"www-authenticate": "Bearer"} if self.status == 401 else {}
        if self.retry_after_s is not None:
            headers["retry-after"] = str(max(1, round(self.retry_after_s)))
        return headers

    def response(self) -> JSONResponse:
        """Return the whole response."""
        return JSONResponse(self.envelope, self.status, headers=self.headers)


@contextmanager
def reading_request() -> Iterator[None]:
    """Read what a client has sent: JSON of another shape than it should be is the client's mistake.

    Raises:
        ServiceError: 400; without a word of what was sent.
    """
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError, ConversationError) as error:
        raise ServiceError(f"the request cannot be read ({type(error).__name__})", code="invalid_request") from None


def overloaded(what: str, retry_after_s: float = 1) -> ServiceError:
    """Return the error of a server that can take no more now."""
    return ServiceError(what, status=503, type="server_error", code="overloaded", retry_after_s=retry_after_s)


def refuse_failure(decision: Decision) -> None:
    """Refuse a decision that asks for a stop because the guard could not judge: that is no verdict, nor one in shadow.

    Raises:
        ServiceError: 503 for what may pass, 500 else.
    """
    failure = decision.failure
    if failure is None or decision.would_action is not Action.STOP:
        return
    message = f"the guard could not judge ({failure.kind}); nothing was passed on"
    if failure.kind in _RETRYABLE:
        raise ServiceError(message, status=503, type="server_error", code="guard_busy", retry_after_s=1)
    raise ServiceError(message, status=500, type="server_error", code="guard_failed")


_RETRYABLE = (EngineOverloaded.__name__, EngineTimeout.__name__)
