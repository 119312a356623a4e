"""The command line: Docker's grammar, one API call or a few, rendered for people.

Starting quickly is a feature here: ``linkspan network ls`` should cost less than two of Docker's own. So nothing in
this package imports the daemon, and nothing that runs for every command imports argparse, re, json, socket, enum or
typing: the C modules underneath (``_json``, ``_socket``) do the same work at a fifth of the start-up time.

    main      argv -> one command                  grammar   what a command line may look like, and its parser
    tree      every command's name and module      commands  one file a group, imported when used
    client    HTTP on a unix socket                attach    hijacked streams and the terminal
    listing   rows -> tables, JSON, templates      template  the part of Go's templates that people use
"""
