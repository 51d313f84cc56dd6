"""Right answers of unusual kinds pass, and what only looks like them does not."""

from __future__ import annotations

from functools import partial

import pytest

from evolcoder.evaluate.benchmarks.livecodebench import wrong_answer
from evolcoder.sandbox import Sandbox
from evolcoder.sandbox.protocol import BatchComparison, BatchJob, CallJob, Limits

TENSOR = "import torch\ndef f(x=None): return "
TENSORS = {
    "one number": ("torch.tensor([3])", "assert f() == 3 and not f() != 3", True),
    "as a list": ("torch.tensor([3, 4])", "assert f().tolist() == [3, 4]", True),
    "beside an array": ("torch.ones(2)", "import numpy as np\nassert (f() == np.ones(2)).all()", True),
    "beside a tensor": ("torch.ones(2)", "import torch\nassert torch.equal(f(), torch.ones(2))", True),
    "as an argument": ("x.sum().item()", "import torch\nassert f(torch.ones(2)) == 2", True),
    "another number": ("torch.tensor([4])", "assert f() == 3", False),
    "no list": ("torch.tensor([3])", "assert f() == [3] or [3] == f() or not f() != [3]", False),
    "no infinity": ("torch.full((1,), float('inf'), dtype=torch.half)", "assert f() == 10 ** 39", False),
}


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize("case", TENSORS)
def test_a_tensor_is_judged_as_torch_has_it(sandbox: Sandbox, case: str, trusted: bool) -> None:
    pytest.importorskip("torch")
    value, tests, passes = TENSORS[case]
    job = CallJob(TENSOR + value, "f", tests, Limits(cpu_s=20.0), trusted_tests=trusted)
    verdict = sandbox.run(job).verdict
    assert (verdict.passed, verdict.tier) == (passes, "rpc"), verdict


@pytest.mark.parametrize("value", ["np.array([1, 2])", "np.array([])", "[np.array([1, 2]), 3]"])
def test_an_array_in_the_place_of_a_list_fails(sandbox: Sandbox, value: str) -> None:
    comparison = BatchComparison("a list", partial(partial, wrong_answer, ("[1, 2]",), True))
    program = f"import numpy as np\ndef f(): return {value}"
    outcome = sandbox.run(BatchJob(program, "f", ((),), comparison=comparison))
    assert (outcome.verdict.reason, outcome.compared) == ("failed", 1), outcome
