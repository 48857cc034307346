"""OpenAI's wire formats under moderation: requests, whole answers, streams; plain JSON values, no framework."""
