"""The commands behind `clme`, one module per stage of the workflow."""
