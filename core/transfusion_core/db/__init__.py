"""The only code that writes the database: one file per noun, plain functions that take the engine first."""
