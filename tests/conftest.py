"""What tests of more than one floor share: an object store on this machine."""

import logging
import os
import uuid
from collections.abc import Iterator

import pytest

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The URI of an empty bucket, served on loopback; put a path before its `?` for a folder."""
    server_module = pytest.importorskip("moto.server", reason="the object store of the tests needs moto[server]")
    from pyarrow import fs

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    before = {name: os.environ.get(name) for name in CREDENTIALS}
    os.environ.update(CREDENTIALS)
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        where = f"endpoint_override=http://{host}:{port}"
        bucket = f"sweeps-{uuid.uuid4().hex[:8]}"
        maker, _ = fs.FileSystem.from_uri(f"s3://{bucket}?region=us-east-1&{where}&allow_bucket_creation=true")
        maker.create_dir(bucket)
        yield f"s3://{bucket}?region=us-east-1&{where}"
    finally:
        server.stop()
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@pytest.fixture
def s3_folder(s3: str) -> str:
    """The URI of a folder of the bucket that no other test uses."""
    return s3.replace("?", f"/{uuid.uuid4().hex[:8]}?", 1)
