"""Speak HTTP with whoever calls: all of the gate that knows aiohttp, and nothing that knows BigQuery.

From the outside in; app puts them together on each port.

    gate/http/watched_connection.py  a connection before aiohttp's protocol: heads have a time and a size
    gate/http/connections.py         how many connections may wait for what; who goes first
    gate/http/server_log.py          what aiohttp says of itself, as lines of the gate's log
    gate/http/router.py              a path's route, in a time that grows with its length
    gate/http/access_log.py          the log line
    gate/http/middleware.py          answers for failures; around what follows
    gate/http/framing.py             refuses requests whose end two readers would see in different places
    gate/http/proxies.py             by which host and from which address a call came, by the word of trusted proxies
    gate/http/web_pages.py           refuses what only a web page sends
    gate/http/http_server.py         aiohttp's request becomes an HttpRequest, the answer a stream
    gate/http/aborted_calls.py       which side broke a call off
    gate/http/call_notes.py          what these steps know of a call
"""
