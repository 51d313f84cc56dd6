from pathlib import Path

import pytest

from evolcoder.code_base.file_licences import is_allowed, licence_finder, licence_of_text

BSD = """Redistribution and use in source and binary forms, with or without modification, are permitted:
 * Neither the name of the copyright holder nor the names of its
   contributors may be used to endorse or promote products
"""


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("# SPDX-License-Identifier: MIT OR Apache-2.0", "MIT OR Apache-2.0"),
        (BSD, "BSD-3-Clause"),
        (BSD.splitlines()[0], "BSD-2-Clause"),
        ("    Apache License\n    Version 2.0, January 2004", "Apache-2.0"),
        ("/* GNU Lesser General\n * Public License as published */", "LGPL-2.1-or-later"),
        ("GNU GENERAL PUBLIC LICENSE\n  Version 2, June 1991", "GPL-2.0-or-later"),
        ("All rights reserved. Unauthorized copying is prohibited.", "LicenseRef-proprietary"),
        ("Copyright 2024 somebody", "NOASSERTION"),
    ],
)
def test_a_licence_is_known_by_what_its_text_says(text: str, licence: str) -> None:
    assert licence_of_text(text) == licence


def test_the_file_counts_more_than_the_folder_and_the_folder_more_than_those_above(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "LICENSE.txt").write_text("GNU GENERAL PUBLIC LICENSE Version 3")
    (tmp_path / "a" / "package.json").write_text('{"license": "ISC"}')
    find = licence_finder(tmp_path)
    assert find(tmp_path / "x.py", "") == "GPL-3.0-or-later"
    assert find(inner / "x.js", "let a = 1") == "ISC"
    assert find(inner / "x.js", "// SPDX-License-Identifier: MPL-2.0\n") == "MPL-2.0"
    # A text of the program is no licence of the file.
    assert find(inner / "x.js", 'let a = "GNU GENERAL PUBLIC LICENSE"') == "ISC"


def test_one_of_several_licences_suffices_and_joined_ones_must_all_be_allowed() -> None:
    assert is_allowed("MIT OR GPL-3.0-only") and is_allowed("NOASSERTION")
    assert not is_allowed("MIT AND GPL-3.0-only") and not is_allowed(
        "GPL-2.0-only WITH Classpath-exception-2.0"
    )
    assert is_allowed("(MIT AND GPL-3.0-only)", ["gpl-3.0-only"])
    assert is_allowed("GPL-2.0-only OR (MIT AND (ISC OR GPL-3.0-only))")
    assert not is_allowed("(MIT OR GPL-3.0-only) AND GPL-2.0-only")
