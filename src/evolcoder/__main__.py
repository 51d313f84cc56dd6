"""`python -m evolcoder` is `evolcoder`."""

from evolcoder.cli import main

main()
