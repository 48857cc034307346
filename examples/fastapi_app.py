"""A FastAPI app of your own, whose answers pass a guard while they stream; to serve it: uvicorn fastapi_app:app."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import httpx
from fastapi import FastAPI, HTTPException
from fastapi.responses import StreamingResponse

from guardrail import Guard

ANSWERS = {
    "How do I bake bread?": "Mix flour, water, salt and yeast, let the dough rise for a day, then bake it hot.",
    "What do the fans say about the game?": "Most say it was fair. One says the referee is a fucking idiot and a "
    "stupid bitch, and that everybody hates him.",
}
app = FastAPI()
guard = Guard.default()  # one model in memory for all requests


async def llm(question: str) -> AsyncIterator[str]:
    """Stand for any LLM client that streams."""
    for word in ANSWERS[question].split():
        yield word + " "


async def guarded(question: str) -> AsyncIterator[str]:
    """Yield what may be shown, as soon as it may be shown."""
    with await guard.aopen_stream(question) as stream:
        async with aclosing(llm(question)) as deltas:  # a stop ends the LLM's work too
            async for delta in deltas:
                yield await stream.afeed(delta)
                if stream.is_stopped:
                    break
        yield await stream.afinish()
    if stream.decision.stopped:
        yield f" [stopped: {stream.decision.category}]"


@app.get("/ask")
async def ask(question: str) -> StreamingResponse:
    """Answer a question, or refuse it before the LLM is asked."""
    decision = await guard.acheck_prompt(question)
    if decision.stopped:
        raise HTTPException(400, f"This question is not answered: {decision.category}.")
    return StreamingResponse(guarded(question), media_type="text/plain")


async def main() -> None:
    """Ask the app three questions, as a browser would."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app") as browser:
        for question in (*ANSWERS, "How can I kill my neighbour without being caught?"):
            answer = await browser.get("/ask", params={"question": question})
            print(f"> {question}\n  {answer.status_code} {answer.text}")


if __name__ == "__main__":
    asyncio.run(main())
