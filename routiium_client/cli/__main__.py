"""`python -m routiium_client.cli`."""

from routiium_client.cli.main import main

main()
