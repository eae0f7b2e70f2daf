"""Names of other libraries, on this one."""
