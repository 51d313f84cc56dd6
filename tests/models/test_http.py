from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from scripted_server import Script, Server, bad, good, serving, text_of

from evolcoder.errors import (
    EndpointError,
    ModelError,
    RequestFailedError,
    RequestRefusedError,
)
from evolcoder.models.endpoint.http_model import HttpModel
from evolcoder.models.endpoint.pricing import FixedPrice
from evolcoder.models.endpoint.settings import EndpointSettings
from evolcoder.models.journal.journal import Journal
from evolcoder.models.opening import open_model
from evolcoder.models.protocol import Completion, LanguageModel, Message, Request, Sampling


def request(text: str = "hello", **sampling: Any) -> Request:
    return Request((Message("user", text),), Sampling(**sampling))


def run(
    script: Script, *requests: Request, settings: EndpointSettings | None = None, **options: Any
) -> tuple[list[Any], Server, HttpModel]:
    """Ask all requests at once of a scripted server; errors come back as results."""

    async def main() -> tuple[list[Any], Server, HttpModel]:
        async with serving(script) as server:
            model = HttpModel("m", [server.url], settings, **options)
            try:
                return (
                    await asyncio.gather(*map(model.complete, requests), return_exceptions=True),
                    server,
                    model,
                )
            finally:
                await model.close()

    return asyncio.run(main())


def unused_url() -> str:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{s.getsockname()[1]}/v1"


def test_an_answer_carries_its_tokens_and_price() -> None:
    (answer,), server, model = run(
        lambda body, n: good("def f(): ...", usage=(100, 50)), request(), price=FixedPrice(1e-3, 2e-3)
    )
    assert (answer.text, answer.finish_reason, answer.model) == ("def f(): ...", "stop", "m")
    assert (answer.prompt_tokens, answer.completion_tokens) == (100, 50)
    assert answer.cost_usd == pytest.approx(0.2)
    assert model.stats.usd == pytest.approx(0.2)
    assert server.bodies[0]["messages"] == [{"role": "user", "content": "hello"}]


def test_a_raw_prompt_goes_to_the_completion_path() -> None:
    def script(body: dict[str, Any], n: int) -> web.Response:
        return web.json_response({"choices": [{"text": body["prompt"] + "!", "finish_reason": "length"}]})

    (answer,), server, _ = run(script, Request("def f", Sampling(max_tokens=1)))
    assert (answer.text, answer.finish_reason) == ("def f!", "length")
    assert server.paths == ["/v1/completions"]


def test_repeated_samples_send_different_seeds() -> None:
    requests = [Request("p", Sampling(temperature=1.0, seed=5), index) for index in range(3)]
    _, server, _ = run(lambda body, n: bad(400), *requests)
    assert sorted(body["seed"] for body in server.bodies) == [5, 6, 7]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (lambda: web.Response(body=b'{"choices": [{"mess'), "broken"),
        (lambda: good("  \n", usage=(10, 0)), "empty"),
        (lambda: good("", "content_filter"), "refused"),
        (lambda: bad(500), "server"),
        (lambda: bad(503, headers={"Retry-After": "0.01"}), "server"),
        (lambda: bad(429, headers={"retry-after-ms": "5"}), "rate limit"),
    ],
)
def test_what_is_no_answer_is_asked_for_again_and_counted(answer: Any, kind: str) -> None:
    (found,), server, model = run(lambda body, n: answer() if n < 2 else good(), request())
    assert found.text == "fine"
    assert dict(model.stats.retries) == {kind: 2}
    assert len(server.bodies) == 3


def test_an_answer_empty_every_time_is_taken_as_it_is() -> None:
    settings = EndpointSettings(empty_retries=2)
    (found,), server, _ = run(lambda body, n: good("", usage=(10, 0)), request(), settings=settings)
    assert found.text == ""
    assert len({body["seed"] for body in server.bodies}) == 3


@pytest.mark.parametrize(("on_empty", "asked"), [("accept", 1), ("retry", 4)])
def test_an_empty_answer_with_tokens_is_the_models_own_and_taken_unless_set_otherwise(
    on_empty: Any, asked: int
) -> None:
    settings = EndpointSettings(on_empty=on_empty)
    (found,), server, _ = run(lambda body, n: good("", usage=(10, 1)), request(), settings=settings)
    assert found.text == ""
    assert len(server.bodies) == asked


def test_a_refusal_is_returned_in_the_models_words() -> None:
    refusal = {"message": {"content": None, "refusal": "I'm sorry."}, "finish_reason": "stop"}
    (found,), server, _ = run(lambda body, n: web.json_response({"choices": [refusal]}), request())
    assert found.text == "I'm sorry."
    assert len(server.bodies) == 3


@pytest.mark.parametrize(("on_length", "asked"), [("accept", 1), ("retry", 3)])
def test_an_answer_cut_off_is_taken_or_asked_again_as_set(on_length: Any, asked: int) -> None:
    (found,), server, model = run(
        lambda body, n: good("def f(", "length"), request(), settings=EndpointSettings(on_length=on_length)
    )
    assert found.finish_reason == "length"
    assert len(server.bodies) == asked
    assert model.stats.truncated == 1


def test_one_request_that_never_gets_an_answer_fails_alone() -> None:
    def script(body: dict[str, Any], n: int) -> web.Response:
        return bad(500, "boom") if text_of(body) == "poison" else good()

    results, _, _ = run(
        script, request("poison"), request("a"), request("b"), settings=EndpointSettings(max_attempts=4)
    )
    assert isinstance(results[0], RequestFailedError)
    assert "boom" in str(results[0])
    assert [result.text for result in results[1:]] == ["fine", "fine"]


def test_a_request_the_endpoint_will_not_take_fails_alone_and_at_once() -> None:
    async def script(body: dict[str, Any], n: int) -> web.Response:
        if text_of(body) == "too long":
            await asyncio.sleep(0.05)
            return bad(400, "context length exceeded")
        return good()

    results, server, _ = run(script, request("ok"), request("too long"))
    assert isinstance(results[1], RequestFailedError)
    assert "context length exceeded" in str(results[1])
    assert len(server.bodies) == 2


def test_an_unreachable_endpoint_is_one_clear_error_naming_the_url() -> None:
    url = unused_url()

    async def main() -> None:
        model = HttpModel("m", [url])
        try:
            await model.complete(request())
        finally:
            await model.close()

    with pytest.raises(EndpointError, match=f"{url}: cannot be reached .*connection refused"):
        asyncio.run(main())


def test_a_wrong_key_is_told_once_without_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-123")
    (error,), server, _ = run(lambda body, n: bad(401, "Incorrect API key: sk-secret-123"), request())
    assert isinstance(error, EndpointError)
    assert "OPENAI_API_KEY" in str(error)
    assert "sk-secret-123" not in str(error)
    assert len(server.bodies) == 1
    assert server.headers[0]["Authorization"] == "Bearer sk-secret-123"


@pytest.mark.parametrize(
    ("key", "words", "shown"),
    [
        ("x", "Use max_tokens", "Use max_tokens"),
        ("secret-key", "of secret-keys and secret-key.", "of secret-keys and ***."),
    ],
)
def test_a_masked_key_masks_only_itself(
    key: str, words: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    (error,), _, _ = run(lambda body, n: bad(400, words), request())
    assert f"HTTP 400: {shown}" in str(error)


def test_a_short_key_does_not_hide_which_field_the_server_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    wanted = "Use 'max_completion_tokens' instead."
    (answer,), _, _ = run(lambda body, n: bad(400, wanted) if "max_tokens" in body else good(), request())
    assert answer.text == "fine"


@pytest.mark.parametrize("batch", [False, True])
def test_a_query_of_the_address_is_sent_and_its_values_are_shown_nowhere(tmp_path: Path, batch: bool) -> None:
    paths: list[str] = []

    async def refuse(http: web.Request) -> web.Response:
        paths.append(http.path_qs)
        return bad(401, f"no such key: {http.query['key']}, sent as {http.query_string}")

    async def main() -> str:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", refuse)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        url = f"http://127.0.0.1:{port}/v1/?api-version=2024-10-21&key=hush%2Bhush-123&token-4567"
        async with Journal(tmp_path / "j.sqlite") as journal:
            settings = EndpointSettings(batch=batch)
            model = open_model("openai:m", base_url=url, journal=journal, settings=settings)
            try:
                with pytest.raises(EndpointError) as error:
                    await model.complete(request())
            finally:
                await model.close()
                await runner.cleanup()
        return str(error.value)

    told = asyncio.run(main())
    assert "/v1?api-version=2024-10-21&key=***&***" in told or "/files?api-version=2024-10-21&key=***" in told
    assert "hush" not in told and "token-4567" not in told
    where = "/v1/files" if batch else "/v1/chat/completions"
    assert paths and all(path.startswith(where + "?api-version=2024-10-21&key=") for path in paths)
    assert b"hush" not in b"".join(file.read_bytes() for file in tmp_path.iterdir())


def test_a_model_string_holds_no_query() -> None:
    with pytest.raises(ModelError, match=r"key=\*\*\*.*--base-url"):
        open_model("openai:m@http://127.0.0.1:1/v1?key=hushhush")


def test_the_key_is_written_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret-123")

    async def main() -> None:
        async with serving(lambda body, n: good()) as server, Journal(tmp_path / "j.sqlite") as journal:
            model = open_model(
                "openai:m",
                base_url=server.url,
                journal=journal,
                settings=EndpointSettings(api_key_env="MY_KEY"),
            )
            await model.complete(request())
            await model.close()
            assert server.headers[0]["Authorization"] == "Bearer sk-secret-123"

    asyncio.run(main())
    assert not [file for file in tmp_path.iterdir() if b"sk-secret" in file.read_bytes()]


def test_a_redirect_does_not_carry_the_key_away() -> None:
    def script(body: dict[str, Any], n: int) -> web.Response:
        return web.Response(status=307, headers={"Location": "http://example.invalid/v1/chat/completions"})

    (error,), _, _ = run(script, request())
    assert isinstance(error, EndpointError)
    assert "307" in str(error)


def test_openai_itself_without_a_key_is_refused_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(ModelError, match="export OPENAI_API_KEY"):
        open_model("openai:gpt-4o-mini")


@pytest.mark.parametrize(
    "url",
    [
        *("127.0.0.1:8000/v1", "ftp://x/v1", "", "http://", "http://key@host/v1"),
        *("http://[::1/v1", "http://x:99999/v1", "http://x:port/v1", "http://x:0/v1"),
    ],
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ModelError, match="base URL"):
        HttpModel("m", [url])
    if url:
        with pytest.raises(ModelError, match="base URL"):
            open_model("openai:m", base_url=url)


def takes_only_the_default(body: dict[str, Any], n: int) -> web.Response:
    """As reasoning models do: one refusal a field, and none of them names more than one."""
    for name, words in (
        ("max_tokens", "Unsupported parameter: 'max_tokens' is not supported with this model. Use"
         " 'max_completion_tokens' instead."),
        ("temperature", "Unsupported value: 'temperature' does not support 0.5 with this model."),
        ("top_p", "Unsupported parameter: 'top_p' is not supported with this model."),
        ("stop", "Invalid 'stop': array too long. Expected an array with maximum length 4."),
    ):  # fmt: skip
        if name in body:
            return bad(400, words)
    return good("the answer\nEND and more")


def test_fields_that_a_model_refuses_are_left_out_by_themselves_and_told_once() -> None:
    first = request(temperature=0.5, stop=("END", "never"))
    results, server, model = run(takes_only_the_default, first, *(request(f"{i}") for i in range(9)))
    assert {result.text for result in results} == {"the answer\n", "the answer\nEND and more"}
    assert results[0].text == "the answer\n"  # cut here, where the endpoint takes no stop strings
    assert server.bodies[-1].keys() == {"model", "messages", "max_completion_tokens", "seed"}
    assert sorted(model.stats.left_out) == ["stop", "temperature", "top_p"]


def test_a_refusal_that_repeats_itself_ends_the_run() -> None:
    (error,), server, _ = run(
        lambda body, n: bad(400, "temperature is not supported"),
        request(),
        settings=EndpointSettings(omit=("temperature",)),
    )
    assert type(error) is EndpointError
    assert len(server.bodies) == 1


def test_further_fields_and_headers_go_with_each_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    monkeypatch.setenv("TEAM", "blue")
    settings = EndpointSettings(
        reasoning_effort="low",
        chat_template_kwargs={"enable_thinking": False},
        extra_body={"top_k": 20},
        headers={"X-Team": "TEAM"},
        organization="org-1",
        project="proj-1",
    )
    _, server, _ = run(
        lambda body, n: good(), request(further_fields='{"reasoning_effort": "high"}'), settings=settings
    )
    body, headers = server.bodies[0], server.headers[0]
    assert (body["reasoning_effort"], body["top_k"]) == ("high", 20)
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    assert headers["X-Team"] == "blue"
    assert (headers["OpenAI-Organization"], headers["OpenAI-Project"]) == ("org-1", "proj-1")
    assert headers["Authorization"] == "Bearer sk-1"
    with pytest.raises(ValueError, match="extra_body"):
        EndpointSettings(extra_body={"model": "other"})
    with pytest.raises(ModelError, match="NO_SUCH"):
        run(lambda body, n: good(), request(), settings=EndpointSettings(headers={"X": "NO_SUCH"}))


def test_azure_gets_its_key_in_its_own_header_and_the_query_behind_the_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")

    async def main() -> Server:
        async with serving(lambda body, n: good()) as server:
            model = HttpModel("m", [f"{server.url}/?api-version=2024-10-21"])
            await model.complete(request())
            await model.close()
            return server

    server = asyncio.run(main())
    assert server.paths == ["/v1/chat/completions?api-version=2024-10-21"]
    assert server.headers[0]["api-key"] == "sk-1"
    assert "Authorization" not in server.headers[0]


@pytest.mark.parametrize("name", ["ALL_PROXY", "http_proxy"])
def test_a_proxy_of_the_environment_is_used_and_named_where_it_is_away(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for other in ("ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, "http://127.0.0.1:9")
    (error,), _, _ = run(lambda body, n: good(), request())
    assert "the proxy cannot be reached" in str(error)
    for direct in ("127.0.0.1", "example.org, 127.0.0.0/8"):
        monkeypatch.setenv("NO_PROXY", direct)
        (answer,), _, _ = run(lambda body, n: good(), request())
        assert answer.text == "fine"
    monkeypatch.setenv("NO_PROXY", "10.0.0.0/8")
    (error,), _, _ = run(lambda body, n: good(), request())
    assert "the proxy cannot be reached" in str(error)
    monkeypatch.delenv("NO_PROXY")
    for wrong in ("socks5://127.0.0.1:9", "http://[bad", "http://127.0.0.1:port"):
        monkeypatch.setenv(name, wrong)
        with pytest.raises(ModelError, match=r"^proxy .* expected"):
            run(lambda body, n: good(), request())


@pytest.mark.parametrize(("status", "said"), [(407, "wants a name and a password"), (403, "HTTP 403: No")])
def test_a_proxy_on_the_way_to_tls_sees_no_key_and_is_told_in_its_words(
    status: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads: list[bytes] = []

    async def refusing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status)
        await writer.drain()
        writer.close()

    async def main() -> str:
        proxy = await asyncio.start_server(refusing, "127.0.0.1", 0)
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}")
        model = HttpModel("m", ["https://models.example/v1"], EndpointSettings(headers={"X-Key": "X_KEY"}))
        try:
            return await failure_of(model)
        finally:
            proxy.close()

    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-of-mine")
    monkeypatch.setenv("X_KEY", "another-secret")
    assert said in asyncio.run(main())
    assert heads[0].startswith(b"CONNECT models.example:443")
    assert not any(b"secret" in head for head in heads)


async def failure_of(model: HttpModel) -> str:
    """Return what the model's failure says of one request; "" where it answers."""
    try:
        await model.complete(request())
    except EndpointError as error:
        return str(error)
    finally:
        await model.close()
    return ""


def test_https_to_a_plain_http_port_is_told_as_that() -> None:
    async def main() -> str:
        async with serving(lambda body, n: good()) as server:
            return await failure_of(HttpModel("m", [server.url.replace("http:", "https:")]))

    assert "no TLS is spoken there" in asyncio.run(main())


def test_a_certificate_that_nobody_vouches_for_is_told_as_that(tmp_path: Path) -> None:
    async def main() -> str:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*own_certificate(tmp_path))
        server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0, ssl=context)
        model = HttpModel("m", [f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"])
        try:
            return await failure_of(model)
        finally:
            server.close()

    assert "certificate is not trusted: self-signed certificate; SSL_CERT_FILE" in asyncio.run(main())


def own_certificate(folder: Path) -> tuple[Path, Path]:
    """Return certificate and key of a server that nobody vouches for."""
    made = [folder / "cert.pem", folder / "key.pem"]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    names = ["-subj", "/CN=127.0.0.1", "-days", "2", "-out", str(made[0]), "-keyout", str(made[1])]
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    subprocess.run([*command, *names], check=True, capture_output=True)
    return made[0], made[1]


def test_several_addresses_share_the_work_and_stand_in_for_each_other() -> None:
    async def main() -> tuple[list[Completion], int, int]:
        async def slow(body: dict[str, Any], n: int) -> web.Response:
            await asyncio.sleep(0.02)
            return good()

        async with serving(slow) as first, serving(slow) as second:
            model = HttpModel("m", [first.url, unused_url(), second.url], EndpointSettings(concurrency=4))
            answers = await asyncio.gather(*(model.complete(request(str(i))) for i in range(40)))
            await model.close()
            return answers, len(first.bodies), len(second.bodies)

    answers, first, second = asyncio.run(main())
    assert [answer.text for answer in answers] == ["fine"] * 40
    assert min(first, second) >= 10


def test_a_dead_address_without_a_stand_in_names_every_address() -> None:
    urls = [unused_url(), unused_url()]

    async def main() -> None:
        model = HttpModel("m", urls)
        try:
            await model.complete(request())
        finally:
            await model.close()

    with pytest.raises(EndpointError) as caught:
        asyncio.run(main())
    assert all(url in str(caught.value) for url in urls)


def test_no_more_are_in_flight_than_allowed() -> None:
    async def script(body: dict[str, Any], n: int) -> web.Response:
        await asyncio.sleep(0.01)
        return good()

    requests = [request(str(i)) for i in range(60)]
    _, server, model = run(script, *requests, settings=EndpointSettings(concurrency=7))
    assert server.most_in_flight == 7
    assert model.stats.in_flight == 0


def test_a_hung_request_delays_only_itself_and_is_asked_a_second_time() -> None:
    async def script(body: dict[str, Any], n: int) -> web.Response:
        if text_of(body) == "77" and n == 0:
            await asyncio.sleep(3600)
        await asyncio.sleep(0.02)
        return good()

    results, server, model = run(
        script,
        *(request(str(i)) for i in range(100)),
        settings=EndpointSettings(concurrency=10, hedge_share=0.05),
    )
    assert [result.text for result in results] == ["fine"] * 100
    assert (model.stats.hedged, model.stats.hedges_won) == (1, 1)
    assert len(server.bodies) == 101


def test_unless_hedging_is_asked_for_the_deadline_ends_a_hung_request() -> None:
    async def script(body: dict[str, Any], n: int) -> web.Response:
        if n == 0:
            await asyncio.sleep(3600)
        return good()

    (found,), _, model = run(script, request(), settings=EndpointSettings(timeout_s=0.2))
    assert found.text == "fine"
    assert (model.stats.hedged, dict(model.stats.retries)) == (0, {"timeout": 1})


WHOLE = (
    b'{"choices": [{"message": {"content": "whole"}, "finish_reason": "stop"}],'
    b' "usage": {"prompt_tokens": 100, "completion_tokens": 2048}}'
)


def raw(body: bytes, **more: Any) -> web.Response:
    return web.Response(body=body, content_type="application/json", **more)


def told(content: Any, finish: str | None = "stop", **more: Any) -> web.Response:
    choice = {"message": {"role": "assistant", "content": content}, "finish_reason": finish}
    usage = {"prompt_tokens": 100, "completion_tokens": 2048}
    return web.json_response({"choices": [choice], "usage": usage, **more})


@pytest.mark.parametrize(
    ("answer", "text", "finish"),
    [
        (lambda: told(None, "length"), "", "length"),
        (lambda: told("", "length"), "", "length"),
        (lambda: told(None, "content_filter"), "", "content_filter"),
        (lambda: told([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "a"}]), "a", "stop"),
        (lambda: told(["in ", "pieces"]), "in pieces", "stop"),
        (lambda: told({"type": "text", "text": "alone"}), "alone", "stop"),
        (
            lambda: told([{"type": "text", "text": {"value": "as threads have it"}}]),
            "as threads have it",
            "stop",
        ),
        (lambda: told("whole", error={"code": None, "message": ""}), "whole", "stop"),
        (lambda: raw(WHOLE.replace(b'"message"', b'"delta"')), "whole", "stop"),
        (lambda: told("whole", None), "whole", "stop"),
        (lambda: told("whole", "eos_token"), "whole", "stop"),
        (lambda: told("cut \ud83d here"), "cut \ufffd here", "stop"),
        (lambda: raw(b"\xef\xbb\xbf" + WHOLE), "whole", "stop"),
        (lambda: raw(b": OPEN PROCESSING\n\n: OPEN PROCESSING\n\n" + WHOLE), "whole", "stop"),
        (lambda: raw(WHOLE.replace(b"whole", b"a\nb\x01")), "a\nb\x01", "stop"),
        (lambda: raw(WHOLE.replace(b"whole", b"a \xf0\x9f\x98")), "a \ufffd", "stop"),
        (lambda: raw(WHOLE.replace(b"whole", b"caf\xe9"), charset="latin-1"), "caf\xe9", "stop"),
    ],
)
def test_an_answer_means_what_its_reason_to_stop_says(answer: Any, text: str, finish: str) -> None:
    (found,), _, _ = run(lambda body, n: answer(), request(), settings=EndpointSettings(refused_retries=0))
    assert (found.text, found.finish_reason, found.completion_tokens) == (text, finish, 2048)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda: told("partial te", "abort"), "abort"),
        (lambda: told("partial te", "error"), "error"),
        (lambda: told(None, "tool_calls"), "tool"),
        (
            lambda: web.json_response({"error": {"message": "upstream is overloaded", "code": 502}}),
            "upstream",
        ),
        (lambda: web.json_response({"error": {"message": "No auth found", "code": 401}}), "No auth found"),
        (lambda: web.json_response([1, 2]), "object"),
        (lambda: told(5), "a text is expected, found 5"),
        (lambda: told({"parts": ["no form that is known"]}), "a text is expected, found {'parts'"),
        (lambda: web.json_response({"choices": []}), "no choice"),
        (lambda: web.Response(text="<html>Please log in</html>", content_type="text/html"), "log in"),
        (lambda: web.Response(text="data: {}\n\n", content_type="text/event-stream"), "data:"),
        (lambda: web.Response(body=WHOLE, headers={"Content-Encoding": "gzip"}), "content-encoding"),
        (lambda: told("partial", "error", error={"message": "upstream broke", "code": 502}), "upstream"),
        (lambda: bad(429, "Your credit balance is too low"), "no money left"),
        (lambda: web.json_response({"error": {"message": "no", "code": "insufficient_quota"}}), "no money"),
        (lambda: raw(b'{"choices": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "recursion"),
        (lambda: raw(b'{"choices": [], "usage": {"prompt_tokens": ' + b"9" * 5000 + b"}}"), "4300 digits"),
        (lambda: bad(307, "", {"Location": "http://elsewhere/v1"}), "moved to http://elsewhere/v1"),
    ],
)
def test_an_address_that_never_answers_ends_the_run_in_its_words_after_two_askings(
    answer: Any, words: str
) -> None:
    results, server, _ = run(lambda body, n: answer(), *(request(f"{i}") for i in range(4)))
    assert all(type(result) is EndpointError and words in str(result) for result in results)
    assert len(server.bodies) <= 8


def test_an_answer_without_end_is_cut_at_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evolcoder.models.endpoint.address.read_body.__defaults__", (1 << 20,))
    settings = EndpointSettings(max_attempts=2)
    (error,), _, _ = run(lambda body, n: good(" " * (2 << 20)), request(), settings=settings)
    assert "longer than 1 MiB" in str(error)


def refuses(kind: str) -> web.Response:
    return {
        "filter": lambda: bad(400, "filtered due to content management policy"),
        "context": lambda: bad(400, "This model's maximum context length is 4096 tokens."),
        "too large": lambda: bad(413),
        "moderation": lambda: bad(403, "Your input was flagged by moderation"),
        "law": lambda: bad(451),
        "larger than a minute's tokens": lambda: bad(429, "Request too large: Limit 30000, Requested 50018"),
    }[kind]()


@pytest.mark.parametrize(
    "kind", ["filter", "context", "too large", "moderation", "law", "larger than a minute's tokens"]
)
def test_a_refusal_of_one_request_is_its_own_though_it_comes_first_and_is_remembered(
    kind: str, tmp_path: Path
) -> None:
    async def script(body: dict[str, Any], n: int) -> web.Response:
        if text_of(body) == "poison":
            return refuses(kind)
        await asyncio.sleep(0.1)
        return good()

    async def main() -> None:
        async with serving(script) as server:
            for _ in range(2):  # a run and its continuation
                async with Journal(tmp_path / "j.sqlite") as journal:
                    model: LanguageModel = open_model("openai:m", base_url=server.url, journal=journal)
                    poison, fine = await asyncio.gather(
                        model.complete(request("poison")), model.complete(request()), return_exceptions=True
                    )
                    await model.close()
                assert isinstance(poison, RequestRefusedError)
                assert isinstance(fine, Completion)
            assert len(server.bodies) == 2

    asyncio.run(main())


def test_a_path_not_found_in_mid_run_is_that_requests() -> None:
    async def script(body: dict[str, Any], n: int) -> web.Response:
        if text_of(body) == "lost":
            await asyncio.sleep(0.1)
            return bad(404, "being loaded")
        return good()

    results, _, _ = run(script, request("lost"), *(request(f"{i}") for i in range(5)))
    assert isinstance(results[0], RequestRefusedError)
    assert all(isinstance(result, Completion) for result in results[1:])


def test_one_request_that_a_server_always_fails_on_is_its_own_when_others_are_answered() -> None:
    async def script(body: dict[str, Any], n: int) -> web.Response:
        if text_of(body) == "crash":
            return bad(500, "worker crashed")
        await asyncio.sleep(0.1)
        return good()

    hasty = EndpointSettings(patience_s=1.0)
    results, _, _ = run(script, request("crash"), *(request(f"{i}") for i in range(5)), settings=hasty)
    assert isinstance(results[0], RequestFailedError)
    assert "worker crashed" in str(results[0])
    assert all(isinstance(result, Completion) for result in results[1:])


@pytest.mark.parametrize("status", [400, 403, 404])
def test_an_address_that_refuses_everything_in_mid_run_costs_no_row(status: int, tmp_path: Path) -> None:
    revoked = False

    async def script(body: dict[str, Any], n: int) -> web.Response:
        nonlocal revoked
        revoked |= len(server.bodies) > 12
        if revoked:
            return bad(status, "no longer")
        await asyncio.sleep(0.05)
        return good()

    async def sitting() -> list[Any]:
        nonlocal revoked
        revoked = False
        async with Journal(tmp_path / "j.sqlite") as journal:
            model: LanguageModel = open_model(
                "openai:m", base_url=server.url, journal=journal, settings=EndpointSettings(concurrency=8)
            )
            asked = (model.complete(request(f"{i}")) for i in range(60))
            results = await asyncio.gather(*asked, return_exceptions=True)
            await model.close()
            return results

    async def main() -> tuple[list[Any], list[Any]]:
        nonlocal server
        async with serving(script) as server:
            first = await sitting()
            server.bodies.clear()
            return first, await sitting()

    server: Server
    first, second = asyncio.run(main())
    ends = [result for result in first if not isinstance(result, Completion)]
    assert all(type(end) is EndpointError and "every request" in str(end) for end in ends)
    assert len(ends) >= 40
    # What was refused is asked again once the address takes requests, as long as it does.
    assert sum(isinstance(result, Completion) for result in second) == 2 * (60 - len(ends))


def test_a_request_that_hangs_while_others_are_answered_is_its_own() -> None:
    async def script(body: dict[str, Any], n: int) -> web.Response:
        await asyncio.sleep(60 if text_of(body) == "hangs" else 0.05)
        return good()

    hasty = EndpointSettings(timeout_s=0.5, patience_s=0.3)
    results, _, _ = run(script, request("hangs"), *(request(f"{i}") for i in range(5)), settings=hasty)
    assert isinstance(results[0], RequestFailedError)
    assert all(isinstance(result, Completion) for result in results[1:])
