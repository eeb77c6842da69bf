"""TenantService and its neighbours, a module for each noun."""
