"""`clme`, told to stop after its first batch as batch systems do it: with all processes of its group.

python tests/signalled.py SIGNAL ARGUMENTS
"""

import os
import sys

from clme import cli
from clme.study.journal import Journal

write, number = Journal.write, int(sys.argv.pop(1))


def signalled(self, key, value):
    write(self, key, value)
    if key.startswith("batch"):
        os.killpg(0, number)


Journal.write = signalled
cli.main()
