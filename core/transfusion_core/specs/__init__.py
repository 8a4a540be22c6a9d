"""What travels and what is stored: pydantic models only, importable without torch, numpy or a database."""
