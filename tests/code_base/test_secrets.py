"""Secrets planted in a code base, 59 kinds in twelve kinds of places: none is sent or stored."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import pytest
from tests.cli.teacher_server import TeacherServer
from tests.code_base.conftest import MIT, evolcoder

from evolcoder.code_base.secret_rules import secret_in

# Invented, and put together here so that no scanner takes this file for a leak.
SECRETS = {
    "AWS access key": "AKIA" + "Q7ZLM3XVPT5NKD2R",
    "AWS secret key": "wJ4rXUtnFEMI/K7MDENG+" + "bPxRfiCYq9LmPwZk3Tv",
    "GitHub token": "ghp_" + "r4Nd0mT0k3nF0rTh1sT3stAAbbCCddEEffGG",
    "GitLab token": "glpat-" + "Zx9Yw8Vu7Ts6Rq5Po4Nm",
    "Slack token": "xoxb-" + "172839405162-839405162738-QwErTyUiOpAsDfGhJkLzXcVb",
    "Slack webhook": "https://hooks.slack.com/services/" + "T0Q1W2E3R/B4T5Y6U7I/o8P9a0S1d2F3g4H5j6K7l8Z9",
    "Stripe key": "sk_live_" + "9sDf8gHj7kLz6xCv5bNm4qWe",
    "Google API key": "AIza" + "SyD3mN0tR3aLk3YbUtL00ksL1k3On3Ab",
    "private key": "-----BEGIN RSA PRIVATE KEY-----",
    "JSON web token": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."
    + "eyJzdWIiOiI3NzEyMzQ1IiwibmFtZSI6Ik5vYm9keSJ9.k9Qm2Vd8Xs1Lp7Rt4Wy6Zb3Nc5Hf0Jg",
    "password in a URL": "postgres://shop:s3cr3tpw@db/orders",
    "npm token": "//registry.npmjs.org/:_authToken=npm_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8",
    "PyPI token": "pypi-" + "AgEIcHlwaS5vcmcCJDk4NzY1NDMyLWFiY2QtZWZnaC0xMjM0LTU2Nzg5MGFiY2RlZg" + "Q" * 24,
    "SendGrid key": "SG." + "nG8xV2kP5rT9wQ1zY4mB7c." + "Hj3Lk6Df9Sa2Qw5Er8Ty1Ui4Op7Zx0Cv3Bn6Mm9Lk2H",
    "Telegram token": "7182930456:" + "AAHk3jL9mPq2RsT5vWxYz8BcDfGhJkNmQr4",
    "password": 'password = "correct-horse-7"',
    "random hexadecimal": "f3a91c07be5d4286a0917c3e5b8d2f64",
    "mail address": "j.doe+billing@acme-shop.io",
    "private URL": "https://wiki.acme-shop.io/pages/margins",
    "private host": "10.20.30.41",
}
FURTHER_SECRETS = {
    "GitHub fine-grained token": "github_pat_"
    + "11AKQ3ZLM0aWdKfHsJdKLq_mVbNcXzPoIuYtReWqAsDfGhJkLmNbVcXzQwErTyUiOpLkJh",
    "GitLab runner token": "glrt-" + "t1_ZxYwVuTsRqPoNmLkJi",
    "Slack app token": "xapp-1-" + "A0QWERTYUIO-1728394051627-" + "abfecd" * 10,
    "Stripe restricted key": "rk_live_" + "pLmOkNijBuHvYgCtFx",
    "Twilio key": "SK" + "f3a91c07be5d4286a0917c3e5b8d2f64",
    "npm token": "npm_" + "qWeRtYuIoPaSdFgHjKlZxCvBnMqWeRtYuIoP",
    "AWS session": "ASIA" + "Q7ZLM3XVPT5NKDWR",
    "Google token": "ya29." + "a0AfHSMBqWeRtYuIoPaSdFgHjKl",
    "Google service account": '{"type": "service_account", "client_email": "x@acme.iam.gserviceaccount.com"}',
    "Azure storage account": "AccountName=acmeshop;AccountKey=" + "qWeRtYuIoPaSdFgHjKlZxCvBnM" * 2 + "==",
    "Azure signature": "sv=2022-11-02&ss=b&sig=" + "qWeRtYuIoPaSdFgHjKlZxCvBnM%3D",
    "Azure client secret": "kQz8Q~" + "dEfGhIjKlMnOpQrStUvWxYzAbCdEfGhIjK",
    "OpenAI key": "sk-proj-" + "qWeRtYuIoPaSdFgHjKlZxCvBnMqWeRtYuIoP",
    "Hugging Face token": "hf_" + "qWeRtYuIoPaSdFgHjKlZxCvBnMqWeRtYuI",
    "token without signature": "eyJhbGciOiJub25lIn0." + "eyJzdWIiOiJub2JvZHkifQ.",
    "encrypted private key": "-----BEGIN ENCRYPTED " + "PRIVATE KEY-----",
    "PGP private key": "-----BEGIN PGP " + "PRIVATE KEY BLOCK-----",
    "login key with its owner": "ssh-ed25519 " + "AAAAC3NzaC1lZDI1NTE5AAAAIKq jane@laptop",
    "user and password at a public host": "https://jane:" + "letmein@github.com/jane/shop.git",
    "basic authorization": "Authorization: Basic " + "amFuZTpsZXRtZWlu",
    "bearer authorization": "Authorization: Bearer " + "qwertyuiopasdf",
    "host of a cluster": "orders.shop.svc.cluster.local",
    "host with its port": "db.prod.acme.internal:5432",
    "public address of a server": "51.178.93.20",
    "private IPv6 address": "fd12:3456:789a:1::1",
    "link-local address": "169.254.10.12",
    "mail address in words": "jane.doe at acme-shop dot io",
    "mail address with a tag": "jane.doe+orders@acme-shop.io",
    "key in base64": "QUtJQVE3WkxNM1hWUFQ1TktEMlI=",
    "user and password in base64": "amFuZTpsZXRtZWluLW5vdw==",
    "short random hexadecimal": "f3a91c07be5d4286",
    "name of a data source": "host=db user=shop password=letmein dbname=orders",
    "connection string": "Server=db;Database=orders;User Id=shop;Password=letmein;",
    "Oracle address": "jdbc:oracle:thin:shop/letmein@//db:1521/orders",
    "database address": "mongodb+srv://shop:" + "letmein@cluster0.qwert.mongodb.net/orders",
    "cookie": "Cookie: sessionid=k3j4h5g6f7d8s9a0",
    "home folder": "/home/janedoe/margins",
    "seed of one-time passwords": "JBSWY3DPEHPK3PXP",
    "universal id": "1b4e28ba-2fa1-11d2-883f-0016d3cca427",
}
ASSIGNMENTS = (
    "connect(user='shop', passwd='letmein')",
    "load(passphrase='open sesame')",
    "requests.get(url, auth=('jane', 'letmein'))",
    "HTTPBasicAuth('jane', 'letmein')",
    "token = 'letmein'",
    "settings = {'token': b'letmein'}",
    "password: str = 'letmein'",
    "password = (\n    'letmein'\n)",
    "os.environ.get('DB_PASSWORD', 'letmein')",
    "client.set_password('letmein')",
    "run(['tool', '--password', 'letmein'])",
    "run('tool --token=letmein')",
    "# password: letmein",
    "'''\nusername: jane\npassword: letmein\n'''",
    'password := "letmein"',
    "headers = {'Authorization': 'Bearer qwertyuiop'}",
    "cookies = {'sessionid': 'k3j4h5g6f7d8s9a0'}",
    "run('mysql -u shop -pletmein orders')",
    "run('curl -u jane:letmein x')",
    "'''\nexport DB_PASSWORD=letmein\n'''",
    "'''\n[db]\nuser = jane\npassword = letmein\n'''",
    '"{\\"password\\": \\"letmein\\"}"',
    "'<password>letmein</password>'",
    "'jane%40acme-shop.io'",
    "'ghp_r4Nd0mT0k3nF0r' + \"Th1sT3stAAbbCCddEEffGG\"",
    r"r'\\fileserver\margins'",
)
PLACES: dict[str, Callable[[str], str]] = {
    "a string": lambda secret: f"key = {secret!r}",
    "a comment": lambda secret: f"# was {secret}",
    "a docstring": lambda secret: f'"""Ask with\n    {secret}\n    """',
    "bytes": lambda secret: f"key = {secret.encode()!r}",
    "an f-string": lambda secret: f"key = f{_braced(secret)!r}",
    "literals that meet": lambda secret: "key = ({!r}  # one\n        {!r})".format(*_halves(secret)),
    "a sum": lambda secret: "key = {!r} + {!r}".format(*_halves(secret)),
    "an f-string that meets another": lambda secret: "key = f{!r} rf{!r}".format(
        *map(_braced, _halves(secret))
    ),
    "a line that goes on": lambda secret: 'key = """{}\\\n{}"""'.format(*_halves(secret)),
    "escapes": lambda secret: "key = '{}'".format("".join(f"\\x{ord(char):02x}" for char in secret)),
    "a dict": lambda secret: f"key = {{'setting': {secret!r}}}",
    "a keyword": lambda secret: f"key = connect(order, value={secret!r})",
}
"""Place -> the line, or lines, of a function that hold a secret."""


def _halves(secret: str) -> tuple[str, str]:
    return secret[: len(secret) // 2], secret[len(secret) // 2 :]


def _braced(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def hiding(name: str, secret: str, place: str) -> str:
    """Return a function that holds a secret."""
    return f"def {name}(order):\n    {PLACES[place](secret)}\n    order = list(order)\n    return order\n"


_HELPER = """\
def {name}_caller(order):
    '''Return it.'''
    order = list(order)
    return {name}(order)
"""
CLEAN = """\
def clean_{n}(items):
    '''Return {n} times the items.'''
    many = list(items)
    return many * {n}
"""


@pytest.fixture
def leaky(tmp_path: Path) -> Path:
    """A code base with each secret in each kind of place, called by functions without one."""
    root = tmp_path / "leaky"
    root.mkdir()
    (root / "LICENSE").write_text(MIT)
    planted = [(secret, place) for secret in SECRETS.values() for place in list(PLACES)[:3]]
    places = cycle(PLACES)
    planted += [(secret, next(places)) for secret in FURTHER_SECRETS.values()]
    for number, (secret, place) in enumerate(planted):
        name = f"hidden_{number}"
        function = hiding(name, secret, place)
        text = f"{function}\n\n{_HELPER.format(name=name)}\n\n{CLEAN.format(n=number + 2)}"
        (root / f"part_{number}.py").write_text(text)
    (root / f"{SECRETS['mail address']}.py").write_text(CLEAN.format(n=1))
    return root


def test_planted_secrets_reach_neither_the_endpoint_nor_any_file(
    leaky: Path, teacher: TeacherServer, tmp_path: Path
) -> None:
    model, out = f"openai:m@{teacher.url}", tmp_path / "out"
    out.mkdir()
    told = evolcoder(
        *("seeds", "from-code", leaky, "--teacher", model, "--out", out / "seeds.jsonl", "--per-file", 9),
        *("--verify", "off", "--held-out", 0.5),
    )
    evolcoder(
        *("benchmark", "from-code", leaky, "--teacher", model, "--out", out / "mine", "--held-out", 0.99)
    )
    written = [path.read_bytes() for path in out.rglob("*") if path.is_file()]
    sent = "\n".join(text for _, _, text in teacher.asked)
    assert "clean_" in sent and len(written) > 5 and told["code"]["snippets"] > 10
    for kind, secret in (SECRETS | FURTHER_SECRETS).items():
        assert secret not in sent, kind
        assert not any(secret.encode() in data for data in written), kind
    assert not re.search(
        r"def hidden_\d+\(", "\n".join([sent, *(data.decode("latin-1") for data in written)])
    )


@pytest.mark.parametrize("kind", SECRETS | FURTHER_SECRETS)
def test_each_kind_is_found_in_each_place(kind: str) -> None:
    secret = (SECRETS | FURTHER_SECRETS)[kind]
    missed = [place for place in PLACES if not secret_in(hiding("f", secret, place), "f.py")]
    assert not missed


@pytest.mark.parametrize("line", ASSIGNMENTS)
def test_a_plain_word_is_a_secret_by_where_it_stands(line: str) -> None:
    assert secret_in(f"def f(x):\n    {line}\n    return x\n", "f.py")


def test_a_key_that_a_list_puts_together_is_found() -> None:
    first, last = SECRETS["GitHub token"][:9], SECRETS["GitHub token"][9:]
    assert secret_in(f"return ''.join([{first!r}, {last!r}])", "f.py")


def test_ordinary_code_holds_no_secret() -> None:
    import evolcoder

    package = Path(evolcoder.__file__).parent
    files = [*(package / "loop").glob("*.py"), *(package / "evolve").glob("*.py")]
    lines = [line for file in files for line in file.read_text().splitlines()]
    taken = [line for line in lines if secret_in(line, "a.py")]
    assert len(lines) > 5000 and len(taken) < 5, taken


def test_what_a_project_marks_as_no_secret_counts_as_one_all_the_same() -> None:
    line = f'key = "{SECRETS["AWS access key"]}"  # pragma: allowlist secret'
    assert secret_in(line, "a.py")
