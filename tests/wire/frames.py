# ruff: noqa: ARG002 - the forms share their signatures
"""Scripted deltas in the wire formats of four endpoints, streamed and whole."""

import json
from collections.abc import Iterator
from typing import Any, Protocol


class Form(Protocol):
    """One answer in one format; takes the deltas of chat completions."""

    def __init__(self, body: dict[str, Any]) -> None: ...

    def opening(self) -> Iterator[str]:
        """Yield what stands before the first delta."""
        ...

    def add(self, delta: dict[str, Any]) -> list[str]:
        """Return the frames of a delta."""
        ...

    def closing(self, finish_reason: str) -> Iterator[str]:
        """Yield what stands behind the last delta."""
        ...

    def whole(self, finish_reason: str) -> dict[str, Any]:
        """Return the answer as one object."""
        ...


USAGE = {"prompt_tokens": 7, "completion_tokens": 11, "total_tokens": 18}


def _data(value: Any) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"


class Chat:
    """Chat completions."""

    kind, chunk_kind = "chat.completion", "chat.completion.chunk"

    def __init__(self, body: dict[str, Any]) -> None:
        self.body = body
        self.messages: dict[int, dict[str, Any]] = {i: {"role": "assistant"} for i in range(body.get("n") or 1)}

    def opening(self) -> Iterator[str]:
        for index in self.messages:
            yield self._chunk([{"index": index, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}])

    def add(self, delta: dict[str, Any]) -> list[str]:
        index = delta.get("index", 0)
        rest = {key: value for key, value in delta.items() if key != "index"}
        message = self.messages[index]
        for key, value in rest.items():
            if key == "tool_calls":
                self._add_call(message, value[0])
            elif isinstance(value, str):
                message[key] = message.get(key, "") + value
        return [self._chunk([{"index": index, "delta": rest, "finish_reason": None}])]

    def closing(self, finish_reason: str) -> Iterator[str]:
        for index in self.messages:
            yield self._chunk([{"index": index, "delta": {}, "finish_reason": finish_reason}])
        if (self.body.get("stream_options") or {}).get("include_usage"):
            yield self._chunk([], usage=USAGE)
        yield "data: [DONE]\n\n"

    def whole(self, finish_reason: str) -> dict[str, Any]:
        choices = [
            {"index": index, "message": {"content": None, **message}, "finish_reason": finish_reason}
            for index, message in self.messages.items()
        ]
        return self._object(self.kind, choices, usage=USAGE)

    def _add_call(self, message: dict[str, Any], piece: dict[str, Any]) -> None:
        calls = message.setdefault("tool_calls", [])
        if piece["index"] == len(calls):
            calls.append({"id": piece["id"], "type": "function", "function": {"name": "", "arguments": ""}})
        for key, value in piece["function"].items():
            calls[piece["index"]]["function"][key] += value

    def _chunk(self, choices: list[Any], **more: Any) -> str:
        return _data(self._object(self.chunk_kind, choices, **more))

    def _object(self, kind: str, choices: list[Any], **more: Any) -> dict[str, Any]:
        return {"id": "c1", "object": kind, "created": 1, "model": self.body["model"], "choices": choices, **more}


class Text(Chat):
    """Text completions."""

    kind = chunk_kind = "text_completion"

    def opening(self) -> Iterator[str]:
        yield from ()

    def add(self, delta: dict[str, Any]) -> list[str]:
        index = delta.get("index", 0)
        self.messages[index]["text"] = self.messages[index].get("text", "") + delta["content"]
        return [self._chunk([{"index": index, "text": delta["content"], "logprobs": None, "finish_reason": None}])]

    def closing(self, finish_reason: str) -> Iterator[str]:
        for index in self.messages:
            yield self._chunk([{"index": index, "text": "", "logprobs": None, "finish_reason": finish_reason}])
        yield "data: [DONE]\n\n"

    def whole(self, finish_reason: str) -> dict[str, Any]:
        choices = [
            {"index": index, "text": message["text"], "logprobs": None, "finish_reason": finish_reason}
            for index, message in self.messages.items()
        ]
        return self._object(self.kind, choices, usage=USAGE)


class Messages:
    """Anthropic's messages; text and calls."""

    def __init__(self, body: dict[str, Any]) -> None:
        self.body = body
        self.blocks: list[dict[str, Any]] = []

    def opening(self) -> Iterator[str]:
        yield self._event("message_start", message=self._message([], None))

    def add(self, delta: dict[str, Any]) -> list[str]:
        kind = "tool_use" if "tool_calls" in delta else "thinking" if "reasoning_content" in delta else "text"
        frames = []
        if (
            not self.blocks
            or self.blocks[-1]["type"] != kind
            or (kind == "tool_use" and "id" in delta["tool_calls"][0])
        ):
            frames += self._stop()
            self.blocks.append(self._new(kind, delta))
            start: dict[str, Any] = {"input": {}} if kind == "tool_use" else {}
            block = {**self.blocks[-1], **start}
            frames.append(self._event("content_block_start", index=len(self.blocks) - 1, content_block=block))
        if kind == "tool_use":
            piece = delta["tool_calls"][0]["function"].get("arguments", "")
            self.blocks[-1]["input"] += piece
            change = {"type": "input_json_delta", "partial_json": piece}
        else:
            piece = delta["reasoning_content" if kind == "thinking" else "content"]
            self.blocks[-1][kind] += piece
            change = {"type": f"{kind}_delta", kind: piece}
        return [*frames, self._event("content_block_delta", index=len(self.blocks) - 1, delta=change)]

    def closing(self, finish_reason: str) -> Iterator[str]:
        yield from self._stop()
        reason = {"stop": "end_turn", "tool_calls": "tool_use"}[finish_reason]
        yield self._event(
            "message_delta", delta={"stop_reason": reason, "stop_sequence": None}, usage={"output_tokens": 11}
        )
        yield self._event("message_stop")

    def whole(self, finish_reason: str) -> dict[str, Any]:
        blocks = [
            {**block, "input": json.loads(block["input"])} if block["type"] == "tool_use" else block
            for block in self.blocks
        ]
        return self._message(blocks, {"stop": "end_turn", "tool_calls": "tool_use"}[finish_reason])

    def _new(self, kind: str, delta: dict[str, Any]) -> dict[str, Any]:
        if kind == "tool_use":
            call = delta["tool_calls"][0]
            return {"type": kind, "id": call["id"], "name": call["function"]["name"], "input": ""}
        return {"type": kind, kind: "", **({"signature": ""} if kind == "thinking" else {})}

    def _stop(self) -> list[str]:
        return [self._event("content_block_stop", index=len(self.blocks) - 1)] if self.blocks else []

    def _message(self, content: list[Any], stop_reason: str | None) -> dict[str, Any]:
        usage = {"input_tokens": 7, "output_tokens": 11}
        return {
            "id": "m1", "type": "message", "role": "assistant", "model": self.body["model"], "content": content,
            "stop_reason": stop_reason, "stop_sequence": None, "usage": usage,
        }  # fmt: skip

    def _event(self, kind: str, **more: Any) -> str:
        return f"event: {kind}\n" + _data({"type": kind, **more})


class Responses:
    """OpenAI's responses; one message, or one function call."""

    def __init__(self, body: dict[str, Any]) -> None:
        self.body = body
        self.items: list[dict[str, Any]] = []
        self._n_events = 0

    def opening(self) -> Iterator[str]:
        yield self._event("response.created", response=self._response("in_progress"))

    def add(self, delta: dict[str, Any]) -> list[str]:
        if "tool_calls" in delta:
            return self._add_call(delta["tool_calls"][0])
        place = {"item_id": "i0", "output_index": 0, "content_index": 0}
        frames = []
        if not self.items:
            self.items.append(
                {"id": "i0", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
            )
            frames.append(self._event("response.output_item.added", output_index=0, item=dict(self.items[0])))
            part = {"type": "output_text", "text": "", "annotations": []}
            frames.append(self._event("response.content_part.added", part=part, **place))
            self.items[0]["content"] = [dict(part)]
        self.items[0]["content"][0]["text"] += delta["content"]
        return [*frames, self._event("response.output_text.delta", delta=delta["content"], logprobs=[], **place)]

    def closing(self, finish_reason: str) -> Iterator[str]:
        for index, item in enumerate(self.items):
            place = {"item_id": item["id"], "output_index": index}
            if item["type"] == "message":
                part = item["content"][0]
                yield self._event("response.output_text.done", text=part["text"], logprobs=[], content_index=0, **place)
                yield self._event("response.content_part.done", part=part, content_index=0, **place)
            else:
                yield self._event("response.function_call_arguments.done", arguments=item["arguments"], **place)
            item["status"] = "completed"
            yield self._event("response.output_item.done", output_index=index, item=item)
        yield self._event("response.completed", response=self._response("completed"))

    def whole(self, finish_reason: str) -> dict[str, Any]:
        return self._response("completed")

    def _add_call(self, piece: dict[str, Any]) -> list[str]:
        frames = []
        if "id" in piece:
            index = len(self.items)
            self.items.append(
                {"id": f"i{index}", "type": "function_call", "call_id": piece["id"], "status": "in_progress",
                 "name": piece["function"]["name"], "arguments": ""}
            )  # fmt: skip
            frames.append(self._event("response.output_item.added", output_index=index, item=dict(self.items[-1])))
        text = piece["function"].get("arguments", "")
        self.items[-1]["arguments"] += text
        place = {"item_id": self.items[-1]["id"], "output_index": len(self.items) - 1}
        return [*frames, self._event("response.function_call_arguments.delta", delta=text, **place)]

    def _response(self, status: str) -> dict[str, Any]:
        usage = {
            "input_tokens": 7, "output_tokens": 11, "total_tokens": 18,
            "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0},
        }  # fmt: skip
        return {
            "id": "r1", "object": "response", "created_at": 1, "status": status, "model": self.body["model"],
            "output": self.items if status == "completed" else [], "parallel_tool_calls": True, "tool_choice": "auto",
            "tools": [], "error": None, "incomplete_details": None, "instructions": None, "metadata": {},
            "temperature": 1.0, "top_p": 1.0, "usage": usage if status == "completed" else None,
        }  # fmt: skip

    def _event(self, kind: str, **more: Any) -> str:
        self._n_events += 1
        return f"event: {kind}\n" + _data({"type": kind, "sequence_number": self._n_events - 1, **more})


FORMS: dict[str, type[Form]] = {
    "chat/completions": Chat,
    "completions": Text,
    "messages": Messages,
    "responses": Responses,
}
