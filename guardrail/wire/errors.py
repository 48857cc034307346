"""What ends a request or a stream, with what OpenAI's errors have; LiteLLM puts these attributes on the wire."""

from guardrail.decision import Decision
from guardrail.errors import ContentStopped, GuardError


class NotUnderstood(GuardError):
    """A request or an answer has a form that the guard cannot read; nothing of it is passed on.

    Attributes:
        message: said to the client.
        type: of OpenAI's errors.
        param: of OpenAI's errors.
        status_code: HTTP's.
    """

    type = "guardrail_error"
    param = None
    status_code = 500

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message: str = f"guardrail: {message}; nothing of it was passed on"


class AnswerStopped(ContentStopped):
    """An answer was stopped, and the policy raises.

    Attributes:
        message: said to the client.
        type: of OpenAI's errors.
        param: of OpenAI's errors.
        code: of OpenAI's errors.
        status_code: HTTP's.
    """

    type = "invalid_request_error"
    param = None
    code = "content_filter"
    status_code = 400

    def __init__(self, decision: Decision, message: str) -> None:
        super().__init__(decision)
        self.message = message
