"""The server: its configuration, the table of routes, the dispatcher, and how it is served."""
