"""The documents over HTTP."""

from fastapi.testclient import TestClient

from documents import REPOSITORY


def test_every_document_can_be_had_as_it_stands(client: TestClient) -> None:
    listed = {item["name"]: item["size_bytes"] for item in client.get("/v1/documents").json()["items"]}
    assert {"first-study.md", "notebooks/study.ipynb", "pictures/nulls.svg"} <= set(listed)
    for name, size_bytes in listed.items():
        answer = client.get(f"/v1/documents/{name}")
        assert answer.content == (REPOSITORY / "docs" / name).read_bytes()
        assert len(answer.content) == size_bytes
    assert client.get("/v1/documents/first-study.md").headers["content-type"].startswith("text/markdown")


def test_nothing_but_documents_is_served(client: TestClient) -> None:
    for name in ("absent.md", "pictures.py", "../README.md", "..%2FREADME.md", "%2Fetc%2Fpasswd", "pictures"):
        assert client.get(f"/v1/documents/{name}").status_code == 404
