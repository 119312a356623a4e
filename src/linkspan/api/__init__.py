"""The Docker Engine API on a unix socket.

    daemon      the composition root: configuration, engine, server      config     flags and daemon.json
    server      listening sockets                                        connection one client: HTTP/1.1 by h11
    router      method and path -> handler                               messages   request, query, replies
    streams     hijacked connections and their frames                    failures   errors -> HTTP
    wire/       Docker's JSON: requests -> model, views -> replies       routes/    one noun a file

The schema is Docker's (https://docs.docker.com/reference/api/engine/); everything below speaks our own words.
"""
