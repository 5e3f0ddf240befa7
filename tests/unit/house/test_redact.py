"""No secret survives the redactor, in whatever form it stands; what is none stays."""

import base64
from urllib.parse import quote

import pytest

from dream_runner.module_utils.dream_core.redact import Redactor

SECRET = "Pl4nted/s3cret+value="


@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        f"x{SECRET}y",
        quote(SECRET, safe=""),
        base64.b64encode(SECRET.encode()).decode(),
        f'{{"a": "{SECRET}"}}',
    ],
)
def test_known_values_go_wherever_they_stand(text: str) -> None:
    shown = Redactor([SECRET]).text(text)
    assert SECRET not in shown
    assert "s3cret" not in shown
    assert base64.b64encode(SECRET.encode()).decode()[:12] not in shown


@pytest.mark.parametrize(
    "text",
    [
        "WEBUI_SECRET=PLANTED-VALUE",
        "export N8N_PASS='PLANTED-VALUE'",
        'LITELLM_KEY="PLANTED-VALUE"',
        '{"api_key": "PLANTED-VALUE"}',
        '{"msg": "{\\"password\\": \\"PLANTED-VALUE\\"}"}',
        "password: PLANTED-VALUE",
        "Authorization: Bearer PLANTED-VALUE",
        "authorization: Basic UExBTlRFRC1WQUxVRQ==PLANTED-VALUE",
        "https://user:PLANTED-VALUE@host/path",
        "HTTPS_PROXY=http://user:PLANTED-VALUE@proxy:3128",
        "http://user:PLANTED/VALUE/PLANTED-VALUE@host/path",
        "http://user:12/PLANTED-VALUE@host/path",
        "https://host/file;jsessionid=PLANTED-VALUE?x",
        "https://host/file;signature=PLANTED-VALUE/part",
        "GET https://host/file?X-Amz-Signature=PLANTED-VALUE&y=1",
        "curl --token PLANTED-VALUE https://host",
        "curl --password=PLANTED-VALUE",
        "hf_PLANTEDVALUEPLANTED PLANTED-VALUE".replace(" PLANTED-VALUE", ""),
        "sk-dream-PLANTEDVALUE0123",
        "ghp_PLANTEDVALUE0123456789",
        "-----BEGIN PRIVATE KEY-----\nPLANTED-VALUE\n-----END PRIVATE KEY-----",
        "-----BEGIN RSA PRIVATE KEY-----\nPLANTED-VALUE cut",
        "HF_TOKEN=PLANTED-VALUE",
        "hf.token: PLANTED-VALUE",
        "Set-Cookie: session=PLANTED-VALUE; x",
        "LANGFUSE_SALT=PLANTED-VALUE",
    ],
)
def test_what_looks_like_a_secret_goes(text: str) -> None:
    shown = Redactor().text(text)
    assert "PLANTED" not in shown, shown
    assert "***" in shown


@pytest.mark.parametrize(
    "text",
    [
        '{"context_tokens": 4096}',
        "tokens per second: 12.5",
        "token_file: /root/token",
        "https://huggingface.co/org/model/resolve/main/file.gguf",
        "phase models did not end",
        "password=***",
        "https://registry.example/@scope/package",
        "http://registry.example:8080/@scope/package",
        "asked http://a.example/x; then me@b.example",
    ],
)
def test_what_is_none_stays(text: str) -> None:
    assert Redactor().text(text) == text


def test_a_document_hides_by_its_keys() -> None:
    document = {"values": {"api_key": "PLANTED", "list": [{"token": "PLANTED"}]}, "n": 1}
    assert Redactor().document(document) == {
        "values": {"api_key": "***", "list": [{"token": "***"}]},
        "n": 1,
    }
