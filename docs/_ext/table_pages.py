"""Reference pages that are tables: the policy file, the service's settings, records, metrics and errors."""

import inspect
import typing
from importlib.resources import files

import pieces
import schema_tables
from prometheus_client import CollectorRegistry
from pydantic import BaseModel
from starlette.testclient import TestClient

from guardrail import Guard, errors, policy, policy_file, tool_rules
from guardrail.cascade_rules import CascadeRules
from guardrail.normalise_rules import NormaliseRules
from guardrail.records import record_schema
from guardrail.service import Settings, create_app
from guardrail.testing import HashEngine, default_tokenizer

_CUSTOM = (
    "names of the model's own categories; if given, rules for names that are neither these nor published are refused"
)
_POLICY_PARTS = (
    ("The file", "", policy.Policy),
    ("`[prompt]`, `[response]`", "_RulesFile", policy.Rules),
    ('`[prompt.categories."NAME"]`, `[response.categories."NAME"]`', "_CategoryFile", policy.CategoryRule),
    ("`[tools]`", "_ToolsFile", tool_rules.ToolRules),
    ('`[tools.default]`, `[tools.names."NAME"]`', "_ToolRuleFile", tool_rules.ToolRule),
    ("`[cascade]`", "_CascadeFile", CascadeRules),
    ("`[normalise]`", "_NormaliseFile", NormaliseRules),
)
"""Headings, the parts of the file's schema, and the classes whose docstrings say what the keys mean."""


def pages() -> dict[str, str]:
    """Return the pages by their names."""
    return {
        "policy_file.md": _policy_file(),
        "settings.md": _settings(),
        "record_schema.md": _record(),
        "metrics.md": _metrics(),
        "errors.md": _errors(),
    }


def _policy_file() -> str:
    schema = policy_file._PolicyFile.model_json_schema()  # what a file is checked against
    text = (
        "# Policy file\n\nEvery key of a policy's TOML file, from what it is checked against. "
        "[How to write one](../policies.md).\n\n"
    )
    for heading, name, about in _POLICY_PARTS:
        part, meanings = schema["$defs"][name] if name else schema, pieces.attributes(about)
        text += f"## {heading}\n\n"
        text += schema_tables.fields(part, schema["$defs"], {"name": _NAME, "custom_categories": _CUSTOM} | meanings)
    text += "## The ready policies\n\n"
    for name in policy_file.READY_POLICIES:
        shipped = files("guardrail.assets").joinpath("policies", f"{name}.toml").read_text("utf-8")
        text += f"### {name}\n\n{pieces.code(shipped, 'toml')}"
    return text


_NAME = "stands in every record"


def _settings() -> str:
    text = (
        "# Settings of the service\n\nWhat `guardrail serve FILE.toml` reads; `GUARDRAIL_SERVER__PORT=9000` sets a key "
        "from the environment, and flags win over both. [How to run it](../service.md#settings).\n\n"
    )
    for name, field in Settings.model_fields.items():
        section = _model_in(field.annotation)
        schema = section.model_json_schema()
        schema = schema["$defs"][section.__name__] if "$ref" in schema else schema
        heading = f"[[{name}]]" if field.annotation is not section and "tuple" in str(field.annotation) else f"[{name}]"
        defs = section.model_json_schema().get("$defs", {})
        text += f"## `{heading}`\n\n{pieces.summary(section)}\n\n"
        text += schema_tables.fields(schema, defs, pieces.attributes(section))
    generative = Settings.model_json_schema()["$defs"]["GenerativeSettings"]
    return text + "## `[guard.generative]`\n\n" + schema_tables.fields(generative, {}, pieces.attributes(_generative()))


def _generative() -> type[BaseModel]:
    return _model_in(_model_in(Settings.model_fields["guard"].annotation).model_fields["generative"].annotation)


def _model_in(annotation: object) -> type[BaseModel]:
    """Return the model that a field's type is, or holds."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return annotation
    return next(_model_in(part) for part in typing.get_args(annotation) if part is not type(None))


def _record() -> str:
    schema = record_schema()
    text = (
        f"# Schema of a record\n\n{schema['description']} [The JSON Schema](../record.schema.json) says the same to "
        "programs; [records](../records.md) tells what is stored where.\n\n"
    )
    text += schema_tables.fields(schema, schema["$defs"])
    for name, part in schema["$defs"].items():
        if "enum" not in part:
            text += f"## {name}\n\n{part['description']}\n\n{schema_tables.fields(part, schema['$defs'])}"
    return text


def _metrics() -> str:
    """Return the metrics of a service that runs."""
    tokenizer = default_tokenizer()
    app = create_app(guard=Guard(HashEngine(vocab_size=tokenizer.vocab_size), tokenizer))
    with TestClient(app):
        registry: CollectorRegistry = app.state.service.metrics.registry
        rows = sorted(_metric_rows(registry))
    head = ("metric", "kind", "labels", "meaning")
    text = "# Metrics\n\nWhat `/metrics` of the service tells [Prometheus](../service.md#operators).\n\n"
    return text + pieces.table(head, rows)


def _metric_rows(registry: CollectorRegistry) -> list[tuple[str, str, str, str]]:
    rows = []
    for metric in registry.collect():
        collector = registry._names_to_collectors[metric.name]  # the only place that knows labels before they are used
        labels = [*getattr(collector, "_labelnames", ()), *(metric.samples[0].labels if metric.type == "info" else ())]
        ending = {"counter": "_total", "info": "_info"}.get(metric.type, "")
        shown = ", ".join(f"`{label}`" for label in labels)
        rows.append((f"`{metric.name}{ending}`", metric.type, shown, metric.documentation))
    return rows


def _errors() -> str:
    found = [
        kind
        for name, kind in vars(errors).items()
        if inspect.isclass(kind) and kind.__module__ == errors.__name__ and not name.startswith("_")
    ]
    rows = []
    for kind in found:
        parents = ", ".join(f"`{base.__name__}`" for base in kind.__bases__ if not base.__name__.startswith("_"))
        again = "yes" if getattr(kind, "retryable", False) else "no"
        rows.append((f"`{kind.__name__}`", parents or "`Exception`", again, pieces.summary(kind)))
    rule = (inspect.getdoc(errors) or "").partition(". ")[2].split("\n\n")
    return (
        f"# Errors\n\n{rule[0]} {rule[1]} Each has a `hint` that says what to do. Constructors and attributes: "
        "[`guardrail`](api/guardrail.md#errors). What the command line exits with: "
        "[exit codes](cli/index.md#exit-codes).\n\n"
        + pieces.table(("error", "is a", "may the same call succeed later", "raised when"), rows)
        + "`RecordError` says itself, in `retryable`, whether the same call may succeed later.\n"
    )
