"""The published files of MultiPL-E, release of July 2024: number and sha256 of their JSON lines."""

from __future__ import annotations

from evolcoder.evaluate.benchmarks.data_files import DataFile

VERSION = "2024-07"
_HUB = "https://huggingface.co/datasets/nuprl/MultiPL-E/resolve/main/{name}/test-00000-of-00001.parquet"

_FILES = {
    "humaneval-cpp": (161, "4910aa71c605754136ec9c95efcf458704967d21b3d09ed2a141eaca5a1903a2"),
    "humaneval-cs": (158, "b79d1a41ab8c704c330856e25eb6148fc9f48d81e35269fc36f754026ca85289"),
    "humaneval-go": (154, "41f2ce7f82f1a2e5a2b1753cd1a18e26cf216c6c45423f5da3e3351a1894e3f4"),
    "humaneval-java": (158, "a38a4fab2136b0b7d03236f2c423d2182b2d4a182edd0fa9639305c3afb733a5"),
    "humaneval-jl": (159, "d1de7724977d2139320de25950dd45fc9009783903f29c6eefb4cc7d6e585cf5"),
    "humaneval-js": (161, "47536b7f7a0221586cdecc16c900ff8e7ba7dd60cc4bab3bddbbc4e866e0cef8"),
    "humaneval-lua": (161, "0b0e7af680169025594aeed41c6d9bb24237a1b23257329cb4b36890c23633a5"),
    "humaneval-php": (161, "588a969eb171a380c4ef4e2dcf461fc2617648bc85c25b2ff497b341c5cc6d86"),
    "humaneval-py": (161, "8cfc1695e3127f05252489af987628f103355bd6eb51e81cfde545ed390522ae"),
    "humaneval-r": (161, "ae66d068faff39358e6f0825c59e86285bc458037b805f9673222ad21a6309cf"),
    "humaneval-rb": (161, "20dbc5f06d5b422a44a7ef590d6c37304e31ab3d351414dbeaa8663af9aae475"),
    "humaneval-rs": (156, "3e528744b7b6dcbc8054b489f3928b88901386911ba9bcf908b4f2b53c5bcc87"),
    "humaneval-scala": (160, "66811b1fd41cdef76105350d4e374475aa899a063ddcd50223a8ecffb26b2c39"),
    "humaneval-sh": (158, "f4a6fc2f6ecf8489bab32584aeeb8a05158bddd51518929fc7fe0010a95210a0"),
    "humaneval-swift": (158, "4de14494655de7d4bf294a5902fe8088839fd2011bde392470ae1ab642b79f8b"),
    "humaneval-ts": (159, "dac2c1577ad99503d0c2e1d91ffcc386711ade271462934b604f08b01f7ad0fa"),
    "mbpp-cpp": (398, "cf7859bfa4202c9e158afa5969768274152180c5c53648c3625681567c116706"),
    "mbpp-cs": (387, "06b54f3b18593f7d8c027aeff1ce5f74e2e3c58f45e1386c3a4bad77742d7614"),
    "mbpp-go": (375, "d4e30501b46525ac11ad16fe926619056a103732207be51acc31a22a42e53411"),
    "mbpp-java": (387, "3a963fb383e888da42453a00e5e018ab4ac8746811a553ee396560b2ff0bd7f0"),
    "mbpp-jl": (391, "9ce3027c315341fe3adc93169199ca95c8143b74919067ac76df658f527e90ee"),
    "mbpp-js": (399, "9bb4dd80a3091fb7b79a76f046c36504b64b3e148c17f63e53a02789238b80b2"),
    "mbpp-lua": (399, "80e74d60bd13f6099e27d388a439221fca69978da92b7b9d31b79692b23d1e7f"),
    "mbpp-php": (399, "fcd75493638224d591b8b41d30328220cb84d42ddc74be1b883a35346a7f98c6"),
    "mbpp-py": (399, "3cbc00f5ed5612ba015ec8b526fe4073e4891839329094912e79e73ec160f1ae"),
    "mbpp-r": (397, "99ee33bf4d4c4d4f6238f9a57c8824161684dbb0ff3dfcadbd7722f092cfe250"),
    "mbpp-rb": (399, "ed95ccea16e6d66a94c34510896bf7b5a2f2d3d59890c29e6c13745dd0279146"),
    "mbpp-rs": (354, "79d6d045885289afda0ba7d7f19faa997aa7e37e9f80932ecbcbe470f3af3a25"),
    "mbpp-scala": (397, "8f143c5513e80e1cbcd6a8e709976e9000f9b91ec1070fca40c16db0b00fb041"),
    "mbpp-sh": (389, "9a71c37fc15b330db1e24b85f401c642217ae6e2f53115e42800350bddad45f6"),
    "mbpp-swift": (398, "544646e137406eaaed92d105b28cd652831db1f51124109296e02290fcc99449"),
    "mbpp-ts": (391, "d45ebbcc05d361e86fec4d3a965f9ecdf6f77f684cc05454f82e66a1730ea256"),
}


def data_file(name: str) -> DataFile:
    """Return where a set is, by its published name like "humaneval-java"."""
    path = f"multipl-e/{name}.jsonl.gz"
    return DataFile(path, _FILES[name][1], _HUB.format(name=name))


def problems_of(name: str) -> int:
    """Return how many problems a set has, by its published name."""
    return _FILES[name][0]
