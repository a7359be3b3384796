"""Build privileged data: ``python scripts/make_privileged.py --task jsonl --task.path FILE --output FILE``."""

import sys

from rlsd_pl.commands.presets import print_help

FLAGS = [
    ("--output FILE", "the table again, as JSONL, with one column more; call again to go on where it stopped"),
    ("", "of a task that is no table (--task reasoning_gym, lab): its question, answer and solution"),
    (
        "--column reference",
        "the new column (no table: solution); train with --context solution --context.field reference",
    ),
    ("--model MODEL", "who proposes solutions; kept only if the verifier passes them, the shortest for each problem"),
    ("--endpoint URL", "propose through an OpenAI-compatible service instead, with --endpoint_model NAME"),
    ("--key_variable OPENAI_API_KEY", "the environment variable with the service's key"),
    ("--source sympy", "work out linear and quadratic equations and arithmetic instead; all else is not solved"),
    ("--documents FILE", "attach texts (JSONL: id, text) that the column --retrieved names, instead of solutions"),
    ("--data.group_size 8", "proposals per problem; also --data.max_completion_tokens, --data.temperature"),
    ("--batch 32", "problems per call of the engine or the service, and per write"),
    ("--limit N", "stop after N problems; needed for a task without end"),
]


def main() -> None:
    """Show help without loading the libraries, or build."""
    argv = sys.argv[1:]
    if {"-h", "--help"} & set(argv):
        print_help("make_privileged.py", "Reference solutions or documents for the teacher, checked.", FLAGS)
        return
    from rlsd_pl.commands.privileged.command import make_privileged

    make_privileged(argv)


if __name__ == "__main__":
    main()
