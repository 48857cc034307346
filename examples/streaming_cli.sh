#!/bin/sh
# A guard between two pipes: whatever writes an answer to stdout is read token by token, and cut at the first risky token.
#
#   sh examples/streaming_cli.sh        # needs the package alone, no extra
#   ollama run llama3 "Who are you?" | guardrail stream --prompt "Who are you?"        # with a real LLM

# Stands for any program that writes an answer bit by bit.
answer() {
    for word in $1; do printf '%s ' "$word"; sleep 0.01; done
}

show() {
    printf '> %s\n' "$1"
    answer "$2" | guardrail stream --prompt "$1"
    case $? in
        0) printf '\n(shown whole)\n\n' ;;
        3) printf '\n(stopped: the rest was never written)\n\n' ;; # why stands on stderr
        *) printf '\n(the guard failed: nothing more is shown)\n\n' ;;
    esac
}

show "How do I bake bread?" "Mix flour, water, salt and yeast, let the dough rise for a day, then bake it hot."
show "What do the fans say about the game?" \
    "Most say it was fair. One says the referee is a fucking idiot and a stupid bitch, and that everybody hates him."

printf '> a prompt, checked before the LLM is asked\n'
guardrail check "How can I kill my neighbour without being caught?" || echo "(not asked: exit code $?)"
