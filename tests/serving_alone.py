"""The service in a process that has nothing of the workers' libraries: a script for `python -c`."""

WITHOUT_TORCH = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "timm", "numpy", "scipy", "sklearn", "pandas", "altair"):
            raise ModuleNotFoundError(f"{name} is blocked", name=name)
sys.meta_path.insert(0, Blocked())
import ast, importlib, pathlib, transfusion_api
for file in pathlib.Path(transfusion_api.__file__).parent.rglob("*.py"):  # imports within functions too
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module.startswith(("transfusion_core", "transfusion_api")):
            found = importlib.import_module(node.module)
            for name in [each.name for each in node.names if not hasattr(found, each.name)]:
                importlib.import_module(f"{node.module}.{name}")
from transfusion_api.app import create_app
from transfusion_core.settings import Settings
from transfusion_core.reporting import html, long_table
from fastapi.testclient import TestClient
folder = sys.argv[1]
made = Settings(mode="embedded", database_url=f"sqlite:///{folder}/api.db", store_url=f"file://{folder}/store")
app = create_app(made)
from transfusion_core.db.engine import migrate
migrate(app.state.service.engine)
with TestClient(app, base_url="http://localhost", client=("127.0.0.1", 1)) as client:
    assert client.get("/readyz").status_code == 200
    spec = {"name": "x", "dataset": "demo-retina", "models": ["resnet50"]}
    answer = client.post("/v1/experiments", json=spec)
    assert answer.status_code == 201, answer.text
print("fine")
"""
"""Imports whatever the service ever imports, serves a post; its argument is an empty folder."""
