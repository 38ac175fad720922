"""The box itself: service manager, health figures, control socket."""
