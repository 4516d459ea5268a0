"""Price updates: prices proposed by a catalog or a file, their review and their application.

The modules `genai_*` read the package genai-prices. Only `manage.py sync_prices` imports them.
"""
