"""Secrets in a text: keys and tokens by detect-secrets (Yelp) and own rules, mail addresses, private places.

A text with one is left out whole. The rules would rather take a harmless word for a secret than send one: the
library's filters (`pragma: allowlist secret`, likely false positives) are not asked, and a URL is private
unless its host is known to be public or stands to be filled in.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from evolcoder.errors import require_packages

_URL = re.compile(r"[a-z][a-z0-9+.-]{1,20}://([^\s\"'`<>/?#]*)([^\s\"'`<>]*)", re.IGNORECASE)
_PUBLIC = re.compile(
    r"\{[^{}@]*\}|(?-i:[A-Z_:]+)|(?:[\w-]+\.)*(?:localhost|127\.0\.0\.1|example\.(?:com|org|net)|apache\.org|arxiv\.org|creativecommons\.org|"
    r"doi\.org|github\.com|gnu\.org|ietf\.org|json-schema\.org|mozilla\.org|opensource\.org|pypi\.org|"
    r"python\.org|readthedocs\.io|rfc-editor\.org|stackoverflow\.com|unicode\.org|w3\.org|wikipedia\.org)"
    r"(?::\d+)?",
    re.IGNORECASE,
)
_KEY_IN_URL = re.compile(r"[?&](?:[\w-]*(?:key|token|secret|sig|signature|password|auth))=", re.IGNORECASE)
_NAME = (
    r"(?:pass(?:word|wd|phrase|wort)|pwd|\bpw\b|secret|token|credential|sess(?:ion)?[_-]?id|\bsid\b"
    r"|(?:api|access|account|auth|private|shared)[_-]?key)"
)
"""What the names of settings that hold a secret hold."""
_VALUE = r"""[a-z]{0,2}(["'`])(?![\s{<$%]|\.{3})[^"'`\n{}<>]{4,80}\1"""
"""In quotes, and not to be filled in."""
_BARE = r"""(?=[^\s"'`,;&)(\[{}<>]*\d)(?=[^\s"'`,;&)(\[{}<>]*[a-z])[^\s"'`,;&)(\[{}<>.]{5,80}(?![\w(\[.])"""
"""Without quotes, as in the name of a data source: letters and digits, and no call."""
_WORD_ALONE = r"(?!(?:str|int|bool|byte|number|any|none|null|opt|obj|text)\w*\b)(?=[a-z])[\w!?*+#@-]{5,80}"
"""Without quotes and alone on its line, as in YAML: no name of a type."""
_INNER = "internal|intranet|corp|lan|local"


def _rules(
    *rules: tuple[str, str], flags: re.RegexFlag = re.MULTILINE
) -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((kind, re.compile(pattern, flags)) for kind, pattern in rules)


_KEYS = _rules(
    (
        "key of a known service",
        r"(?<![A-Za-z0-9])(?:gh[a-z]_|github_pat_|gl[a-z]{1,6}-|xox[a-z]|xapp-|xwfp-|[srp]k[-_]|whsec_|npm_|"
        r"pypi-|hf_|ya29\.|GOCSPX-|sq0[a-z]{3}-|shp[a-z]{2}_|do[a-z]_v1_|dapi|hv[sbr]\.|lin_api_|NRAK-|NRII-|"
        r"gl[a-z]{1,3}_|PMAK-|AT[AC]TT3|AGE-SECRET-KEY-|A(?:KIA|SIA|ROA|IDA|GPA|BIA|CCA)|AIza|SG\.|dckr_pat_|"
        r"tskey-|rubygems_|figd_|ntn_|gAAAA|AccountKey=|SharedAccessKey=)[\w.+/=-]{12,}",
    ),
    ("key of a known service", r"[\w~.]{3}\dQ~[\w~.-]{20,}|[?&;\"']sig=[\w%+/=-]{16,}"),
    ("JSON web token", r"eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"),
    ("private key", r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY|PuTTY-User-Key-File|\b(?:ssh|ecdsa)-\S{1,40}\s+AAAA"),
    (
        "password",
        r"^[^\w\n]*(?:export |set |ENV )?[A-Z_]{0,40}(?:PASSWORD|PASSWD|PASSPHRASE|PWD|SECRET|TOKEN|KEY)"
        r"[A-Z_]{0,40}=[^\s=\"'(){$<]{5,}$",
    ),
    ("random word", r"(?<![\w+/=-])(?=[A-Z]*[2-7][A-Z]*[2-7])[A-Z2-7]{16,}(?![\w+/=-])"),
    ("random word", r"(?<![\w-])(?=(?:[a-f]*\d){4})(?=(?:\d*[a-f]){4})[0-9a-f]{16,}(?![\w-])"),
)
"""Known by their look alone."""
_OTHERS = _rules(
    (
        "mail address",
        r"[\w.+-]+(?:@|%40|&#64;|&commat;|\\N\{COMMERCIAL AT\})"
        r"(?!(?:[\w-]+\.)*example\.(?:com|org|net)\b)[\w-]+(?:\.[\w-]+)+",
    ),
    ("mail address", r"\w\s+[(\[]?at[)\]]?\s+[\w-]+\s+[(\[]?dot[)\]]?\s+[a-z]{2,}\b"),
    (
        "private host",  # 1.2.3.44 is a version
        r"(?<![\d.])(?!127\.|255\.|192\.0\.2\.|198\.51\.100\.|203\.0\.113\.)"
        r"(?:[1-9]\d|1\d\d|2[0-4]\d|25[0-5])(?:\.\d{1,3}){3}(?![\d.])",
    ),
    (
        "private host",
        r"(?<![\w:])(?!2001:0?db8)(?:f[cd][0-9a-f]{2}|fe80|2[0-9a-f]{3})(?::[0-9a-f]{0,4}){3,7}(?![\w:])",
    ),
    (
        "private host",  # without quotes, a label with a hyphen or a digit, as paths of modules seldom have
        rf"""(?:["'@](?:[\w-]+\.)+|(?:\s|^)(?=\S*[\d-])(?:[\w-]+\.)+)(?:{_INNER})(?=["':/\s]|$)""",
    ),
    ("private host", rf"(?:[\w-]+\.)+(?:svc\.cluster\.local|(?:{_INNER}):\d)"),
    ("private path", r"(?:/home/|/Users/|[a-z]:\\{1,4}Users\\{1,4})(?!user|runner|me\b|you|name)\w+"),
    ("private path", r"""["'\s]\\{2,4}[a-z][\w.-]{3,}\\{1,2}[\w$-]{3,}"""),
    ("password", rf"""{_NAME}[\w.-]{{0,40}}["'`\]]*\s*(?::\s*\w+\s*=|:=|=>|[=!]=|=|:)\s*\(?\s*{_VALUE}"""),
    ("password", rf"{_NAME}\w{{0,40}}[ \t]*(?:=|:|\bis\b)[ \t]*{_BARE}"),
    (
        "password",
        rf"^[ \t]*\[[\w .-]{{1,40}}\]\n(?:.*\n){{0,8}}?[ \t]*[\w.-]{{0,40}}{_NAME}\w{{0,40}}[ \t]*=[ \t]*\w",
    ),
    ("password", rf"<[\w:]{{0,40}}{_NAME}\w{{0,40}}>[^<\s{{]{{4,}}</"),
    ("password", rf"^[ \t#*/;-]*[\w.-]{{0,40}}{_NAME}\w{{0,40}}[ \t]*:[ \t]*{_WORD_ALONE}[ \t]*$"),
    (
        "password",
        rf"""(?:get|env|pop|default|environ)\w*\(\s*["'][\w.-]{{0,40}}{_NAME}\w{{0,40}}["']\s*,\s*{_VALUE}""",
    ),
    ("password", rf"(?:set|with|use|change|check|verify)\w{{0,40}}{_NAME}\w{{0,40}}\(\s*{_VALUE}\s*\)"),
    ("password", rf"""--[\w-]{{0,40}}{_NAME}(?:[\s=]+(?-i:[a-z0-9])[^\s"'`]{{3,}}|["'],\s*{_VALUE})"""),
    (
        "password",
        rf"""(?:\bauth\w*\s*=\s*|basic_?auth\w*|login|authenticate)\(\s*{_VALUE}\s*,\s*[a-z]?["']""",
    ),
    (
        "password",
        r"(?:user|uid|username|user id|login|host|server)\s*=\s*[^\s,;()]+\s*[; ](?:[^\n,()]*[; ])?"
        r"(?:password|passwd|pwd)\s*=\s*[^\s{%<$]",
    ),
    ("password", r"\blogin[ \t]+\S+[ \t]+password[ \t]+\S|\bjdbc:[^\s/]*:\w+/[^\s@]+@"),
    (
        "password",
        r"\b(?:mysql\w*|mariadb\w*|sshpass)\b[^\n]*\s-p\s?[^\s{<$%-]|\bcurl\b[^\n]*\s-u\s+\S?\w+:\w",
    ),
    ("password", r"""authorization["']?\s*[:=,]\s*[a-z]?["']?(?:basic|bearer|token)\s+\w{6}"""),
    (
        "cookie",
        r"""cookies?["']?\s*[:=]\s*[\[({]*\s*["']?[\w.-]+["']?\s*[=:]\s*["']?(?=[\w%.+/-]*\d)[\w%.+/-]{8,}""",
    ),
    ("random word", r"(?<![\w-])[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?![\w-])"),
    flags=re.MULTILINE | re.IGNORECASE,
)
_USER_AND_PASSWORD = re.compile(r"[\w.@-]{2,64}:[^\s:/]{4,}")
_WORD = re.compile(r"[A-Za-z0-9+/_=-]{24,}")
_LEAST_DIGITS = 3


def secret_in(text: str, file: str = "") -> str:
    """Return the kind of the first secret in a text of `file`, "" for none; raises MissingExtraError."""
    together, clean = "", set[str]()
    for together in readings(text):
        lines = [line for line in together.splitlines() if line not in clean]
        if kind := _by_own_rules(together) or _by_the_library(lines, file):
            return kind
        clean.update(lines)
    if kind := _first_kind(_KEYS, _ITEMS_MEET.sub("", together)):
        return kind
    for decoded in decoded_words(together):
        if _USER_AND_PASSWORD.fullmatch(decoded.strip()):
            return "password"
        if kind := _by_own_rules(decoded) or _by_the_library(decoded.splitlines(), file):
            return kind
    return ""


def _by_own_rules(text: str) -> str:
    if any(not _PUBLIC.fullmatch(url[1]) or _KEY_IN_URL.search(url[2]) for url in _URL.finditer(text)):
        return "private URL"
    return _first_kind(_KEYS + _OTHERS, text) or (
        "random word" if any(map(_is_random, _WORD.findall(text))) else ""
    )


def _first_kind(rules: tuple[tuple[str, re.Pattern[str]], ...], text: str) -> str:
    return next((kind for kind, pattern in rules if pattern.search(text)), "")


def _by_the_library(lines: Iterable[str], file: str) -> str:
    for line in lines:
        for plugin in _plugins():
            if plugin.analyze_line(filename=file, line=line):
                return str(plugin.secret_type)
    return ""


def _is_random(word: str) -> bool:
    """Whether a long word that no quotes surround is as random as a key; the library asks for quotes."""
    if sum(char.isdigit() for char in word) < _LEAST_DIGITS:
        return False
    return any(
        set(word) <= set(plugin.charset)
        and plugin.calculate_shannon_entropy(word) > min(plugin.entropy_limit, 4.0)
        for plugin in _plugins()
        if hasattr(plugin, "entropy_limit")
    )


@lru_cache(maxsize=1)
def _plugins() -> tuple[Any, ...]:
    require_packages("looking for secrets in code", "code", "detect_secrets")
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class

    kinds: Any = get_mapping_from_secret_type_to_class()  # its own type says that no kind can be made
    return tuple(kind() for kind in kinds.values())


_BETWEEN = r"(?:\s|\\\n|#[^\n]*\n|//[^\n]*\n)*"
_LITERALS_MEET = re.compile(rf"""(["'`]){_BETWEEN}(?:[+.]{_BETWEEN})?[a-zA-Z]{{0,2}}\1""")
_UNLIKE_LITERALS_MEET = re.compile(rf"""["'`]{_BETWEEN}(?:[+.]{_BETWEEN})?[a-zA-Z]{{0,2}}["'`]""")
"""Where one literal ends and the next begins: `"a" "b"`, `"a" + "b"`, `"a" . "b"`."""
_ITEMS_MEET = re.compile(rf"""["'`]{_BETWEEN},{_BETWEEN}[a-zA-Z]{{0,2}}["'`]""")
_LINE_GOES_ON = re.compile(r"\\\n")
_ESCAPE = re.compile(
    r"""\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|u\{([0-9a-fA-F]{1,5})\}|([0-3][0-7]{2})|(["']))"""
)
_BASE64 = re.compile(r"(?<![\w+/-])[A-Za-z0-9+/_-]{12,}={0,2}")
_PRINTABLE = re.compile(rb"[\x20-\x7e\s]{8,}")


def readings(text: str) -> Iterator[str]:
    """Yield the text, and what it says with lines, escapes and literals put together, where it differs.

    A secret that stands so is no less one. No grammar is asked: all languages, and text that does not parse.
    """
    plain = _ESCAPE.sub(_character, _LINE_GOES_ON.sub("", text))
    together = (_LITERALS_MEET.sub("", plain), _UNLIKE_LITERALS_MEET.sub("", plain))
    yield from dict.fromkeys((text, plain, *together))


def decoded_words(text: str) -> Iterator[str]:
    """Yield what the words of a text are the base64 of, where that is plain text."""
    for match in _BASE64.finditer(text):
        word = match[0].rstrip("=").replace("-", "+").replace("_", "/")
        try:
            found = base64.b64decode(word + "=" * (-len(word) % 4))
        except (binascii.Error, ValueError):
            continue
        if _PRINTABLE.fullmatch(found):
            yield found.decode("ascii")


def _character(escape: re.Match[str]) -> str:
    two, four, braced, octal, quote = escape.groups()
    if quote:
        return str(quote)
    number = int(octal, 8) if octal else int(two or four or braced, 16)
    return chr(number) if number < 0x110000 else ""
