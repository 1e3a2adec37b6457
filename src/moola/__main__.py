"""``python -m moola``."""

from moola.cli import main

raise SystemExit(main())
