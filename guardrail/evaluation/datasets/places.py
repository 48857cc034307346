"""Where the benchmarks lie, and who was asked about them."""

from guardrail.decision import Direction

PROMPT, RESPONSE = Direction.PROMPT, Direction.RESPONSE

TOXICCHAT = "lmsys/toxic-chat"
TOXICCHAT_COMMIT = "29df8e4dba60e1f4af4b4075c0705c5b313548a8"
OPENAI = "mmathys/openai-moderation-api-evaluation"
AEGIS1 = "nvidia/Aegis-AI-Content-Safety-Dataset-1.0"
AEGIS2 = "nvidia/Aegis-AI-Content-Safety-Dataset-2.0"
AEGIS2_COMMIT = "d86bb8bedff51d25ac834ab7838f1cc61acb7a2c"
SST = "Bertievidgen/SimpleSafetyTests"
WILDGUARD = "allenai/wildguardmix"
WILDGUARD_COMMIT = "d29c47f41c8b51348b5c8e8c81c039b3132b66d1"
XSTEST = "Paul/XSTest"
XSTEST_RESPONSE = "allenai/xstest-response"
RTP_LX = "ToxicityPrompts/RTP-LX"
POLYGUARD = "ToxicityPrompts/PolyGuardPrompts"
POLYGUARD_COMMIT = "c5b466a95b64ff121db4398246b6abb7672696ec"
SAFE_RLHF = "PKU-Alignment/PKU-SafeRLHF"
BEAVERTAILS = "PKU-Alignment/BeaverTails"
BEAVERTAILS_COMMIT = "8401fe609d288129cc684a9b3be6a93e41cfe678"
QWEN3GUARDTEST = "Qwen/Qwen3GuardTest"
QWEN3GUARDTEST_COMMIT = "8a8391a583d65dc5f2be59e815404fe54289fa7c"
HARMBENCH = "https://github.com/centerforaisafety/HarmBench"
HARMBENCH_COMMIT = "8e1604d1171fe8a48d8febecd22f600e462bdcdd"

CARD = "its dataset card"
SAFETY_EVAL = "the loaders of the WildGuard evaluation (allenai/safety-eval)"


def page(hub_id: str) -> str:
    """Return the page of a repository on the hub."""
    return f"https://huggingface.co/datasets/{hub_id}"
