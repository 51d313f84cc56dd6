"""WizardLM's evolving prompts (arXiv 2304.12244), in the wording of the paper and of its repository.

The paper's appendix writes "#Given Prompt#" and has all six operations; the repository (`Evol_Instruct/`)
writes "#The Given Prompt#", says "complexity" where the paper's in-breadth prompt says "difficulty level",
and has no complicated input. Carriage returns and the repository's indentation are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

_DEPTH_TEMPLATE = """\
I want you act as a Prompt Rewriter.
Your objective is to rewrite a given prompt into a more complex version to make those famous AI systems \
(e.g., {famous} and GPT4) a bit harder to handle.
But the rewritten prompt must be reasonable and must be understood and responded by humans.
Your rewriting cannot omit the non-text parts such as the table and code in {given}:. \
Also, please do not omit the input in {given}.
You SHOULD complicate the given prompt using the following method:
{{method}}
You should try your best not to make the #Rewritten Prompt# become verbose, #Rewritten Prompt# can only add \
10 to 20 words into {given}.
'{given}', '#Rewritten Prompt#', 'given prompt' and 'rewritten prompt' are not allowed to appear in \
#Rewritten Prompt#
{given}:
{{question}}
#Rewritten Prompt#:
"""

_BREADTH_TEMPLATE = """\
I want you act as a Prompt Creator.
Your goal is to draw inspiration from the #Given Prompt# to create a brand new prompt.
This new prompt should belong to the same domain as the #Given Prompt# but be even more rare.
The LENGTH and {hardness} of the #Created Prompt# should be similar to that of the #Given Prompt#.
The #Created Prompt# must be reasonable and must be understood and responded by humans.
'#Given Prompt#', '#Created Prompt#', 'given prompt' and 'created prompt' are not allowed to appear in \
#Created Prompt#{stop}
#Given Prompt#:
{{question}}
#Created Prompt#:
"""

PAPER_DEPTH = _DEPTH_TEMPLATE.format(famous="ChatGPT", given="#Given Prompt#")
REPOSITORY_DEPTH = _DEPTH_TEMPLATE.format(famous="chatgpt", given="#The Given Prompt#")
PAPER_BREADTH = _BREADTH_TEMPLATE.format(hardness="difficulty level", stop=".")
REPOSITORY_BREADTH = _BREADTH_TEMPLATE.format(hardness="complexity", stop="")

PAPER_SENTENCES = {
    "constraints": "Please add one more constraints/requirements into #Given Prompt#",
    "deepening": (
        "If #Given Prompt# contains inquiries about certain issues, the depth and breadth of the inquiry "
        "can be increased."
    ),
    "concretizing": "Please replace general concepts with more specific concepts.",
    "reasoning": (
        "If #Given Prompt# can be solved with just a few simple thinking processes, you can rewrite it to "
        "explicitly request multiple-step reasoning."
    ),
}
REPOSITORY_SENTENCES = {
    name: sentence.replace("#Given Prompt#", "#The Given Prompt#")
    for name, sentence in PAPER_SENTENCES.items()
} | {"constraints": "Please add one more constraints/requirements into #The Given Prompt#'"}
"""The apostrophe at the end of the first is the repository's."""

INPUT_FORMATS: Mapping[str, str] = {
    "xml": "XML data",
    "sql": "SQL database",
    "python": "python code",
    "html": "HTML page",
    "shell": "Shell cmd",
    "json": "JSON data",
}
"""The formats of complicated input, as its prompt names them."""

_INPUT_TEMPLATE = """\
I want you act as a Prompt Rewriter.
Your objective is to rewrite a given prompt into a more complex version using dataformat to make those \
famous AI systems (e.g., chatgpt and GPT4) more difficult to handle.
But the rewritten prompt must be reasonable and must be understood and responded by humans.
You must add [{format}] format text as input data in [Rewritten Prompt]
"""
_INPUT_TURN = """\
The Given Prompt:
{question}
Rewritten Prompt(MUST contain a specific {format} as input):
{evolved}"""


def complicated_input(name: str, examples: Iterable[tuple[str, str]]) -> str:
    """Return the template that adds input of a format, with examples: a question and its evolution."""
    format_ = INPUT_FORMATS[name]
    asked = [*examples, ("{question}", "")]
    turns = [_INPUT_TURN.format(question=q, format=format_, evolved=made) for q, made in asked]
    return _INPUT_TEMPLATE.format(format=format_) + "\n####\n".join(turns)
