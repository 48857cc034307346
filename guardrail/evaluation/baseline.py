"""A baseline that everybody knows: word and character n-grams, TF-IDF, logistic regression.

One classifier for prompts and one for answers, three classes, trained on the rows of the guard model's own recipe.
N-grams are hashed, so nothing but three arrays has to be kept: no vocabulary, no pickle.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guardrail.decision import Direction
from guardrail.errors import ConfigurationError, MissingExtra
from guardrail.evaluation.judges import RISKS, Judgement, judge_verdict
from guardrail.evaluation.rows import TARGETS, Row
from guardrail.policy import Policy
from guardrail.taxonomy import LabelSet, RiskLevel
from guardrail.verdict import Verdict

try:
    from scipy import sparse
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.linear_model import LogisticRegression
except ModuleNotFoundError as error:
    raise MissingExtra("scikit-learn", "train") from error

_LABELS = LabelSet(RISKS, ("unnamed",))
"""The baseline knows no categories; a label set must name one."""

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class LabelledText:
    """A text to learn from.

    Attributes:
        target: which of the two classifiers learns it.
        text: the judged text alone; for answers too, see `TfidfSettings`.
        risk: its label.
        weight: how often it counts.
    """

    target: Direction
    text: str
    risk: RiskLevel
    weight: int = 1


@dataclass(frozen=True, slots=True)
class TfidfSettings:
    """Settings of the baseline; all ours, chosen once on common practice and not tuned on the measured files.

    Attributes:
        bits: 2 ** bits hashed features for words and as many for characters.
        words: shortest and longest word n-gram.
        characters: shortest and longest character n-gram, inside words.
        c: inverse strength of the L2 penalty.
        max_iterations: of the solver.
        balanced: whether the risk levels are weighed so that all count the same.
    """

    bits: int = 18
    words: tuple[int, int] = (1, 2)
    characters: tuple[int, int] = (2, 5)
    c: float = 4.0
    max_iterations: int = 200
    balanced: bool = True


class TfidfClassifier:
    """Text to the probabilities of Safe, Controversial and Unsafe. Read-only once made; safe for many threads."""

    def __init__(self, settings: TfidfSettings, idf: FloatArray, weights: FloatArray, bias: FloatArray) -> None:
        """Take the learned arrays.

        Args:
            settings: with which they were learned.
            idf: float32 [feature].
            weights: float32 [risk, feature], rows as `RISKS`.
            bias: float32 [risk]; minus infinity for a level that never occurred.
        """
        self.settings, self.idf, self.weights, self.bias = settings, idf, weights, bias

    @classmethod
    def fit(cls, texts: Sequence[LabelledText], settings: TfidfSettings) -> "TfidfClassifier":
        """Learn from texts.

        Raises:
            ConfigurationError: fewer than two risk levels occur.
        """
        present = [level for level in RISKS if any(text.risk is level for text in texts)]
        if len(present) < 2:
            raise ConfigurationError(f"the baseline needs two risk levels to learn from, got {len(present)}")
        counts = count_ngrams([text.text for text in texts], settings)
        idf = inverse_document_frequency(n_documents(counts), counts.shape[0])
        class_weight = "balanced" if settings.balanced else None
        model = LogisticRegression(C=settings.c, max_iter=settings.max_iterations, class_weight=class_weight)
        weight = np.array([text.weight for text in texts], np.float64)
        model.fit(weigh(counts, idf, settings), [present.index(text.risk) for text in texts], sample_weight=weight)
        weights, bias = np.zeros((len(RISKS), len(idf)), np.float32), np.full(len(RISKS), -np.inf, np.float32)
        places = [RISKS.index(level) for level in present]
        # With two classes scikit-learn keeps one row, the log-odds of the second.
        weights[places] = model.coef_ if len(present) > 2 else np.vstack([0 * model.coef_, model.coef_])
        bias[places] = model.intercept_ if len(present) > 2 else [0.0, float(model.intercept_[0])]
        return cls(settings, idf, weights, bias)

    def probabilities(self, texts: Sequence[str]) -> FloatArray:
        """Return float32 [text, risk], columns as `RISKS`, rows summing to 1."""
        logits = weigh(count_ngrams(texts, self.settings), self.idf, self.settings) @ self.weights.T + self.bias
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(shifted / shifted.sum(axis=1, keepdims=True), np.float32)

    def save(self, path: Path) -> None:
        """Write the arrays as npz."""
        np.savez_compressed(path, idf=self.idf, weights=self.weights, bias=self.bias)

    @classmethod
    def load(cls, path: Path, settings: TfidfSettings) -> "TfidfClassifier":
        """Read the arrays back."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(settings, arrays["idf"], arrays["weights"], arrays["bias"])


def _vectorizers(settings: TfidfSettings) -> tuple[Any, Any]:
    shared: dict[str, Any] = {
        "n_features": 2**settings.bits,
        "alternate_sign": False,
        "norm": None,
        "dtype": np.float32,
    }
    # Single characters are words too, else Chinese would lose its one-character words to the default pattern.
    words = HashingVectorizer(token_pattern=r"(?u)\w+", ngram_range=settings.words, **shared)  # noqa: S106
    return words, HashingVectorizer(analyzer="char_wb", ngram_range=settings.characters, **shared)


def count_ngrams(texts: Sequence[str], settings: TfidfSettings) -> Any:
    """Return sparse float32 [text, feature]: occurrences of words' n-grams, then of characters'."""
    return sparse.hstack([vectorizer.transform(texts) for vectorizer in _vectorizers(settings)], format="csr")


def n_documents(counts: Any) -> NDArray[np.int64]:
    """Return int64 [feature]: in how many of the texts each occurs."""
    return np.bincount(counts.indices, minlength=counts.shape[1])


def inverse_document_frequency(documents: NDArray[np.int64], n_texts: int) -> FloatArray:
    """Return float32 [feature], smoothed as scikit-learn does."""
    return np.asarray(np.log((1 + n_texts) / (1 + documents)) + 1, np.float32)


def weigh(counts: Any, idf: FloatArray, settings: TfidfSettings) -> Any:
    """Return sparse float32 [text, feature]: (1 + log count) * idf, words and characters each of length 1."""
    weighed = counts.copy()
    weighed.data = (1 + np.log(weighed.data)) * idf[weighed.indices]
    blocks = [weighed[:, : 2**settings.bits], weighed[:, 2**settings.bits :]]
    lengths = [np.sqrt(np.asarray(block.multiply(block).sum(axis=1)).ravel()) for block in blocks]
    scaled = [
        sparse.diags((1 / np.maximum(length, 1e-9)).astype(np.float32)) @ block
        for length, block in zip(lengths, blocks, strict=True)
    ]
    return sparse.hstack(scaled, format="csr")


class TfidfJudge:
    """The baseline as a judge: the same policy on its one verdict a text. Safe for many threads."""

    name = "tfidf"
    batch_size = 512

    def __init__(
        self, prompts: TfidfClassifier, responses: TfidfClassifier, policy: Policy, identity: dict[str, str]
    ) -> None:
        """Combine the two classifiers with a policy, whose debounce means nothing for a single verdict."""
        self._classifiers = {Direction.PROMPT: prompts, Direction.RESPONSE: responses}
        self._rules = {Direction.PROMPT: policy.prompt, Direction.RESPONSE: policy.response}
        self.identity = {**identity, "policy": policy.name, "policy_sha256": policy.sha256}

    def judge(self, rows: Sequence[Row]) -> list[Judgement]:
        """Judge the rows at once; see `Judge.judge`."""
        judgements: dict[int, Judgement] = {}
        for target, classifier in self._classifiers.items():
            places = [i for i, row in enumerate(rows) if row.target is target]
            if not places:
                continue
            found = classifier.probabilities([rows[i].judged_text for i in places])
            for place, vector in zip(places, found.tolist(), strict=True):
                verdict = Verdict(_LABELS, tuple(vector), (1.0,))
                judgements[place] = replace(judge_verdict(verdict, self._rules[target]), category=None)
        return [judgements[i] for i in range(len(rows))]


def fit_baseline(
    rows: Iterable[tuple[Row, int]], policy: Policy, cache: Path, settings: TfidfSettings | None = None
) -> TfidfJudge:
    """Learn both classifiers from rows and their weights, or read them from the cache if it has learned the same.

    Args:
        rows: what to learn from, and how often each counts.
        policy: what the judge does with its verdicts.
        cache: folder for the learned arrays; made if missing.
        settings: of the classifiers.

    Raises:
        ConfigurationError: the rows of one direction hold fewer than two risk levels.
    """
    settings = settings or TfidfSettings()
    texts = [LabelledText(row.target, row.judged_text, row.risk, weight) for row, weight in rows]
    key = _key(texts, settings)
    classifiers = {target: _classifier(target, texts, settings, cache / key) for target in TARGETS}
    identity = {"model": "tfidf", "model_sha256": key, "rows": str(len(texts)), "sklearn": version("scikit-learn")}
    return TfidfJudge(classifiers[Direction.PROMPT], classifiers[Direction.RESPONSE], policy, identity)


def _classifier(
    target: Direction, texts: Sequence[LabelledText], settings: TfidfSettings, folder: Path
) -> TfidfClassifier:
    path = folder / f"{target.value}.npz"
    if path.exists():
        return TfidfClassifier.load(path, settings)
    classifier = TfidfClassifier.fit([text for text in texts if text.target is target], settings)
    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npz")
    classifier.save(partial)
    partial.replace(path)
    return classifier


def _key(texts: Iterable[LabelledText], settings: TfidfSettings) -> str:
    """Return a hash of everything that the learned arrays depend on."""
    digest = hashlib.sha256(json.dumps([asdict(settings), version("scikit-learn")]).encode())
    for text in texts:
        digest.update(json.dumps([text.target, text.text, text.risk, text.weight]).encode())
    return digest.hexdigest()
