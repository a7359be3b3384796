"""``python -m rlsd_pl COMMAND`` is ``rlsd-pl COMMAND``."""

import sys

from rlsd_pl.commands.main import main

sys.exit(main())
