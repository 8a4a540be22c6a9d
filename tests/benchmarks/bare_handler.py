"""A handler that checks a body and keeps it in one row: what FastAPI and the database take on this machine, without us.

The design's bars for posts stand beside what some bare handler did where they were set: bench_load.py tells them so.
"""

import os
import sys
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sqlalchemy import Column, Integer, MetaData, Table, Text, insert

from transfusion_core.db.engine import connect

BARE = Table("bare", MetaData(), Column("id", Integer, primary_key=True), Column("spec", Text))


class Spec(BaseModel):
    """What bench_load.py posts."""

    name: str
    dataset: str
    models: list[str]
    inits: list[str]
    seeds: int
    image_size: int
    training: dict[str, int]


def main() -> None:
    """Serve on the port that is given."""
    engine = connect(os.environ["TRANSFUSION_DATABASE_URL"])
    with engine.begin() as connection:
        BARE.metadata.create_all(connection)
    app = FastAPI()

    @app.get("/healthz")
    def live() -> None:
        pass

    @app.post("/v1/experiments", status_code=201)
    def post(spec: Spec) -> dict[str, Any]:
        with engine.begin() as connection:
            row = connection.execute(insert(BARE).values(spec=spec.model_dump_json()).returning(BARE.c.id)).scalar_one()
        return {"id": row, "spec": spec}

    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning")


if __name__ == "__main__":
    main()
