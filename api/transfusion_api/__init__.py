"""The REST service: FastAPI over the database, the store and the doorbell. It needs neither torch nor numpy."""
