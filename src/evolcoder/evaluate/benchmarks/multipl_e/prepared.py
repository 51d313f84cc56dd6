"""What a compiler can be given ready-made, so that it does not do the same work for every program.

Made once from text of ours, on this machine, kept in the cache folder by the toolchain's version, and shown
to programs read-only: nothing a program does can reach the next one through it. Where making it fails,
programs are compiled without; their verdicts are the same.
"""

from __future__ import annotations

import importlib.resources
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from evolcoder.cache import cache_folder
from evolcoder.evaluate.benchmarks.multipl_e.languages import GO_ENVIRONMENT
from evolcoder.evaluate.benchmarks.multipl_e.toolchains import MOUNT, Found
from evolcoder.runs import content_hash

INSIDE = f"{MOUNT}/prepared"
_VERSION = 1
_LIMIT_S = 300

_JAVA_EXAMPLE = """
import java.util.*;
import java.util.stream.*;
class Problem {
    public static ArrayList<Long> doubled(List<Long> numbers) {
        Map<Long, Integer> seen = new HashMap<>();
        for (long number : numbers) seen.merge(number, 1, Integer::sum);
        return numbers.stream().map(n -> 2 * n).collect(Collectors.toCollection(ArrayList::new));
    }
    public static void main(String[] args) {
        assert(doubled(new ArrayList<Long>(Arrays.asList(1l, 2l))).equals(List.of(2l, 4l)));
        System.out.println(String.format("%d %s", 1, new StringBuilder("x").reverse()));
    }
}
"""
_GO_PACKAGES = (
    "bytes container/heap container/list crypto/md5 encoding/hex encoding/json errors fmt math math/big "
    "math/bits math/cmplx math/rand os reflect regexp sort strconv strings sync testing time unicode "
    "unicode/utf8"
)
_GO_EXAMPLE = """package warm_test

import ({packages})

var _ = []interface{}{bytes.Equal, heap.Init, list.New, md5.New, hex.EncodeToString, json.Marshal, errors.New,
    math.Abs, big.NewInt, bits.Len, cmplx.Abs, rand.Int, os.Exit, reflect.DeepEqual, regexp.MustCompile,
    sort.Ints, strconv.Itoa, strings.Join, time.Now, unicode.IsUpper, utf8.RuneCountInString}

var lock sync.Mutex

func TestWarm(t *testing.T) {
    if fmt.Sprintf("%v", 1) != "1" {
        t.Errorf("wrong")
    }
}
""".replace("{packages}", "; ".join(f'"{package}"' for package in _GO_PACKAGES.split()))


def prepared_folder(language: str, tools: Mapping[str, Found]) -> Path | None:
    """Return the folder of what is ready-made for a language, made now if need be; None for none."""
    make = _MAKERS.get(language)
    if make is None:
        return None
    found = [(tool.here, tool.inside, tool.version) for tool in tools.values()]
    key = content_hash(_VERSION, language, found)
    folder = cache_folder() / "toolchains" / f"{language}-{key[:16]}"
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError:
        return None
    try:  # whole or not at all; of two makers at once, the first one's stays
        make(partial, tools)
        for path in [partial, *partial.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
        partial.rename(folder)
    except (OSError, subprocess.SubprocessError):
        pass
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder if folder.is_dir() else None


def _run(command: list[str], folder: Path, environment: Mapping[str, str] | None = None) -> None:
    subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        check=True,
        timeout=_LIMIT_S,
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )


def _precompiled_header(folder: Path, tools: Mapping[str, Found]) -> None:
    (folder / "all.h").write_text("#include <assert.h>\n#include <bits/stdc++.h>\n")
    header = ["-std=c++17", "-x", "c++-header", "all.h", "-o", "all.h.gch"]
    _run([tools["compiler"].here, *header], folder)


def _class_archive(folder: Path, tools: Mapping[str, Found]) -> None:
    """Archive the classes that javac loads (class-data sharing), already parsed and verified."""
    (folder / "Problem.java").write_text(_JAVA_EXAMPLE)
    tuples = tools["tuples"].inside
    # The archive is good for the class path it was made with, as the sandbox spells it.
    command = [tools["runtime"].here, "-XX:ArchiveClassesAtExit=javac.jsa", "-XX:+UseSerialGC", "-cp", tuples]
    command += ["com.sun.tools.javac.Main", "-encoding", "UTF8", "-cp", tuples, "-d", "classes"]
    _run([*command, "Problem.java"], folder)
    shutil.rmtree(folder / "classes")


def _compiler_snapshot(folder: Path, tools: Mapping[str, Found]) -> None:
    # .../typescript/bin/tsc, with its library beside; TypeScript 7 is no script any more and has none.
    compiler = tools["compiler"]
    real = os.path.realpath(compiler.here)  # under /usr it is the same inside
    here, inside = (
        Path(at).parent.parent / "lib" for at in (real, compiler.inside if compiler.folders else real)
    )
    source = importlib.resources.files(__package__) / "snapshot_typescript.js"
    with importlib.resources.as_file(source) as script:
        build = ["--snapshot-blob", "typescript.blob", "--build-snapshot", str(script)]
        environment = {"TYPESCRIPT_LIB": str(inside), "TYPESCRIPT_LIB_HERE": str(here)}
        _run([tools["runtime"].here, *build], folder, environment)


def _build_cache(folder: Path, tools: Mapping[str, Found]) -> None:
    """Compile the standard library's packages that programs import, and what `go vet` says of them."""
    work = folder / "work"
    work.mkdir()
    (work / "warm_test.go").write_text(_GO_EXAMPLE)
    environment = {**GO_ENVIRONMENT, "GOCACHE": str(folder / "go"), "GOPATH": str(work)}
    _run([tools["compiler"].here, "test", "warm_test.go"], work, environment)
    shutil.rmtree(work)


_MAKERS: dict[str, Callable[[Path, Mapping[str, Found]], None]] = {
    "cpp": _precompiled_header,
    "java": _class_archive,
    "ts": _compiler_snapshot,
    "go": _build_cache,
}
