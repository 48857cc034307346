"""What people and LLMs are told when a text is stopped, unless a policy says it in its own words."""

STOP_TEXTS = {
    "default": {
        "en": "This content was stopped by a safety policy.",
        "zh": "该内容已被安全策略拦截。",
        "de": "Dieser Inhalt wurde durch eine Sicherheitsrichtlinie gestoppt.",
        "fr": "Ce contenu a été bloqué par une politique de sécurité.",
        "es": "Este contenido fue detenido por una política de seguridad.",
    },
    "tool_call": {
        "en": "This tool call was not run: a safety policy refused it ({category}). Do not repeat it. Go on without "
        "it, or tell the user that you cannot do this.",
    },
    "tool_result": {
        "en": "The result of this tool was withheld by a safety policy ({category}). Go on without it, or tell the "
        "user that it cannot be used.",
    },
    "repair": {
        "en": "Your answer was cut off here by a safety policy, since it was about to contain {category}. Think about "
        "what would be safe and still helpful. Then go on from exactly where the answer stops, without that content, "
        "without repeating what is already there, and without mentioning this notice.",
    },
}
"""Key to language to text; {category} is filled in where it stands."""
