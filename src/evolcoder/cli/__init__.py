"""The command line: one small module a command, loaded only when that command is asked for."""

from __future__ import annotations

import sys

try:
    import errno
    import importlib
    import os
    import signal
    from types import FrameType

    import click

    from evolcoder import __version__
    from evolcoder.cli.terminal import guard_streams
    from evolcoder.errors import EvolcoderError, UserError
except KeyboardInterrupt:  # Ctrl-C while the command line is loaded, before `main` can tell of it
    sys.exit(130)

# name -> (module under evolcoder.cli, one line for --help). Listed here so that --help imports no command.
COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("run", "Run a whole recipe: evolve, fine-tune, evaluate, round after round."),
    "evolve": ("evolve", "Evolve seed instructions into harder ones and answer them."),
    "seeds": ("seeds", "Make seed instructions from your own code."),
    "benchmark": ("benchmark", "Make a private benchmark from your own code."),
    "train": ("train", "Fine-tune a base model on instructions."),
    "reinforce": ("reinforce", "Train a model on whether its own programs work."),
    "export": ("export", "Write a model as a GGUF file with an Ollama Modelfile."),
    "serve": ("serve", "Serve a model over an OpenAI-compatible API."),
    "judge": ("judge", "Judge programs for other trainers: an HTTP server over the sandbox."),
    "generate": ("generate", "Answer a file of instructions in batch."),
    "evaluate": ("evaluate", "Sample a model on benchmarks and score it."),
    "score": ("score", "Judge a file of samples against a benchmark, in the sandbox."),
    "agreement": ("agreement", "Say how far a judge agrees with the people of a blind review."),
    "compare": ("compare", "Compare two sample files problem by problem."),
    "ablate": ("ablate", "Compare rounds, methods and teachers of a recipe, as the paper's ablations do."),
    "leaderboard": ("leaderboard", "Many evaluations and the published scores, as one table and one chart."),
    "report": ("report", "Write the HTML report of a run."),
    "app": ("app", "Start, watch and compare runs in the browser; data, problems, chat, blind review."),
    "publish": ("publish", "Push a run's model and data set to the Hugging Face hub, or show what would go."),
    "data": ("data", "Look into a data set: stats, samples, the tree of one seed."),
    "decontaminate": ("decontaminate", "Find training rows that copy benchmark problems."),
    "journal": ("journal", "Show what a run's journal holds: size, hits, cost."),
    "recipe": ("recipe", "List the shipped recipes, check one, or print the JSON Schema."),
    "benchmarks": ("benchmarks", "List the benchmarks: size, licence, what is missing on this machine."),
    "setup": ("setup", "Build the environment that a benchmark is judged in (ds1000, bigcodebench)."),
    "doctor": ("doctor", "Say what works on this machine, and what to install for the rest."),
}


class LazyGroup(click.Group):
    """A click group whose commands are imported when they are called, not when they are listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, in the order a user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command; None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"evolcoder.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command list from the table, without importing the commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__, prog_name="evolcoder")
def cli() -> None:
    """Build a code model from instructions: evolve, fine-tune, measure, repeat.

    \b
    Example:
      evolcoder run quickstart
    """


_DISK_SAYS_NO = (errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_PLACE = (errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP)


def _known_failure(error: Exception) -> EvolcoderError | None:
    """Return the error that a failure is told as: its own; the mistake of a user's file; a disk that takes
    nothing, or a name under which nothing can stand: below a file, in place of a folder, too long."""
    if isinstance(error, EvolcoderError):
        return error
    own_files = sys.modules.get("evolcoder.own_files")
    mistake: EvolcoderError | None = own_files.own_mistake(error) if own_files is not None else None
    if mistake is not None:
        return mistake
    if not isinstance(error, OSError) or error.errno not in _DISK_SAYS_NO + _NO_ROOM + _NO_PLACE:
        return None
    where, why = error.filename or "the disk", str(error.strerror).lower()
    if error.errno in _NO_PLACE:
        return UserError(f"{where}: nothing can be written there ({why}); nothing was changed")
    further = ": make room, then the same command continues" if error.errno in _NO_ROOM else ""
    return EvolcoderError(f"{where}: {why}; what was there is safe{further}")


def _hear_sigterm() -> list[int]:
    """Have SIGTERM, as schedulers send it, stop a command as Ctrl-C does; its number is noted then."""
    heard: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        heard.append(number)
        at_ctrl_c = signal.getsignal(signal.SIGINT)  # an event loop that runs has its own
        if callable(at_ctrl_c):
            at_ctrl_c(signal.SIGINT, frame)
            return
        # Ctrl-C is ignored, as where a shell's script says `&`. A loop that runs ends between two steps.
        events = sys.modules.get("asyncio.events")
        loop = events._get_running_loop() if events is not None and len(heard) == 1 else None
        if loop is None:
            raise KeyboardInterrupt
        loop.call_soon_threadsafe(signal.default_int_handler, signal.SIGINT, None)

    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, stop)
    return heard


def main() -> None:
    """Run the command line; where a failure's cause is known, end with one message and an exit code."""
    heard = _hear_sigterm()
    try:
        # Threads of torch that wait by spinning slow everything down on a machine that is shared; this is
        # read when the OpenMP library loads, so it is set before any command.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        guard_streams()
        code = cli(standalone_mode=False)
    except click.exceptions.Exit as exit_:
        sys.exit(exit_.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped; everything finished is kept, the same command continues", err=True)
        sys.exit(128 + (heard or [signal.SIGINT])[0])
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except Exception as error:
        if (known := _known_failure(error)) is None:
            raise
        click.echo(f"error: {known}", err=True)
        sys.exit(known.exit_code)
    sys.exit(code if isinstance(code, int) else 0)
