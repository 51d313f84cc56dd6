"""evolcoder: from seed instructions to a measured code model.

The package root is light on purpose: importing it loads nothing but the version.
"""

__version__ = "0.1.0"
