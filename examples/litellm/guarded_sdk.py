"""LiteLLM's own call with a guard around it; the answer is mocked, so that it runs offline."""

from guardrail import Guard
from guardrail.adapters.litellm import guarded_completion

guard = Guard.default()
messages = [{"role": "user", "content": "How do I bake bread?"}]
stream = guarded_completion(
    "openai/any", messages, guard=guard, stream=True, mock_response="Mix flour, water, salt and yeast, and bake it hot."
)
for chunk in stream:
    print(chunk.choices[0].delta.content or "", end="")
print(f"\n{chunk.choices[0].finish_reason}")
