"""`python -m corral.apps`: the same as `corral`."""

from corral.apps.main import main

main()
