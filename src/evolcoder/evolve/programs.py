"""Answers that are programs: parsed, or run with tests that the teacher writes."""

from __future__ import annotations

from evolcoder.evolve.answering import Answering, AnswerVerifier
from evolcoder.evolve.settings import EvolveSettings
from evolcoder.execution.engine import Engine


def _verifier(settings: EvolveSettings, blocking: bool, engine: Engine) -> AnswerVerifier:
    from evolcoder.evolve.verification import Verifier

    return Verifier(
        tests=settings.verify == "tests",
        repairs=settings.repairs if settings.answers == 1 else 0,
        blocking=blocking,
        cpu_s=settings.verify_cpu_s,
        engine=engine,
    )


PROGRAMS = Answering(verifiers={"syntax": _verifier, "tests": _verifier})
