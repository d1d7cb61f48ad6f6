"""A reward server: one process and one port for many rewards by name, in the forms that trainers send.

May live here: the routes and the forms of requests (`app`, `schemas`, `pickles`), what stands before them (`guard`,
`limits`, `failures`), what answers them (`service`, `measures`), the process (`server`), and a client (`client`).
It needs the extra `serve`; the client needs no torch.
"""
