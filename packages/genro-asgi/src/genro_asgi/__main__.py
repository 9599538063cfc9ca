"""`python -m genro_asgi`: the command line."""

from genro_asgi.cli import main

main()
