"""How much is measured: quickly, or in full."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sizes:
    """Lengths and repetitions of all measurements. What a model's context cannot hold is left out or shortened.

    Attributes:
        bandwidth_bytes: memory that is read to measure the bandwidth; several times what the caches hold.
        gemm_size: sides of the square int8 matrices that are multiplied.
        contexts: tokens held while single tokens are read; the first is the headline.
        decode_rounds: alternations between bandwidth, ours and torch.
        decode_tokens: tokens timed a round and context.
        torch_tokens: the same for torch, which takes several times as long for each.
        chunks: tokens a call whose cost is compared with that of one.
        chunk_rounds: repetitions.
        stream_rate: tokens a second of the LLM that the guard follows.
        stream_s: seconds for which it does.
        prompts: tokens of whole prompts.
        prompt_rounds: repetitions.
        prompt_chunks: tokens a call in which one prompt is read.
        chunked_prompt: tokens of that prompt.
        threads_prompt: tokens of the prompt that is read with 1 to all threads.
        long_prompt: tokens of a prompt that is read in a process of its own, for its memory; 0 leaves it out.
        reread: tokens of answers that are read as a whole.
        reread_tokens: tokens of ours timed at each of these lengths.
        streams: numbers of streams at once.
        streams_context: least and most tokens that they hold.
        streams_rounds: alternations between sequential and simultaneous streams.
        streams_tokens: tokens of each stream a round.
        stalling_prompt: tokens of a prompt that arrives while streams run.
        memory_tokens: tokens read in a process of its own, for its memory.
        prefix_steps: steps of the agent loop.
        prefix_is_timed: whether the model reads them; else their tokens are counted.
        deltas: pieces of text that the gate takes.
    """

    bandwidth_bytes: int = 2**30
    gemm_size: int = 2048
    contexts: tuple[int, ...] = (256, 1024)
    decode_rounds: int = 20
    decode_tokens: int = 10
    torch_tokens: int = 3
    chunks: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    chunk_rounds: int = 20
    stream_rate: float = 50.0
    stream_s: float = 10.0
    prompts: tuple[int, ...] = (256, 1024)
    prompt_rounds: int = 5
    prompt_chunks: tuple[int, ...] = (32, 64, 128, 256, 512)
    chunked_prompt: int = 512
    threads_prompt: int = 256
    long_prompt: int = 8192
    reread: tuple[int, ...] = (1, 16, 64, 128, 256, 384, 512, 768, 1024, 1280, 1536, 2048)
    reread_tokens: int = 10
    streams: tuple[int, ...] = (1, 4, 16)
    streams_context: tuple[int, int] = (200, 320)
    streams_rounds: int = 5
    streams_tokens: int = 12
    stalling_prompt: int = 2000
    memory_tokens: int = 1000
    prefix_steps: int = 30
    prefix_is_timed: bool = True
    deltas: int = 4000


FULL = Sizes()
QUICK = Sizes(
    decode_rounds=6, decode_tokens=8, torch_tokens=2, chunk_rounds=5, stream_s=2.5, prompt_rounds=2,
    prompt_chunks=(32, 64, 128), chunked_prompt=128, threads_prompt=128, long_prompt=0,
    reread=(1, 8, 16, 32, 64, 96, 128, 160, 192, 256, 384, 512), reread_tokens=4, streams_rounds=2, streams_tokens=6,
    stalling_prompt=1000, memory_tokens=256, prefix_is_timed=False, deltas=2000,
)  # fmt: skip
"""Two minutes with the 0.6B shape on two cores."""
