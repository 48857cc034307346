"""A small language model that answers, sometimes refuses and sometimes does harm: the policy model of the lesson.

    python examples/rl/lesson/policy_model.py data runs/rl/lesson/policy_model

Learns, from scratch, turns of plain dialogues, and then those of labelled rows: harmless requests with their answers,
and red-team dialogues whose answers comply or refuse. Answers are cut to their first sentences, so that a short one
ends by itself. About five million weights; minutes on a CPU. Rows whose family is held out are not learned from.
"""

import argparse
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from guardrail.conversation import Message, Role, to_messages
from guardrail.training.corpus import documents, family_of, is_held_out, read_objects, to_turns
from guardrail.training.run_folder import cosine
from guardrail.whole_files import whole_folder

START, END, PAD = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
TEMPLATE = (
    f"{{% for m in messages %}}{START}{{{{ m.role }}}}\n{{{{ m.content }}}}{END}\n{{% endfor %}}"
    f"{{% if add_generation_prompt %}}{START}assistant\n{{% endif %}}"
)
PLAIN = {"pretrain_en_dialogue.jsonl.gz": 6_000_000, "pretrain_en_instruct.jsonl.gz": 2_000_000}
"""Files of plain dialogues, and how many characters of each are read."""

HARMLESS = ("dolly_benign", "roleplay_benign", "coconot_contrast_train", "seed_tasks_benign", "gsm8k_benign")
RED_TEAM = ("hh_harmless_unlabelled", "gptfuzz_responses")
MOST_PROMPT_CHARS, MOST_ANSWER_CHARS = 300, 160
LENGTH, BATCH, VOCABULARY = 192, 24, 6144
SENTENCE_END = re.compile(r"(?<=[.!?])\s")

Turns = list[tuple[str, str]]


def short(answer: str) -> str:
    """Return the first sentences of an answer, at least one."""
    taken = ""
    for sentence in filter(None, SENTENCE_END.split(answer.strip().split("\n\n")[0])):
        if taken and len(taken) + len(sentence) > MOST_ANSWER_CHARS:
            break
        taken = f"{taken} {sentence}".strip()
    return taken[: 2 * MOST_ANSWER_CHARS]


def turns_of(messages: Sequence[Message]) -> Iterator[Turns]:
    """Yield each answer with the request before it."""
    for asked, said in pairwise(messages):
        is_answer = asked.role is Role.USER and said.role is Role.ASSISTANT and said.content.strip()
        if is_answer and 0 < len(asked.content) <= MOST_PROMPT_CHARS:
            yield [("user", asked.content.strip()), ("assistant", short(said.content))]


def plain_turns(data: Path, share: float) -> Iterator[Turns]:
    """Yield those of plain dialogues."""
    for name, most in PLAIN.items():
        for text in documents(data / name, int(most * share), 1):
            yield from islice(turns_of(to_turns(text) or []), 3)


def labelled_turns(data: Path, names: Iterable[str]) -> Iterator[Turns]:
    """Yield those of labelled rows in English."""
    for name in names:
        for row in read_objects(data / f"{name}.jsonl.gz", ("messages",)):
            messages = to_messages(row["messages"])
            if row["lang"] == "en" and not is_held_out(family_of(messages)):
                yield from turns_of(messages)


def rendered(turns: Turns) -> str:
    """Return turns as the template renders them."""
    return "".join(f"{START}{role}\n{content}{END}\n" for role, content in turns)


def make_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer with the chat template."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[PAD, START, END], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=PAD, chat_template=TEMPLATE)


def packed(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> np.ndarray:
    """Return int64 [row, position]: all texts, one behind another."""
    ids = np.array([i for row in tokenizer(list(texts))["input_ids"] for i in row], np.int64)
    return ids[: len(ids) // LENGTH * LENGTH].reshape(-1, LENGTH)


def train(model: Qwen3ForCausalLM, rows: np.ndarray, rate: float, rng: np.random.Generator, told: str) -> float:
    """Take one pass over the rows, and return the mean loss of its last tenth."""
    optimiser = torch.optim.AdamW(model.parameters(), rate, weight_decay=0.05, betas=(0.9, 0.95))
    order, losses = rng.permutation(len(rows)), []
    starts = range(0, len(rows) - BATCH + 1, BATCH)
    for step, start in enumerate(track(starts, told)):
        for group in optimiser.param_groups:
            group["lr"] = rate * cosine(step / len(starts), 0.02)
        ids = torch.from_numpy(rows[order[start : start + BATCH]])
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        losses.append(float(loss.detach()))
    return float(np.mean(losses[-max(1, len(losses) // 10) :]))


def main() -> None:
    """Make the model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of the data files")
    parser.add_argument("output", type=Path, help="folder of the checkpoint")
    parser.add_argument("--share", type=float, default=1.0, help="of the plain dialogues")
    parser.add_argument("--passes", type=int, default=2, help="over the labelled rows")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    plain = [*map(rendered, plain_turns(options.data, options.share))]
    labelled = [*map(rendered, labelled_turns(options.data, (*HARMLESS, *RED_TEAM)))]
    tokenizer = make_tokenizer([*plain, *labelled])
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer), hidden_size=256, intermediate_size=768, num_hidden_layers=4,
            num_attention_heads=4, num_key_value_heads=2, head_dim=64, max_position_embeddings=1024,
            tie_word_embeddings=True, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
        )
    )  # fmt: skip
    for texts, rate, told in ((plain, 2e-3, "dialogues"), *[(labelled, 7e-4, "labelled rows")] * options.passes):
        loss = train(model, packed(tokenizer, [texts[i] for i in rng.permutation(len(texts))]), rate, rng, told)
        print(f"{told}: {len(texts):,} answers, loss {loss:.2f} in the end")
    with whole_folder(options.output) as unfinished:
        model.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)


if __name__ == "__main__":
    main()
