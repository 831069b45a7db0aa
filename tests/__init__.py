"""Tests: ``oracle.py`` holds the truth, ``cases.py`` the inputs, ``compare.py`` the judge."""
