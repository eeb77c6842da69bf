"""What codegen puts into the sandbox beside the tenant's files; it runs there alone, without this platform."""
