"""OpenAI-compatible servers for tests: one with a real model of transformers, and one that plays what it is told."""

import json
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from tests.generative.tiny_gen import hugging_face_tokenizer


class _Http(ThreadingHTTPServer):
    request_queue_size = 128
    """More clients than the default of 5 may come in the same moment."""


class Server:
    """Answers POST requests in threads; a subclass says how.

    Attributes:
        asked: path and body of every request.
        keys: `Authorization` of every request.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.keys: list[str | None] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                """Hand the request to the server's owner."""
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                owner.asked.append((self.path, body))
                owner.keys.append(self.headers["Authorization"])
                owner.answer(self, body)

            def log_message(self, *args: Any) -> None:
                """Say nothing."""

        self._http = _Http(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        """Base URL of the API."""
        return f"http://127.0.0.1:{self._http.server_port}/v1"

    def answer(self, request: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        """Answer one request."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


def send(request: BaseHTTPRequestHandler, body: object, status: int = 200) -> None:
    """Send one answer; bytes go out as they are."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request.send_response(status)
    request.send_header("Content-Length", str(len(data)))
    request.end_headers()
    request.wfile.write(data)


class GenServer(Server):
    """Decodes greedily with a real model, and tells the real log probabilities, as vLLM does."""

    def __init__(self, model: Any, folder: Path) -> None:
        super().__init__()
        self._model, self._tokenizer = model, hugging_face_tokenizer(folder)
        self._lock = threading.Lock()

    def answer(self, request: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        """Complete a prompt, or a chat that the template renders."""
        is_chat = request.path.endswith("/chat/completions")
        template = self._tokenizer.apply_chat_template
        prompt = template(body["messages"], tokenize=False) if is_chat else body["prompt"]
        ids = self._tokenizer(prompt, add_special_tokens=False)["input_ids"]
        with self._lock:
            tokens, candidates = self._decode(ids, body["max_tokens"], body.get("top_logprobs") or body.get("logprobs"))
        text = "".join(tokens)
        usage = {"prompt_tokens": len(ids), "completion_tokens": len(tokens)}
        if is_chat:
            logprobs: dict[str, Any] = {
                "content": [_entry(token, one) for token, one in zip(tokens, candidates, strict=True)]
            }
            choice: dict[str, Any] = {"message": {"role": "assistant", "content": text}}
        else:
            logprobs = {"tokens": tokens, "top_logprobs": candidates}
            choice = {"text": text}
        choice |= {"index": 0, "finish_reason": "stop", "logprobs": logprobs if body.get("logprobs") else None}
        send(request, {"choices": [choice], "usage": usage})

    def _decode(self, ids: list[int], n_new: int, n_candidates: int | None) -> tuple[list[str], list[dict[str, float]]]:
        end = self._tokenizer.convert_tokens_to_ids("<|im_end|>")
        tokens: list[str] = []
        candidates: list[dict[str, float]] = []
        for _ in range(n_new):
            with torch.inference_mode():
                scores = self._model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
            values, places = scores.topk(n_candidates or 1)
            if (best := int(places[0])) == end:
                break
            ids = [*ids, best]
            tokens.append(self._tokenizer.decode([best]))
            candidates.append({self._tokenizer.decode([int(i)]): float(v) for v, i in zip(values, places, strict=True)})
        return tokens, candidates


def _entry(token: str, candidates: dict[str, float]) -> dict[str, Any]:
    top = [{"token": text, "logprob": score} for text, score in candidates.items()]
    return {"token": token, "logprob": candidates.get(token, 0.0), "top_logprobs": top}


Play = Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]
"""Answers one request, whose body is given too."""


class ScriptedServer(Server):
    """Answers the n-th request with the n-th of its plays, the last one again and again."""

    def __init__(self, *plays: Play) -> None:
        super().__init__()
        self._plays = plays

    def answer(self, request: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        """Play the next answer."""
        self._plays[min(len(self.asked), len(self._plays)) - 1](request, body)


def hang(request: BaseHTTPRequestHandler, _body: object) -> None:
    """Never answer; return when the client has gone."""
    request.rfile.read(1)
    request.close_connection = True


def replying(body: object, status: int = 200) -> Play:
    """A play that sends one answer."""
    return lambda request, _: send(request, body, status)


def writing(text: str, logprobs: object = None) -> Play:
    """A play of a model that writes a text."""
    return replying({"choices": [{"index": 0, "text": text, "logprobs": logprobs}]})


def scored(tokens: Sequence[str], place: int, candidates: dict[str, float]) -> dict[str, Any]:
    """Log probabilities in the form of completions: likely tokens in one place, nothing of interest elsewhere."""
    others: list[dict[str, float]] = [{token: 0.0} for token in tokens]
    others[place] = candidates
    return {"tokens": [*tokens], "top_logprobs": others}
