"""HTTP to this machine, past any proxy that the environment names."""

import urllib.request

opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
