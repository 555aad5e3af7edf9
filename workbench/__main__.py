"""`python -m workbench` is the command line."""

import sys

from workbench._cli import main

sys.exit(main())
