"""The controller in a cluster: what Plugin resources want comes in, their status and events go out."""
