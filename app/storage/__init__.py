"""The run store: tables, migrations, queries and the object store. Imports neither torch nor flwr, nor Flask."""
