"""Secrets never reach what is printed or recorded."""

import pytest

from kdtrain.redact import has_secret, redacted


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://b/x?region=eu&secret_key=abc", "s3://b/x?region=eu&secret_key=***"),
        (
            "s3://b/x?access_key=AK&secret_access_key=a/b+c=&region=eu",
            "s3://b/x?access_key=***&secret_access_key=***&region=eu",
        ),
        ("s3://key:sec/ret@bucket/x", "s3://***@bucket/x"),
        ("https://user:pa:ss@host:8080/x", "https://***@host:8080/x"),
        ("https://token@host/x", "https://***@host/x"),
        ("abfs://c@a.dfs.core.windows.net/x?sas_token=sv%3D1", "abfs://***@a.dfs.core.windows.net/x?sas_token=***"),
        (
            "https://h/f?X-Amz-Credential=A&X-Amz-Signature=B&n=1",
            "https://h/f?X-Amz-Credential=***&X-Amz-Signature=***&n=1",
        ),
        ("AWS_SECRET_ACCESS_KEY=abc python", "AWS_SECRET_ACCESS_KEY=*** python"),
        ("Authorization: Bearer abcdefgh.ijk", "Authorization: Bearer ***"),
        ("401 for hf_abcdefghijklmnopqrst", "401 for ***"),
        ("password='x' Password=y", "password='x' Password=***"),
    ],
)
def test_secrets_are_hidden(text, shown):
    assert redacted(text) == shown
    assert has_secret(text)


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/runs/a?region=eu-west-1&endpoint_override=http://127.0.0.1:9000",
        "https://github.com/@user/x",
        "http://host:8080/@x",
        "runs/a@b",
        "--set space.terms.kd.weight=1",
        "the token of the cluster",
        "user@example.org",
        "design=1 tokens=3 assigned=2",
    ],
)
def test_other_texts_stay(text):
    assert redacted(text) == text
