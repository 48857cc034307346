"""What the guard says of calls, results, listings and everything else that passes between a client and a server."""

import hashlib
import json
import logging
import re
import uuid
from collections.abc import Mapping
from typing import Any

from mcp.types.jsonrpc import ErrorData, JSONRPCError, JSONRPCRequest, JSONRPCResponse, RequestId

from guardrail.adapters.mcp.reading import Reading, read
from guardrail.conversation import ToolCall
from guardrail.decision import Decision
from guardrail.errors import ContentStopped
from guardrail.guard import Guard
from guardrail.tool_rules import Trust

_log = logging.getLogger("guardrail")

Answer = JSONRPCResponse | JSONRPCError

LISTS = {
    "tools/list": "tools",
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
}
"""Requests for a list, and where it stands in the result."""

CONTENTS = frozenset({"tools/call", "resources/read", "prompts/get"})
"""Requests for content: it is judged each time, and something stands in its place when it is stopped."""

HANDSHAKES = frozenset({"initialize", "server/discover"})
"""Requests whose results carry instructions, which many clients put before the LLM."""

STOPPED = -32000
"""Code of the JSON-RPC error that stands for what was stopped; of the range that is the implementation's own."""

NOBODY_TO_ASK = "a person would have to be asked"

MAX_KEPT = 4096
"""Decisions kept on texts that are judged once; when there are more, all are forgotten. Our choice."""

_KEPT_MEMBERS = ("resultType", "ttlMs", "cacheScope")
_PLAIN_NAME = re.compile(r"[\w./-]{1,128}", re.ASCII)


class Screener:
    """One connection's screening. Nobody can be asked here, so a call that should wait for a person is refused.

    All methods may run at once in one event loop.
    """

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._conversation_id = uuid.uuid4().hex
        self._once: dict[bytes, Decision] = {}
        self._refused_tools: dict[str, str | None] = {}

    async def refusal(self, name: str, arguments: Mapping[str, Any]) -> str | None:
        """Return what the client is told of a call that must not run; None if it may."""
        if name in self._refused_tools:
            _log.warning("call of %s refused: its description was stopped", _shown(name))
            return self._guard.policy.call_message(self._refused_tools[name])
        call = ToolCall(name, json.dumps(arguments, ensure_ascii=False))
        decision = await self._guard.acheck_tool_call((), call, conversation_id=self._conversation_id)
        if not (decision.stopped or decision.asks):
            return None
        _log.warning(
            "call of %s refused: %s", _shown(name), NOBODY_TO_ASK if decision.asks else ContentStopped(decision)
        )
        return self._guard.policy.call_message(decision.category)

    async def screen_answer(self, request: JSONRPCRequest, answer: Answer) -> Answer:
        """Return what the client is told: the server's answer, what is left of it, or an error in its place."""
        method = request.method
        if isinstance(answer, JSONRPCError):
            stop = await self.stop_in([answer.error.message, answer.error.data])
            return self._error(answer.id, answer.error.code, stop) if stop else answer
        if method in CONTENTS:
            return _answered(answer, await self._screen_content(method, request.params or {}, answer.result))
        rest = dict(answer.result)
        apart: dict[str, Any] = {}
        if method in LISTS:
            apart = await self._screen_list(method, rest.pop(LISTS[method], None))
        elif method in HANDSHAKES:
            apart = await self._screen_instructions(method, rest.pop("instructions", None))
        stop = await self.stop_in(rest)
        return self._error(answer.id, STOPPED, stop) if stop else _answered(answer, rest | apart)

    async def stop_in(self, value: Any) -> Decision | None:
        """Return the decision that stops what stands in a value; None if it may pass. The same text is judged once."""
        reading = read(value)
        return await self._judged_once(reading.whole()) or await self._unreadable(reading)

    async def _screen_instructions(self, method: str, instructions: Any) -> dict[str, Any]:
        """Return the instructions as a part of the result; nothing if there are none or they are stopped."""
        stop = await self.stop_in(instructions)
        if stop:
            _log.warning("%s: the server's instructions left out: %s", method, ContentStopped(stop))
        return {} if stop or instructions is None else {"instructions": instructions}

    async def _screen_list(self, method: str, listed: Any) -> dict[str, Any]:
        """Return the list as a part of the result, without the items that are stopped."""
        items = listed if isinstance(listed, list) else []
        stops = [await self.stop_in(item) for item in items]
        for item, stop in zip(items, stops, strict=True):
            if stop:
                _log.warning("%s: %s left out: %s", method, _shown(_name(item)), ContentStopped(stop))
        clean = [item for item, stop in zip(items, stops, strict=True) if not stop]
        if method == "tools/list":
            for item in clean:
                self._refused_tools.pop(_name(item), None)
            self._refused_tools |= {_name(item): stop.category for item, stop in zip(items, stops, strict=True) if stop}
        return {LISTS[method]: clean}

    async def _screen_content(self, method: str, params: Mapping[str, Any], result: dict[str, Any]) -> dict[str, Any]:
        """Return the result of a call, of a resource or of a prompt; if it is stopped, what stands in its place."""
        tool = str(params.get("name")) if method == "tools/call" else method
        text = await self._stand_in(tool, read(result))
        if text is None:
            return result
        kept = {name: result[name] for name in _KEPT_MEMBERS if name in result}
        if "resultType" in kept:
            kept["resultType"] = "complete"
        block = {"type": "text", "text": text}
        if method == "resources/read":
            return {**kept, "contents": [{"uri": str(params.get("uri")), "mimeType": "text/plain", "text": text}]}
        if method == "prompts/get":
            return {**kept, "messages": [{"role": "user", "content": block}]}
        return {**kept, "content": [block], "isError": True}

    async def _stand_in(self, tool: str, reading: Reading) -> str | None:
        """Return what stands in the place of a stopped content: the policy's message, or the marked extract."""
        if reading.texts:
            screened = await self._guard.ascreen_tool_result(
                (), "\n".join(reading.texts), tool=tool, conversation_id=self._conversation_id
            )
            if screened.decision.stopped:
                _log.warning("result of %s withheld: %s", _shown(tool), ContentStopped(screened.decision))
                return screened.text
        if self._guard.policy.tools.rule(tool).result is Trust.TRUSTED:
            return None
        stop = await self._judged_once("\n".join(reading.others)) or await self._unreadable(reading, tool)
        if stop is None:
            return None
        _log.warning("result of %s withheld: %s", _shown(tool), ContentStopped(stop))
        return self._guard.policy.result_message(stop.category)

    async def _judged_once(self, text: str) -> Decision | None:
        if not text.strip():
            return None
        digest = hashlib.sha256(text.encode("utf-8", "replace")).digest()
        decision = self._once.get(digest)
        if decision is None:
            (decision,) = await self._guard.acheck_documents([text], conversation_id=self._conversation_id)
            if len(self._once) >= MAX_KEPT:
                self._once.clear()
            if not decision.failure:
                self._once[digest] = decision
        return decision if decision.stopped else None

    async def _unreadable(self, reading: Reading, tool: str = "") -> Decision | None:
        """Let the policy decide about images, audio and bytes, and record it."""
        if not reading.unreadable:
            return None
        decision = await self._guard.acheck_tool_result(
            (), "", tool=tool, conversation_id=self._conversation_id, unreadable=reading.unreadable
        )
        return decision if decision.stopped else None

    def _error(self, request_id: RequestId | None, code: int, stop: Decision) -> JSONRPCError:
        _log.warning("an answer of the server was withheld: %s", ContentStopped(stop))
        message = self._guard.policy.result_message(stop.category)
        return JSONRPCError(jsonrpc="2.0", id=request_id, error=ErrorData(code=code, message=message))


def _answered(answer: JSONRPCResponse, result: dict[str, Any]) -> JSONRPCResponse:
    return answer.model_copy(update={"result": result})


def _name(item: Any) -> str:
    return str(item.get("name", "")) if isinstance(item, Mapping) else ""


def _shown(name: str) -> str:
    """Return a name for the log; one that could be prose is text, and shown by its digest only."""
    if _PLAIN_NAME.fullmatch(name):
        return name
    return f"sha256:{hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest()[:12]}"
