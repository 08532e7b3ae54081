"""The study: its configuration, the edit job, its journal, aggregation and statistics."""
