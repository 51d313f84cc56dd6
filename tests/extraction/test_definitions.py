"""Which block of an answer defines the function, in languages other than Python."""

from __future__ import annotations

import json

import pytest

from evolcoder.extraction import Extraction
from evolcoder.extraction.code_blocks import block_of, code_blocks, defining_program
from evolcoder.extraction.definitions import definition
from evolcoder.extraction.thinking import without_thinking

DEFINES = """
int add(int x) {
public static long add(long x, long y) {
pub fn add<'a>(x: &'a i32) -> i32 {
fn add(x: [i32; 3]) -> i32 {
add() {
func add(x: Int) -> Int {
export default async function add(a) {
const add = (x, y) => x + y;
export const add = (x: number, y: number): number => x + y;
const add = async x => x
local function add(x, y)
M.add = function(x)
def self.add(x)
private def add(x)
add <- function(x, y) {
public List<Integer> add(int[] a) throws Exception {
public int add(int a, Func<int, int> f = null) {
unsigned long long add(int (*f)(int), int y) {
def add(x: Int): Int = {
function add($x) {
public static <T> List<T> add(List<T> x) {
""".strip().split("\n")

DEFINES_NOT = """
if (add(3) == 6) {
while add(1) {
int main() { cout << add(3); }
const r = add(3);
use crate::add;
import add from './add'
const add = require('./add');
add = (1 + 2)
assert(add(1) == 2)
x.add(1) {
# add(1) {
add(1, 2) do |x| {
""".strip().split("\n")

STUBS = [
    "function add(x) {\n  // TODO\n}",
    "function add(x) {\n  throw new Error('Not implemented');\n}",
    "function add(x) {\n  throw new UnsupportedOperationException();\n}",
    "function add(x) {}",
    "add() {\n    :\n}",
]


@pytest.mark.parametrize("code", DEFINES)
def test_a_definition_is_seen(code: str) -> None:
    assert definition(code, "add")


@pytest.mark.parametrize(
    "code", [*DEFINES_NOT, "console.log(add(3));\nif (x) {", "let x = add(1);\nfunction f() {"]
)
def test_a_call_an_import_or_a_value_is_no_definition(code: str) -> None:
    assert definition(code, "add") is None


def fenced(code: str, label: str = "js") -> str:
    return f"```{label}\n{code}\n```\n"


RIGHT = "function add(x, y) {\n  return x + y;\n}"
DRAFT = "function add(x, y) {\n  return x;\n}"
EXAMPLE = fenced("console.log(add(1, 2));")


@pytest.mark.parametrize(
    "answer",
    [
        EXAMPLE + fenced(RIGHT, "") + EXAMPLE,
        fenced(DRAFT) + "No:\n" + fenced(RIGHT, "text"),
        *(fenced(stub) + fenced(RIGHT) + fenced(stub) for stub in STUBS),
        fenced(RIGHT) + "```js\nfunction add(x, y) {\n  return x",
        fenced(RIGHT) + fenced("function add(x, y {"),
        f"Here it is.\n\n{RIGHT}\n\nUse it:\n{EXAMPLE}",
        f"```js\n{RIGHT}```\n{EXAMPLE}",
        f"<think>\n{fenced(DRAFT)}</think>\n{fenced(RIGHT)}",
        fenced(RIGHT + "<|im_end|>"),
        json.dumps({"draft": DRAFT, "code": RIGHT}),
        fenced(json.dumps({"file": {"content": RIGHT}}), "json") + "It adds.",
        fenced(json.dumps({"code": DRAFT}), "json") + fenced(RIGHT),
        f"<plan>\n{DRAFT}\n</plan>\n<answer>\n{RIGHT}\n</answer>\n{fenced(DRAFT)}",
        fenced(RIGHT) + f"<explanation>\n{fenced(DRAFT)}</explanation>",
        fenced("".join(f"+{line}\n" for line in RIGHT.split("\n")), "diff"),
        fenced(RIGHT) + fenced(f"-{DRAFT}\n+{DRAFT}", "diff"),
        f"~~~js\n{RIGHT}\n~~~\n",
        fenced(RIGHT) + f"\nHuman: And without y?\n\nAssistant: {fenced(DRAFT)}",
    ],
)
def test_the_block_that_defines_the_function_is_taken(answer: str) -> None:
    found = defining_program(without_thinking(answer), "add", "javascript")
    assert found is not None and found.strip() == RIGHT


@pytest.mark.parametrize(("how", "taken"), [("first", DRAFT), ("fence", DRAFT), ("last", RIGHT)])
def test_the_first_and_the_last_block_are_taken_by_name(how: Extraction, taken: str) -> None:
    answer = fenced("npm i", "sh") + fenced(DRAFT) + fenced(RIGHT) + fenced("done", "text")
    assert (block_of(code_blocks(answer), "javascript", how) or "").strip() == taken


def test_a_special_token_after_a_bare_program_is_no_part_of_it() -> None:
    code = "function add(x, y) {\n  return x + y;\n}"
    for token in ("<|im_end|>", "</s>", "<file_sep>"):
        assert defining_program(code + token, "add", "javascript") == code + "\n"


def test_a_bare_program_may_be_quoted() -> None:
    code = "function add(x, y) {\n  return x + y;\n}\n"
    assert defining_program("> " + code.replace("\n", "\n> "), "add", "javascript") == code


def test_many_calls_take_linear_time() -> None:
    assert (
        definition("add(1)\n" * 100_000, "add") is None
    )  # half an hour where each call looks through the rest
