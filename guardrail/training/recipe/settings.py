"""The recipe file: models by name, inputs, and a section for each stage that is to run."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from guardrail.errors import ConfigurationError
from guardrail.training.annotate.settings import AnnotateSettings
from guardrail.training.controversial.settings import ControversialSettings
from guardrail.training.mix.settings import MixSettings
from guardrail.training.relabel.settings import RelabelSettings
from guardrail.training.respond.settings import RespondSettings
from guardrail.training.settings import Count, NotNegative, Positive, Seed, load_settings
from guardrail.training.synthesise.settings import SynthesiseSettings
from guardrail.training.token_labels.settings import TokenLabelsSettings
from guardrail.training.translate.settings import TranslateSettings

STAGES = ("synthesise", "respond", "annotate", "translate", "controversial", "relabel", "token_labels", "mix")
"""In the order in which they run; a stage reads what the nearest one before it that has a section handed on."""

Kind = Literal["endpoint", "checkpoint", "function", "guard"]


@dataclass(frozen=True)
class ModelSettings:
    """A model that stages ask by its name in the recipe; all numbers are ours.

    Attributes:
        kind: "endpoint": an OpenAI-compatible server; "checkpoint": a causal language model of this folder or hub id,
            run here by transformers; "function": Python code of one's own; "guard": a Qwen3Guard checkpoint or exported
            model, run here.
        model: its name at the server, its folder or hub id; for a guard "default" is the embedded model.
        base_urls: of the server's replicas, such as http://localhost:8001/v1.
        function: "file.py:name", the file beside the recipe: from a `Call` to a text, or to `n` of them.
        revision: tells weights apart that are served under one name; part of what a call is known by.
        api_key_env: environment variable that holds the server's key; empty sends none.
        concurrency: requests under way at once, all replicas together.
        requests_per_minute: bound; 0: none.
        timeout_s: for one request.
        retries: of a request that failed for a reason that may pass.
        has_schemas: whether the server is sent JSON schemas; answers are checked either way.
        extra_body: what every request to the server says besides, such as
            `{ chat_template_kwargs = { enable_thinking = false } }`; part of what a call is known by.
        input_price: of a million tokens read.
        output_price: of a million tokens written.
        gpu_tokens_per_s: tokens, read and written, that one GPU does in a second; for estimates. 0: not known.
    """

    kind: Kind
    model: str = ""
    base_urls: tuple[str, ...] = ()
    function: str = ""
    revision: str = ""
    api_key_env: str = ""
    concurrency: Count = 16
    requests_per_minute: NotNegative = 0
    timeout_s: Positive = 300
    retries: Annotated[int, Field(ge=0)] = 5
    has_schemas: bool = True
    extra_body: dict[str, Any] = field(default_factory=dict)
    input_price: NotNegative = 0
    output_price: NotNegative = 0
    gpu_tokens_per_s: NotNegative = 0


@dataclass(frozen=True)
class InputSettings:
    """A file of the data schema.

    Attributes:
        path: JSONL, gzipped or not, or Parquet.
        is_human: whether its labels are people's: stages measure themselves by them and never change them.
        max_rows: most rows, drawn at random; 0 takes all.
    """

    path: Path
    is_human: bool = False
    max_rows: Annotated[int, Field(ge=0)] = 0


@dataclass(frozen=True)
class RecipeSettings:
    """A recipe; paths are relative to the working directory. A stage without a section is left out.

    Attributes:
        output: folder of the run.
        seed: of everything that is drawn.
        inputs: rows that there are already.
        models: by name.
        part_rows: rows of a part: what is held in memory, and what is lost of the work between calls after a kill.
    """

    output: Path
    seed: Seed = 1
    inputs: tuple[InputSettings, ...] = ()
    models: dict[str, ModelSettings] = field(default_factory=dict)
    part_rows: Count = 1000
    synthesise: SynthesiseSettings | None = None
    respond: RespondSettings | None = None
    annotate: AnnotateSettings | None = None
    translate: TranslateSettings | None = None
    controversial: ControversialSettings | None = None
    relabel: RelabelSettings | None = None
    token_labels: TokenLabelsSettings | None = None
    mix: MixSettings | None = None


def load_recipe(path: Path) -> RecipeSettings:
    """Return the recipe that a TOML file holds.

    Raises:
        ConfigurationError: as `load_settings`, or it sets up no stage.
    """
    recipe = load_settings(path, RecipeSettings)
    if all(getattr(recipe, name) is None for name in STAGES):
        raise ConfigurationError(f"{path.name} sets up no stage", hint=f"add a section: {', '.join(STAGES)}")
    return recipe
