"""`python -m controller.cli`: the command where nothing installed it, as in the controller's image."""

from controller.cli import main

main()
