"""The process: data plane, API, command line. Joins the kernel and the application layer; nothing imports it."""
