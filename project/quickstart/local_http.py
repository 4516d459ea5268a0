"""HTTP client for this machine, without the proxies of the environment."""

import urllib.request

opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
