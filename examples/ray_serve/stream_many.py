"""Twenty answers streamed at once through the service, each over a socket of its own.

guardrail serve, or serve run examples/ray_serve/serve.yaml, then: python examples/ray_serve/stream_many.py
"""

import asyncio
import os

from guardrail.client import AsyncClient

URL = os.environ.get("GUARDRAIL_URL", "http://127.0.0.1:8000")
ANSWER = "Mix flour and water, add salt and yeast, knead the dough, let it rise and bake it."


async def stream(client: AsyncClient) -> tuple[str, str]:
    """Send an answer word by word; return the replica that read it, and what may be shown."""
    async with client.stream("How do I bake bread?") as answer:
        released = [await answer.feed(f"{word} ") for word in ANSWER.split()]
        released.append(await answer.finish())
        return str(answer.id).partition(".")[0], "".join(released)


async def main() -> None:
    """Run them all, and say where they were read."""
    client = AsyncClient(URL, os.environ.get("GUARDRAIL_KEY_APP"))
    told = await asyncio.gather(*(stream(client) for _ in range(20)))
    for name in sorted({replica for replica, _ in told}):
        print(name, sum(replica == name for replica, _ in told), "streams")
    print(told[0][1])


if __name__ == "__main__":
    asyncio.run(main())
