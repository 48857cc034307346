"""The taxonomy that prompts are made for: categories, their subtopics, and keywords with harmless twins."""

import hashlib
import json
import tomllib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from guardrail.errors import ConfigurationError
from guardrail.taxonomy import DEFINITIONS, Category, category_name

_STRICT = ConfigDict(extra="forbid", strict=True)
Word = Annotated[str, Field(min_length=1)]


@checked(frozen=True, config=_STRICT)
class Keywords:
    """Words of one meaning.

    Attributes:
        subtopic: that they belong to.
        words: synonyms; a prompt is made for one of them.
        twins: words that are harmless where one of these would stand.
    """

    subtopic: Word
    words: Annotated[tuple[Word, ...], Field(min_length=1)]
    twins: Annotated[tuple[Word, ...], Field(min_length=1)]


@checked(frozen=True, config=_STRICT)
class Topics:
    """One category, split up.

    Attributes:
        name: canonical name of the category, or one of the user's own.
        subtopics: a sentence on each, by its name.
        keywords: sets of them; without any, no prompts for keywords and no pairs are made for this category.
        definition: of the category; one of the nine needs none.
    """

    name: Word
    subtopics: Annotated[dict[Word, Word], Field(min_length=1)]
    keywords: tuple[Keywords, ...] = ()
    definition: str = ""


@checked(frozen=True, config=_STRICT)
class _File:
    version: int
    categories: Annotated[tuple[Topics, ...], Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class Taxonomy:
    """What prompts are made for.

    Attributes:
        version: of the file.
        sha256: of its bytes, in hex.
        topics: categories with their subtopics, in the file's order.
    """

    version: int
    sha256: str
    topics: tuple[Topics, ...]

    def only(self, names: tuple[str, ...]) -> "Taxonomy":
        """Return the same with some categories alone; all when none are named.

        Raises:
            ConfigurationError: it has no category of such a name.
        """
        wanted = {category_name(name) for name in names}
        known = {one.name for one in self.topics}
        if unknown := sorted(wanted - known):
            raise ConfigurationError(f"no category {unknown[0]!r}", hint=f"the taxonomy has {', '.join(sorted(known))}")
        kept = tuple(one for one in self.topics if one.name in wanted or not wanted)
        return Taxonomy(self.version, self.sha256, kept)


def definition_of(topics: Topics) -> str:
    """Return what a category means, in one sentence."""
    return topics.definition or DEFINITIONS[Category(topics.name)]


def load_taxonomy(path: Path | None = None) -> Taxonomy:
    """Return the taxonomy of a file, else ours.

    Raises:
        ConfigurationError: it cannot be read, is no such file, or contradicts itself.
    """
    source = path or files("guardrail.training") / "taxonomy.toml"
    try:
        data = source.read_bytes()
        values = tomllib.loads(data.decode())
        # as JSON, because there strictness lets a list be a tuple
        found = TypeAdapter(_File).validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:3])
        raise ConfigurationError(f"{source.name}: {wrong}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"cannot read the taxonomy in {source.name} ({type(error).__name__})") from error
    topics = tuple(_checked(source.name, one) for one in found.categories)
    if len({one.name for one in topics}) < len(topics):
        raise ConfigurationError(f"{source.name}: a category stands there twice", hint="put its subtopics together")
    return Taxonomy(found.version, hashlib.sha256(data).hexdigest(), topics)


def _checked(file: str, topics: Topics) -> Topics:
    name = category_name(topics.name)
    if not topics.definition and name not in set(Category):
        raise ConfigurationError(f"{file}: {name!r} is none of the nine categories", hint="give it a `definition`")
    for keywords in topics.keywords:
        if keywords.subtopic not in topics.subtopics:
            raise ConfigurationError(f"{file}: {name} has keywords for {keywords.subtopic!r}, which it does not have")
        if {word.casefold() for word in keywords.words} & {word.casefold() for word in keywords.twins}:
            raise ConfigurationError(f"{file}: a keyword of {keywords.subtopic!r} is its own harmless twin")
    return Topics(name, topics.subtopics, topics.keywords, topics.definition)
