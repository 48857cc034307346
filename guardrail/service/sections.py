"""The sections of a server's settings. A secret may be written as `os.environ/NAME`, as LiteLLM's users write it: it is
then read from that variable.
"""

import hashlib
import ipaddress
import os
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, SecretStr, model_validator

from guardrail.engines.runtime import KVPrecision
from guardrail.records import Durability, TextForm, WhenFull, without_password

_FROM_ENVIRONMENT = "os.environ/"


def _resolve(secret: SecretStr) -> SecretStr:
    """Return a secret, read from the variable that it names, if it names one."""
    written = secret.get_secret_value()
    if not written.startswith(_FROM_ENVIRONMENT):
        return secret
    name = written.removeprefix(_FROM_ENVIRONMENT)
    if not os.environ.get(name):
        raise ValueError(f"the environment variable {name} is not set")
    return SecretStr(os.environ[name])


Secret = Annotated[SecretStr, AfterValidator(_resolve)]


def _address(value: str) -> str:
    if not value.startswith(("http://", "https://")):
        raise ValueError("must begin with http:// or https://, such as http://localhost:11434/v1")
    return value


Address = Annotated[str, AfterValidator(_address)]

Location = Annotated[
    str,
    AfterValidator(lambda path: _resolve(SecretStr(path)).get_secret_value()),
    PlainSerializer(without_password, when_used="json"),
]
"""A file, or the URL of a database, whose password is not shown."""


class _Section(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)


class ServerSettings(_Section):
    """Where it listens, and what it bears.

    Attributes:
        host: address; one that others can reach needs keys, or `allow_public`.
        port: TCP port; 0 takes a free one.
        allow_public: serve a public address without keys.
        cors_origins: origins whose pages may call from a browser; none by default.
        playground: whether `/` shows the playground.
        openapi: whether `/openapi.json` describes the API.
        keep_alive_s: seconds of held text after which a stream gets a comment, so that nothing between closes it.
        drain_s: seconds that open requests and streams get to end after SIGTERM.
        max_body_bytes: largest request.
        body_s: seconds in which a request must have arrived.
        request_s: seconds in which a request without a stream must be answered.
        max_requests: requests that are worked on at once, streams included; more get 503.
        max_inputs: texts of one moderation request.
        n_decisions: latest decisions that are kept for the playground's table.
        log: form of the log lines.
    """

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    allow_public: bool = False
    cors_origins: tuple[str, ...] = ()
    playground: bool = True
    openapi: bool = True
    keep_alive_s: float = Field(default=10, gt=0)
    drain_s: float = Field(default=30, ge=0)
    max_body_bytes: int = Field(default=4 * 2**20, ge=1)
    body_s: float = Field(default=30, gt=0)
    request_s: float = Field(default=600, gt=0)
    max_requests: int = Field(default=512, ge=1)
    max_inputs: int = Field(default=256, ge=1)
    n_decisions: int = Field(default=500, ge=0)
    log: Literal["text", "json"] = "text"

    @property
    def is_public(self) -> bool:
        """Whether others than this machine can reach the address."""
        if self.host == "localhost":
            return False
        try:
            return not ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return True  # a name: who knows where it leads


class GenerativeSettings(_Section):
    """A Qwen3Guard-Gen model behind an OpenAI-compatible endpoint.

    Attributes:
        base_url: such as http://localhost:8001/v1.
        model: name of the model there.
        api_key: of the endpoint.
        mode: "completions" with the prompt rendered here, or "chat".
        timeout_s: seconds for one judgement.
    """

    base_url: str
    model: str
    api_key: Secret = SecretStr("")
    mode: Literal["completions", "chat"] = "completions"
    timeout_s: float = Field(default=30, gt=0)


class GuardSettings(_Section):
    """Which model judges, by which policy.

    Attributes:
        model: "default" (embedded), a hub id, a checkpoint folder or an exported folder.
        engine: "onnx", "torch" or "generative".
        policy: ready policy or TOML file.
        precision: of the weights; unset takes an export's own, int8 otherwise.
        threads: threads of one model call; unset takes one for each physical core.
        kv: precision of the keys and values that are held.
        context: most tokens that are read at once; unset takes the model's limit.
        device: of the torch engine, such as "cuda".
        timeout_s: seconds after which a call of the model fails.
        max_waiting: calls that may wait for the model; more fail at once.
        max_sessions: texts that may be open in the model at once.
        generative: of the engine "generative".
        strong: a second guard that is asked where this one is uncertain (a cascade).
    """

    model: str = "default"
    engine: Literal["onnx", "torch", "generative"] = "onnx"
    policy: str = "balanced"
    precision: str | None = None
    threads: int | None = Field(default=None, ge=1)
    kv: KVPrecision = "fp32"
    context: int | None = Field(default=None, ge=1)
    device: str = "cpu"
    timeout_s: float | None = Field(default=60, gt=0)
    max_waiting: int = Field(default=1024, ge=1)
    max_sessions: int = Field(default=512, ge=1)
    generative: GenerativeSettings | None = None
    strong: "GuardSettings | None" = None

    @model_validator(mode="after")
    def _name_endpoint(self) -> Self:
        if (self.engine == "generative") != (self.generative is not None):
            raise ValueError("the engine generative and its section belong together")
        return self


class RouteSettings(_Section):
    """Policies by route; unset takes the guard's."""

    moderation: str | None = None
    chat: str | None = None
    streams: str | None = None
    litellm: str | None = None


class UpstreamSettings(_Section):
    """The LLM behind the proxy.

    Attributes:
        base_url: of any OpenAI-compatible server, such as https://api.openai.com/v1.
        api_key: sent to it.
        forward_authorization: send the client's own key instead; for servers without keys of ours.
        connect_s: seconds to reach it.
        timeout_s: seconds without a byte from it.
        max_response_bytes: largest answer that is read whole.
    """

    base_url: Address
    api_key: Secret = SecretStr("")
    forward_authorization: bool = False
    connect_s: float = Field(default=10, gt=0)
    timeout_s: float = Field(default=120, gt=0)
    max_response_bytes: int = Field(default=64 * 2**20, ge=1)


class StreamSettings(_Section):
    """Streams of tokens that clients hold open.

    Attributes:
        max_open: streams open at once, over all tenants.
        max_per_tenant: of one tenant.
        idle_s: seconds without a delta or a reader after which a stream is closed, as abandoned.
        keep_s: seconds that the events of an ended stream can still be fetched.
        max_events: events kept for readers that come back; older ones are gone.
        max_chars: longest answer.
        server_name: of this server among several: it stands in the ids of its streams, `stream_NAME.SECRET`, so that
            whoever balances load can send every delta to the server that holds its stream.
    """

    max_open: int = Field(default=256, ge=1)
    max_per_tenant: int = Field(default=64, ge=1)
    idle_s: float = Field(default=60, gt=0)
    keep_s: float = Field(default=60, ge=0)
    max_events: int = Field(default=4096, ge=1)
    max_chars: int = Field(default=200_000, ge=1)
    server_name: str = Field(default="", pattern="^[A-Za-z0-9-]{0,64}$")


class RecordSettings(_Section):
    """Where decisions are recorded, and what is kept: see docs/records.md.

    Attributes:
        path: a file of JSON lines, a SQLite file (.db, .sqlite) or a database's URL, or `os.environ/NAME`; unset keeps
            only the latest in memory.
        text: of the judged text: "none", "redacted" or "full".
        hash_key: of the text's keyed hash, at least 16 bytes; unset records no hash.
        positions: keep every judged position's probabilities, which replay needs.
        durability: "sync" stores a stop before it is told; "batch" tells it at once.
        when_full: what gives way when too many records wait: "drop", what is no stop, or "block", the caller.
        max_waiting: records that may wait.
        flush_s: seconds that records wait for others.
        max_bytes: size from which a new file of JSON lines is begun; unset never does.
        max_files: rotated files that are kept; unset keeps all.
        log: also log each decision, without text.
        opentelemetry: also tell each decision to OpenTelemetry, as a span and an event.
    """

    path: Location | None = None
    text: TextForm = TextForm.NONE
    hash_key: Secret | None = None
    positions: bool = True
    durability: Durability = Durability.SYNC
    when_full: WhenFull = WhenFull.DROP
    max_waiting: int = Field(default=10_000, ge=1)
    flush_s: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    max_bytes: int | None = Field(default=None, ge=1)
    max_files: int | None = Field(default=None, ge=1)
    log: bool = False
    opentelemetry: bool = False

    @model_validator(mode="after")
    def _rotate(self) -> Self:
        if self.max_files and not self.max_bytes:
            raise ValueError("max_files needs max_bytes: without it no file is ever rotated")
        return self


class KeySettings(_Section):
    """One API key.

    Attributes:
        name: for logs; never the key.
        key: the key itself, or `os.environ/NAME`.
        key_sha256: its SHA-256 instead, hexadecimal.
        tenant: whose text comes with it; nothing is shared between tenants. Unset takes the name.
        policy: that its requests are judged by; unset takes the route's.
        requests_per_minute: more get 429; unset sets no limit.
    """

    name: str = Field(min_length=1)
    key: Secret | None = None
    key_sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    tenant: str | None = None
    policy: str | None = None
    requests_per_minute: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _have_one(self) -> Self:
        if (self.key is None) == (self.key_sha256 is None):
            raise ValueError("a key needs either key or key_sha256")
        if self.key and len(self.key.get_secret_value()) < 16:
            raise ValueError("a key needs at least 16 characters")
        return self

    @property
    def digest(self) -> bytes:
        """SHA-256 of the key."""
        if self.key_sha256:
            return bytes.fromhex(self.key_sha256)
        return hashlib.sha256((self.key or SecretStr("")).get_secret_value().encode()).digest()
