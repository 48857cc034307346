"""Records of older versions, read as today's."""

from collections.abc import Mapping, Sequence
from typing import Any

from guardrail.errors import RecordError
from guardrail.records.positions import Positions
from guardrail.records.record import SCHEMA_VERSION, Record
from guardrail.taxonomy import LabelSet, RiskLevel
from guardrail.verdict import TokenVerdict, Verdict


def read_record(values: object) -> Record:
    """Return the record that JSON values of any known version hold.

    Raises:
        RecordError: they hold none, or one of a version that is not known yet.
    """
    version = values.get("schema_version") if isinstance(values, Mapping) else None
    if not isinstance(values, Mapping) or not isinstance(version, int):
        raise RecordError("not a record: it has no schema_version")
    if version == 1:
        values = _from_1(values)
    elif version != SCHEMA_VERSION:
        hint = "a newer guardrail-stream may" if version > SCHEMA_VERSION else ""
        raise RecordError(f"a record of version {version} cannot be read; known: 1, 2", hint=hint)
    try:
        record = Record.model_validate(values)
        record._stored_version = version
        return record
    except ValueError as error:  # pydantic's own shows values, which may hold text of users
        raise RecordError(f"not a record: {_places(error)}") from None


def _from_1(values: Mapping[str, Any]) -> dict[str, Any]:
    """Version 1 had no positions; where its readable tokens were kept, they say as much."""
    upgraded = {**values, "schema_version": SCHEMA_VERSION}
    upgraded["text_form"] = "none" if values.get("text") is None else "full"
    try:
        upgraded["positions"] = _packed(values)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise RecordError("not a record: its tokens cannot be read") from None
    return upgraded


def _packed(values: Mapping[str, Any]) -> bytes | None:
    """Return the tokens of version 1, whose vectors stand in the order in which the probabilities are named; of a
    prompt that was read once, the one reading.
    """
    tokens, risks, categories = values.get("tokens"), values.get("risk_probabilities"), values["category_probabilities"]
    if not risks:
        return None
    labels = LabelSet(tuple(map(RiskLevel, risks)), tuple(categories))
    if not tokens:
        is_read_once = values["direction"] not in ("response", "tool_call") and values["n_windows"] == 1
        is_scored = values.get("is_scored") is not False
        reading = Verdict(labels, tuple(risks.values()), tuple(categories.values()), is_scored=is_scored)
        return Positions.of_readings([reading]).to_bytes() if is_read_once else None
    verdicts = [
        TokenVerdict(Verdict(labels, tuple(t["risk"]), tuple(t["category"])), i, t["start"], t["end"])
        for i, t in enumerate(tokens)
    ]
    return Positions.of(verdicts).to_bytes()


def _places(error: ValueError) -> str:
    found: list[Any] = getattr(error, "errors", list)()
    return "; ".join(f"{_place(one['loc'])}: {one['type']}" for one in found[:3])


def _place(loc: Sequence[str | int]) -> str:
    """Return where it is wrong; names that are not ours may be anything."""
    return str(loc[0]) if loc and loc[0] in Record.model_fields else "an unknown field"
